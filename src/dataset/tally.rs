//! Counts and lengths of one part of a dataset.

use std::collections::{BTreeMap, HashSet};

use anyhow::Result;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3Builder, xxh3_128};

use super::{Example, Held, mix};
use crate::trace::Outcome;

/// Rows that are counted together.
const BATCH: usize = 512;

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
    /// Whether they are estimated where no limit was near; exact otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
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
            estimated: false,
            histogram: bins.into_iter().map(|(up_to, rows)| Bin { up_to, rows }).collect(),
        }
    }
}

impl Tally {
    /// Counts the rows of a part.
    pub fn of(rows: &[Held], lengths: &mix::Lengths) -> Result<Tally> {
        let parts: Vec<Result<Tally>> = rows
            .par_chunks(BATCH)
            .map(|rows| {
                let mut tally = Tally::default();
                for row in rows {
                    tally.add(row.read()?.as_ref());
                }
                Ok(tally)
            })
            .collect();
        let mut tally = Tally { rows: rows.len() as u64, ..Tally::default() };
        for part in parts {
            tally.and(part?);
        }
        let distinct = |key: &dyn Fn(&Held) -> Option<u128>| {
            rows.iter().filter_map(key).collect::<HashSet<u128, Xxh3Builder>>().len() as u64
        };
        tally.distinct_rows = distinct(&|row| Some(xxh3_128(row.id.as_bytes())));
        tally.sessions = distinct(&|row| Some(xxh3_128(row.session_key().as_bytes())));
        tally.components = distinct(&|row| Some(xxh3_128(row.component.as_ref()?.as_bytes())));
        tally.tokens = Lengths::of(rows.iter().filter_map(|row| lengths.get(&row.id)).collect());
        tally.tokens.estimated = lengths.estimated;
        Ok(tally)
    }

    fn add(&mut self, example: &Example) {
        let count = |counts: &mut BTreeMap<String, u64>, name: &str| match counts.get_mut(name) {
            Some(n) => *n += 1,
            None => drop(counts.insert(name.to_string(), 1)),
        };
        count(&mut self.kinds, example.kind.as_str());
        count(&mut self.sources, &example.trace.source);
        let category = example.trace.task_category.as_deref().unwrap_or("unknown");
        count(&mut self.categories, category);
        let outcome = Outcome::of(example.trace.outcome.as_deref());
        count(&mut self.outcomes, outcome.as_str());
        for message in example.trace.messages.iter().filter(|m| m.train) {
            self.trained_turns += 1;
            count(&mut self.authors, message.author.as_deref().unwrap_or("unknown"));
        }
    }

    fn and(&mut self, other: Tally) {
        self.trained_turns += other.trained_turns;
        for (mine, theirs) in [
            (&mut self.kinds, other.kinds),
            (&mut self.sources, other.sources),
            (&mut self.categories, other.categories),
            (&mut self.outcomes, other.outcomes),
            (&mut self.authors, other.authors),
        ] {
            for (name, n) in theirs {
                *mine.entry(name).or_default() += n;
            }
        }
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
