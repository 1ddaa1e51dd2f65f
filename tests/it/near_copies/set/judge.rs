//! What the program makes of the set, and how right that is.

use std::collections::{BTreeMap, BTreeSet};

use proto::dataset::ledger::Ledger;
use proto::dataset::similarity::Limits;
use proto::dataset::split::{Options, split};
use proto::dataset::{Held, Part, Rows, Stage, dedup};
use proto::progress::Silent;

use super::{Made, Row};

/// Of so many, so many were as they should be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    pub of: usize,
    pub right: usize,
}

impl Share {
    fn add(&mut self, right: bool) {
        self.of += 1;
        self.right += usize::from(right);
    }

    pub fn part(self) -> f64 {
        if self.of == 0 { 1.0 } else { self.right as f64 / self.of as f64 }
    }
}

/// How copies were found.
#[derive(Debug, Default)]
pub struct Found {
    /// By how they were made: pairs of which one row went, and rows nobody copied that stayed.
    pub pairs: BTreeMap<Made, Share>,
    /// Copies in families that went.
    pub families: Share,
    /// Rows that went for a row of another cluster: how they were made, and the ids of both.
    pub wrong: Vec<(Made, String, String)>,
    /// Clusters of which no row stayed.
    pub lost: usize,
}

impl Found {
    pub fn share(&self, of: impl Fn(Made) -> bool) -> Share {
        let chosen = self.pairs.iter().filter(|(made, _)| of(**made)).map(|(_, share)| share);
        chosen.fold(Share::default(), |all, one| Share {
            of: all.of + one.of,
            right: all.right + one.right,
        })
    }
}

/// Rows as the program takes them.
pub fn program(rows: &[Row]) -> Rows {
    let examples: Vec<_> = rows.iter().map(|row| row.example.clone()).collect();
    let stage = Stage::made("made", examples.len());
    Rows::new(examples, stage)
}

/// The ids of rows the program gives back.
fn ids(rows: &[Held]) -> BTreeSet<String> {
    rows.iter().map(|row| row.id.clone()).collect()
}

/// Drops the copies among rows.
pub fn deduplicated(rows: &[Row]) -> Rows {
    dedup::dedup(&program(rows), &Limits::default(), &Silent).expect("rows without copies")
}

/// Which part each row went to.
pub type Places = BTreeMap<String, Part>;

/// Splits rows; gives the ledger for the next time too.
pub fn parted(rows: &Rows, ledger: Option<&Ledger>) -> (Places, Ledger) {
    let limits = Limits::default();
    let options = Options { by_repository: false, val: 0.2, tune: 0.1, limits, min_val: 0 };
    let parts = split(rows, &options, ledger, &Silent).expect("three parts");
    let all = [(Part::Train, &parts.train), (Part::Tune, &parts.tune), (Part::Val, &parts.val)];
    let places =
        all.into_iter().flat_map(|(part, rows)| ids(rows).into_iter().map(move |id| (id, part)));
    (places.collect(), parts.ledger.as_ref().clone())
}

/// Judges what deduplication left.
pub fn found(rows: &[Row], left: &Rows) -> Found {
    let kept = ids(&left.examples);
    let cluster: BTreeMap<&str, &Row> = rows.iter().map(|r| (r.example.id.as_str(), r)).collect();
    let mut found = Found::default();
    let mut members: BTreeMap<usize, Vec<&Row>> = BTreeMap::new();
    rows.iter().for_each(|row| members.entry(row.cluster).or_default().push(row));
    for rows in members.values() {
        let stayed = rows.iter().filter(|r| kept.contains(&r.example.id)).count();
        found.lost += usize::from(stayed == 0);
        match rows.as_slice() {
            [alone] => found.pairs.entry(alone.made).or_default().add(stayed == 1),
            [_, copy] => found.pairs.entry(copy.made).or_default().add(stayed == 1),
            family => {
                found.families.of += family.len() - 1;
                found.families.right += family.len() - stayed.max(1);
            }
        }
    }
    for copy in &left.account.duplicates {
        let (dropped, original) = (cluster[copy.dropped.as_str()], cluster[copy.kept.as_str()]);
        if dropped.cluster != original.cluster {
            found.wrong.push((dropped.made, copy.dropped.clone(), copy.kept.clone()));
        }
    }
    found
}

/// Clusters and sessions with rows in more than one part.
pub fn leaks(rows: &[Row], places: &Places) -> (usize, usize) {
    let across = |key: &dyn Fn(&Row) -> String| {
        let mut parts: BTreeMap<String, BTreeSet<Part>> = BTreeMap::new();
        for row in rows {
            if let Some(part) = places.get(&row.example.id) {
                parts.entry(key(row)).or_default().insert(*part);
            }
        }
        parts.values().filter(|parts| parts.len() > 1).count()
    };
    (across(&|row| row.cluster.to_string()), across(&|row| row.example.session_key()))
}
