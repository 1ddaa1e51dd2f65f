//! All runs at a glance. Whatever is missing or damaged is shown as such and stops nothing.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use super::{DECISION, MANIFEST, RECORD, RESULTS, figures, points, read};
use crate::evaluate::past;
use crate::report::aligned;
use crate::run::is_in_use;

/// One run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Row {
    /// Its folder's name.
    pub run: String,
    /// `running`, `done`, `failed`, or `interrupted` where it ended without saying so.
    pub status: String,
    /// When it began, where it says.
    pub started: Option<String>,
    /// Rows of train, tune and val; none before the dataset was written.
    pub rows: Option<[u64; 3]>,
    /// The digest of the adapter that was judged.
    pub adapter: Option<String>,
    /// Candidate minus base, by metric.
    pub delta: BTreeMap<String, f64>,
    /// Past mistakes that the candidate now answers right, and how many were asked.
    pub solved: Option<[u64; 2]>,
    /// What the gate said.
    pub verdict: Option<String>,
    /// Files that are there and cannot be read.
    pub damaged: Vec<String>,
}

/// Every run under a folder, the newest last; none where there is no such folder.
pub fn rows(runs: &Path) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    if runs.is_dir() {
        let cannot = || format!("cannot list {}", runs.display());
        for entry in std::fs::read_dir(runs).with_context(cannot)? {
            let folder = entry.with_context(cannot)?.path();
            rows.extend(row(&folder));
        }
    }
    rows.sort_by_cached_key(|row: &Row| {
        // A second run of the same second has a number after its name.
        let (stamp, number) = row.run.rsplit_once("Z-").unwrap_or((&row.run, ""));
        (
            stamp.trim_end_matches('Z').to_string(),
            number.parse::<u64>().unwrap_or(1),
            row.run.clone(),
        )
    });
    Ok(rows)
}

/// What a folder says of itself; none where it is no run's.
fn row(folder: &Path) -> Option<Row> {
    if ![RECORD, MANIFEST, RESULTS, DECISION].iter().any(|file| folder.join(file).exists()) {
        return None;
    }
    let mut row = Row { run: folder.file_name()?.to_string_lossy().into(), ..Row::default() };
    let mut value = |file: &str| {
        read(folder, file).unwrap_or_else(|_| {
            row.damaged.push(file.into());
            Value::Null
        })
    };
    let past = value(&format!("eval/{}", past::FILE));
    let [record, manifest, results, decision] = [RECORD, MANIFEST, RESULTS, DECISION].map(value);
    let text = |value: &Value| value.as_str().map(String::from);
    row.started = text(&record["started"]);
    row.status = match text(&record["status"]) {
        Some(status) => status,
        // Its record is written after its lock is taken.
        None if record.is_object() && is_in_use(folder) => "running".into(),
        None if record.is_object() => "interrupted".into(),
        None => "unknown".into(),
    };
    let rows = ["train", "tune", "val"].map(|part| manifest["splits"][part]["rows"].as_u64());
    row.rows = manifest["splits"].is_object().then(|| rows.map(Option::unwrap_or_default));
    row.adapter = text(&results["candidate"]["digest"]);
    row.delta = figures(&results["delta"]).collect();
    row.solved = past["solved"].as_u64().zip(past["total"].as_u64()).map(|(a, b)| [a, b]);
    row.verdict = text(&decision["verdict"]);
    Some(row)
}

/// The table as a person reads it; deltas are in percentage points.
pub fn table(rows: &[Row]) -> String {
    let header = [
        "run",
        "status",
        "train",
        "tune",
        "val",
        "adapter",
        "exact match",
        "keywords",
        "solved",
        "verdict",
    ];
    let none = || "–".to_string();
    let line = |row: &Row| {
        let count = |part: usize| row.rows.map_or(none(), |rows| rows[part].to_string());
        let delta = |metric: &str| points(row.delta.get(metric).copied());
        let adapter = row.adapter.as_ref().map(|digest| digest.chars().take(12).collect());
        let verdict = row.verdict.clone().unwrap_or_else(none);
        let damaged = row.damaged.iter().map(|file| format!("; {file} is damaged"));
        vec![
            row.run.clone(),
            row.status.clone(),
            count(0),
            count(1),
            count(2),
            adapter.unwrap_or_else(none),
            delta("exact_match"),
            delta("keyword_recall"),
            row.solved.map_or(none(), |[solved, total]| format!("{solved} of {total}")),
            verdict + damaged.collect::<String>().as_str(),
        ]
    };
    aligned(&header, &rows.iter().map(line).collect::<Vec<_>>(), &[2, 3, 4, 6, 7, 8])
}
