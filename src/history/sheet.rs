//! The sheet on which a person answers what a run's candidate got wrong, and the counterexamples
//! that come of it.
//!
//! A line of the sheet begins with the two places to fill, then shows what was asked and answered,
//! and carries the session up to there: it needs nothing of the run any more. Items of fixed suites
//! are never on it. What is trained on must not be what is judged by.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::diff::items;
use super::{RESULTS, read};
use crate::dataset::Part;
use crate::dataset::verify::each_row;
use crate::evaluate::evaluation::{Call, Output};
use crate::files;
use crate::label::reviews::HUMAN;
use crate::redact::Redactor;
use crate::report::said;
use crate::trace::{Message, Role, ToolCall, Trace};

/// A line of the sheet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// To fill: whose answer is the right one, `reference`, `base`, `champion` or `candidate`.
    #[serde(default)]
    pub accept: String,
    /// To fill instead: the right answer, as a text or with calls.
    #[serde(default)]
    pub answer: Option<Answer>,
    /// `regression` or `persistent`.
    pub failure: Failure,
    /// What was asked last.
    pub request: String,
    /// What the session says. It was right when the items were made, as far as anyone knew.
    pub reference: Said,
    /// What the base answered.
    pub base: Said,
    /// What the champion answered, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub champion: Option<Said>,
    /// What the candidate answered.
    pub candidate: Said,
    /// The run.
    pub run: String,
    /// The item.
    pub item: String,
    /// The row of the run's dataset that it comes from.
    pub row: String,
    /// The session up to the answer, with its tools.
    pub trace: Trace,
}

/// How an item failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Failure {
    /// The base was right, the candidate is wrong.
    Regression,
    /// No model was right.
    Persistent,
}

/// What a person wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// A text.
    Text(String),
    /// Text and calls, as the answers on the sheet are shown.
    Said(Said),
}

/// An answer as the sheet shows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// The text.
    #[serde(default)]
    pub content: String,
    /// The calls in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Call>,
    /// What was wrong with a call that did not parse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub malformed: Option<String>,
}

/// A sheet with what is not on it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sheet {
    /// Its lines: regressions first.
    pub cases: Vec<Case>,
    /// Failures left out, by reason.
    pub left_out: BTreeMap<&'static str, u64>,
}

/// What came of a sheet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Lines that were answered.
    pub answered: u64,
    /// Lines without an answer, which were left.
    pub open: u64,
    /// Of the answered, those that stood in the file already, word for word.
    pub known: u64,
    /// Of the answered, those that took the place of an earlier answer to the same item.
    pub replaced: u64,
}

impl Said {
    fn of(output: &Output) -> Said {
        let Output { content, calls, malformed, .. } = output.clone();
        Said { content, calls, malformed }
    }
}

impl Sheet {
    /// The failures of a run's evaluation, at most `limit` of them.
    pub fn of(run: &Path, limit: usize) -> Result<Sheet> {
        let results = read(run, RESULTS)?;
        ensure!(results.is_object(), "{} evaluated nothing: there is no {RESULTS}", run.display());
        let records = items(run)?;
        let whole = fs::canonicalize(run).unwrap_or_else(|_| run.to_path_buf());
        let name = whole.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let mut sheet = Sheet::default();
        let mut failed = Vec::new();
        for (list, failure) in
            [("regressions", Failure::Regression), ("persistent", Failure::Persistent)]
        {
            for id in results["changes"][list].as_array().into_iter().flatten() {
                let record = id.as_str().and_then(|id| records.get(id));
                let record = record.with_context(|| {
                    format!("{}: its items and its results do not belong together", run.display())
                })?;
                match record.suite {
                    Some(_) => sheet.leave("of a fixed suite", 1),
                    None => failed.push((failure, record)),
                }
            }
        }
        let mut wanted: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (n, (_, record)) in failed.iter().enumerate() {
            wanted.entry(row_of(&record.id).0).or_default().push(n);
        }
        let mut cases: Vec<Option<Case>> = vec![None; failed.len()];
        each_row(&run.join("dataset"), Part::Val, &mut |_, row| {
            for n in wanted.get(row.id.as_str()).into_iter().flatten() {
                let (failure, record) = failed[*n];
                let at = row_of(&record.id).1.filter(|at| *at < row.trace.messages.len());
                let Some(at) = at else { continue };
                let trace = before(&row.trace, at);
                cases[*n] = Some(Case {
                    accept: String::new(),
                    answer: None,
                    failure,
                    request: record.request.clone(),
                    reference: Said::of(&record.reference),
                    base: Said::of(&record.base),
                    champion: record.champion.as_ref().map(Said::of),
                    candidate: Said::of(&record.candidate),
                    run: name.clone(),
                    item: record.id.clone(),
                    row: row.id.clone(),
                    trace,
                });
            }
            Ok(())
        })?;
        let all = cases.len();
        sheet.cases = cases.into_iter().flatten().collect();
        sheet.leave("whose row is not in dataset/val.jsonl", all - sheet.cases.len());
        sheet.leave("over --limit", sheet.cases.len().saturating_sub(limit));
        sheet.cases.truncate(limit);
        Ok(sheet)
    }

    fn leave(&mut self, reason: &'static str, n: usize) {
        if n > 0 {
            *self.left_out.entry(reason).or_default() += n as u64;
        }
    }

    /// Writes it. A file in which somebody has answered is never overwritten.
    pub fn write(&self, path: &Path) -> Result<()> {
        let answered = match fs::read_to_string(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => 0,
            read => {
                let text = read.with_context(|| format!("cannot read {}", path.display()))?;
                let lines = text.lines().filter(|line| !line.trim().is_empty());
                // What is no line of a sheet is somebody's as well.
                let open =
                    |line: &&str| serde_json::from_str(line).is_ok_and(|case: Case| case.is_open());
                lines.filter(|line| !open(line)).count()
            }
        };
        ensure!(
            answered == 0,
            "{} holds {answered} lines that somebody has filled; take them with `proto \
             counterexamples --accept {}`, or name another file with --out",
            path.display(),
            path.display()
        );
        files::write_atomically(path, |out| {
            for case in &self.cases {
                serde_json::to_writer(&mut *out, case)?;
                out.write_all(b"\n")?;
            }
            Ok(())
        })
    }
}

/// The row of an item's id, and the place of its message.
fn row_of(item: &str) -> (&str, Option<usize>) {
    item.rsplit_once('#').map_or((item, None), |(row, at)| (row, at.parse().ok()))
}

impl Case {
    fn is_open(&self) -> bool {
        self.accept.trim().is_empty() && self.answer.is_none()
    }

    /// The right answer, as a person gave it; none where nobody has.
    fn right(&self) -> Result<Option<Message>> {
        let taken = match self.accept.trim() {
            "" => None,
            "reference" => Some(&self.reference),
            "base" => Some(&self.base),
            "champion" if self.champion.is_some() => self.champion.as_ref(),
            "candidate" => Some(&self.candidate),
            _ => bail!("`accept` is none of reference, base, champion (if any) and candidate"),
        };
        let said = match (&self.answer, taken) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => bail!("`accept` and `answer` are both filled; empty one of them"),
            (Some(Answer::Text(text)), None) => Said { content: text.clone(), ..Said::default() },
            (Some(Answer::Said(said)), None) => said.clone(),
            (None, Some(said)) => said.clone(),
        };
        ensure!(said.malformed.is_none(), "that answer holds a call that does not parse");
        ensure!(
            !(said.content.trim().is_empty() && said.calls.is_empty()),
            "the answer is empty; leave `answer` null where there is none yet"
        );
        let tools: Vec<&str> = self.trace.tools.iter().filter_map(tool_name).collect();
        for call in &said.calls {
            ensure!(!call.name.trim().is_empty(), "a call has no name");
            ensure!(
                tools.is_empty() || tools.contains(&call.name.as_str()),
                "the answer calls a tool that the session does not have; it has {}",
                tools.join(", ")
            );
        }
        let calls = (1..).zip(said.calls).map(|(n, call)| ToolCall {
            id: format!("fixed_{n}"),
            name: call.name,
            arguments: call.arguments,
        });
        let answer = Message {
            tool_calls: calls.collect(),
            author: Some(HUMAN.into()),
            ..Message::text(Role::Assistant, said.content)
        };
        Ok(Some(answer))
    }
}

/// The session up to a message, as context: nothing in it is trained.
fn before(trace: &Trace, at: usize) -> Trace {
    let mut trace = trace.clone();
    trace.messages.truncate(at);
    for message in &mut trace.messages {
        message.train = false;
        message.label = None;
        // Where it stood is not where it will stand.
        message.row = 0;
        message.file = None;
    }
    // How the session ended, and what its last answer had to say, is another matter.
    trace.outcome = None;
    trace.keywords.clear();
    trace.ended_ms = None;
    trace
}

fn tool_name(tool: &Value) -> Option<&str> {
    tool["function"]["name"].as_str().or(tool["name"].as_str())
}

/// Adds the answered lines of a sheet to the counterexamples in `folder`, redacted, to the file
/// named after their run; a later answer to the same item takes the place of an earlier one.
pub fn accept(sheet: &Path, folder: &Path, redactor: &Redactor) -> Result<Accepted> {
    let text =
        fs::read_to_string(sheet).with_context(|| format!("cannot read {}", sheet.display()))?;
    let mut accepted = Accepted::default();
    let mut rows: BTreeMap<String, Vec<(String, Value)>> = BTreeMap::new();
    for (n, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let place = || format!("{}:{n}", sheet.display());
        let case = parse(line).with_context(place)?;
        let Some(answer) = case.right().with_context(place)? else {
            accepted.open += 1;
            continue;
        };
        accepted.answered += 1;
        let mut trace = case.trace.clone();
        trace.messages.push(answer);
        let redacted = redactor.session(&[&trace]).with_context(place)?;
        let trace = redacted.into_iter().next().context("redaction gave nothing back")?.trace;
        let row = row(&case, &trace).with_context(place)?;
        rows.entry(case.run.clone()).or_default().push((case.item, row));
    }
    for (run, new) in rows {
        ensure!(
            !run.is_empty() && run.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c)),
            "{}: `run` is no name of a run",
            sheet.display()
        );
        let path = folder.join(format!("{run}.jsonl"));
        let mut all = known(&path)?;
        for (item, row) in new {
            let about = |old: &Value| old["corrects"]["item"].as_str() == Some(item.as_str());
            match all.iter_mut().find(|old| about(old)) {
                Some(old) if *old == row => accepted.known += 1,
                Some(old) => {
                    *old = row;
                    accepted.replaced += 1;
                }
                None => all.push(row),
            }
        }
        files::write_atomically(&path, |out| {
            for row in &all {
                serde_json::to_writer(&mut *out, row)?;
                out.write_all(b"\n")?;
            }
            Ok(())
        })?;
    }
    Ok(accepted)
}

/// A line of a sheet. The error tells what is wrong and never what stands there.
fn parse(line: &str) -> Result<Case> {
    let value: Value = serde_json::from_str(line).map_err(|e| {
        anyhow::anyhow!("not JSON from column {} on: a quote or a comma is missing?", e.column())
    })?;
    let fields = ["accept", "answer", "failure", "request", "reference", "base", "champion"];
    let more = ["candidate", "run", "item", "row", "trace"];
    let known = |name: &&String| fields.iter().chain(&more).any(|field| *field == name.as_str());
    let unknown = value.as_object().into_iter().flat_map(|map| map.keys()).any(|n| !known(&n));
    ensure!(!unknown, "a field that a sheet does not have; only `accept` and `answer` are to fill");
    let answer = serde_json::from_value::<Option<Answer>>(value["answer"].clone()).is_ok();
    ensure!(
        answer,
        "`answer` is neither a text nor {{\"content\": …, \"calls\": [{{\"name\": …, \
         \"arguments\": {{…}}}}]}}"
    );
    serde_json::from_value(value).ok().context("not a line of a sheet of counterexamples")
}

/// The row as the folder of counterexamples holds it.
fn row(case: &Case, trace: &Trace) -> Result<Value> {
    let mut row = serde_json::to_value(trace)?;
    let fields = row.as_object_mut().context("a trace is an object")?;
    // The file it stands in is its origin.
    fields.remove("origin");
    for message in fields["messages"].as_array_mut().into_iter().flatten() {
        message.as_object_mut().map(|message| message.remove("row"));
    }
    fields.insert("derived_from".into(), json!(case.row));
    fields.insert("corrects".into(), json!({"run": case.run, "item": case.item}));
    Ok(row)
}

/// The counterexamples that a file holds already.
fn known(path: &Path) -> Result<Vec<Value>> {
    let text = match fs::read_to_string(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let row = |(n, line): (u64, &str)| {
        let row = serde_json::from_str(line).ok();
        row.with_context(|| format!("{}:{n}: not JSON", path.display()))
    };
    lines.map(row).collect()
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Said { content, calls, malformed } = self.clone();
        f.write_str(&said(&Output { content, calls, malformed, ..Output::default() }))
    }
}
