//! Counts and lengths of one part of a dataset.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Example;
use crate::trace::Outcome;

/// What a part holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Rows, repeats included.
    pub rows: u64,
    /// Different rows.
    pub distinct_rows: u64,
    /// Different sessions.
    pub sessions: u64,
    /// Different components.
    pub components: u64,
    /// Trained assistant turns.
    pub trained_turns: u64,
    /// Rows by kind.
    pub kinds: BTreeMap<String, u64>,
    /// Rows by source.
    pub sources: BTreeMap<String, u64>,
    /// Rows by kind of task.
    pub categories: BTreeMap<String, u64>,
    /// Rows by what their outcome means: good, unknown, bad.
    pub outcomes: BTreeMap<String, u64>,
    /// Trained turns by who wrote them.
    pub authors: BTreeMap<String, u64>,
    /// How long the rows are, in tokens.
    pub tokens: Lengths,
}

/// The distribution of some lengths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lengths {
    /// All together.
    pub total: u64,
    /// The shortest.
    pub least: u64,
    /// Half are at most this long.
    pub median: u64,
    /// Nine tenths are at most this long.
    pub p90: u64,
    /// The longest.
    pub most: u64,
    /// How many there are up to each bound and above the one before it.
    pub histogram: Vec<Bin>,
}

/// A bar of a histogram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bin {
    /// The longest length counted here.
    pub up_to: u64,
    /// How many there are.
    pub rows: u64,
}

impl Lengths {
    /// From single lengths, in any order.
    pub fn of(mut lengths: Vec<u64>) -> Lengths {
        lengths.sort_unstable();
        let (Some(least), Some(most)) = (lengths.first(), lengths.last()) else {
            return Lengths::default();
        };
        let rank = |share: f64| {
            let place = (share * lengths.len() as f64).ceil() as usize;
            lengths[place.clamp(1, lengths.len()) - 1]
        };
        let mut bins: BTreeMap<u64, u64> = BTreeMap::new();
        for length in &lengths {
            *bins.entry((*length).max(16).next_power_of_two()).or_default() += 1;
        }
        Lengths {
            total: lengths.iter().sum(),
            least: *least,
            median: rank(0.5),
            p90: rank(0.9),
            most: *most,
            histogram: bins.into_iter().map(|(up_to, rows)| Bin { up_to, rows }).collect(),
        }
    }
}

impl Tally {
    /// Counts the rows of a part, with their lengths by id.
    pub fn of(rows: &[Arc<Example>], lengths: &BTreeMap<String, usize>) -> Tally {
        let mut tally = Tally { rows: rows.len() as u64, ..Tally::default() };
        let (mut ids, mut sessions) = (BTreeSet::new(), BTreeSet::new());
        let mut components = BTreeSet::new();
        let count = |counts: &mut BTreeMap<String, u64>, name: &str| {
            *counts.entry(name.to_string()).or_default() += 1;
        };
        let mut tokens = Vec::with_capacity(rows.len());
        for example in rows {
            ids.insert(&example.id);
            sessions.insert(example.session_key());
            components.extend(example.component.as_ref());
            count(&mut tally.kinds, example.kind.as_str());
            count(&mut tally.sources, &example.trace.source);
            let category = example.trace.task_category.as_deref().unwrap_or("unknown");
            count(&mut tally.categories, category);
            let outcome = Outcome::of(example.trace.outcome.as_deref());
            count(&mut tally.outcomes, outcome.as_str());
            for message in example.trace.messages.iter().filter(|m| m.train) {
                tally.trained_turns += 1;
                count(&mut tally.authors, message.author.as_deref().unwrap_or("unknown"));
            }
            tokens.extend(lengths.get(&example.id).map(|n| *n as u64));
        }
        tally.distinct_rows = ids.len() as u64;
        tally.sessions = sessions.len() as u64;
        tally.components = components.len() as u64;
        tally.tokens = Lengths::of(tokens);
        tally
    }

    /// Rows of a kind.
    pub fn kind(&self, kind: super::Kind) -> u64 {
        self.kinds.get(kind.as_str()).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_summed_up() {
        let lengths = Lengths::of(vec![3, 100, 17, 16, 1000]);
        assert_eq!((lengths.total, lengths.least, lengths.most), (1136, 3, 1000));
        assert_eq!((lengths.median, lengths.p90), (17, 1000));
        let bins: Vec<_> = lengths.histogram.iter().map(|b| (b.up_to, b.rows)).collect();
        assert_eq!(bins, [(16, 2), (32, 1), (128, 1), (1024, 1)]);
        assert_eq!(Lengths::of(vec![]), Lengths::default());
    }
}
