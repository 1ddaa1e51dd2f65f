//! `dataset_manifest.json`: where every row came from and went to, and whether the dataset may
//! be trained on.
//!
//! Nothing in it differs between two runs on the same inputs: no time, thread, host or path of
//! this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::decontaminate::Contamination;
use super::dedup::Duplicate;
use super::labels::Reviewed;
use super::leakage::Leakage;
use super::mix::{Dataset, Ratio};
use super::redaction::Redaction;
use super::rows::check_stages;
use super::split::{Part, SplitReport};
use super::tally::Tally;
use super::{Kind, Stage};
use crate::config::Config;
use crate::files;
use crate::trace::{BadLine, FileDigest, Unread};

/// The version of the file's layout.
pub const SCHEMA_VERSION: u32 = 1;

/// How many bad lines and duplicates the manifest itself lists.
const LISTED: usize = 1000;

/// What made the dataset beside its inputs: versions and digests the caller knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The program's version.
    pub program: String,
    /// Every script that took part, by name, with its digest.
    pub scripts: BTreeMap<String, String>,
    /// The digest of the tokenizer that lengths were counted with.
    pub tokenizer: String,
    /// The digest of the chat template that lengths were counted with.
    pub chat_template: String,
    /// The digest of the list of sessions that were to be left out; empty where there was none.
    #[serde(default)]
    pub forgotten: String,
}

/// The manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The layout's version.
    pub schema_version: u32,
    /// Whether the dataset may be trained on, with the numbers behind it.
    pub gates: Gates,
    /// What made the dataset beside its inputs.
    pub provenance: Provenance,
    /// The resolved configuration, without keys that only describe a machine.
    pub config: Value,
    /// The seed of everything random.
    pub seed: u64,
    /// The files that were read.
    pub inputs: Vec<FileDigest>,
    /// Files that were found and gave nothing.
    pub unread: Vec<Unread>,
    /// Lines that gave no row.
    pub bad_lines: BadLines,
    /// What every stage did, in order; the counts add up.
    pub stages: Vec<Stage>,
    /// Where tools and system prompts came from, in traces read (`tools_stored`, `tools_captured`,
    /// `tools_shipped`, `tools_none`, `system_…`), and what became of calls that had to be said in
    /// another version's terms (`calls_renamed`, `calls_refused`, `calls_left`).
    #[serde(default)]
    pub catalogue: BTreeMap<String, u64>,
    /// Messages of the model in what was read, by their label: good, unknown or bad.
    #[serde(default)]
    pub labels: BTreeMap<String, u64>,
    /// Messages that are not trained though they might be, by reason.
    #[serde(default)]
    pub masked: BTreeMap<String, u64>,
    /// Verdicts of a person and what became of them.
    #[serde(default)]
    pub reviews: Reviewed,
    /// Rows that were mended rather than dropped, by what was mended.
    pub mended: BTreeMap<String, u64>,
    /// What redaction found and what proves it.
    pub redaction: Option<Redaction>,
    /// Rows dropped as copies.
    pub duplicates: Duplicates,
    /// Training rows dropped for what they held of fixed suites; absent where there was none.
    #[serde(default)]
    pub contamination: Option<Contamination>,
    /// How the rows were split; absent when the parts were given as files.
    pub split: Option<SplitReport>,
    /// Ratios wanted and got; empty when the parts were given as files.
    pub mix: Vec<Ratio>,
    /// What each part holds.
    pub splits: BTreeMap<Part, Tally>,
    /// How much of val stands in the other parts.
    pub leakage: Leakage,
    /// The texts written beside this one, by name.
    pub files: BTreeMap<String, Written>,
}

/// The dataset gates.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Gates {
    /// Enough real rows to train on and to judge by.
    pub min_example_ok: bool,
    /// The second scan found nothing more than allowed, canaries were found, and every row was
    /// redacted.
    pub redaction_ok: bool,
    /// Validation does not stand in training.
    pub leak_ok: bool,
    /// Different real rows in train.
    pub train_rows: u64,
    /// The fewest wanted.
    pub min_train_rows: u64,
    /// Real rows in val.
    pub val_rows: u64,
    /// The fewest wanted.
    pub min_val_rows: u64,
    /// The share of planted secrets found, in the class where it is lowest.
    pub canary_recall: f64,
    /// The least wanted.
    pub min_canary_recall: f64,
    /// Rows in which the second scan found something.
    pub residue_rows: u64,
    /// The most allowed.
    pub max_residue_rows: u64,
    /// Rows that never went through redaction.
    pub unredacted_rows: u64,
    /// The share of validation rows that resemble a row of another part.
    pub leakage: f64,
    /// The most allowed.
    pub max_leakage: f64,
}

impl Manifest {
    /// The digest of the validation rows; empty where none were written.
    pub fn val_digest(&self) -> &str {
        self.files.get("val.jsonl").map_or("", |file| file.sha256.as_str())
    }
}

impl Gates {
    /// The names of the gates that failed; training and evaluation wait until there are none.
    pub fn failed(&self) -> Vec<&'static str> {
        let gates = [
            ("min_example_ok", self.min_example_ok),
            ("redaction_ok", self.redaction_ok),
            ("leak_ok", self.leak_ok),
        ];
        gates.into_iter().filter(|(_, ok)| !ok).map(|(name, _)| name).collect()
    }
}

/// Lines that gave no row.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BadLines {
    /// How many there are.
    pub total: u64,
    /// The first thousand of them.
    pub listed: Vec<BadLine>,
}

/// Rows dropped as copies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Duplicates {
    /// How many were dropped.
    pub total: u64,
    /// How many rows they are copies of.
    pub clusters: u64,
    /// Copies of the row that has most.
    pub largest_cluster: u64,
    /// The first thousand; all are in `duplicates.jsonl`.
    pub listed: Vec<Duplicate>,
}

/// A text of the snapshot. It lies in the file of its name, unless `stored` names others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The SHA-256 of the whole text, in hex: the same for any format and number of shards.
    pub sha256: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// The files that hold it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stored: Vec<Stored>,
}

/// A file that holds a part of a text, perhaps compressed or as a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// The SHA-256 of its bytes, in hex.
    pub sha256: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
}

impl Manifest {
    /// The manifest of a dataset whose files have been written.
    pub fn new(
        dataset: &Dataset,
        files: BTreeMap<String, Written>,
        config: &Config,
        provenance: Provenance,
    ) -> Result<Manifest> {
        let account = &dataset.account;
        let parts = [Part::Train, Part::Tune, Part::Val];
        let mut splits = BTreeMap::new();
        for part in parts {
            splits.insert(part, Tally::of(dataset.part(part), &dataset.lengths)?);
        }
        let mut inputs = account.inputs.clone();
        inputs.sort();
        inputs.dedup();
        let mut bad = account.bad_lines.clone();
        bad.sort();
        Ok(Manifest {
            schema_version: SCHEMA_VERSION,
            gates: gates(dataset, config),
            provenance,
            config: config.fingerprint(),
            seed: config.int("SEED").unsigned_abs(),
            inputs,
            unread: account.unread.clone(),
            bad_lines: BadLines {
                total: bad.len() as u64,
                listed: bad.into_iter().take(LISTED).collect(),
            },
            stages: dataset.stages.as_ref().clone(),
            catalogue: account.catalogue.clone(),
            labels: account.labels.clone(),
            masked: account.masked.clone(),
            reviews: account.reviews.clone(),
            mended: account.mended.clone(),
            redaction: account.redaction.clone(),
            duplicates: duplicates(&account.duplicates),
            contamination: account.contamination.clone(),
            split: dataset.split.as_deref().cloned(),
            mix: dataset.ratios.as_ref().clone(),
            splits,
            leakage: dataset.leakage.as_ref().clone(),
            files,
        })
    }

    /// Every file that lies on a disk: the text's own where it is stored as it is, else those that
    /// it is stored in.
    pub fn on_disk(&self) -> impl Iterator<Item = Stored> + '_ {
        self.files.iter().flat_map(|(name, text)| match text.stored.as_slice() {
            [] => {
                let Written { sha256, rows, bytes, .. } = text.clone();
                vec![Stored { name: name.clone(), sha256, rows, bytes }]
            }
            stored => stored.to_vec(),
        })
    }

    /// Checks that the counts add up: stages from the lines read to the rows written, parts and
    /// files with each other. A manifest that does not is a bug and is never written.
    pub fn check(&self) -> Result<()> {
        let rows: u64 = self.splits.values().map(|t| t.rows).sum();
        check_stages(&self.stages, rows)?;
        for (part, tally) in &self.splits {
            let name = format!("{}.jsonl", part.as_str());
            if let Some(file) = self.files.get(&name)
                && file.rows != tally.rows
            {
                bail!("{name} has {} rows where the part has {}", file.rows, tally.rows);
            }
            let kinds: u64 = tally.kinds.values().sum();
            let outcomes: u64 = tally.outcomes.values().sum();
            if kinds != tally.rows || outcomes != tally.rows {
                bail!("the rows of {} are not all counted by kind and outcome", part.as_str());
            }
        }
        let lines: u64 = self.stages.iter().filter(|s| s.source).map(|s| s.input).sum();
        let read: u64 = self.inputs.iter().map(|f| f.lines).sum();
        if lines < read {
            bail!("the inputs have {read} lines, the stages account for {lines}");
        }
        Ok(())
    }

    /// Writes the manifest and gives the digest of its bytes.
    pub fn write(&self, path: &Path) -> Result<String> {
        self.check().context("the dataset manifest was not written")?;
        files::write_json(path, self)?;
        files::digest_file(path)
    }

    /// Reads a manifest back.
    pub fn read(path: &Path) -> Result<Manifest> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not a dataset manifest", path.display()))
    }
}

/// The gates of a dataset and the numbers behind them.
pub(super) fn gates(dataset: &Dataset, config: &Config) -> Gates {
    let real = |part: Part| {
        let rows = dataset.part(part).iter().filter(|e| e.kind == Kind::Real);
        rows.map(|e| &e.id).collect::<BTreeSet<_>>().len() as u64
    };
    let (train_rows, val_rows) = (real(Part::Train), real(Part::Val));
    let min_train_rows = config.int("MIN_TRAIN_EXAMPLES").unsigned_abs();
    let min_val_rows = config.int("MIN_VAL_EXAMPLES").unsigned_abs();
    let min_canary_recall = config.float("REDACT_MIN_CANARY_RECALL");
    let max_residue_rows = config.int("REDACT_MAX_RESIDUE").unsigned_abs();
    let rows = dataset.train.len() + dataset.tune.len() + dataset.val.len();
    let redaction = dataset.account.redaction.clone().unwrap_or_default();
    let unredacted_rows = match &dataset.account.redaction {
        Some(redaction) => redaction.unredacted,
        None => rows as u64,
    };
    Gates {
        min_example_ok: train_rows >= min_train_rows && val_rows >= min_val_rows,
        redaction_ok: unredacted_rows == 0
            && redaction.proof.holds(min_canary_recall, max_residue_rows),
        leak_ok: dataset.leakage.ok(),
        train_rows,
        min_train_rows,
        val_rows,
        min_val_rows,
        canary_recall: redaction.proof.recall(),
        min_canary_recall,
        residue_rows: redaction.proof.residue_rows,
        max_residue_rows,
        unredacted_rows,
        leakage: dataset.leakage.share,
        max_leakage: dataset.leakage.allowed,
    }
}

/// What the manifest says of the rows dropped as copies.
pub(super) fn duplicates(all: &[Duplicate]) -> Duplicates {
    let mut clusters: BTreeMap<&str, u64> = BTreeMap::new();
    for duplicate in all {
        *clusters.entry(&duplicate.kept).or_default() += 1;
    }
    Duplicates {
        total: all.len() as u64,
        clusters: clusters.len() as u64,
        largest_cluster: clusters.values().copied().max().unwrap_or(0),
        listed: all.iter().take(LISTED).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Layers;
    use crate::dataset::Account;
    use crate::redact::{Proof, Recall};

    #[test]
    fn a_missed_canary_fails_redaction_unless_the_bound_allows_it() {
        let by_class = BTreeMap::from([("email".into(), Recall { planted: 4, found: 3 })]);
        let proof = Proof { planted: 4, found: 3, by_class, rows: 2, ..Proof::default() };
        let redaction = Some(Redaction { rows: 2, proof, ..Redaction::default() });
        let account = Arc::new(Account { redaction, ..Account::default() });
        let dataset = Dataset { account, ..Dataset::default() };
        let ok = |bound: &str| {
            let mut layers = Layers::new();
            layers.command_line(&format!("REDACT_MIN_CANARY_RECALL={bound}")).unwrap();
            gates(&dataset, &layers.resolve(&[]).unwrap()).redaction_ok
        };
        assert_eq!([ok("1"), ok("0.76"), ok("0.75")], [false, false, true]);
    }
}
