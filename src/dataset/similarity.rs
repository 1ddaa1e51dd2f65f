//! When two rows are copies of each other, and every such pair among many rows.
//!
//! [`pairs`] is exact: where [`super::minhash`] finds what it can quickly, this finds all there
//! is, so that a split can promise that nothing leaks. It is the prefix filter of set-similarity
//! joins (Chaudhuri, Ganti and Kaushik 2006; Bayardo, Ma and Srikant 2007): if two sets share at
//! least a share s of the smaller one, then any 1 − s of the smaller one's members, plus one,
//! hold a shared member; taking the rarest members keeps the lists short.

use std::collections::HashMap;

use anyhow::{Result, bail};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Builder;

use super::print::{Print, SHINGLE};
use crate::config::Config;

/// Rows with fewer shingles than this are never called contained by their shingles alone: a
/// short common phrase stands in many sessions.
const MIN_CONTAINED: usize = 20;

/// From when on two rows count as copies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// The least Jaccard similarity of near copies.
    pub jaccard: f64,
    /// The least share of a row that another one contains.
    pub containment: f64,
}

impl Limits {
    /// From `DEDUP_SIMILARITY` and `DEDUP_CONTAINMENT`.
    pub fn from_config(config: &Config) -> Result<Limits> {
        for key in ["DEDUP_SIMILARITY", "DEDUP_CONTAINMENT"] {
            if config.float(key) < 0.1 {
                bail!(
                    "{}: {key}={} would call unrelated rows copies; use at least 0.1",
                    config.provenance(key),
                    config.float(key)
                );
            }
        }
        Ok(Limits {
            jaccard: config.float("DEDUP_SIMILARITY"),
            containment: config.float("DEDUP_CONTAINMENT"),
        })
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits { jaccard: 0.6, containment: 0.8 }
    }
}

/// How a row resembles another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Likeness {
    /// The same but for white space.
    Exact,
    /// Most of both is shared.
    Near,
    /// Most of the shorter one stands in the longer one.
    Contained,
}

impl Likeness {
    /// The name used in files and as a reason to drop a row.
    pub fn as_str(self) -> &'static str {
        match self {
            Likeness::Exact => "exact",
            Likeness::Near => "near",
            Likeness::Contained => "contained",
        }
    }
}

/// Compares two rows by their shingles.
pub fn compare(a: &Print, b: &Print, limits: &Limits) -> Option<(Likeness, f64)> {
    if a.exact == b.exact {
        return Some((Likeness::Exact, 1.0));
    }
    let (small, large) =
        (a.shingles.len().min(b.shingles.len()), a.shingles.len().max(b.shingles.len()));
    // What the sizes alone rule out needs no merge.
    let reachable = |share: f64, of: usize| small as f64 >= share * of as f64;
    if small == 0 || (!reachable(limits.jaccard, large) && small < MIN_CONTAINED) {
        return None;
    }
    let shared = a.overlap(b);
    let jaccard = shared as f64 / (small + large - shared) as f64;
    let contained = shared as f64 / small as f64;
    if jaccard >= limits.jaccard {
        Some((Likeness::Near, jaccard))
    } else if small >= MIN_CONTAINED && contained >= limits.containment {
        Some((Likeness::Contained, contained))
    } else {
        None
    }
}

/// Rows by everything they began with: finds a session in the one it was resumed as, however
/// much longer that is.
#[derive(Debug, Default)]
pub struct Chains {
    // Only looked up, never walked: the hasher's order does not matter.
    rows: HashMap<u128, Vec<u32>, Xxh3Builder>,
}

impl Chains {
    /// Adds a row.
    pub fn insert(&mut self, print: &Print, row: u32) {
        for link in print.chain.iter().filter(|l| l.answered && l.words >= SHINGLE as u64) {
            self.rows.entry(link.hash).or_default().push(row);
        }
    }

    /// The rows that begin with at least the contained share of `print`, the largest share first.
    pub fn containing<'a>(
        &'a self,
        print: &'a Print,
        limits: &'a Limits,
    ) -> impl Iterator<Item = (u32, f64)> + 'a {
        let links = print.chain.iter().rev().filter(|l| l.answered && l.words >= SHINGLE as u64);
        links
            .map(move |l| (l, l.words as f64 / print.words as f64))
            .take_while(move |(_, share)| *share >= limits.containment)
            .flat_map(|(link, share)| {
                let rows = self.rows.get(&link.hash).into_iter().flatten();
                rows.map(move |row| (*row, share))
            })
    }
}

/// Two rows, by their places, of which the first is not the longer one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// The smaller row.
    pub small: u32,
    /// The larger row.
    pub large: u32,
    /// How they resemble each other.
    pub likeness: Likeness,
    /// To what share.
    pub similarity: f64,
}

/// Every pair of rows that are copies of each other and for which `wanted` holds, ordered by
/// place.
pub fn pairs(
    prints: &[Print],
    limits: &Limits,
    wanted: impl Fn(usize, usize) -> bool + Sync,
) -> Vec<Pair> {
    let mut by_size: Vec<u32> = (0..prints.len() as u32).collect();
    by_size.sort_by_key(|i| (prints[*i as usize].shingles.len(), prints[*i as usize].words, *i));
    let mut rank = vec![0u32; prints.len()];
    for (place, row) in by_size.iter().enumerate() {
        rank[*row as usize] = place as u32;
    }
    let index = Prefixes::new(prints, limits);
    let mut chains = Chains::default();
    for row in &by_size {
        chains.insert(&prints[*row as usize], *row);
    }
    let found: Vec<Vec<Pair>> = by_size
        .par_iter()
        .map(|&large| {
            let print = &prints[large as usize];
            let below = |small: &u32| {
                rank[*small as usize] < rank[large as usize]
                    && wanted(*small as usize, large as usize)
            };
            let candidates = index.candidates(print).into_iter().filter(below);
            let mut found: Vec<Pair> = candidates
                .filter_map(|small| {
                    let (likeness, similarity) = compare(&prints[small as usize], print, limits)?;
                    Some(Pair { small, large, likeness, similarity })
                })
                .collect();
            let begun = chains.containing(print, limits).filter(|(longer, _)| {
                rank[*longer as usize] > rank[large as usize]
                    && wanted(large as usize, *longer as usize)
            });
            found.extend(begun.map(|(longer, similarity)| Pair {
                small: large,
                large: longer,
                likeness: Likeness::Contained,
                similarity,
            }));
            found
        })
        .collect();
    let mut all: Vec<Pair> = found.into_iter().flatten().collect();
    all.extend(same(prints, &wanted));
    all.sort_by(|a, b| {
        (a.small, a.large, a.likeness)
            .cmp(&(b.small, b.large, b.likeness))
            .then(b.similarity.total_cmp(&a.similarity))
    });
    all.dedup_by_key(|p| (p.small, p.large));
    all
}

/// Rows without shingles that say exactly the same.
fn same(prints: &[Print], wanted: &impl Fn(usize, usize) -> bool) -> Vec<Pair> {
    let mut groups: std::collections::BTreeMap<u128, Vec<u32>> = Default::default();
    for (row, print) in prints.iter().enumerate().filter(|(_, p)| p.shingles.is_empty()) {
        groups.entry(print.exact).or_default().push(row as u32);
    }
    let mut found = Vec::new();
    for rows in groups.values() {
        for (n, small) in rows.iter().enumerate() {
            for large in &rows[n + 1..] {
                if wanted(*small as usize, *large as usize) {
                    let (small, large) = (*small, *large);
                    found.push(Pair { small, large, likeness: Likeness::Exact, similarity: 1.0 });
                }
            }
        }
    }
    found
}

/// The rarest shingles of every row.
struct Prefixes {
    rows: HashMap<u64, Vec<u32>, Xxh3Builder>,
}

impl Prefixes {
    fn new(prints: &[Print], limits: &Limits) -> Self {
        let mut count: HashMap<u64, u32, Xxh3Builder> = HashMap::default();
        for shingle in prints.iter().flat_map(|p| &p.shingles) {
            *count.entry(*shingle).or_default() += 1;
        }
        let share = limits.jaccard.min(limits.containment);
        let prefixes: Vec<Vec<u64>> = prints
            .par_iter()
            .map(|print| {
                let mut rarest = print.shingles.clone();
                rarest.sort_unstable_by_key(|s| (count[s], *s));
                // The margin keeps rounding from asking for one member too many.
                let needed = (share * rarest.len() as f64 - 1e-9).ceil() as usize;
                rarest.truncate((rarest.len() + 1).saturating_sub(needed.max(1)));
                rarest
            })
            .collect();
        let mut rows: HashMap<u64, Vec<u32>, Xxh3Builder> = HashMap::default();
        for (row, prefix) in prefixes.iter().enumerate() {
            for shingle in prefix {
                rows.entry(*shingle).or_default().push(row as u32);
            }
        }
        Prefixes { rows }
    }

    fn candidates(&self, print: &Print) -> Vec<u32> {
        let hits = print.shingles.iter().filter_map(|s| self.rows.get(s));
        let mut found: Vec<u32> = hits.flatten().copied().collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{chat, prose};
    use super::*;

    /// What [`pairs`] must find, the slow way.
    fn every_pair(prints: &[Print], limits: &Limits) -> Vec<(u32, u32)> {
        let mut found = Vec::new();
        for a in 0..prints.len() {
            for b in a + 1..prints.len() {
                if compare(&prints[a], &prints[b], limits).is_some() {
                    found.push((a as u32, b as u32));
                }
            }
        }
        found
    }

    #[test]
    fn the_join_finds_what_comparing_all_finds() {
        let mut rows = Vec::new();
        for n in 0..40u64 {
            let text = prose(n, 120);
            let words: Vec<&str> = text.split(' ').collect();
            rows.push(chat("a", "please look at this", &text));
            // Copies that lost more and more of their end, down to a third.
            let kept = 120 - (n as usize * 2);
            rows.push(chat("b", "please look at this", &words[..kept].join(" ")));
        }
        let prints: Vec<Print> = rows.iter().map(Print::of).collect();
        for limits in [Limits::default(), Limits { jaccard: 0.9, containment: 0.5 }] {
            let wanted = every_pair(&prints, &limits);
            let mut got: Vec<_> = pairs(&prints, &limits, |_, _| true)
                .into_iter()
                .map(|p| (p.small.min(p.large), p.small.max(p.large)))
                .collect();
            got.sort();
            assert!(wanted.len() > 10, "{}", wanted.len());
            assert_eq!(got, wanted);
        }
    }

    #[test]
    fn a_short_beginning_is_found_in_the_session_it_was_resumed_as() {
        let first = chat("a", "what does it do", "It reads every file.");
        let mut resumed = first.clone();
        resumed.trace.messages.extend(chat("a", &prose(1, 200), &prose(2, 400)).trace.messages);
        let prints = [Print::of(&resumed), Print::of(&first)];
        assert_eq!(compare(&prints[0], &prints[1], &Limits::default()), None);
        let found = pairs(&prints, &Limits::default(), |_, _| true);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].small, found[0].large), (1, 0));
        assert_eq!(found[0].likeness, Likeness::Contained);
        assert!(pairs(&prints, &Limits::default(), |_, _| false).is_empty());
    }

    #[test]
    fn rows_of_few_words_are_copies_only_when_equal() {
        let prints: Vec<Print> = [("2 + 3", "5"), ("2  + 3", "5"), ("2 * 3", "6")]
            .iter()
            .map(|(user, answer)| Print::of(&chat("s", user, answer)))
            .collect();
        let found = pairs(&prints, &Limits::default(), |_, _| true);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].likeness, Likeness::Exact);
    }
}
