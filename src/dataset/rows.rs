//! Examples on their way through the protocol, with the account of what happened to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::decontaminate::Contamination;
use super::dedup::Duplicate;
use super::example::number_repeats;
use super::labels::Reviewed;
use super::paging::{Held, Pager};
use super::redaction::Redaction;
use super::{Example, Kind};
use crate::trace::{BadLine, FileDigest, Unread};

/// What one stage did: `input + added = output + Σ dropped`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// The stage's name: `load`, `redact`, a filter's name, …
    pub name: String,
    /// True for a reader: its input are lines from outside, not rows of an earlier stage.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub source: bool,
    /// Rows that came in.
    pub input: u64,
    /// Rows the stage made.
    pub added: u64,
    /// Rows that went out.
    pub output: u64,
    /// Rows dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
}

impl Stage {
    /// Whether no row is unaccounted for.
    pub fn adds_up(&self) -> bool {
        self.input + self.added == self.output + self.dropped.values().sum::<u64>()
    }

    /// A stage through which `input` rows went, some of them dropped for a reason.
    pub fn passed(name: &str, input: usize, dropped: BTreeMap<String, u64>) -> Self {
        let input = input as u64;
        let output = input.saturating_sub(dropped.values().sum::<u64>());
        Stage { name: name.into(), input, output, dropped, ..Stage::default() }
    }

    /// A stage that made rows.
    pub fn made(name: &str, added: usize) -> Self {
        let added = added as u64;
        Stage { name: name.into(), added, output: added, ..Stage::default() }
    }

    /// One line: what came in, what went out and why the rest was dropped.
    pub fn line(&self) -> String {
        let mut line = format!("{}: {} in", self.name, self.input);
        if self.added > 0 {
            line += &format!(", {} added", self.added);
        }
        line += &format!(", {} out", self.output);
        if !self.dropped.is_empty() {
            let reasons: Vec<_> = self.dropped.iter().map(|(r, n)| format!("{r} {n}")).collect();
            line += &format!("; dropped: {}", reasons.join(", "));
        }
        line
    }
}

/// Checks that the stages account for every row from the sources down to the `left` rows.
pub fn check_stages(stages: &[Stage], left: u64) -> Result<()> {
    let mut flowing = 0u64;
    for stage in stages {
        ensure!(stage.adds_up(), "the account of a stage does not add up: {}", stage.line());
        if !stage.source {
            ensure!(
                stage.input <= flowing,
                "stage {} took {} rows where earlier stages left {flowing}",
                stage.name,
                stage.input
            );
            flowing -= stage.input;
        }
        flowing += stage.output;
    }
    ensure!(
        flowing == left,
        "the stages leave {flowing} rows, the dataset has {left}: some row is unaccounted for"
    );
    Ok(())
}

/// What is known about rows beside the rows themselves; follows them to the manifest.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Account {
    /// The files that were read.
    pub inputs: Vec<FileDigest>,
    /// The lines that gave no row.
    pub bad_lines: Vec<BadLine>,
    /// Files that were found and gave nothing.
    pub unread: Vec<Unread>,
    /// What redaction found, once it ran.
    pub redaction: Option<Redaction>,
    /// Rows that were mended rather than dropped, by what was mended.
    pub mended: BTreeMap<String, u64>,
    /// Where tools and system prompts came from, in traces, and what became of calls that had to
    /// be said in other terms.
    pub catalogue: BTreeMap<String, u64>,
    /// Messages of the model by their label.
    pub labels: BTreeMap<String, u64>,
    /// Messages that are not trained though they might be, by reason.
    pub masked: BTreeMap<String, u64>,
    /// Verdicts of a person and what became of them.
    pub reviews: Reviewed,
    /// Rows that were dropped as copies, each with the row it copies.
    pub duplicates: Vec<Duplicate>,
    /// Sessions with rows that resemble each other though neither was dropped for the other: the
    /// split keeps them together.
    pub related: BTreeSet<(String, String)>,
    /// What of fixed suites stood in training, once that was looked for.
    pub contamination: Option<Contamination>,
}

impl Account {
    fn and(&self, other: &Account) -> Account {
        let mut all = self.clone();
        all.inputs.extend(other.inputs.iter().cloned());
        all.bad_lines.extend(other.bad_lines.iter().cloned());
        all.unread.extend(other.unread.iter().cloned());
        all.duplicates.extend(other.duplicates.iter().cloned());
        all.related.extend(other.related.iter().cloned());
        for (mine, theirs) in [
            (&mut all.mended, &other.mended),
            (&mut all.catalogue, &other.catalogue),
            (&mut all.labels, &other.labels),
            (&mut all.masked, &other.masked),
        ] {
            for (what, n) in theirs {
                *mine.entry(what.clone()).or_default() += n;
            }
        }
        all.reviews.and(&other.reviews);
        all.redaction = match (all.redaction, &other.redaction) {
            (Some(mine), Some(theirs)) => Some(mine.and(theirs)),
            (mine, theirs) => mine.or_else(|| theirs.clone()),
        };
        all
    }
}

/// An immutable set of examples with the stages that led to it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rows {
    /// The examples, in a fixed order.
    pub examples: Arc<Vec<Held>>,
    /// What happened so far, in order.
    pub stages: Arc<Vec<Stage>>,
    /// Files, bad lines, redaction and duplicates behind these rows.
    pub account: Arc<Account>,
    /// Where rows made from these go when memory is full.
    pub pager: Arc<Pager>,
}

impl Default for Rows {
    fn default() -> Self {
        let pager = Pager::memory().clone();
        Rows { examples: Arc::default(), stages: Arc::default(), account: Arc::default(), pager }
    }
}

impl Rows {
    /// Examples fresh from a source, with that source's account.
    pub fn new(examples: Vec<impl Into<Held>>, stage: Stage) -> Self {
        debug_assert!(stage.adds_up());
        let examples = Arc::new(examples.into_iter().map(Into::into).collect());
        Rows { examples, stages: Arc::new(vec![stage]), ..Rows::default() }
    }

    /// The same rows, where those made from them go to `pager`.
    pub fn paged(mut self, pager: &Arc<Pager>) -> Self {
        self.pager = pager.clone();
        self
    }

    /// What `step` makes of every row, in the rows' order. Rows are read side by side, only some
    /// at a time; of several errors the first row's counts.
    pub fn each<T: Send>(
        &self,
        step: impl Fn(&Held, &Arc<Example>) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        each(&self.examples, step)
    }

    /// The same rows with something noted about them.
    pub fn noting(mut self, note: impl FnOnce(&mut Account)) -> Self {
        note(Arc::make_mut(&mut self.account));
        self
    }

    /// The rows after a stage that kept, changed or dropped some of them.
    pub fn after(&self, examples: Vec<Held>, stage: Stage) -> Self {
        debug_assert!(stage.adds_up());
        let mut stages = self.stages.as_ref().clone();
        stages.push(stage);
        let (account, pager) = (self.account.clone(), self.pager.clone());
        Rows { examples: Arc::new(examples), stages: Arc::new(stages), account, pager }
    }

    /// Both sets together, first these, then `other`'s; the accounts follow each other.
    pub fn and(&self, other: &Rows) -> Self {
        let examples = self.examples.iter().chain(other.examples.iter()).cloned().collect();
        let stages = self.stages.iter().chain(other.stages.iter()).cloned().collect();
        let mut account = self.account.and(&other.account);
        if let Some(redaction) = &mut account.redaction {
            for side in [self, other].into_iter().filter(|s| s.account.redaction.is_none()) {
                redaction.unredacted += side.len() as u64;
            }
        }
        let account = Arc::new(account);
        let pager =
            [self, other].into_iter().find(|rows| !Arc::ptr_eq(&rows.pager, Pager::memory()));
        let pager = pager.unwrap_or(self).pager.clone();
        Rows { examples: Arc::new(examples), stages: Arc::new(stages), account, pager }
    }

    /// Keeps the rows for which `verdict` gives no reason to drop them.
    pub fn keep(&self, name: &str, mut verdict: impl FnMut(&Held) -> Option<String>) -> Self {
        let mut dropped = BTreeMap::new();
        let mut kept = Vec::with_capacity(self.examples.len());
        for example in self.examples.iter() {
            match verdict(example) {
                Some(reason) => *dropped.entry(reason).or_default() += 1,
                None => kept.push(example.clone()),
            }
        }
        self.after(kept, Stage::passed(name, self.len(), dropped))
    }

    /// The first `n` rows; the others are dropped as `take`.
    pub fn first(&self, n: usize) -> Self {
        let mut seen = 0;
        self.keep("take", |_| {
            seen += 1;
            (seen > n).then(|| "take".to_string())
        })
    }

    /// Rows written out as JSON by a script: `messages` and whatever else an example has. They
    /// are never real sessions.
    pub fn from_values(stage: &str, values: Vec<Value>) -> Result<Self> {
        let mut examples = Vec::with_capacity(values.len());
        for (index, value) in values.into_iter().enumerate() {
            let example =
                from_value(stage, index, value).with_context(|| format!("{stage}: row {index}"))?;
            examples.push(Held::from(example));
        }
        number_repeats(&mut examples);
        let stage = Stage::made(stage, examples.len());
        Ok(Rows::new(examples, stage))
    }

    /// Rows as they are, without an account of where they came from.
    pub fn of(examples: &Arc<Vec<Held>>) -> Self {
        Rows { examples: examples.clone(), ..Rows::default() }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.examples.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }

    /// How many rows of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.examples.iter().filter(|e| e.kind == kind).count()
    }
}

/// What `step` makes of every row, in the rows' order; see [`Rows::each`].
pub fn each<T: Send>(
    rows: &[Held],
    step: impl Fn(&Held, &Arc<Example>) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let made: Vec<Result<T>> = rows.par_iter().map(|row| step(row, &row.read()?)).collect();
    made.into_iter().collect()
}

/// The fields a row written in a script may have.
const FIELDS: &[&str] = &[
    "id",
    "kind",
    "derived_from",
    "component",
    "session",
    "source",
    "task_category",
    "outcome",
    "repository",
    "started_ms",
    "keywords",
    "tools",
    "messages",
];

fn from_value(stage: &str, index: usize, value: Value) -> Result<Example> {
    let Value::Object(mut fields) = value else { bail!("expected a map with `messages`") };
    if let Some(unknown) = fields.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        bail!("unknown field `{unknown}`; a row has {}", FIELDS.join(", "));
    }
    let Some(messages) = fields.get_mut("messages").and_then(Value::as_array_mut) else {
        bail!("`messages` must be an array");
    };
    for message in messages {
        let Value::Object(message) = message else { bail!("a message must be a map") };
        let model = message.get("role").is_some_and(|role| role == "assistant");
        message.entry("content").or_insert_with(|| "".into());
        message.entry("train").or_insert_with(|| model.into());
    }
    let digest = crate::files::digest(fields["messages"].to_string().as_bytes());
    let session = fields.entry("session").or_insert_with(|| digest[..16].into()).clone();
    fields.entry("id").or_insert(session);
    fields.entry("source").or_insert_with(|| "script".into());
    fields.entry("kind").or_insert_with(|| Kind::Synthetic.as_str().into());
    fields.insert("origin".into(), json!({"file": stage, "line": index + 1}));
    let example: Example = serde_json::from_value(Value::Object(fields))?;
    if example.kind == Kind::Real {
        bail!("rows written in a script are not real sessions; leave `kind` out or name another");
    }
    Ok(example)
}

impl std::fmt::Display for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rows({}: {} real", self.len(), self.count(Kind::Real))?;
        for kind in [Kind::Synthetic, Kind::Adversarial, Kind::Counterexample, Kind::Replay] {
            let n = self.count(kind);
            if n > 0 {
                write!(f, ", {n} {}", kind.as_str())?;
            }
        }
        f.write_str(")")
    }
}
