//! Drops copies: exact, near, and sessions that another one contains.
//!
//! Rows are visited from the one to keep first: by kind, then the longest, then by id. Each is
//! compared with the rows kept so far, so that a row is dropped for a copy that really stays.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use anyhow::Result;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Builder;

use super::minhash::Buckets;
use super::print::{Print, Sketch};
use super::similarity::{Chains, Guess, Likeness, Limits, compare, guess, sketch};
use super::{Held, Kind, Rows, Stage};
use crate::progress::Observer;

/// A row that was dropped and the row it copies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Duplicate {
    /// The dropped row's id.
    pub dropped: String,
    /// Its kind.
    pub kind: Kind,
    /// What identifies its session among all sources.
    pub session: String,
    /// The id of the row it copies.
    pub kept: String,
    /// How it resembles that row.
    pub likeness: Likeness,
    /// To what share, to four digits.
    pub similarity: f64,
}

/// A row on its way through the comparison.
struct Entry<'a> {
    row: &'a Held,
    place: usize,
    sketch: &'a Sketch,
}

/// With how many dropped rows a row is compared, to keep what belongs together on one side.
const DROPPED: usize = 16;

/// Rows that are read ahead together where sketches do not decide.
const BLOCK: usize = 1024;

/// Drops every row that copies another one, and names that one.
///
/// A generated row may resemble its parent and its siblings: that is what it was made for. Only
/// an exact copy of them is dropped.
pub fn dedup(rows: &Rows, limits: &Limits, observer: &dyn Observer) -> Result<Rows> {
    observer.begin("dedup", Some(rows.len() as u64), "rows");
    let found = find(rows, limits, observer);
    observer.end();
    let Copies { duplicates, related } = found?;
    let mut dropped = BTreeMap::new();
    for duplicate in duplicates.values() {
        *dropped.entry(duplicate.likeness.as_str().to_string()).or_default() += 1;
    }
    let kept = rows.examples.iter().enumerate();
    let kept: Vec<_> =
        kept.filter(|(place, _)| !duplicates.contains_key(place)).map(|(_, e)| e.clone()).collect();
    let stage = Stage::passed("dedup", rows.len(), dropped);
    Ok(rows.after(kept, stage).noting(|account| {
        account.duplicates.extend(duplicates.into_values());
        account.duplicates.sort_by(|a, b| a.dropped.cmp(&b.dropped));
        account.related.extend(related);
    }))
}

/// What is alike among rows.
#[derive(Default)]
struct Copies {
    /// By the place of the dropped row.
    duplicates: BTreeMap<usize, Duplicate>,
    /// Sessions of rows that resemble each other otherwise, dropped ones included: of three of
    /// which the middle one goes for the first, the third still belongs to it.
    related: BTreeSet<(String, String)>,
}

fn find(rows: &Rows, limits: &Limits, observer: &dyn Observer) -> Result<Copies> {
    sketch(&rows.examples)?;
    observer.check()?;
    let mut entries = Vec::with_capacity(rows.len());
    for (place, row) in rows.examples.iter().enumerate() {
        entries.push(Entry { row, place, sketch: row.sketch(u64::MAX)? });
    }
    entries.sort_by(|a, b| precedence(a).cmp(&precedence(b)));

    let mut seen = Seen::of(&entries, limits);
    let mut families = Families::new(rows);
    let mut copies = Copies::default();
    for from in (0..entries.len()).step_by(BLOCK) {
        observer.check()?;
        observer.advance(from as u64, &format!("{} copies", copies.duplicates.len()));
        let block = from..entries.len().min(from + BLOCK);
        let prints = seen.read(block.clone(), &entries, &families, limits)?;
        for at in block {
            let entry = &entries[at];
            let alike = seen.alike(at, &entries, &prints, &families, limits)?;
            // The most similar one of those that stay; among equals the one kept first.
            let kept = alike.iter().filter(|found| seen.kept[found.0 as usize]);
            let best = kept.copied().min_by(|a, b| b.2.total_cmp(&a.2).then(a.0.cmp(&b.0)));
            seen.visit(entry, at as u32, best.is_none());
            for (other, ..) in &alike {
                copies.relate(entry.row, entries[*other as usize].row);
            }
            match best {
                None => {}
                Some((original, likeness, similarity)) => {
                    let original = entries[original as usize].row;
                    families.merge(&entry.row.id, &original.id);
                    let duplicate = Duplicate {
                        dropped: entry.row.id.clone(),
                        kind: entry.row.kind,
                        session: entry.row.session_key(),
                        kept: original.id.clone(),
                        likeness,
                        similarity: (similarity * 1e4).round() / 1e4,
                    };
                    copies.duplicates.insert(entry.place, duplicate);
                }
            }
        }
    }
    Ok(copies)
}

impl Copies {
    fn relate(&mut self, a: &Held, b: &Held) {
        let real = |row: &Held| matches!(row.kind, Kind::Real | Kind::Counterexample);
        let (one, other) = (a.session_key(), b.session_key());
        if real(a) && real(b) && one != other {
            self.related.insert(if one < other { (one, other) } else { (other, one) });
        }
    }
}

/// What is kept first. A counterexample comes before the session whose mistake it corrects, real
/// rows before everything made from them.
fn precedence<'a>(entry: &'a Entry) -> (u8, std::cmp::Reverse<u64>, &'a str) {
    let kind = match entry.row.kind {
        Kind::Counterexample => 0,
        Kind::Real => 1,
        Kind::Replay => 2,
        Kind::Synthetic => 3,
        Kind::Adversarial => 4,
    };
    (kind, std::cmp::Reverse(entry.sketch.words), &entry.row.id)
}

/// The rows kept so far, by what finds them again.
struct Seen {
    exact: HashMap<u128, u32, Xxh3Builder>,
    buckets: Buckets,
    chains: Chains,
    kept: Vec<bool>,
}

/// Rows read for the sake of a block.
type Prints = HashMap<u32, Print>;

impl Seen {
    fn of(entries: &[Entry], limits: &Limits) -> Seen {
        let sketches: Vec<&Sketch> = entries.iter().map(|e| e.sketch).collect();
        Seen {
            exact: HashMap::default(),
            buckets: Buckets::of(&sketches),
            chains: Chains::of(&sketches, limits),
            kept: vec![false; entries.len()],
        }
    }

    fn visit(&mut self, entry: &Entry, at: u32, kept: bool) {
        self.buckets.keep(at);
        if kept {
            self.exact.insert(entry.sketch.exact, at);
            self.kept[at as usize] = true;
        }
    }

    /// Reads the rows of a block about which sketches leave open whether they copy one that was
    /// kept before, and those ones.
    fn read(
        &self,
        block: Range<usize>,
        entries: &[Entry],
        families: &Families,
        limits: &Limits,
    ) -> Result<Prints> {
        let open: Vec<Vec<u32>> = block
            .into_par_iter()
            .map(|at| {
                let entry = &entries[at];
                let unknown = !self.exact.contains_key(&entry.sketch.exact);
                let open = |other: &u32| {
                    let other = &entries[*other as usize];
                    guess(entry.sketch, other.sketch, limits) == Guess::Open
                        && families.of(&entry.row.id) != families.of(&other.row.id)
                };
                let kept = self.candidates(at as u32).into_iter().filter(|_| unknown);
                let mut open: Vec<u32> = kept.filter(open).collect();
                if !open.is_empty() {
                    open.push(at as u32);
                }
                open
            })
            .collect();
        let wanted: BTreeSet<u32> = open.into_iter().flatten().collect();
        let read: Vec<Result<(u32, Print)>> = wanted
            .into_par_iter()
            .map(|at| Ok((at, Print::of(&entries[at as usize].row.messages()?))))
            .collect();
        read.into_iter().collect()
    }

    /// The rows before this one that share a band with it, of dropped ones only the last: of a
    /// thousand copies each would be compared with all others.
    fn candidates(&self, at: u32) -> Vec<u32> {
        let mut dropped = 0;
        let mut found = self.buckets.candidates(at);
        found.reverse();
        found.retain(|other| {
            let kept = self.kept[*other as usize];
            dropped += usize::from(!kept);
            kept || dropped <= DROPPED
        });
        found.reverse();
        found
    }

    /// The rows before this one that it resembles, dropped ones included.
    fn alike(
        &self,
        at: usize,
        entries: &[Entry],
        prints: &Prints,
        families: &Families,
        limits: &Limits,
    ) -> Result<Vec<(u32, Likeness, f64)>> {
        let Entry { row, sketch, .. } = &entries[at];
        if let Some(original) = self.exact.get(&sketch.exact) {
            return Ok(vec![(*original, Likeness::Exact, 1.0)]);
        }
        if sketch.shingles == 0 {
            return Ok(Vec::new());
        }
        let family = families.of(&row.id);
        let stranger = |other: u32| families.of(&entries[other as usize].row.id) != family;
        let print = |at: u32| -> Result<Cow<Print>> {
            match prints.get(&at) {
                Some(known) => Ok(Cow::Borrowed(known)),
                None => Ok(Cow::Owned(Print::of(&entries[at as usize].row.messages()?))),
            }
        };
        let mut found: Vec<(u32, Likeness, f64)> = Vec::new();
        let candidates = self.candidates(at as u32);
        for other in candidates.into_iter().filter(|o| stranger(*o)) {
            let alike = match guess(sketch, entries[other as usize].sketch, limits) {
                Guess::Unlike => None,
                Guess::Alike(likeness, share) => Some((likeness, share)),
                Guess::Open => compare(&*print(at as u32)?, &*print(other)?, limits),
            };
            found.extend(alike.map(|(likeness, share)| (other, likeness, share)));
        }
        let begun = self.chains.containing(sketch, limits);
        let begun = begun.filter(|(other, _)| (*other as usize) < at && stranger(*other));
        found.extend(begun.map(|(other, share)| (other, Likeness::Contained, share)));
        Ok(found)
    }
}

/// Which rows descend from the same row, copies counted as that row.
struct Families<'a> {
    parent: BTreeMap<&'a str, &'a str>,
}

impl<'a> Families<'a> {
    fn new(rows: &'a Rows) -> Self {
        let derived = rows.examples.iter();
        let parent = derived
            .filter_map(|e| Some((e.id.as_str(), e.derived_from.as_deref()?)))
            .filter(|(id, parent)| id != parent)
            .collect();
        Families { parent }
    }

    fn of<'b>(&self, id: &'b str) -> &'b str
    where
        'a: 'b,
    {
        let mut at = id;
        // A circle of descent cannot come from a generator but could from a file.
        for _ in 0..=self.parent.len() {
            match self.parent.get(at) {
                Some(parent) => at = parent,
                None => break,
            }
        }
        at
    }

    fn merge(&mut self, dropped: &'a str, kept: &'a str) {
        if self.of(dropped) != self.of(kept) {
            self.parent.insert(dropped, kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Example;
    use super::super::testing::{chat, prose, rows};
    use super::*;
    use crate::progress::Silent;
    use crate::trace::{Message, Role};

    fn run(examples: Vec<Example>) -> Rows {
        dedup(&rows(examples), &Limits::default(), &Silent).unwrap()
    }

    fn copies(rows: &Rows) -> Vec<(&str, &str, Likeness)> {
        let all = rows.account.duplicates.iter();
        all.map(|d| (d.dropped.as_str(), d.kept.as_str(), d.likeness)).collect()
    }

    #[test]
    fn each_kind_of_copy_is_dropped_and_named() {
        let text = prose(1, 300);
        let first = chat("a", "explain the loader", &text);
        let same = chat("b", "explain  the loader", &text);
        let words: Vec<&str> = text.split(' ').collect();
        let edited =
            format!("{} {} {}", words[..200].join(" "), prose(9, 10), words[210..].join(" "));
        let near = chat("c", "explain the loader", &edited);
        let begun = chat("d", "explain the loader", &prose(2, 40));
        let mut resumed = begun.clone();
        resumed.trace.messages.push(Message::text(Role::User, prose(3, 200)));
        resumed = Example::real(resumed.trace);
        let other = chat("e", "explain the writer", &prose(4, 300));
        let (kept_first, dropped_first) =
            if first.id < same.id { (&first, &same) } else { (&same, &first) };

        let all =
            vec![first.clone(), same.clone(), near.clone(), begun.clone(), resumed.clone(), other];
        let out = run(all);
        assert_eq!(out.len(), 3, "{}", out.stages[1].line());
        let mut wanted = vec![
            (dropped_first.id.as_str(), kept_first.id.as_str(), Likeness::Exact),
            (near.id.as_str(), kept_first.id.as_str(), Likeness::Near),
            (begun.id.as_str(), resumed.id.as_str(), Likeness::Contained),
        ];
        wanted.sort();
        assert_eq!(copies(&out), wanted);
        assert!(out.stages[1].adds_up());
        assert_eq!(out.stages[1].dropped.values().sum::<u64>(), 3);
    }

    #[test]
    fn the_result_does_not_depend_on_the_order() {
        let mut all: Vec<Example> = (0..60)
            .map(|n| chat(&format!("s{n}"), &prose(n / 3, 50), &prose(100 + n % 2, 3)))
            .collect();
        let ids = |rows: &Rows| {
            let mut ids: Vec<_> = rows.examples.iter().map(|e| e.id.clone()).collect();
            ids.sort();
            ids
        };
        let forward = run(all.clone());
        all.reverse();
        let backward = run(all);
        assert!(forward.len() < 60);
        assert_eq!(ids(&forward), ids(&backward));
        assert_eq!(forward.account.duplicates, backward.account.duplicates);
    }

    #[test]
    fn a_generated_row_may_resemble_its_parent_but_no_stranger() {
        let parent = chat("a", "explain the loader", &prose(1, 200));
        let twin = chat("b", "explain the loader", &prose(1, 200));
        let make = |parent: &Example, extra: &str, nth| {
            let mut trace = parent.trace.clone();
            trace.messages.push(Message::text(Role::User, extra));
            Example::generated(Kind::Adversarial, parent, trace, nth)
        };
        // The second child's parent goes as a copy of the first parent, or the other way round.
        let children = [make(&parent, "one", 0), make(&twin, "two", 0), make(&parent, "one", 1)];
        let stray = Example { derived_from: Some("gone".into()), ..make(&parent, "three", 0) };
        let mut all = vec![parent, twin, stray.clone()];
        all.extend(children);
        let out = run(all);
        assert_eq!(out.count(Kind::Real), 1);
        assert_eq!(out.count(Kind::Adversarial), 2, "{:?}", copies(&out));
        let strays: Vec<_> =
            out.account.duplicates.iter().filter(|d| d.dropped == stray.id).collect();
        assert_eq!(strays.len(), 1);
        assert_ne!(strays[0].likeness, Likeness::Exact);
    }

    #[test]
    fn a_counterexample_outlives_the_session_it_corrects() {
        let real = chat("a", &prose(1, 100), "wrong");
        let mut trace = real.trace.clone();
        trace.session = "mine".into();
        trace.messages[1].content = "right".into();
        let counter = Example::new(Kind::Counterexample, trace);
        let out = run(vec![real.clone(), counter.clone()]);
        assert_eq!(copies(&out), [(real.id.as_str(), counter.id.as_str(), Likeness::Near)]);
    }

    #[test]
    fn short_rows_are_dropped_only_when_they_say_the_same() {
        let out =
            run(vec![chat("a", "2 + 3", "5"), chat("b", "2 * 3", "6"), chat("c", "2 +  3", "5")]);
        assert_eq!(out.len(), 2);
    }
}
