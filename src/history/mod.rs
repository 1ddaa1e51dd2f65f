//! Earlier runs, one beside the other, and what a run's failures can teach: a table of runs, the
//! difference of two, and the sheet on which a person answers what was answered wrong. All of it
//! is read from what runs left behind.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::lineage::json;

pub mod diff;
pub mod sheet;
pub mod table;

/// What each run leaves, by its place in the folder.
const RECORD: &str = "run.json";
const MANIFEST: &str = "dataset/dataset_manifest.json";
const RESULTS: &str = "eval/eval_results.json";
const ITEMS: &str = "eval/items.jsonl";
const DECISION: &str = "eval/gate_decision.json";

/// The folder of a run that a person names by its path, or by its name among all runs.
pub fn find(what: &Path, runs: &Path) -> Result<PathBuf> {
    let places = [what.to_path_buf(), runs.join(what)];
    let files = [RECORD, MANIFEST, RESULTS];
    let is_run = |place: &&PathBuf| files.iter().any(|file| place.join(file).is_file());
    match places.iter().find(is_run) {
        Some(folder) => Ok(folder.clone()),
        None => bail!(
            "{} is no folder of a run, and {} has none of that name; `proto runs` lists them",
            what.display(),
            runs.display()
        ),
    }
}

/// A file of a run; null where it is not there.
fn read(run: &Path, file: &str) -> Result<Value> {
    Ok(json(&run.join(file))?.unwrap_or_default())
}

/// The figures of an object: those of its members that are numbers.
fn figures(value: &Value) -> impl Iterator<Item = (String, f64)> + '_ {
    let members = value.as_object().into_iter().flatten();
    members.filter_map(|(name, figure)| Some((name.clone(), figure.as_f64()?)))
}

/// A difference in percentage points, or another figure as it is.
fn points(figure: Option<f64>) -> String {
    figure.map_or("–".into(), |figure| signed(format!("{:+.1}", figure * 100.0)))
}

/// A signed figure in print: one that rounds to nothing has no direction.
fn signed(text: String) -> String {
    match text.trim_start_matches(['+', '-', '0', '.']).is_empty() {
        true => text.replace(['+', '-'], "±"),
        false => text.replace('-', "−"),
    }
}
