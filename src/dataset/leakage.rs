//! How much of the validation set stands in what is trained on, measured on the final rows.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::Held;
use super::similarity::{Likeness, Limits, pairs};

/// How many of the worst pairs the manifest shows.
const SHOWN: usize = 20;

/// The measured likeness of validation to everything that is trained or tuned on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Leakage {
    /// Rows of val.
    pub rows: u64,
    /// Rows of val that are a copy of, contain or stand in a row of train or tune.
    pub leaking_rows: u64,
    /// `leaking_rows / rows`.
    pub share: f64,
    /// The most that was allowed, from `MAX_LEAK`.
    pub allowed: f64,
    /// Sessions with rows on both sides.
    pub sessions: u64,
    /// Components with rows on both sides.
    pub components: u64,
    /// Leaking rows by how they resemble the other side.
    pub by_likeness: BTreeMap<Likeness, u64>,
    /// The worst pairs, most similar first.
    pub worst: Vec<Leak>,
    /// From when on rows counted as copies.
    pub limits: Limits,
}

/// A row of val and the row of train or tune that resembles it most.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Leak {
    /// The held-out row's id.
    pub val: String,
    /// The other row's id.
    pub other: String,
    /// How they resemble each other.
    pub likeness: Likeness,
    /// To what share, to four digits.
    pub similarity: f64,
}

impl Leakage {
    /// Whether no session and no component is on both sides and no more rows leak than allowed.
    pub fn ok(&self) -> bool {
        self.sessions == 0 && self.components == 0 && self.share <= self.allowed
    }
}

/// Compares every row of `val` with every row of `seen`.
pub fn measure(seen: &[&[Held]], val: &[Held], limits: &Limits, allowed: f64) -> Result<Leakage> {
    let mut rows: Vec<Held> = val.to_vec();
    // Repeats in training say nothing new.
    let mut ids = BTreeSet::new();
    rows.extend(seen.iter().flat_map(|part| part.iter()).filter(|e| ids.insert(&e.id)).cloned());
    let found = pairs(&rows, limits, |a, b| (a < val.len()) != (b < val.len()))?;
    let mut worst: BTreeMap<usize, Leak> = BTreeMap::new();
    for pair in found {
        let (a, b) = (pair.small as usize, pair.large as usize);
        let (held, other) = if a < val.len() { (a, b) } else { (b, a) };
        let leak = Leak {
            val: rows[held].id.clone(),
            other: rows[other].id.clone(),
            likeness: pair.likeness,
            similarity: (pair.similarity * 1e4).round() / 1e4,
        };
        let rank = |l: &Leak| (std::cmp::Reverse((l.similarity * 1e4) as u64), l.other.clone());
        match worst.get(&held) {
            Some(known) if rank(known) <= rank(&leak) => {}
            _ => {
                worst.insert(held, leak);
            }
        }
    }
    let mut by_likeness = BTreeMap::new();
    for leak in worst.values() {
        *by_likeness.entry(leak.likeness).or_default() += 1;
    }
    let both = |key: &dyn Fn(&Held) -> Option<String>| {
        let held: BTreeSet<String> = val.iter().filter_map(key).collect();
        let others: BTreeSet<String> = rows[val.len()..].iter().filter_map(key).collect();
        held.intersection(&others).count() as u64
    };
    let leaking_rows = worst.len() as u64;
    let mut worst: Vec<Leak> = worst.into_values().collect();
    worst.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then_with(|| a.val.cmp(&b.val)));
    worst.truncate(SHOWN);
    Ok(Leakage {
        rows: val.len() as u64,
        leaking_rows,
        share: if val.is_empty() { 0.0 } else { leaking_rows as f64 / val.len() as f64 },
        allowed,
        sessions: both(&|e| Some(e.session_key())),
        components: both(&|e| e.component.as_deref().map(String::from)),
        by_likeness,
        worst,
        limits: *limits,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{chat, prose};
    use super::*;

    #[test]
    fn copies_sessions_and_components_across_the_split_are_counted() {
        let arc = Held::from;
        let val = [
            arc(chat("a", &prose(1, 60), "fine")),
            arc(chat("b", &prose(2, 60), "fine")),
            arc(chat("c", &prose(3, 60), "fine")),
            arc(chat("d", "2 + 3", "5")),
        ];
        let train = [
            arc(chat("x", &format!("{} more", prose(1, 60)), "fine")),
            arc(chat("b", &prose(5, 60), "fine")),
            arc(chat("y", "2 + 3", "5")),
        ];
        let leakage = measure(&[&train], &val, &Limits::default(), 0.0).unwrap();
        assert_eq!((leakage.leaking_rows, leakage.sessions, leakage.rows), (2, 1, 4));
        assert_eq!(leakage.share, 0.5);
        assert_eq!(leakage.worst[0].likeness, Likeness::Exact);
        assert_eq!(leakage.worst[1].other, train[0].id);
        assert!(!leakage.ok());
        let clean = measure(&[&train[1..2]], &val[2..3], &Limits::default(), 0.0).unwrap();
        assert_eq!((clean.share, clean.ok()), (0.0, true));
        assert!(measure(&[&train], &[], &Limits::default(), 0.0).unwrap().ok());
    }
}
