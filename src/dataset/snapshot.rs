//! The dataset on disk: `train.jsonl`, `tune.jsonl`, `val.jsonl` (or what `DATASET_FORMAT` and
//! `DATASET_SHARD_DIRS` make of them), `duplicates.jsonl`, a card and, written last,
//! `dataset_manifest.json`. A folder without a manifest is an unfinished snapshot.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rayon::prelude::*;

use super::card::{self, Fields};
use super::layout::Layout;
use super::leakage::measure;
use super::manifest::{Manifest, Provenance};
use super::mix::{Dataset, Lengths};
use super::redaction::{Redaction, redact};
use super::similarity::Limits;
use super::source::from_rows;
use super::store::{write_lines, write_part};
use super::written::{Places, SHARDS, text_name};
use super::{Example, Held, Kind, Part, Stage, TokenCount};
use crate::config::Config;
use crate::files;
use crate::ingest::Forgotten;
use crate::progress::Observer;
use crate::redact::{Policy, Proof, Redactor};
use crate::trace;

/// The manifest's file name.
pub const MANIFEST: &str = "dataset_manifest.json";

/// A dataset that has been written.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The rows that were written: those the second scan let through.
    pub dataset: Dataset,
    /// What the manifest says.
    pub manifest: Arc<Manifest>,
    /// The digest of the manifest's bytes.
    pub digest: String,
    /// Where it lies.
    pub folder: PathBuf,
}

impl std::fmt::Display for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {}", self.dataset, self.folder.display())?;
        let failed = self.manifest.gates.failed();
        if !failed.is_empty() {
            write!(f, "; did not pass {}", failed.join(", "))?;
        }
        Ok(())
    }
}

/// Writes a dataset into `folder`. Every row is scanned once more as the text that is written; a
/// row in which something is found is left out and counted. Where a ledger is kept, the sessions
/// held out are added to it.
pub fn write(
    dataset: &Dataset,
    folder: &Path,
    config: &Config,
    policy: &Policy,
    provenance: Provenance,
    observer: &dyn Observer,
) -> Result<Snapshot> {
    let before = dataset.train.len() + dataset.tune.len() + dataset.val.len();
    let layout = Layout::new(config, folder)?;
    observer.begin("write dataset", Some(before as u64), "rows");
    let (proof, fields) = (Proof::default(), Fields::default());
    let mut scan = Scan { policy, proof, fields, done: 0, observer };
    let written = (|| {
        let mut written = BTreeMap::new();
        let mut kept = Vec::new();
        for part in [Part::Train, Part::Tune, Part::Val] {
            let (rows, mut through) = (dataset.part(part), Vec::new());
            let mut lines = |range| scan.clean(part, &rows[range], &mut through);
            written.insert(text_name(part), write_part(&layout, part, rows.len(), &mut lines)?);
            kept.push(Arc::new(through));
        }
        anyhow::Ok((written, kept))
    })();
    observer.end();
    let (mut written, kept) = written?;
    if !layout.shards.is_empty() {
        let parts = [Part::Train, Part::Tune, Part::Val];
        let places: Places = parts.map(|part| (text_name(part), layout.files(part))).into();
        files::write_json(&folder.join(SHARDS), &places)?;
    }
    let [train, tune, val] = <[_; 3]>::try_from(kept).unwrap_or_default();

    let mut account = dataset.account.as_ref().clone();
    if let Some(redaction) = &mut account.redaction {
        let proof = scan.proof.clone();
        *redaction = redaction.clone().and(&Redaction { proof, ..Redaction::default() });
    }
    let residue = before - (train.len() + tune.len() + val.len());
    let dropped = (residue > 0).then(|| ("residue".to_string(), residue as u64));
    let mut stages = dataset.stages.as_ref().clone();
    stages.push(Stage::passed("second_scan", before, dropped.into_iter().collect()));
    let dataset = Dataset {
        train,
        tune,
        val,
        stages: Arc::new(stages),
        account: Arc::new(account),
        ..dataset.clone()
    };

    let copies = &dataset.account.duplicates;
    if !copies.is_empty() {
        let lines = copies.iter().map(|d| Ok(serde_json::to_string(d)?));
        let file = write_lines(&folder.join("duplicates.jsonl"), lines)?;
        written.insert("duplicates.jsonl".into(), file);
    }
    let manifest = Manifest::new(&dataset, written, config, provenance)?;
    card::write(folder, &manifest, &scan.fields)?;
    let digest = manifest.write(&folder.join(MANIFEST))?;
    if let (Some(ledger), Some(path)) = (&dataset.ledger, config.path("LEDGER")) {
        ledger.add_to(&path)?;
    }
    let (manifest, folder) = (Arc::new(manifest), folder.to_path_buf());
    Ok(Snapshot { dataset, manifest, digest, folder })
}

/// The second scan on its way through the parts.
struct Scan<'a> {
    policy: &'a Policy,
    proof: Proof,
    fields: Fields,
    done: u64,
    observer: &'a dyn Observer,
}

impl Scan<'_> {
    /// The lines of the rows that are clean; these go to `kept`.
    fn clean(&mut self, part: Part, rows: &[Held], kept: &mut Vec<Held>) -> Result<Vec<String>> {
        self.observer.check()?;
        let policy = self.policy;
        let scanned: Vec<Result<Scanned>> = rows.par_iter().map(|row| scan(policy, row)).collect();
        let mut lines = Vec::with_capacity(rows.len());
        for (row, scanned) in rows.iter().zip(scanned) {
            let (clean, proof) = scanned?;
            self.proof.and(&proof);
            if let Some((example, line)) = clean {
                self.fields.note(part, &example);
                kept.push(row.clone());
                lines.push(line);
            }
        }
        self.done += rows.len() as u64;
        self.observer.advance(self.done, "");
        Ok(lines)
    }
}

/// A row and the text that is written, if nothing is found in it.
type Scanned = (Option<(Arc<Example>, String)>, Proof);

fn scan(policy: &Policy, row: &Held) -> Result<Scanned> {
    let example = row.read()?;
    let line = serde_json::to_string(example.as_ref())
        .with_context(|| format!("{}: cannot be written", row.place()))?;
    let mut proof = Proof::default();
    let clean = proof.row(policy, &line);
    Ok((clean.then_some((example, line)), proof))
}

/// Files that replace the run's own train and val.
#[derive(Debug, Clone, Default)]
pub struct Shards {
    /// What to train on.
    pub train: Vec<PathBuf>,
    /// What to validate on.
    pub val: Vec<PathBuf>,
}

impl Shards {
    /// From `TRAIN_FILES` and `VAL_FILES`; none when they are not set.
    pub fn from_config(config: &Config) -> Option<Shards> {
        let paths = |key| config.list(key).into_iter().map(PathBuf::from).collect::<Vec<_>>();
        let shards = Shards { train: paths("TRAIN_FILES"), val: paths("VAL_FILES") };
        (!shards.train.is_empty() && !shards.val.is_empty()).then_some(shards)
    }

    /// Reads the files as a dataset without a tune part. The rows go through the same redaction
    /// and its proof as a run's own; rows of val that are not real are dropped, and what leaks
    /// from train into val is measured, not mended.
    pub fn read(
        &self,
        project: &Path,
        redactor: &Redactor,
        config: &Config,
        count: &dyn TokenCount,
        observer: &dyn Observer,
    ) -> Result<Dataset> {
        let seed = config.int("SEED").unsigned_abs();
        let forgotten = Forgotten::from_config(config, project)?;
        let load = |paths: &[PathBuf], name: &str| {
            let loaded = trace::load(paths, project, observer)?.refuse_empty()?;
            let loaded = forgotten.leave(loaded, redactor)?;
            redact(&from_rows(loaded, name)?, redactor, seed, observer)
        };
        let train = load(&self.train, "load_train_files")?;
        let val = load(&self.val, "load_val_files")?;
        let val = val.keep("val_real", |e| (e.kind != Kind::Real).then(|| "not_real".into()));
        let both = train.and(&val);
        let sorted = |rows: &[Held]| {
            let mut rows = rows.to_vec();
            rows.sort_by(|a, b| a.id.cmp(&b.id));
            rows
        };
        let (train, val) = (sorted(&train.examples), sorted(&val.examples));
        let lengths = Lengths::of(&[&train, &val], count, observer)?;
        let limits = Limits::from_config(config)?;
        let leakage = measure(&[&train], &val, &limits, config.float("MAX_LEAK"))?;
        Ok(Dataset {
            train: Arc::new(train),
            val: Arc::new(val),
            stages: both.stages,
            account: both.account,
            lengths: Arc::new(lengths),
            leakage: Arc::new(leakage),
            ..Dataset::default()
        })
    }
}
