//! Online control of false promotions: how small a p a night must show, given the nights before.
//!
//! Even a perfect test at 5 % promotes a useless adapter within 30 nights in four of five streams.
//! So each look at validation spends from one budget, and a promotion earns some of it back: LORD++
//! (Ramdas, Yang, Wainwright and Jordan 2017) with spending shares γ_t = 6/(π² t²). While nothing
//! has been promoted this is plain α-spending, and a union bound holds whatever the nights share.

use serde::{Deserialize, Serialize};

/// The share of the budget that the first promotion can draw on; the rest is earned by it.
const INITIAL: f64 = 0.8;

/// No night may promote by chance more often than this, whatever was earned.
const ONE_NIGHT: f64 = 0.05;

/// What the ledger said when the evidence was put together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Nights {
    /// Looks before this one: candidates with enough evidence that were judged.
    pub before: u64,
    /// The numbers, from 1, of those that ended in a promotion.
    pub promoted: Vec<u64>,
    /// Verdicts that the same adapter got before on the same validation rows, in other runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Earlier>,
}

/// An earlier verdict on the same evidence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Earlier {
    /// The verdict.
    pub verdict: String,
    /// The policies that gave it, by digest.
    pub policies: Vec<String>,
    /// The digest of the evidence it was given on: thresholds included, other nights not.
    pub evidence: String,
}

impl Nights {
    /// This look's number, from 1.
    pub fn look(&self) -> u64 {
        self.before + 1
    }

    /// The largest p at which this night may promote, so that all nights together promote a
    /// useless adapter with probability `budget` at most.
    pub fn allowed(&self, budget: f64) -> f64 {
        let initial = INITIAL * budget;
        let mut allowed = initial * share(self.look());
        let mut promoted = self.promoted.clone();
        promoted.sort_unstable();
        promoted.dedup();
        for (nth, look) in promoted.into_iter().filter(|l| *l <= self.before).enumerate() {
            let earned = if nth == 0 { budget - initial } else { budget };
            allowed += earned * share(self.look() - look);
        }
        allowed.min(ONE_NIGHT)
    }
}

/// γ_t: what look `t` after a promotion may spend; all together they make 1.
fn share(t: u64) -> f64 {
    let pi = std::f64::consts::PI;
    6.0 / (pi * pi * (t as f64) * (t as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(before: u64, promoted: &[u64]) -> Nights {
        Nights { before, promoted: promoted.to_vec(), ..Nights::default() }
    }

    #[test]
    fn without_promotions_all_nights_together_spend_less_than_the_budget() {
        let spent: f64 = (0..100_000).map(|n| after(n, &[]).allowed(0.1)).sum();
        assert!((0.0799..0.08).contains(&spent), "{spent}");
        assert!((after(0, &[]).allowed(0.1) - 0.048_634_2).abs() < 1e-6);
        assert!((after(29, &[]).allowed(0.1) * 900.0 - 0.048_634_2).abs() < 1e-6);
    }

    #[test]
    fn a_promotion_earns_budget_back_and_no_night_spends_more_than_a_twentieth() {
        let waited = after(20, &[]).allowed(0.1);
        let earned = after(20, &[20]).allowed(0.1);
        assert!(earned > 50.0 * waited, "{earned} after a promotion, {waited} without");
        let often: Vec<u64> = (1..=20).collect();
        assert_eq!(after(20, &often).allowed(0.1), ONE_NIGHT);
        assert_eq!(after(20, &[20, 20]).allowed(0.1), earned);
    }

    #[test]
    fn a_promotion_that_has_not_happened_yet_earns_nothing() {
        assert_eq!(after(3, &[4, 9]).allowed(0.1), after(3, &[]).allowed(0.1));
    }
}
