//! The result of a comparison: means and paired differences, overall and by slice, and what
//! changed item by item.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::metrics::{self, Scores};
use super::secrets::Secrets;
use super::{Answer, Delta, Loss, Metric, rounded};
use crate::dataset::Kind;
use crate::files;
use crate::trace::ToolCall;

/// The version of `eval_results.json`.
pub const SCHEMA_VERSION: u32 = 2;

/// A figure overall (real validation items) and by slice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Slices<T> {
    /// Over all real validation items.
    pub overall: T,
    /// By source of the session.
    pub source: BTreeMap<String, T>,
    /// By kind of task.
    pub task_category: BTreeMap<String, T>,
    /// By tool the reference calls.
    pub tool: BTreeMap<String, T>,
    /// By programming language or kind of file, see [`super::item::language`].
    pub language: BTreeMap<String, T>,
    /// By repository of the session.
    pub repository: BTreeMap<String, T>,
    /// By who wrote the reference.
    pub author: BTreeMap<String, T>,
    /// Generated validation items, by kind; they are no evidence.
    pub generated: BTreeMap<String, T>,
    /// Fixed suites, by name.
    pub suite: BTreeMap<String, T>,
}

impl<T> Slices<T> {
    /// Every family of slices with its name, always in this order.
    pub fn families(&self) -> [(&'static str, &BTreeMap<String, T>); 8] {
        [
            ("suite", &self.suite),
            ("tool", &self.tool),
            ("task category", &self.task_category),
            ("language", &self.language),
            ("repository", &self.repository),
            ("source", &self.source),
            ("author", &self.author),
            ("generated", &self.generated),
        ]
    }
}

/// The mean of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    /// The mean over the items it applies to.
    pub mean: f64,
    /// How many those are.
    pub n: u64,
}

/// What one subject scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// The digest of the subject.
    pub digest: String,
    /// Loss on the references: `val` and each suite.
    pub loss: BTreeMap<String, Loss>,
    /// Means by metric.
    pub metrics: Slices<BTreeMap<String, Mean>>,
}

/// What was compared.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Real validation items: the pairs behind the verdict.
    pub pairs: u64,
    /// Sessions they come from.
    pub sessions: u64,
    /// Generated validation items, by kind.
    pub generated: BTreeMap<String, u64>,
    /// Items left out, by reason.
    pub left_out: BTreeMap<String, u64>,
    /// Days from the first to the last beginning of these sessions, where that is known.
    #[serde(default)]
    pub days: Option<f64>,
}

/// A fixed suite as it was used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SuiteUsed {
    /// The digest of its file.
    pub digest: String,
    /// Items in it.
    pub items: u64,
}

/// Who wrote the references of the real validation items.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Authors {
    /// References by author.
    pub by_author: BTreeMap<String, u64>,
    /// The share the base wrote itself: greedy decoding repeats its own text, so these pull every
    /// difference down.
    pub self_written: f64,
}

/// Item ids by what became of them, suites included.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// The base is right, the candidate wrong.
    pub regressions: Vec<String>,
    /// The base is wrong, the candidate right.
    pub fixes: Vec<String>,
    /// Every subject is wrong.
    pub persistent: Vec<String>,
}

/// The settings that shaped the figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// How answers were decoded: `greedy` or `sampled`.
    pub decoding: String,
    /// The temperature tokens were drawn at; 0 for greedy decoding.
    pub temperature: f64,
    /// The share of probability tokens were drawn from.
    pub top_p: f64,
    /// Answers to each item; scores are means over them, and an item counts as right where more
    /// than half of its answers are.
    pub repeats: u64,
    /// Longest answer, in tokens.
    pub max_new_tokens: u64,
    /// Draws behind each interval.
    pub resamples: u64,
    /// How sure the intervals are.
    pub confidence: f64,
    /// The seed.
    pub seed: u64,
}

/// The whole comparison, as `eval_results.json` holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The version of this form.
    pub schema_version: u32,
    /// Candidate minus base over the paired validation items, by metric: the user's `delta`.
    pub delta: BTreeMap<String, f64>,
    /// How much was compared.
    pub counts: Counts,
    /// Whether the adapter changes anything: false when its loss equals the base's on every row,
    /// bit for bit; absent when no loss was measured.
    pub adapter_active: Option<bool>,
    /// Secrets in the candidate's answers; absent when nobody looked.
    #[serde(default)]
    pub secrets: Option<Secrets>,
    /// The differences, candidate minus base, with interval and p.
    pub paired: Slices<BTreeMap<String, Delta>>,
    /// The same, candidate minus champion.
    pub paired_champion: Option<Slices<BTreeMap<String, Delta>>>,
    /// What changed, item by item.
    pub changes: Changes,
    /// Who wrote the references.
    pub references: Authors,
    /// The base without adapter.
    pub base: Column,
    /// The adapter in use.
    pub champion: Option<Column>,
    /// The adapter judged.
    pub candidate: Column,
    /// The fixed suites.
    pub suites: BTreeMap<String, SuiteUsed>,
    /// The settings that shaped the figures.
    pub conditions: Conditions,
    /// The digest of `items.jsonl`.
    pub items_digest: String,
}

/// An answer or reference as `items.jsonl` holds it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// The text.
    pub content: String,
    /// The reasoning, where there was some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// The calls in order, as name and arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Call>,
    /// What was wrong with a call that did not parse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub malformed: Option<String>,
    /// Whether it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<bool>,
    /// Its scores by metric, means over repeats; none for a reference.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scores: Scores,
    /// Where an item was answered several times: the scores of each answer, the one above first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeats: Vec<Scores>,
}

/// A tool call without its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The tool.
    pub name: String,
    /// Its arguments.
    pub arguments: Map<String, Value>,
}

/// One item with every output: a line of `items.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The item's id.
    pub id: String,
    /// The session it is clustered by.
    pub session: String,
    /// The component it was split with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The suite it belongs to; absent for validation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suite: Option<String>,
    /// Real or generated.
    pub kind: Kind,
    /// The source of the session.
    pub source: String,
    /// What kind of task it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_category: Option<String>,
    /// Its programming language or kind of file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The repository of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Who wrote the reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// The last message of the user before the answer, for people who read.
    pub request: String,
    /// The digest of the prompt's tokens.
    pub prompt_digest: String,
    /// How many they are.
    pub prompt_tokens: u64,
    /// Tokens of the reference that its loss covers; 0 where none was measured.
    #[serde(default)]
    pub reference_tokens: u64,
    /// The words the answer should contain.
    pub keywords: Vec<String>,
    /// The reference answer.
    pub reference: Output,
    /// The base's answer.
    pub base: Output,
    /// The champion's answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub champion: Option<Output>,
    /// The candidate's answer.
    pub candidate: Output,
}

impl Call {
    pub(super) fn of(call: &ToolCall) -> Call {
        Call { name: call.name.clone(), arguments: call.arguments.clone() }
    }
}

impl Output {
    /// An answer with the scores of all answers to its item, its own first.
    pub(super) fn of(answer: Answer, repeats: Vec<Scores>) -> Output {
        let mut sums: BTreeMap<String, (f64, u64)> = BTreeMap::new();
        for (name, score) in repeats.iter().flatten() {
            let sum = sums.entry(name.clone()).or_default();
            *sum = (sum.0 + score, sum.1 + 1);
        }
        let mean = |(name, (sum, n)): (String, (f64, u64))| (name, rounded(sum / n as f64));
        let scores = sums.into_iter().map(mean).collect();
        Output {
            calls: answer.calls.iter().map(Call::of).collect(),
            content: answer.content,
            reasoning: answer.reasoning,
            malformed: answer.malformed,
            stopped: Some(answer.stopped),
            scores,
            repeats: if repeats.len() > 1 { repeats } else { Vec::new() },
        }
    }
}

/// The bytes of `items.jsonl`.
pub(super) fn lines(records: &[Record]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for record in records {
        serde_json::to_writer(&mut bytes, record)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

impl Evaluation {
    /// One line for the reader.
    pub fn line(&self) -> String {
        let score = |column: &Column, name: &str| {
            let mean = column.metrics.overall.get(name).map(|m| format!("{:.1} %", m.mean * 100.0));
            mean.unwrap_or_else(|| "not measured".into())
        };
        let name = Metric::ExactMatch.name();
        format!(
            "evaluate: {} items from {} sessions; {name} {} → {}; {} fixed, {} regressed",
            self.counts.pairs,
            self.counts.sessions,
            score(&self.base, name),
            score(&self.candidate, name),
            self.changes.fixes.len(),
            self.changes.regressions.len(),
        )
    }

    /// The paired difference of a metric, or an error that lists the known ones.
    pub fn metric(&self, name: &str) -> Result<&Delta, String> {
        let known = self.paired.overall.keys().map(String::as_str);
        self.paired.overall.get(name).ok_or_else(|| match Metric::parse(name) {
            Ok(Metric::Perplexity) => {
                "perplexity is a figure of all items together; their difference is that of `loss`"
                    .into()
            }
            Ok(_) => format!("metric `{name}` applied to no item of this run"),
            Err(_) => metrics::unknown("metric", name, known),
        })
    }

    /// Reads `eval_results.json` from a folder.
    pub fn read(folder: &Path) -> Result<Evaluation> {
        files::read_json(&folder.join("eval_results.json"))
    }

    /// Reads `items.jsonl` from a folder. A line that is none is an error that names it.
    pub fn read_records(folder: &Path) -> Result<Vec<Record>> {
        let path = folder.join("items.jsonl");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let record = |(n, line): (usize, &str)| {
            let record = serde_json::from_str(line);
            record.with_context(|| format!("{}:{}: not an item", path.display(), n + 1))
        };
        text.lines().enumerate().map(record).collect()
    }

    /// Writes `eval_results.json` and `items.jsonl` into a folder, the items first: where the
    /// results are, the items are too.
    pub fn write(&self, folder: &Path, records: &[Record]) -> Result<()> {
        let bytes = lines(records)?;
        files::write_atomically(&folder.join("items.jsonl"), |out| Ok(out.write_all(&bytes)?))?;
        files::write_json(&folder.join("eval_results.json"), self)
    }
}
