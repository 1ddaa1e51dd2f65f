//! What changed from one run to another: data, configuration, metrics and answers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use super::{DECISION, ITEMS, MANIFEST, RESULTS, figures, points, read, signed};
use crate::dataset::Part;
use crate::dataset::verify::each_row;
use crate::evaluate::{Metric, Record};
use crate::report::{aligned, said};

/// Names that the text lists of one kind; JSON has all.
const SHOWN: usize = 10;

/// A value in either run; null where that run has none.
pub type Both = [Value; 2];

/// Two runs side by side.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Diff {
    /// Their names.
    pub runs: [String; 2],
    /// What went in: files by name, with the digests of those that are new, gone or changed.
    pub inputs: BTreeMap<String, Both>,
    /// The rows of each part.
    pub parts: BTreeMap<Part, Rows>,
    /// Counts of stages that differ, as `stage, what`.
    pub stages: BTreeMap<String, Both>,
    /// Settings, scripts and versions that differ.
    pub configuration: BTreeMap<String, Both>,
    /// Every figure that either run measured.
    pub metrics: BTreeMap<String, Figures>,
    /// The verdicts.
    pub verdict: Both,
    /// The candidates' answers.
    pub outputs: Outputs,
}

/// The rows of a part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rows {
    /// How many each run has, repeats included.
    pub counts: [u64; 2],
    /// Ids that only the second has.
    pub added: Vec<String>,
    /// Ids that only the first has.
    pub removed: Vec<String>,
}

/// A metric over the validation items of each run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Figures {
    /// The base's.
    pub base: [Option<f64>; 2],
    /// The candidate's.
    pub candidate: [Option<f64>; 2],
    /// Candidate minus base.
    pub delta: [Option<f64>; 2],
}

/// Answers of both candidates to the same items.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Outputs {
    /// Items that both runs asked.
    pub common: u64,
    /// Those of them that each candidate answers right: where the rows of validation changed, this
    /// compares the adapters and the metrics do not.
    pub right: [u64; 2],
    /// Items that only one of them asked.
    pub only: [u64; 2],
    /// The first candidate was right, the second is wrong.
    pub worse: Vec<Changed>,
    /// The first candidate was wrong, the second is right.
    pub better: Vec<Changed>,
    /// Both are wrong, in another way.
    pub otherwise_wrong: u64,
}

/// An item whose answer changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Changed {
    /// The item.
    pub item: String,
    /// What was asked last.
    pub request: String,
    /// What both candidates said.
    pub answers: [String; 2],
}

impl Diff {
    /// The difference between the runs in two folders.
    pub fn of(runs: [&Path; 2]) -> Result<Diff> {
        let name = |run: &Path| {
            let whole = std::fs::canonicalize(run).unwrap_or_else(|_| run.to_path_buf());
            whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let both =
            |file: &str| -> Result<Both> { Ok([read(runs[0], file)?, read(runs[1], file)?]) };
        let (manifests, results) = (both(MANIFEST)?, both(RESULTS)?);
        let mut parts = BTreeMap::new();
        for part in [Part::Train, Part::Tune, Part::Val] {
            parts.insert(part, Rows::of(runs, part)?);
        }
        Ok(Diff {
            runs: runs.map(name),
            inputs: differing(manifests.each_ref().map(|m| digests(&m["inputs"]))),
            parts,
            stages: differing(manifests.each_ref().map(stages)),
            configuration: differing(manifests.each_ref().map(configuration)),
            metrics: metrics(&results),
            verdict: both(DECISION)?.map(|decision| decision["verdict"].clone()),
            outputs: Outputs::of(runs)?,
        })
    }
}

/// What two runs say otherwise, or only one of them says.
fn differing(both: [BTreeMap<String, Value>; 2]) -> BTreeMap<String, Both> {
    let names: BTreeSet<&String> = both.iter().flat_map(BTreeMap::keys).collect();
    let values = |name: &str| both.each_ref().map(|all| all.get(name).cloned().unwrap_or_default());
    let all = names.into_iter().map(|name| (name.clone(), values(name)));
    all.filter(|(_, [a, b])| a != b).collect()
}

fn digests(inputs: &Value) -> BTreeMap<String, Value> {
    let files = inputs.as_array().into_iter().flatten();
    files.filter_map(|f| Some((f["file"].as_str()?.to_string(), f["sha256"].clone()))).collect()
}

/// Every count of every stage; a stage that ran twice counts once for each time.
fn stages(manifest: &Value) -> BTreeMap<String, Value> {
    let mut counts = BTreeMap::new();
    let mut times: BTreeMap<&str, u64> = BTreeMap::new();
    for stage in manifest["stages"].as_array().into_iter().flatten() {
        let name = stage["name"].as_str().unwrap_or_default();
        let time = times.entry(name).or_default();
        *time += 1;
        let name = if *time > 1 { format!("{name} {time}") } else { name.to_string() };
        for what in ["input", "added", "output"] {
            if stage[what] != 0 {
                counts.insert(format!("{name}, {what}"), stage[what].clone());
            }
        }
        for (reason, n) in stage["dropped"].as_object().into_iter().flatten() {
            counts.insert(format!("{name}, dropped as {reason}"), n.clone());
        }
    }
    counts
}

fn configuration(manifest: &Value) -> BTreeMap<String, Value> {
    let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let mut all: BTreeMap<String, Value> = members(&manifest["config"]).into_iter().collect();
    for (name, value) in members(&manifest["provenance"]) {
        match value {
            Value::Object(scripts) => {
                all.extend(scripts.into_iter().map(|(script, d)| (format!("script {script}"), d)));
            }
            value => drop(all.insert(name.replace('_', " "), value)),
        }
    }
    all
}

fn metrics(results: &Both) -> BTreeMap<String, Figures> {
    let mut all: BTreeMap<String, Figures> = BTreeMap::new();
    for (run, results) in results.iter().enumerate() {
        for column in ["base", "candidate"] {
            let mut note = |name: String, figure: Option<f64>| {
                let figures = all.entry(name).or_default();
                match column {
                    "base" => figures.base[run] = figure,
                    _ => figures.candidate[run] = figure,
                }
            };
            let metrics = &results[column]["metrics"];
            for (name, mean) in metrics["overall"].as_object().into_iter().flatten() {
                note(name.clone(), mean["mean"].as_f64());
            }
            for (suite, means) in metrics["suite"].as_object().into_iter().flatten() {
                let name = Metric::ExactMatch.name();
                note(format!("{suite}: {name}"), means[name]["mean"].as_f64());
            }
            for (group, loss) in results[column]["loss"].as_object().into_iter().flatten() {
                note(format!("loss on {group}"), loss["mean"].as_f64());
            }
        }
        for (name, delta) in figures(&results["delta"]) {
            all.entry(name).or_default().delta[run] = Some(delta);
        }
    }
    // Of suites and losses nobody has written the difference down.
    for figures in all.values_mut() {
        for run in 0..2 {
            let difference = figures.candidate[run].zip(figures.base[run]).map(|(c, b)| c - b);
            figures.delta[run] = figures.delta[run].or(difference);
        }
    }
    all
}

impl Rows {
    fn of(runs: [&Path; 2], part: Part) -> Result<Rows> {
        let mut ids = [BTreeSet::new(), BTreeSet::new()];
        let mut counts = [0, 0];
        for (n, run) in runs.into_iter().enumerate() {
            each_row(&run.join("dataset"), part, &mut |_, row| {
                counts[n] += 1;
                ids[n].insert(row.id);
                Ok(())
            })?;
        }
        let [first, second] = ids;
        Ok(Rows {
            counts,
            added: second.difference(&first).cloned().collect(),
            removed: first.difference(&second).cloned().collect(),
        })
    }
}

/// The items of a run, by id.
pub(super) fn items(run: &Path) -> Result<BTreeMap<String, Record>> {
    let path = run.join(ITEMS);
    let place = || format!("cannot read {}", path.display());
    let file = match File::open(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        opened => opened.with_context(place)?,
    };
    let mut items = BTreeMap::new();
    for (n, line) in (1..).zip(BufReader::new(file).lines()) {
        let line = line.with_context(place)?;
        // The parser's own message may quote the line.
        let record: Option<Record> = serde_json::from_str(&line).ok();
        let record = record.with_context(|| {
            format!("{}:{n} is no item of this version's evaluation", path.display())
        })?;
        items.insert(record.id.clone(), record);
    }
    Ok(items)
}

impl Outputs {
    fn of(runs: [&Path; 2]) -> Result<Outputs> {
        let (first, second) = (items(runs[0])?, items(runs[1])?);
        let mut outputs = Outputs::default();
        for (id, a) in &first {
            let Some(b) = second.get(id) else {
                outputs.only[0] += 1;
                continue;
            };
            outputs.common += 1;
            let changed = || Changed {
                item: id.clone(),
                request: a.request.clone(),
                answers: [said(&a.candidate), said(&b.candidate)],
            };
            let right = [a, b].map(|record| record.candidate.is_right());
            for (count, right) in outputs.right.iter_mut().zip(right) {
                *count += u64::from(right);
            }
            match (right[0], right[1]) {
                (true, false) => outputs.worse.push(changed()),
                (false, true) => outputs.better.push(changed()),
                (false, false) if said(&a.candidate) != said(&b.candidate) => {
                    outputs.otherwise_wrong += 1;
                }
                _ => {}
            }
        }
        outputs.only[1] = second.len() as u64 - outputs.common;
        Ok(outputs)
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = &self.runs;
        writeln!(f, "from {first} to {second}")?;
        let [before, after] = self.verdict.each_ref().map(|v| v.as_str().unwrap_or("none"));
        writeln!(f, "verdict: {before} → {after}")?;
        writeln!(f, "\ndata")?;
        for (part, rows) in &self.parts {
            let ([a, b], added, removed) = (rows.counts, rows.added.len(), rows.removed.len());
            let part = part.as_str();
            writeln!(f, "  {part}: {a} → {b} rows; {added} new, {removed} gone, by id")?;
        }
        changes(f, "input ", &self.inputs)?;
        let mut stages: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (name, both) in &self.stages {
            let (stage, what) = name.split_once(", ").unwrap_or((name, ""));
            let [a, b] = both.each_ref().map(shown);
            stages.entry(stage).or_default().push(format!("{what} {a} → {b}"));
        }
        for (stage, counts) in stages {
            writeln!(f, "  stage {stage}: {}", counts.join(", "))?;
        }
        writeln!(f, "\nconfiguration")?;
        changes(f, "", &self.configuration)?;
        if self.configuration.is_empty() {
            writeln!(f, "  the same")?;
        }
        if !self.metrics.is_empty() {
            writeln!(
                f,
                "\nmetrics, the first run and then the second; delta is adapter minus base"
            )?;
            f.write_str(&self.figures())?;
            if self
                .parts
                .get(&Part::Val)
                .is_some_and(|val| !(val.added.is_empty() && val.removed.is_empty()))
            {
                writeln!(
                    f,
                    "  val has other rows: only the items asked of both compare the adapters"
                )?;
            }
        }
        let Outputs { common, right, only, worse, better, otherwise_wrong } = &self.outputs;
        writeln!(f, "\noutputs of the adapters")?;
        let [[a, b], [c, d]] = [right, only];
        writeln!(f, "  {common} items asked of both, {a} → {b} right; {c} and {d} of one only")?;
        listed(f, "right → wrong", worse)?;
        listed(f, "wrong → right", better)?;
        writeln!(f, "  wrong in another way: {otherwise_wrong}")
    }
}

impl Diff {
    fn figures(&self) -> String {
        let header = ["metric", "base", "→", "adapter", "→", "delta", "→"];
        let rows = self.metrics.iter().map(|(name, figures)| {
            let is_share = Metric::parse(name).is_ok_and(Metric::is_share) || name.contains(": ");
            let shown = |figure: Option<f64>| match (figure, is_share) {
                (Some(x), true) => format!("{:.1} %", x * 100.0),
                (Some(x), false) => format!("{x:.3}"),
                (None, _) => "–".into(),
            };
            let delta = |figure: Option<f64>| match (figure, is_share) {
                (Some(x), false) => signed(format!("{x:+.3}")),
                (figure, _) => points(figure),
            };
            let Figures { base: [a, b], candidate: [c, d], delta: [e, g] } = *figures;
            let (ab, cd) = ([shown(a), shown(b)], [shown(c), shown(d)]);
            let name = vec![name.replace('_', " ")];
            [name, ab.into(), cd.into(), vec![delta(e), delta(g)]].concat()
        });
        aligned(&header, &rows.collect::<Vec<_>>(), &[1, 2, 3, 4, 5, 6])
    }
}

fn changes(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    changes: &BTreeMap<String, Both>,
) -> fmt::Result {
    for (name, both) in changes {
        let [a, b] = both.each_ref().map(shown);
        writeln!(f, "  {what}{name}: {a} → {b}")?;
    }
    Ok(())
}

/// A value in short: of a digest the beginning.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".into(),
        Value::String(text) if text.is_empty() => "empty".into(),
        Value::String(text) if text.len() == 64 => text.chars().take(12).collect(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn listed(f: &mut fmt::Formatter<'_>, title: &str, items: &[Changed]) -> fmt::Result {
    writeln!(f, "  {title}: {}", items.len())?;
    for item in items.iter().take(SHOWN) {
        let one = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let cut = |text: &str| one(text).chars().take(90).collect::<String>();
        writeln!(f, "    {}: {}", item.item, cut(&item.request))?;
        writeln!(f, "      {}", cut(&item.answers[0]))?;
        writeln!(f, "      {}", cut(&item.answers[1]))?;
    }
    match items.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => writeln!(f, "    and {more} more, with --json"),
    }
}
