//! What would decide an open verdict: how many more items like these, and how many more days at
//! the rate they came in.
//!
//! The error of a mean falls with the square root of the number of items, so the evidence's own
//! smallest detectable difference says how many items any other gain would take.

use serde::{Deserialize, Serialize};

use super::evidence::Evidence;
use super::policy::Check;
use crate::evaluate::Metric;
use crate::evaluate::distributions::normal_quantile;
use crate::evaluate::statistics::{CONFIDENCE, POWER};

/// The one-sided p at which a two-sided interval of the usual confidence excludes zero.
pub const TWO_SIDED: f64 = (1.0 - CONFIDENCE) / 2.0;

/// What would decide.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// About how many more items.
    pub items: u64,
    /// About how many more days; absent where the rate is unknown.
    pub days: Option<u64>,
    /// Items a day so far; absent where the sessions bear no times.
    pub items_per_day: Option<f64>,
}

impl Plan {
    /// What the open checks of a decision ask for, all together.
    pub fn of(evidence: &Evidence, checks: &[Check]) -> Option<Plan> {
        let open = checks.iter().filter(|c| c.undecided);
        Some(Plan::for_items(evidence, open.filter_map(|c| c.more_items).max()?))
    }

    /// The plan for so many more items.
    pub fn for_items(evidence: &Evidence, items: u64) -> Plan {
        let e = evidence.evaluation.as_ref();
        // One day's sessions begin within less than a day.
        let rate = e.and_then(|e| Some(e.pairs as f64 / e.days?.max(1.0))).filter(|r| *r > 0.0);
        let days = rate.map(|rate| whole(items as f64 / rate));
        Plan { items, days, items_per_day: rate.map(|r| libm::rint(r * 10.0) / 10.0) }
    }

    /// One line for the reader.
    pub fn line(&self) -> String {
        let more = format!("about {} more validation items would decide", self.items);
        match (self.days, self.items_per_day) {
            (Some(days), Some(rate)) => format!("{more}: {days} days at {rate} a day"),
            _ => format!("{more}; the sessions bear no times, so how long that takes is unknown"),
        }
    }
}

/// About how many items more it takes to see a metric's measured gain at a one-sided p of `p` in
/// four of five cases; where nothing was gained, the smallest gain the gate wants.
pub fn to_decide(evidence: &Evidence, metric: &str, p: f64) -> Option<u64> {
    let worse = Metric::parse(metric).is_ok_and(|m| m.more_is_better() == Some(false));
    let measured = evidence.find(&format!("delta.{metric}")).ok()??;
    let gain = if worse { -measured } else { measured };
    let least = evidence.threshold(&format!("GATE_MIN_DELTA_{}", metric.to_uppercase()));
    let gain = if gain > 0.0 { gain } else { least.ok().filter(|g| *g > 0.0)? };
    let pairs = evidence.find("pairs").ok()??;
    Some(whole(items_for(evidence, metric, gain, p)? - pairs))
}

/// About how many items it takes in all to see a gain at a one-sided p of `p` in four of five
/// cases, with sessions and noise like these.
pub fn items_for(evidence: &Evidence, metric: &str, gain: f64, p: f64) -> Option<f64> {
    let detectable = evidence.find(&format!("delta.{metric}.detectable")).ok()??;
    let pairs = evidence.find("pairs").ok()??;
    let reach = |p: f64| normal_quantile(1.0 - p) + normal_quantile(POWER);
    let ratio = detectable / gain * reach(p) / reach(TWO_SIDED);
    let items = pairs * ratio * ratio;
    items.is_finite().then_some(items)
}

/// A number of things to come: whole, and at least one.
pub(super) fn whole(n: f64) -> u64 {
    libm::ceil(n).max(1.0) as u64
}
