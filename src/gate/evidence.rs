//! All a gate may know of a run: a typed extract of manifest, evaluation, training record and
//! thresholds, with every figure reachable by name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::nights::Nights;
use crate::config::{Config, KEYS};
use crate::evaluate::evaluation::{Column, Mean};
use crate::evaluate::{Delta, Evaluation, Metric, metrics, rounded};
use crate::files;
use crate::train::TrainingRecord;

/// The version of the evidence's form.
pub const SCHEMA_VERSION: u32 = 1;

/// The settings a decision may depend on, beside every `GATE_…` number.
const DATASET_THRESHOLDS: &[&str] = &[
    "MAX_LEAK",
    "MIN_TRAIN_EXAMPLES",
    "MIN_VAL_EXAMPLES",
    "REDACT_MAX_RESIDUE",
    "REDACT_MIN_CANARY_RECALL",
];

/// A threshold in force and the one shipped.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// The value in force.
    pub value: f64,
    /// The shipped value.
    pub default: f64,
}

/// What the manifest says of the dataset.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DatasetEvidence {
    /// The digest of the manifest.
    pub digest: String,
    /// Its gate `min_example_ok`.
    pub min_example_ok: Option<bool>,
    /// Its gate `redaction_ok`.
    pub redaction_ok: Option<bool>,
    /// Its gate `leak_ok`: no session or component on both sides, and no more rows that resemble
    /// a training row than allowed.
    pub leak_ok: Option<bool>,
    /// Real training rows.
    pub train: Option<f64>,
    /// Real validation rows.
    pub val: Option<f64>,
    /// The share of validation rows that resemble a training row.
    pub leakage: Option<f64>,
    /// The share of planted secrets that were found.
    pub canary_recall: Option<f64>,
    /// Rows in which the second scan found something.
    pub residue: Option<f64>,
}

impl DatasetEvidence {
    /// The extract of a `dataset_manifest.json` and the digest of its bytes. What it does not say
    /// stays absent, and then the gate does not pass.
    pub fn read(manifest: &Value, digest: &str) -> DatasetEvidence {
        let gates = &manifest["gates"];
        let number = |name: &str| gates[name].as_f64().map(rounded);
        DatasetEvidence {
            digest: digest.into(),
            min_example_ok: gates["min_example_ok"].as_bool(),
            redaction_ok: gates["redaction_ok"].as_bool(),
            leak_ok: gates["leak_ok"].as_bool(),
            train: number("train_rows"),
            val: number("val_rows"),
            leakage: number("leakage"),
            canary_recall: number("canary_recall"),
            residue: number("residue_rows"),
        }
    }
}

/// The paired differences of one slice, by metric.
pub type Deltas = BTreeMap<String, Delta>;

/// What the evaluation says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EvaluationEvidence {
    /// The digest of the evaluation.
    pub digest: String,
    /// Paired items.
    pub pairs: u64,
    /// Sessions they come from.
    pub sessions: u64,
    /// Whether the adapter changes anything.
    pub adapter_active: Option<bool>,
    /// The share of references the base wrote itself.
    pub self_written: f64,
    /// Items the base had right and the candidate has wrong.
    pub regressions: u64,
    /// Items the base had wrong and the candidate has right.
    pub fixes: u64,
    /// Candidate minus base.
    pub delta: Deltas,
    /// Days over which these sessions began, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<f64>,
    /// Items whose answer by the candidate says a secret that the base does not say; absent when
    /// nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<u64>,
    /// The share of canaries planted in shadow copies of those answers that were found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_recall: Option<f64>,
    /// Candidate minus champion, where there is one.
    pub champion_delta: Option<Deltas>,
    /// Candidate minus base by suite.
    pub suite: BTreeMap<String, Deltas>,
    /// Candidate minus base by tool.
    pub tool: BTreeMap<String, Deltas>,
    /// Candidate minus base by source.
    pub source: BTreeMap<String, Deltas>,
    /// Candidate minus base by kind of task.
    pub task_category: BTreeMap<String, Deltas>,
    /// Candidate minus base by language.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub language: BTreeMap<String, Deltas>,
    /// Candidate minus base by repository.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub repository: BTreeMap<String, Deltas>,
    /// Candidate minus base by author of the reference.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub author: BTreeMap<String, Deltas>,
    /// Means by column (`base`, `champion`, `candidate`) and metric.
    pub means: BTreeMap<String, BTreeMap<String, f64>>,
    /// Loss by group (`val` and each suite) and column, in nats per token.
    pub loss: BTreeMap<String, BTreeMap<String, f64>>,
}

/// What the training record says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingEvidence {
    /// Steps taken.
    pub steps: u64,
    /// Tokens the loss covered.
    pub tokens: u64,
    /// The training loss of the last step.
    pub loss: Option<f64>,
    /// The best loss on `tune`, where it was measured.
    pub tune_loss: Option<f64>,
}

/// Everything a decision is made of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The version of this form.
    pub schema_version: u32,
    /// The dataset.
    pub dataset: DatasetEvidence,
    /// The evaluation; absent when it was skipped.
    pub evaluation: Option<EvaluationEvidence>,
    /// The training; absent when an existing adapter was evaluated.
    pub training: Option<TrainingEvidence>,
    /// How many candidates were judged on these validation rows, this one included; absent when
    /// nobody counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<u64>,
    /// What the ledger said of earlier nights; absent where none is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nights: Option<Nights>,
    /// The thresholds in force.
    pub thresholds: BTreeMap<String, Threshold>,
}

impl Evidence {
    /// Puts the parts together with the thresholds of a configuration.
    pub fn new(
        dataset: DatasetEvidence,
        evaluation: Option<&Evaluation>,
        training: Option<TrainingEvidence>,
        config: &Config,
    ) -> Evidence {
        Evidence {
            schema_version: SCHEMA_VERSION,
            dataset,
            evaluation: evaluation.map(EvaluationEvidence::of),
            training,
            judged: None,
            nights: None,
            thresholds: thresholds(config),
        }
    }

    /// The digest of the evidence.
    pub fn digest(&self) -> String {
        digest(self)
    }

    /// The digest of what is judged: the evidence without what the ledger says of other nights.
    pub fn judged_digest(&self) -> String {
        digest(&Evidence { judged: None, nights: None, ..self.clone() })
    }

    /// The digest of what was measured: the evidence without thresholds and ledger.
    pub fn measured(&self) -> String {
        digest(&(&self.dataset, &self.evaluation, &self.training))
    }

    /// The names of the suites, for a check on each.
    pub fn suites(&self) -> Vec<String> {
        self.evaluation.iter().flat_map(|e| e.suite.keys().cloned()).collect()
    }

    /// Whether the evidence is such that a promotion was possible at all: only then a look at it
    /// spends from the budget for false promotions. None of this depends on how the candidate did.
    pub fn sufficient(&self) -> bool {
        let at_least = |figure: &str, key: &str| {
            let wanted = self.threshold(key).ok();
            self.find(figure).ok().flatten().zip(wanted).is_some_and(|(n, wanted)| n >= wanted)
        };
        at_least("pairs", "GATE_MIN_PAIRS") && at_least("sessions", "GATE_MIN_SESSIONS")
    }

    /// Whether there was an adapter in use to compare with.
    pub fn has_champion(&self) -> bool {
        self.evaluation.as_ref().is_some_and(|e| e.champion_delta.is_some())
    }

    /// The names of the tools the references call, for a check on each.
    pub fn tools(&self) -> Vec<String> {
        self.evaluation.iter().flat_map(|e| e.tool.keys().cloned()).collect()
    }

    /// A threshold in force, or an error that lists the known ones.
    pub fn threshold(&self, name: &str) -> Result<f64, String> {
        let known = self.thresholds.keys().map(String::as_str);
        let found = self.thresholds.get(name).map(|t| t.value);
        found.ok_or_else(|| metrics::unknown("threshold", name, known))
    }

    /// A figure by name, or an error: the name is unknown, or nothing was measured.
    pub fn lookup(&self, name: &str) -> Result<f64, String> {
        self.find(name)?.ok_or_else(|| format!("`{name}` was not measured in this run"))
    }

    /// A figure by name, `None` where nothing was measured; an unknown name is an error that lists
    /// the known ones of its family.
    pub fn find(&self, name: &str) -> Result<Option<f64>, String> {
        let figures = self.figures();
        if let Some(figure) = figures.get(name) {
            return Ok(figure.filter(|f| f.is_finite()));
        }
        let family = |name: &str| name.split('.').next().unwrap_or(name).to_string();
        let wanted = family(name);
        let detail = ["low", "high", "p", "p_greater", "p_less", "sign_p", "detectable"];
        let plain = |known: &&str| !detail.contains(&known.rsplit('.').next().unwrap_or(known));
        let known: Vec<&str> = figures.keys().map(String::as_str).filter(plain).collect();
        let related: Vec<&str> = known.iter().copied().filter(|k| family(k) == wanted).collect();
        let listed = if related.is_empty() { known } else { related };
        Err(metrics::unknown("figure", name, listed))
    }

    /// Every figure by name. Figures of the overall comparison are named even when they were not
    /// measured, so that a policy does not err on a run that skipped something.
    pub fn figures(&self) -> BTreeMap<String, Option<f64>> {
        let mut figures = BTreeMap::new();
        let mut set = |name: String, value: Option<f64>| {
            figures.insert(name, value);
        };
        let truth = |holds: Option<bool>| holds.map(|h| f64::from(u8::from(h)));
        let data = &self.dataset;
        set("dataset.min_example_ok".into(), truth(data.min_example_ok));
        set("dataset.redaction_ok".into(), truth(data.redaction_ok));
        set("dataset.leak_ok".into(), truth(data.leak_ok));
        set("dataset.train".into(), data.train);
        set("dataset.val".into(), data.val);
        set("dataset.leakage".into(), data.leakage);
        set("redaction.canary_recall".into(), data.canary_recall);
        set("redaction.residue".into(), data.residue);
        set("judged".into(), self.judged.map(|n| n as f64));
        set("look".into(), self.nights.as_ref().map(|n| n.look() as f64));
        let training = self.training.as_ref();
        set("training.steps".into(), training.map(|t| t.steps as f64));
        set("training.tokens".into(), training.map(|t| t.tokens as f64));
        set("training.loss".into(), training.and_then(|t| t.loss));
        set("training.tune_loss".into(), training.and_then(|t| t.tune_loss));
        let none = EvaluationEvidence::default();
        let measured = self.evaluation.as_ref();
        let figure = |f: fn(&EvaluationEvidence) -> f64| measured.map(f);
        set("pairs".into(), figure(|e| e.pairs as f64));
        set("sessions".into(), figure(|e| e.sessions as f64));
        set("regressions".into(), figure(|e| e.regressions as f64));
        set("fixes".into(), figure(|e| e.fixes as f64));
        set("references.self_written".into(), figure(|e| e.self_written));
        set("days".into(), measured.and_then(|e| e.days));
        set("secrets.candidate".into(), measured.and_then(|e| e.secrets.map(|n| n as f64)));
        set("secrets.canary_recall".into(), measured.and_then(|e| e.canary_recall));
        set("adapter.active".into(), measured.and_then(|e| truth(e.adapter_active)));
        let e = measured.unwrap_or(&none);
        for column in ["base", "champion", "candidate"] {
            let means = e.means.get(column);
            for metric in Metric::ALL {
                set(format!("{column}.{}", metric.name()), None);
            }
            for (metric, mean) in means.into_iter().flatten() {
                set(format!("{column}.{metric}"), Some(*mean));
            }
            set(format!("loss.val.{column}"), None);
        }
        set("loss.val.delta".into(), None);
        for (group, columns) in &e.loss {
            for (column, loss) in columns {
                set(format!("loss.{group}.{column}"), Some(*loss));
            }
            let change = columns.get("candidate").zip(columns.get("base"));
            set(format!("loss.{group}.delta"), change.map(|(c, b)| rounded(c - b)));
        }
        let mut set_deltas = |prefix: &str, deltas: &Deltas| {
            let names = Metric::ALL.map(Metric::name).into_iter();
            for metric in names.chain(deltas.keys().map(String::as_str)) {
                let delta = deltas.get(metric);
                let name = format!("{prefix}.{metric}");
                set(name.clone() + ".low", delta.and_then(|d| d.low));
                set(name.clone() + ".high", delta.and_then(|d| d.high));
                set(name.clone() + ".p", delta.map(|d| d.p));
                set(name.clone() + ".p_greater", delta.map(|d| d.p_greater));
                set(name.clone() + ".p_less", delta.map(|d| d.p_less));
                set(name.clone() + ".sign_p", delta.map(|d| d.sign_p));
                set(name.clone() + ".detectable", delta.and_then(|d| d.detectable));
                set(name, delta.map(|d| d.delta));
            }
        };
        set_deltas("delta", &e.delta);
        set_deltas("champion_delta", e.champion_delta.as_ref().unwrap_or(&none.delta));
        let families = [
            ("suite", &e.suite),
            ("tool", &e.tool),
            ("source", &e.source),
            ("task_category", &e.task_category),
            ("language", &e.language),
            ("repository", &e.repository),
            ("author", &e.author),
        ];
        for (family, slices) in families {
            for (slice, deltas) in slices {
                set_deltas(&format!("{family}.{slice}"), deltas);
            }
        }
        figures
    }
}

impl TrainingEvidence {
    /// The extract of a training record.
    pub fn of(record: &TrainingRecord) -> TrainingEvidence {
        let best = record.tune_losses.iter().map(|(_, loss)| *loss).min_by(f64::total_cmp);
        let finite = |loss: Option<f64>| loss.filter(|l| l.is_finite()).map(rounded);
        TrainingEvidence {
            steps: record.steps as u64,
            tokens: record.trained_tokens,
            loss: finite(record.losses.last().copied()),
            tune_loss: finite(best),
        }
    }
}

impl EvaluationEvidence {
    /// The extract of an evaluation.
    pub fn of(evaluation: &Evaluation) -> EvaluationEvidence {
        let columns: Vec<(&str, &Column)> = [("base", &evaluation.base)]
            .into_iter()
            .chain(evaluation.champion.as_ref().map(|c| ("champion", c)))
            .chain([("candidate", &evaluation.candidate)])
            .collect();
        let means = |column: &Column| {
            let mean = |(metric, mean): (&String, &Mean)| (metric.clone(), mean.mean);
            column.metrics.overall.iter().map(mean).collect()
        };
        let mut loss: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
        for (name, column) in &columns {
            for (group, measured) in &column.loss {
                loss.entry(group.clone()).or_default().insert(name.to_string(), measured.mean);
            }
        }
        EvaluationEvidence {
            digest: digest(evaluation),
            pairs: evaluation.counts.pairs,
            sessions: evaluation.counts.sessions,
            adapter_active: evaluation.adapter_active,
            self_written: evaluation.references.self_written,
            regressions: evaluation.changes.regressions.len() as u64,
            fixes: evaluation.changes.fixes.len() as u64,
            days: evaluation.counts.days,
            secrets: evaluation.secrets.as_ref().map(|s| s.items.len() as u64),
            canary_recall: evaluation.secrets.as_ref().map(|s| s.canary_recall),
            delta: evaluation.paired.overall.clone(),
            champion_delta: evaluation.paired_champion.as_ref().map(|p| p.overall.clone()),
            suite: evaluation.paired.suite.clone(),
            tool: evaluation.paired.tool.clone(),
            source: evaluation.paired.source.clone(),
            task_category: evaluation.paired.task_category.clone(),
            language: evaluation.paired.language.clone(),
            repository: evaluation.paired.repository.clone(),
            author: evaluation.paired.author.clone(),
            means: columns.iter().map(|(name, c)| (name.to_string(), means(c))).collect(),
            loss,
        }
    }
}

/// The numeric thresholds of a configuration beside their defaults.
fn thresholds(config: &Config) -> BTreeMap<String, Threshold> {
    let known = |name: &str| name.starts_with("GATE_") || DATASET_THRESHOLDS.contains(&name);
    let mut thresholds = BTreeMap::new();
    for (name, value, _) in config.entries().filter(|(name, _, _)| known(name)) {
        let key = KEYS.iter().find(|k| k.name == name);
        let default = key.and_then(|k| k.kind.parse(k.default).ok()).and_then(|v| v.as_f64());
        if let (Some(value), Some(default)) = (value.as_f64(), default) {
            thresholds.insert(name.to_string(), Threshold { value, default });
        }
    }
    thresholds
}

/// The digest of a value's compact JSON; its field order is fixed by its type.
fn digest(value: &impl Serialize) -> String {
    files::digest(serde_json::to_string(value).unwrap_or_default().as_bytes())
}
