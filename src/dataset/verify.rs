//! Whether a dataset on disk is still what its manifest says: everything the manifest states of
//! the files is computed again from the files.
//!
//! What cannot be computed from them (what redaction found in texts that are gone, what each stage
//! saw) is checked as far as its figures must agree with each other; what could not be checked at
//! all is listed with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use super::card::{self, Fields};
use super::leakage::measure;
use super::manifest::{Manifest, duplicates, gates};
use super::mix::{Dataset, Lengths};
use super::rows::check_stages;
use super::similarity::{Likeness, Limits};
use super::snapshot::MANIFEST;
use super::tally::Tally;
use super::{Account, Held, Pager, Part, TokenCount, decontaminate};
use crate::config::{Config, KEYS, Layers};
use crate::files;
use crate::progress::Observer;
use crate::redact::Policy;

mod inputs;
mod read;
mod rows;

use read::File;
pub use read::{each_copy, each_row};

/// Bytes of rows that stay in memory.
const IN_MEMORY: u64 = 512 << 20;

const PARTS: [Part; 3] = [Part::Train, Part::Tune, Part::Val];

/// What a finding says of the dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// A file is not what the manifest says, or the manifest contradicts itself.
    Damaged,
    /// An input is gone or changed: the dataset holds, but could not be made again.
    CannotBeRebuilt,
}

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// What it says of the dataset.
    pub sort: Sort,
    /// The file it is about.
    pub file: String,
    /// The row's id, or its line where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<String>,
    /// The field or figure.
    pub field: String,
    /// What is stated, or what ought to be.
    pub wanted: String,
    /// What is there.
    pub found: String,
}

impl Finding {
    /// Something that is not as it should be in a file.
    pub fn damaged(file: &str, field: &str, wanted: &str, found: &str) -> Finding {
        Finding::new(file, field, wanted, found)
    }

    fn new(file: &str, field: &str, wanted: impl ToString, found: impl ToString) -> Finding {
        let (wanted, found) = (wanted.to_string(), found.to_string());
        let (file, field) = (file.into(), field.into());
        Finding { sort: Sort::Damaged, file, row: None, field, wanted, found }
    }

    fn at(self, row: impl ToString) -> Finding {
        Finding { row: Some(row.to_string()), ..self }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.sort == Sort::CannotBeRebuilt {
            f.write_str("cannot be rebuilt: ")?;
        }
        f.write_str(&self.file)?;
        if let Some(row) = &self.row {
            write!(f, " row {row}")?;
        }
        write!(f, ": {}: wanted {}, found {}", self.field, self.wanted, self.found)
    }
}

/// Something that could not be checked, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unchecked {
    /// What it is.
    pub what: String,
    /// Why it was not checked.
    pub why: String,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// The digest of the manifest's bytes.
    pub manifest: String,
    /// What does not hold.
    pub findings: Vec<Finding>,
    /// What was checked, findings or not.
    pub checked: Vec<String>,
    /// What was not.
    pub unchecked: Vec<Unchecked>,
}

impl Verified {
    /// Whether the dataset is what its manifest says.
    pub fn holds(&self) -> bool {
        self.findings.iter().all(|f| f.sort != Sort::Damaged)
    }

    /// Whether the inputs are still there as they were, so that it could be made again.
    pub fn can_be_rebuilt(&self) -> bool {
        self.findings.iter().all(|f| f.sort != Sort::CannotBeRebuilt)
    }

    fn skip(&mut self, what: &str, why: impl Into<String>) {
        self.unchecked.push(Unchecked { what: what.into(), why: why.into() });
    }

    /// Notes every leaf in which two values differ.
    fn differ(&mut self, file: &str, field: &str, wanted: &Value, found: &Value) {
        match (wanted, found) {
            (Value::Object(a), Value::Object(b)) => {
                let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                for key in keys {
                    let of = |map: &serde_json::Map<String, Value>| {
                        map.get(key).cloned().unwrap_or(Value::Null)
                    };
                    self.differ(file, &format!("{field}.{key}"), &of(a), &of(b));
                }
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                for (n, (a, b)) in a.iter().zip(b).enumerate() {
                    self.differ(file, &format!("{field}[{n}]"), a, b);
                }
            }
            (Value::Array(a), Value::Array(b)) => {
                let entries = |n: usize| format!("{n} entries");
                self.findings.push(Finding::new(file, field, entries(a.len()), entries(b.len())));
            }
            (a, b) if a != b => self.findings.push(Finding::new(file, field, a, b)),
            _ => {}
        }
    }
}

/// What the caller knows beside the dataset.
#[derive(Default)]
pub struct Beside<'a> {
    /// Counts tokens as the manifest's tokenizer and template do; else why nobody can.
    pub count: Option<&'a dyn TokenCount>,
    /// Why there is no counter.
    pub no_count: String,
    /// Where the inputs may lie by now: folders and files.
    pub places: Vec<PathBuf>,
}

/// The folder that holds the manifest: `path` itself, or `dataset` below a run's folder.
pub fn dataset_folder(path: &Path) -> PathBuf {
    let below = path.join("dataset");
    if !path.join(MANIFEST).exists() && below.join(MANIFEST).exists() { below } else { path.into() }
}

/// Computes everything again that the manifest in `folder` states.
pub fn verify(folder: &Path, beside: &Beside, observer: &dyn Observer) -> Result<Verified> {
    let path = folder.join(MANIFEST);
    let manifest = Manifest::read(&path)?;
    let digest = files::digest_file(&path)?;
    let mut out = Verified { manifest: digest, ..Verified::default() };
    let config = config_of(&manifest)
        .with_context(|| format!("{}: its configuration is none of ours", path.display()))?;
    let policy = Policy::from_config(&config)?;

    let pager = Pager::new(IN_MEMORY, &std::env::temp_dir());
    let mut found: BTreeMap<Part, File> = BTreeMap::new();
    for part in PARTS {
        let file = read::part(folder, part, &manifest, &policy, &pager, &mut out, observer)?;
        found.insert(part, file);
    }
    let others = manifest
        .files
        .iter()
        .filter(|(name, _)| PARTS.iter().all(|part| !read::belongs(name, *part)));
    let mut copies = Vec::new();
    for (name, stated) in others {
        copies = read::duplicates(folder, name, stated, &mut out)?;
    }
    out.checked.push("digests, sizes and row counts of the files".into());

    card(folder, &manifest, &found, &mut out)?;
    rows::check(&manifest, &found, &mut out)?;
    stages(&manifest, &copies, &found, &mut out);
    recompute(&manifest, &config, found, copies, beside, &mut out, observer)?;
    inputs::check(&manifest, &beside.places, &mut out, observer)?;
    out.findings.sort();
    out.findings.dedup();
    Ok(out)
}

/// Whether card and Croissant description are those of this dataset.
fn card(
    folder: &Path,
    manifest: &Manifest,
    found: &BTreeMap<Part, File>,
    out: &mut Verified,
) -> Result<()> {
    let (made, here) = (manifest.provenance.program.as_str(), env!("CARGO_PKG_VERSION"));
    if made != here {
        out.skip("card", format!("version {made} wrote it, this is {here}"));
        return Ok(());
    }
    let mut fields = Fields::default();
    for (part, file) in found {
        for row in &file.rows {
            fields.note(*part, row.read()?.as_ref());
        }
    }
    for (name, text) in card::texts(manifest, &fields)? {
        let there = std::fs::read(folder.join(name)).map(|bytes| files::digest(&bytes));
        let wanted = files::digest(text.as_bytes());
        match there {
            Ok(found) if found == wanted => {}
            Ok(found) => out.findings.push(Finding::new(name, "sha256", wanted, found)),
            Err(_) => out.findings.push(Finding::new(name, "file", "there", "missing")),
        }
    }
    out.checked.push("card and Croissant description".into());
    Ok(())
}

/// The configuration as the manifest states it, without what only says where files lie.
fn config_of(manifest: &Manifest) -> Result<Config> {
    let mut layers = Layers::new();
    for key in KEYS.iter().filter(|key| !matches!(key.kind, crate::config::Kind::Paths)) {
        match &manifest.config[key.name] {
            Value::Null => {}
            Value::String(text) => {
                layers.command_line(&format!("{}={text}", key.name))?;
            }
            value => {
                layers.command_line(&format!("{}={value}", key.name))?;
            }
        }
    }
    layers.resolve(&[])
}

/// The stages among each other, with the files and with the list of duplicates.
fn stages(
    manifest: &Manifest,
    copies: &[super::dedup::Duplicate],
    found: &BTreeMap<Part, File>,
    out: &mut Verified,
) {
    let mut add_up = true;
    for (n, stage) in manifest.stages.iter().enumerate().filter(|(_, stage)| !stage.adds_up()) {
        add_up = false;
        let lost = stage.dropped.values().sum::<u64>();
        let field = format!("stages[{n}] ({})", stage.name);
        let wanted = format!("{} in + {} added", stage.input, stage.added);
        let there = format!("{} out + {lost} dropped", stage.output);
        out.findings.push(Finding::new(MANIFEST, &field, wanted, there));
    }
    let left: u64 = found.values().map(|file| file.lines).sum();
    if let Err(error) = check_stages(&manifest.stages, left)
        && add_up
    {
        let wanted = format!("stages that lead to the {left} rows of the files");
        out.findings.push(Finding::new(MANIFEST, "stages", wanted, format!("{error:#}")));
    }
    let read: u64 = manifest.inputs.iter().map(|file| file.lines).sum();
    let accounted: u64 = manifest.stages.iter().filter(|s| s.source).map(|s| s.input).sum();
    if accounted < read {
        let field = "inputs, lines";
        out.findings.push(Finding::new(MANIFEST, field, format!("at most {accounted}"), read));
    }
    for likeness in [Likeness::Exact, Likeness::Near, Likeness::Contained] {
        let dedup = manifest.stages.iter().filter(|s| s.name == "dedup");
        let dropped: u64 = dedup.filter_map(|s| s.dropped.get(likeness.as_str())).sum();
        let listed = copies.iter().filter(|c| c.likeness == likeness).count() as u64;
        if dropped != listed {
            let field = format!("dedup, dropped as {}", likeness.as_str());
            out.findings.push(Finding::new(MANIFEST, &field, dropped, listed));
        }
    }
    if let Some(contamination) = &manifest.contamination {
        let stages = manifest.stages.iter().filter(|s| s.name == decontaminate::STAGE);
        let dropped: u64 = stages.filter_map(|s| s.dropped.get(decontaminate::REASON)).sum();
        if dropped != contamination.dropped {
            let field = "contamination.dropped";
            out.findings.push(Finding::new(MANIFEST, field, dropped, contamination.dropped));
        }
    }
    out.checked.push("stages add up, to each other, to the files and to the duplicates".into());
}

/// Tallies, leakage, gates and duplicates, from the rows.
fn recompute(
    manifest: &Manifest,
    config: &Config,
    mut found: BTreeMap<Part, File>,
    copies: Vec<super::dedup::Duplicate>,
    beside: &Beside,
    out: &mut Verified,
    observer: &dyn Observer,
) -> Result<()> {
    let mut take = |part| found.remove(&part).map(|file| file.rows).unwrap_or_default();
    let [train, tune, val] = PARTS.map(&mut take);
    let counted = match beside.count {
        _ if manifest.splits.values().any(|tally| tally.tokens.estimated) => {
            out.skip("lengths in tokens", "they are estimated");
            None
        }
        Some(count) => Some(Lengths::of(&[&train, &tune, &val], count, observer)?),
        None => {
            out.skip("lengths in tokens", beside.no_count.as_str());
            None
        }
    };
    let mut again = manifest.clone();
    let none = Lengths::default();
    for (part, rows) in PARTS.into_iter().zip([&train, &tune, &val]) {
        let stated = manifest.splits.get(&part).cloned().unwrap_or_default();
        let mut tally = Tally::of(rows, counted.as_ref().unwrap_or(&none))?;
        if counted.is_none() {
            tally.tokens = stated.tokens;
        }
        again.splits.insert(part, tally);
    }
    out.checked.push("tallies of each part".into());
    rows::mixed(manifest, &train, counted.as_ref(), out);

    let scan = manifest.stages.iter().rfind(|stage| stage.name == "second_scan");
    let residue = scan.map_or(0, |stage| stage.dropped.values().sum::<u64>());
    if residue > 0 {
        let why = format!("it was measured before the second scan took out {residue} rows");
        out.skip("leakage", why);
    } else {
        let limits = Limits::from_config(config)?;
        let seen: [&[Held]; 2] = [&train, &tune];
        again.leakage = measure(&seen, &val, &limits, config.float("MAX_LEAK"))?;
        out.checked.push("leakage, measured again".into());
    }
    if manifest.contamination.is_some() {
        out.skip("shares of contamination", "they were measured on rows that are gone");
    }
    again.duplicates = duplicates(&copies);
    again.seed = config.int("SEED").unsigned_abs();
    let account = Account { redaction: manifest.redaction.clone(), ..Account::default() };
    let dataset = Dataset {
        train: Arc::new(train),
        tune: Arc::new(tune),
        val: Arc::new(val),
        account: Arc::new(account),
        leakage: Arc::new(again.leakage.clone()),
        ..Dataset::default()
    };
    again.gates = gates(&dataset, config);
    out.checked.push("gates, from their numbers".into());
    let (stated, again) = (serde_json::to_value(manifest)?, serde_json::to_value(&again)?);
    for field in ["gates", "seed", "duplicates", "splits", "leakage"] {
        out.differ(MANIFEST, field, &stated[field], &again[field]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_compared_leaf_by_leaf() {
        let mut out = Verified::default();
        let stated = json!({"a": {"b": 1, "c": [1, 2]}, "d": [1], "e": 1.5});
        let found = json!({"a": {"b": 2, "c": [1, 3], "x": true}, "d": [], "e": 1.5});
        out.differ("f", "top", &stated, &found);
        let lines: Vec<String> = out.findings.iter().map(Finding::to_string).collect();
        let wanted = [
            "f: top.a.b: wanted 1, found 2",
            "f: top.a.c[1]: wanted 2, found 3",
            "f: top.a.x: wanted null, found true",
            "f: top.d: wanted 1 entries, found 0 entries",
        ];
        assert_eq!(lines, wanted);
        assert!(!out.holds() && out.can_be_rebuilt());
    }
}
