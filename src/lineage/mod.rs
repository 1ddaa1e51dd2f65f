//! From a row, an adapter or a decision back to the sessions, and from a session to all that holds
//! it: read from what runs left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use crate::adapter::{Adapter, Lineage};
use crate::config::KEYS;
use crate::dataset::Part;
use crate::dataset::manifest::Manifest;
use crate::dataset::snapshot::MANIFEST;
use crate::files;

pub mod adapter;
pub mod forget;
pub mod named;
pub mod row;

pub use adapter::{AdapterStory, RunStory};
pub use forget::Held;
pub use row::RowStory;

const PARTS: [Part; 3] = [Part::Train, Part::Tune, Part::Val];

/// What PEFT calls an adapter's description; a folder with it is an adapter.
const ADAPTER: &str = "adapter_config.json";

/// The folder of one run, as far as it is there.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its folder's name.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Its dataset.
    pub dataset: Option<Dataset>,
    /// Its adapters.
    pub adapters: Vec<Trained>,
    /// Its decision.
    pub decision: Option<Decision>,
}

/// A dataset of a run.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Its folder.
    pub folder: PathBuf,
    /// The digest of its manifest.
    pub digest: String,
    /// Its manifest.
    pub manifest: Manifest,
}

/// An adapter and what it says of itself.
#[derive(Debug, Clone)]
pub struct Trained {
    /// Its folder.
    pub folder: PathBuf,
    /// The digest of its files.
    pub digest: String,
    /// What it was trained on; none where it came from elsewhere.
    pub lineage: Option<Lineage>,
}

/// What a gate said, and of which adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The run it was made in.
    pub run: String,
    /// The digest of the adapter that was judged; none where nothing was evaluated.
    pub candidate: Option<String>,
    /// The verdict.
    pub verdict: String,
    /// What stands against it.
    pub reasons: Vec<String>,
}

/// A setting that is not the shipped one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The key.
    pub key: String,
    /// Its value in that run.
    pub value: String,
    /// The shipped value; none for a script's own parameter.
    pub default: Option<String>,
}

impl Run {
    /// What a folder holds of a run; none where it holds nothing of one.
    pub fn open(folder: &Path) -> Result<Option<Run>> {
        let dataset = ["dataset", ""].map(|below| folder.join(below));
        let dataset = dataset.into_iter().find(|folder| folder.join(MANIFEST).is_file());
        let dataset = dataset.map(Dataset::open).transpose()?;
        let mut adapters = Vec::new();
        for entry in fs::read_dir(folder).with_context(|| cannot_read(folder))? {
            let path = entry.with_context(|| cannot_read(folder))?.path();
            if path.join(ADAPTER).is_file() {
                adapters.push(Trained::open(path)?);
            }
        }
        adapters.sort_by(|a, b| a.folder.cmp(&b.folder));
        let name = called(folder);
        let decision = Decision::read(folder, &name)?;
        let nothing = dataset.is_none() && adapters.is_empty() && decision.is_none();
        let run = Run { name, folder: folder.into(), dataset, adapters, decision };
        Ok((!nothing).then_some(run))
    }
}

impl Dataset {
    fn open(folder: PathBuf) -> Result<Dataset> {
        let path = folder.join(MANIFEST);
        let (manifest, digest) = (Manifest::read(&path)?, files::digest_file(&path)?);
        Ok(Dataset { folder, digest, manifest })
    }

    /// The settings that are not the shipped ones.
    fn settings(&self) -> Vec<Setting> {
        let Value::Object(config) = &self.manifest.config else { return Vec::new() };
        let mut settings = Vec::new();
        for (name, value) in config {
            let key = KEYS.iter().find(|key| key.name == name);
            let shipped = key.and_then(|key| key.kind.parse(key.default).ok());
            if shipped.as_ref() != Some(value) {
                let (key, value) = (name.clone(), shown(value));
                settings.push(Setting { key, value, default: shipped.as_ref().map(shown) });
            }
        }
        settings
    }
}

impl Trained {
    /// The adapter in a folder.
    pub fn open(folder: PathBuf) -> Result<Trained> {
        let (digest, lineage) = (Adapter::digest(&folder)?, Lineage::load(&folder)?);
        Ok(Trained { folder, digest, lineage })
    }
}

impl Decision {
    fn read(run: &Path, name: &str) -> Result<Option<Decision>> {
        let Some(decision) = json(&run.join("eval/gate_decision.json"))? else { return Ok(None) };
        let results = json(&run.join("eval/eval_results.json"))?.unwrap_or_default();
        let reasons = decision["reasons"].as_array().into_iter().flatten();
        Ok(Some(Decision {
            run: name.into(),
            candidate: results["candidate"]["digest"].as_str().map(String::from),
            verdict: decision["verdict"].as_str().unwrap_or("unknown").into(),
            reasons: reasons.filter_map(|r| r.as_str().map(String::from)).collect(),
        }))
    }
}

/// Every run under a folder, the newest first; none where there is no such folder.
pub fn runs(parent: &Path) -> Result<Vec<Run>> {
    let mut folders = Vec::new();
    if parent.is_dir() {
        for entry in fs::read_dir(parent).with_context(|| cannot_read(parent))? {
            let path = entry.with_context(|| cannot_read(parent))?.path();
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    folders.sort_by(|a, b| b.cmp(a));
    let opened = folders.iter().map(|folder| Run::open(folder));
    Ok(opened.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// A file of JSON; none where there is no such file.
pub fn json(path: &Path) -> Result<Option<Value>> {
    let bytes = match fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.with_context(|| cannot_read(path))?,
    };
    let value = serde_json::from_slice(&bytes);
    value.map(Some).with_context(|| format!("{} is damaged", path.display()))
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

/// A path's last part, also where it ends in `.` or `/`.
fn called(folder: &Path) -> String {
    let whole = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_path_buf());
    whole.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

/// Counts as one line: `train 3, val 1`.
fn counts(counts: &BTreeMap<String, u64>) -> String {
    let each = counts.iter().map(|(what, n)| format!("{what} {n}"));
    each.collect::<Vec<_>>().join(", ")
}

fn listed<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: BTreeSet<&str> = names.into_iter().map(String::as_str).collect();
    names.into_iter().collect::<Vec<_>>().join(", ")
}
