//! When two rows are copies of each other, and every such pair among many rows.
//!
//! [`pairs`] finds what [`super::minhash`] misses, so that a split can promise that nothing leaks.
//! It is the prefix filter of set-similarity joins (Chaudhuri, Ganti and Kaushik 2006; Bayardo, Ma
//! and Srikant 2007): if two sets share at least a share s of the smaller one, then any 1 − s of
//! the smaller one's members, plus one, hold a shared member; taking the rarest members keeps the
//! lists short.
//!
//! Small sets of rows are compared by all their shingles, exactly. Of large ones only shingles
//! whose hash lies below a threshold are kept (FracMinHash: Irber and others 2022): they decide
//! which rows are read again and compared exactly, with three standard deviations to spare.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Held;
use super::print::{Overlap, Print, Sketch};
use crate::config::Config;

/// Rows with fewer shingles than this are never called contained by their shingles alone: a
/// short common phrase stands in many sessions.
const MIN_CONTAINED: usize = 20;

/// How many shingles are kept of all rows together, about.
const SAMPLED: u64 = 4 << 20;

/// Where shingles are sampled, one that stands in more rows than this is what many say and leads
/// to no row: the few that a row has of a large set would bring up all rows with the same banner.
const FREQUENT: usize = 64;

/// Bytes of text a shingle, at least.
const BYTES: u64 = 4;

/// A shingle that stands in more rows than this is as common as any.
const COMMON: usize = 1 << 16;

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

/// The threshold below which shingles of these rows are kept.
pub fn threshold(rows: &[Held]) -> u64 {
    let shingles = rows.iter().map(|row| row.bytes).sum::<u64>() / BYTES;
    if shingles <= SAMPLED { u64::MAX } else { u64::MAX / shingles * SAMPLED }
}

/// Makes the sketch of every row that has none yet.
pub fn sketch(rows: &[Held]) -> Result<()> {
    let threshold = threshold(rows);
    let made: Vec<Result<()>> =
        rows.par_iter().map(|row| row.sketch(threshold).map(drop)).collect();
    made.into_iter().collect()
}

/// Compares two rows by all their shingles.
pub fn compare(a: &Print, b: &Print, limits: &Limits) -> Option<(Likeness, f64)> {
    let sizes = (a.shingles.len(), b.shingles.len());
    likeness(a.exact == b.exact, sizes, || a.overlap(b), limits)
}

fn likeness(
    exact: bool,
    (a, b): (usize, usize),
    shared: impl FnOnce() -> usize,
    limits: &Limits,
) -> Option<(Likeness, f64)> {
    if exact {
        return Some((Likeness::Exact, 1.0));
    }
    let (small, large) = (a.min(b), a.max(b));
    // What the sizes alone rule out needs no merge.
    let reachable = |share: f64, of: usize| small as f64 >= share * of as f64;
    if small == 0 || (!reachable(limits.jaccard, large) && small < MIN_CONTAINED) {
        return None;
    }
    let shared = shared();
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

/// What two sketches say of two rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Guess {
    /// They are no copies.
    Unlike,
    /// They are, in this way.
    Alike(Likeness, f64),
    /// They may be: only reading them tells.
    Open,
}

/// Compares two rows by their sketches.
pub fn guess(a: &Sketch, b: &Sketch, limits: &Limits) -> Guess {
    if a.exact == b.exact {
        return Guess::Alike(Likeness::Exact, 1.0);
    }
    let (small, large) = (a.shingles.min(b.shingles), a.shingles.max(b.shingles));
    if a.is_whole() && b.is_whole() {
        let sizes = (small as usize, large as usize);
        let found = likeness(false, sizes, || a.overlap(b).shared, limits);
        return found.map_or(Guess::Unlike, |(likeness, share)| Guess::Alike(likeness, share));
    }
    if small == 0
        || ((small as f64) < limits.jaccard * large as f64 && (small as usize) < MIN_CONTAINED)
    {
        return Guess::Unlike;
    }
    let Overlap { shared, in_self, in_other } = a.overlap(b);
    match shared >= needed(in_self.min(in_other), limits.least_share(), false).max(1) {
        true => Guess::Open,
        false => Guess::Unlike,
    }
}

/// How many of `of` sampled shingles of a row must stand in its copy: `share` of them, less three
/// standard deviations where they are not all.
fn needed(of: usize, share: f64, whole: bool) -> usize {
    let mean = share * of as f64;
    let slack = if whole { 0.0 } else { 3.0 * (mean * (1.0 - share)).sqrt() };
    // The margin keeps rounding from asking for one too many.
    (mean - slack - 1e-9).ceil().max(0.0) as usize
}

impl Limits {
    /// What share of its shingles the smaller one of two copies has in common with the other one,
    /// at least: as much as the sizes of near copies allow, or what containment asks for.
    fn least_share(&self) -> f64 {
        (2.0 * self.jaccard / (1.0 + self.jaccard)).min(self.containment)
    }
}

/// Rows by what they began with: finds a session in the one it was resumed as, however much longer
/// that is.
#[derive(Debug, Default)]
pub struct Chains {
    /// Beginnings and the rows that have them, sorted.
    rows: Vec<(u64, u32)>,
}

impl Chains {
    /// The beginnings that some row could be contained in another one by.
    pub fn of(sketches: &[&Sketch], limits: &Limits) -> Chains {
        let mut wanted: Vec<u64> =
            sketches.iter().flat_map(|s| long(s, limits)).map(|(hash, _)| hash).collect();
        wanted.par_sort_unstable();
        wanted.dedup();
        let links = |(row, sketch): (usize, &&Sketch)| {
            let links = sketch.chain.iter().map(|link| link.hash);
            let known = links.filter(|hash| wanted.binary_search(hash).is_ok());
            known.map(|hash| (hash, row as u32)).collect::<Vec<_>>()
        };
        let mut rows: Vec<(u64, u32)> =
            sketches.par_iter().enumerate().flat_map_iter(links).collect();
        rows.par_sort_unstable();
        Chains { rows }
    }

    /// The rows that begin with at least the contained share of a row, itself among them, the
    /// largest share first.
    pub fn containing<'a>(
        &'a self,
        sketch: &'a Sketch,
        limits: &'a Limits,
    ) -> impl Iterator<Item = (u32, f64)> + 'a {
        long(sketch, limits).flat_map(|(hash, share)| {
            let from = self.rows.partition_point(|(h, _)| *h < hash);
            let rows = self.rows[from..].iter().take_while(move |(h, _)| *h == hash);
            rows.map(move |(_, row)| (*row, share))
        })
    }
}

/// The beginnings of a row that are at least the contained share of it, the longest first.
fn long<'a>(sketch: &'a Sketch, limits: &'a Limits) -> impl Iterator<Item = (u64, f64)> + 'a {
    let links = sketch.chain.iter().rev();
    let shares = links.map(|link| (link.hash, f64::from(link.words) / sketch.words as f64));
    shares.take_while(|(_, share)| *share >= limits.containment)
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
    rows: &[Held],
    limits: &Limits,
    wanted: impl Fn(usize, usize) -> bool + Sync,
) -> Result<Vec<Pair>> {
    sketch(rows)?;
    let sketches =
        rows.iter().map(|row| Ok(row.sketch(u64::MAX)?.as_ref())).collect::<Result<Vec<_>>>()?;
    let mut by_size: Vec<u32> = (0..rows.len() as u32).collect();
    by_size.sort_by_key(|i| (sketches[*i as usize].shingles, sketches[*i as usize].words, *i));
    let mut rank = vec![0u32; rows.len()];
    for (place, row) in by_size.iter().enumerate() {
        rank[*row as usize] = place as u32;
    }
    let index = Prefixes::new(&sketches, limits);
    let chains = Chains::of(&sketches, limits);
    let of = |large: u32| -> Result<Vec<Pair>> {
        let sketch = sketches[large as usize];
        let below = |small: &u32| {
            rank[*small as usize] < rank[large as usize] && wanted(*small as usize, large as usize)
        };
        let mut print = None;
        let mut found = Vec::new();
        for small in index.candidates(sketch).into_iter().filter(below) {
            let alike = match guess(sketches[small as usize], sketch, limits) {
                Guess::Unlike => None,
                Guess::Alike(likeness, share) => Some((likeness, share)),
                Guess::Open => {
                    let large = match &mut print {
                        Some(print) => print,
                        none => none.insert(Print::of(&rows[large as usize].messages()?)),
                    };
                    let small = Print::of(&rows[small as usize].messages()?);
                    compare(&small, large, limits)
                }
            };
            found.extend(alike.map(|(likeness, similarity)| Pair {
                small,
                large,
                likeness,
                similarity,
            }));
        }
        let begun = chains.containing(sketch, limits).filter(|(longer, _)| {
            rank[*longer as usize] > rank[large as usize]
                && wanted(large as usize, *longer as usize)
        });
        found.extend(begun.map(|(longer, similarity)| Pair {
            small: large,
            large: longer,
            likeness: Likeness::Contained,
            similarity,
        }));
        Ok(found)
    };
    let found: Vec<Result<Vec<Pair>>> = by_size.par_iter().map(|large| of(*large)).collect();
    let mut all = Vec::new();
    for found in found {
        all.extend(found?);
    }
    all.extend(same(&sketches, &wanted));
    all.sort_by(|a, b| {
        (a.small, a.large, a.likeness)
            .cmp(&(b.small, b.large, b.likeness))
            .then(b.similarity.total_cmp(&a.similarity))
    });
    all.dedup_by_key(|p| (p.small, p.large));
    Ok(all)
}

/// Rows that say exactly the same, of which the index may know none: those without shingles, and
/// those without any in the sample.
fn same(sketches: &[&Sketch], wanted: &impl Fn(usize, usize) -> bool) -> Vec<Pair> {
    let mut groups: BTreeMap<u128, Vec<u32>> = BTreeMap::new();
    for (row, sketch) in sketches.iter().enumerate().filter(|(_, s)| s.sample.is_empty()) {
        groups.entry(sketch.exact).or_default().push(row as u32);
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

/// Where hashes stand in a sorted list. They are spread evenly, so that a hash's leading bits say
/// nearly where it is.
struct Places {
    /// Where each value of the leading bits begins.
    starts: Vec<usize>,
    shift: u32,
}

impl Places {
    fn new(sorted: impl ExactSizeIterator<Item = u64> + Clone) -> Places {
        let most = sorted.clone().last().unwrap_or(0);
        // Some four hashes share leading bits.
        let bits = (sorted.len() / 4 + 1).ilog2();
        let shift = (u64::BITS - most.leading_zeros()).saturating_sub(bits).min(63);
        let mut starts = vec![0];
        for (at, hash) in sorted.enumerate() {
            let leading = (hash >> shift) as usize;
            starts.resize(starts.len().max(leading + 1), at);
        }
        Places { starts, shift }
    }

    /// The first of `sorted` that is not below a hash.
    fn first<T>(&self, sorted: &[T], hash: u64, key: impl Fn(&T) -> u64) -> usize {
        let leading = (hash >> self.shift) as usize;
        let from = self.starts.get(leading).copied().unwrap_or(sorted.len());
        let to = leading.checked_add(1).and_then(|next| self.starts.get(next).copied());
        from + sorted[from..to.unwrap_or(sorted.len())].partition_point(|item| key(item) < hash)
    }
}

/// The rarest sampled shingles of every row, with the row, sorted.
struct Prefixes {
    entries: Vec<(u64, u32)>,
    places: Places,
}

impl Prefixes {
    fn new(sketches: &[&Sketch], limits: &Limits) -> Self {
        let mut all: Vec<u64> = sketches.iter().flat_map(|s| s.sample.iter().copied()).collect();
        all.par_sort_unstable();
        let places = Places::new(all.iter().copied());
        let count = |shingle: u64| {
            let from = places.first(&all, shingle, |s| *s);
            all[from..].iter().take(COMMON).take_while(|s| **s == shingle).count()
        };
        let rarest = |(row, sketch): (usize, &&Sketch)| {
            let mut rarest: Vec<(usize, u64)> =
                sketch.sample.iter().map(|s| (count(*s), *s)).collect();
            if !sketch.is_whole() {
                rarest.retain(|(rows, _)| *rows <= FREQUENT);
            }
            rarest.sort_unstable();
            let needed = needed(rarest.len(), limits.least_share(), sketch.is_whole());
            rarest.truncate((rarest.len() + 1).saturating_sub(needed.max(1)));
            rarest.into_iter().map(move |(_, s)| (s, row as u32)).collect::<Vec<_>>()
        };
        let prefixes: Vec<Vec<(u64, u32)>> = sketches.par_iter().enumerate().map(rarest).collect();
        let mut entries: Vec<(u64, u32)> = prefixes.into_iter().flatten().collect();
        entries.par_sort_unstable();
        let places = Places::new(entries.iter().map(|(s, _)| *s));
        Prefixes { entries, places }
    }

    fn candidates(&self, sketch: &Sketch) -> Vec<u32> {
        let mut found = Vec::new();
        for shingle in &sketch.sample {
            let from = self.places.first(&self.entries, *shingle, |(s, _)| *s);
            let hits = self.entries[from..].iter().take_while(|(s, _)| s == shingle);
            found.extend(hits.map(|(_, row)| *row));
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{chat, prose};
    use super::*;
    use crate::chance::Chance;

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
        let rows: Vec<Held> = rows.into_iter().map(Held::from).collect();
        for limits in [Limits::default(), Limits { jaccard: 0.9, containment: 0.5 }] {
            let wanted = every_pair(&prints, &limits);
            let mut got: Vec<_> = pairs(&rows, &limits, |_, _| true)
                .unwrap()
                .into_iter()
                .map(|p| (p.small.min(p.large), p.small.max(p.large)))
                .collect();
            got.sort();
            assert!(wanted.len() > 10, "{}", wanted.len());
            assert_eq!(got, wanted);
        }
    }

    #[test]
    fn a_hash_is_found_where_it_stands() {
        let mut chance = Chance::new(5, "hashes");
        for most in [3, 1000, u64::MAX] {
            for len in [0, 1, 7, 500] {
                let mut sorted: Vec<u64> = (0..len).map(|_| chance.bits() % most).collect();
                sorted.sort_unstable();
                let places = Places::new(sorted.iter().copied());
                let near = sorted.iter().flat_map(|h| [h.saturating_sub(1), *h, h + 1]);
                for hash in near.chain([0, u64::MAX]) {
                    let wanted = sorted.partition_point(|h| *h < hash);
                    assert_eq!(places.first(&sorted, hash, |h| *h), wanted, "{hash} of {len}");
                }
            }
        }
    }

    #[test]
    fn a_short_beginning_is_found_in_the_session_it_was_resumed_as() {
        let first = chat("a", "what does it do", "It reads every file.");
        let mut resumed = first.clone();
        resumed.trace.messages.extend(chat("a", &prose(1, 200), &prose(2, 400)).trace.messages);
        let prints = [Print::of(&resumed), Print::of(&first)];
        assert_eq!(compare(&prints[0], &prints[1], &Limits::default()), None);
        let rows = [Held::from(resumed), Held::from(first)];
        let found = pairs(&rows, &Limits::default(), |_, _| true).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].small, found[0].large), (1, 0));
        assert_eq!(found[0].likeness, Likeness::Contained);
        assert!(pairs(&rows, &Limits::default(), |_, _| false).unwrap().is_empty());
    }

    #[test]
    fn rows_of_few_words_are_copies_only_when_equal() {
        let rows = [("2 + 3", "5"), ("2  + 3", "5"), ("2 * 3", "6")];
        let rows = rows.map(|(user, answer)| Held::from(chat("s", user, answer)));
        let found = pairs(&rows, &Limits::default(), |_, _| true).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].likeness, Likeness::Exact);
    }
}
