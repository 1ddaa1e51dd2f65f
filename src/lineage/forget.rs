//! Which datasets and adapters hold a session.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Result, bail};
use serde::Serialize;

use super::{Run, Trained, counts, listed};
use crate::dataset::verify::{each_copy, each_row};
use crate::dataset::{Kind, Part};
use crate::ingest::forgotten::{Marks, is_renamed, marks};

/// All that holds a session.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Held {
    /// Its source and id.
    pub session: String,
    /// Datasets with rows of it.
    pub datasets: Vec<InDataset>,
    /// Adapters trained on rows of it.
    pub adapters: Vec<InAdapter>,
    /// What it is known by besides its name, where redaction gave it that.
    #[serde(skip)]
    pub marks: Marks,
}

/// A dataset that holds a session.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct InDataset {
    /// Its run.
    pub run: String,
    /// The digest of its manifest.
    pub dataset: String,
    /// Rows of the session itself, by part.
    pub rows: BTreeMap<String, u64>,
    /// Rows that were made from it, by part.
    pub made: BTreeMap<String, u64>,
    /// Rows of it that were dropped as copies of another session's.
    pub copies: u64,
    /// Other sessions that say much the same: of which rows were dropped as copies of its rows, or
    /// stayed in their place.
    pub alike: BTreeSet<String>,
}

/// An adapter that was trained on a session.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InAdapter {
    /// Its folder.
    pub folder: PathBuf,
    /// The digest of its files.
    pub digest: String,
    /// Whether it is the one in use.
    pub in_use: bool,
}

/// Looks for a session, named `source/session` or by its id alone where that names only one.
/// `in_use` is the adapter in use.
pub fn holders(given: &str, runs: &[Run], in_use: Option<&Trained>) -> Result<Held> {
    let mut held: BTreeMap<String, Held> = BTreeMap::new();
    for run in runs {
        look(given, run, &mut held)?;
    }
    let mut held = match held.len() {
        0 if given.contains('/') => Held { session: given.into(), ..Held::default() },
        0 => bail!(
            "no dataset holds a session `{given}`; name it as source/session to keep one out that \
             no run has read yet"
        ),
        1 => held.into_values().next().unwrap_or_default(),
        _ => match held.remove(given) {
            Some(exact) => exact,
            None => bail!("several sessions have this id: {}", listed(held.keys())),
        },
    };
    let elsewhere = in_use.into_iter().map(|adapter| (adapter, true));
    let own = runs.iter().flat_map(|run| &run.adapters).map(|adapter| (adapter, false));
    let mut known = BTreeSet::new();
    for (adapter, champion) in elsewhere.chain(own) {
        let champion = champion || in_use.is_some_and(|used| used.digest == adapter.digest);
        if learnt(adapter, &held) && known.insert(&adapter.folder) {
            let (folder, digest) = (adapter.folder.clone(), adapter.digest.clone());
            held.adapters.push(InAdapter { folder, digest, in_use: champion });
        }
    }
    Ok(held)
}

/// Whether an adapter was trained on the session: on a dataset whose train part holds it, or, where
/// that is gone, on a session of its id.
fn learnt(adapter: &Trained, held: &Held) -> bool {
    let Some(lineage) = &adapter.lineage else { return false };
    let train = Part::Train.as_str();
    let from = held.datasets.iter().find(|d| d.dataset == lineage.dataset);
    match from {
        Some(dataset) => dataset.rows.contains_key(train) || dataset.made.contains_key(train),
        None => {
            let named = |id: &String| held.session.ends_with(&format!("/{id}"));
            lineage.sessions.iter().any(named)
        }
    }
}

fn look(given: &str, run: &Run, held: &mut BTreeMap<String, Held>) -> Result<()> {
    let Some(dataset) = &run.dataset else { return Ok(()) };
    let asked = |key: &str| key == given || key.split_once('/').is_some_and(|(_, id)| id == given);
    let new = |key: &str| Held { session: key.into(), ..Held::default() };
    let mut here: BTreeMap<String, InDataset> = BTreeMap::new();
    let mut sessions: BTreeMap<String, String> = BTreeMap::new();
    for part in super::PARTS {
        each_row(&dataset.folder, part, &mut |_, row| {
            let key = row.session_key();
            let of_it = row.trace.session == given || asked(&key);
            if of_it {
                let entry = here.entry(key.clone()).or_default();
                let made = row.derived_from.is_some() && row.kind != Kind::Real;
                let rows = if made { &mut entry.made } else { &mut entry.rows };
                *rows.entry(part.as_str().into()).or_default() += 1;
                if !made && is_renamed(&row.trace.session) {
                    let known = held.entry(key.clone()).or_insert_with(|| new(&key));
                    known.marks.extend(marks(&row.trace));
                }
            }
            sessions.insert(row.id, key);
            Ok(())
        })?;
    }
    each_copy(&dataset.folder, &mut |copy| {
        let other = sessions.get(&copy.kept);
        if asked(&copy.session) {
            let entry = here.entry(copy.session.clone()).or_default();
            entry.copies += 1;
            entry.alike.extend(other.filter(|key| **key != copy.session).cloned());
        }
        if let Some(key) = other.filter(|key| asked(key) && **key != copy.session) {
            here.entry(key.clone()).or_default().alike.insert(copy.session);
        }
    })?;
    for (key, found) in here {
        let found = InDataset { run: run.name.clone(), dataset: dataset.digest.clone(), ..found };
        held.entry(key.clone()).or_insert_with(|| new(&key)).datasets.push(found);
    }
    Ok(())
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "session {}", self.session)?;
        if self.datasets.is_empty() {
            writeln!(f, "  no dataset that is here holds it")?;
        }
        for dataset in &self.datasets {
            let InDataset { run, rows, made, copies, alike, .. } = dataset;
            write!(f, "  dataset of run {run}:")?;
            for (what, rows) in [("rows", rows), ("rows made from it", made)] {
                if !rows.is_empty() {
                    write!(f, " {what}: {};", counts(rows))?;
                }
            }
            writeln!(f, " {copies} dropped as copies")?;
            if !alike.is_empty() {
                writeln!(f, "    these say much the same and stay: {}", listed(alike))?;
            }
        }
        for adapter in &self.adapters {
            let used = if adapter.in_use { ", in use" } else { "" };
            writeln!(f, "  adapter {}{used}: trained on it", adapter.folder.display())?;
        }
        match self.adapters.is_empty() {
            true => writeln!(f, "  no adapter that is here was trained on it"),
            false => Ok(()),
        }
    }
}
