//! What is known of one row of a dataset.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use serde::Serialize;

use super::{Dataset, PARTS, Run, counts};
use crate::dataset::dedup::Duplicate;
use crate::dataset::generate::GENERATORS;
use crate::dataset::verify::{each_copy, each_row};
use crate::dataset::{Example, Kind, Part};
use crate::trace::{Origin, Role};

/// Ids that an ambiguous beginning is answered with.
const SHOWN: usize = 5;

/// Where a row came from and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowStory {
    /// Its id.
    pub id: String,
    /// The newest run that knows it.
    pub run: String,
    /// Older runs whose dataset holds it.
    pub also_in: Vec<String>,
    /// Its part; none where it was dropped as a copy.
    pub part: Option<Part>,
    /// Its line in the part's file, the first where it is repeated.
    pub line: Option<u64>,
    /// How often it stands there.
    pub times: u64,
    /// Real or generated.
    pub kind: Kind,
    /// Its source and session.
    pub session: String,
    /// File and line the session was read from.
    pub origin: Option<Origin>,
    /// The component it was split with.
    pub component: Option<String>,
    /// Rows of that component by part, this one included.
    pub component_rows: BTreeMap<String, u64>,
    /// The rows it descends from, its parent first; with the part of each that is still there.
    pub ancestors: Vec<(String, Option<Part>)>,
    /// Rows that were made from it.
    pub descendants: Vec<String>,
    /// What it was dropped as a copy of.
    pub copy_of: Option<Duplicate>,
    /// What was dropped as a copy of it.
    pub copies: Vec<Duplicate>,
    /// Stage by stage: its name, and what is known of this row there.
    pub stages: Vec<(String, String)>,
}

/// The rows of a dataset without what they say.
#[derive(Default)]
struct Index {
    parents: BTreeMap<String, Option<String>>,
    parts: BTreeMap<String, Part>,
    components: BTreeMap<String, BTreeMap<String, u64>>,
    found: BTreeMap<String, Found>,
    copies: Vec<Duplicate>,
}

/// A row whose id begins as asked.
struct Found {
    example: Example,
    part: Part,
    line: u64,
    times: u64,
}

impl Index {
    fn of(dataset: &Dataset, prefix: &str) -> Result<Index> {
        let mut index = Index::default();
        for part in PARTS {
            each_row(&dataset.folder, part, &mut |line, example| {
                index.parents.insert(example.id.clone(), example.derived_from.clone());
                index.parts.insert(example.id.clone(), part);
                if let Some(component) = &example.component {
                    let rows = index.components.entry(component.clone()).or_default();
                    *rows.entry(part.as_str().into()).or_default() += 1;
                }
                if example.id.starts_with(prefix) {
                    let id = example.id.clone();
                    let found = Found { example, part, line, times: 0 };
                    index.found.entry(id).or_insert(found).times += 1;
                }
                Ok(())
            })?;
        }
        each_copy(&dataset.folder, &mut |copy| index.copies.push(copy))?;
        Ok(index)
    }

    /// The one id that begins as asked; none where none does.
    fn only(&self, prefix: &str) -> Result<Option<String>> {
        let dropped = self.copies.iter().map(|copy| copy.dropped.as_str());
        let kept = self.found.keys().map(String::as_str);
        let mut ids: Vec<&str> = kept.chain(dropped).filter(|id| id.starts_with(prefix)).collect();
        ids.sort();
        ids.dedup();
        if let Some(exact) = ids.iter().find(|id| **id == prefix) {
            return Ok(Some(exact.to_string()));
        }
        if ids.len() > 1 {
            let more = if ids.len() > SHOWN { ", …" } else { "" };
            let some = ids[..ids.len().min(SHOWN)].join(", ");
            bail!("{} rows begin with `{prefix}`: {some}{more}", ids.len());
        }
        Ok(ids.first().map(|id| id.to_string()))
    }
}

/// The story of the row whose id begins with `prefix`, from the newest run that knows it; none
/// where no run does.
pub fn why_row(runs: &[Run], prefix: &str) -> Result<Option<RowStory>> {
    ensure!(!prefix.is_empty(), "name a row by the beginning of its id");
    let mut story: Option<RowStory> = None;
    for run in runs {
        let Some(dataset) = &run.dataset else { continue };
        match &mut story {
            None => {
                let index = Index::of(dataset, prefix)?;
                if let Some(id) = index.only(prefix)? {
                    story = Some(told(run, dataset, &index, id));
                }
            }
            Some(known) => {
                if Index::of(dataset, &known.id)?.found.contains_key(&known.id) {
                    known.also_in.push(run.name.clone());
                }
            }
        }
    }
    Ok(story)
}

fn told(run: &Run, dataset: &Dataset, index: &Index, id: String) -> RowStory {
    let found = index.found.get(&id);
    let example = found.map(|found| &found.example);
    let copy_of = index.copies.iter().find(|copy| copy.dropped == id).cloned();
    let copies: Vec<Duplicate> =
        index.copies.iter().filter(|copy| copy.kept == id).cloned().collect();
    let mut ancestors: Vec<(String, Option<Part>)> = Vec::new();
    let mut at = example.and_then(|e| e.derived_from.clone());
    while let Some(parent) = at.filter(|p| ancestors.iter().all(|(known, _)| known != p)) {
        at = index.parents.get(&parent).cloned().flatten();
        let part = index.parts.get(&parent).copied();
        ancestors.push((parent, part));
    }
    let of = |(child, parent): (&String, &Option<String>)| {
        (parent.as_ref() == Some(&id)).then(|| child.clone())
    };
    let component = example.and_then(|e| e.component.clone());
    let rows = component.as_ref().and_then(|c| index.components.get(c)).cloned();
    let stages = match found {
        Some(found) => stages(dataset, found, copies.len()),
        None => Vec::new(),
    };
    RowStory {
        run: run.name.clone(),
        also_in: Vec::new(),
        part: found.map(|f| f.part),
        line: found.map(|f| f.line),
        times: found.map_or(0, |f| f.times),
        kind: example.map_or_else(|| copy_of.as_ref().map_or(Kind::Real, |c| c.kind), |e| e.kind),
        session: match (example, &copy_of) {
            (Some(example), _) => example.session_key(),
            (None, Some(copy)) => copy.session.clone(),
            (None, None) => String::new(),
        },
        origin: example.map(|e| e.trace.origin.clone()),
        component_rows: rows.unwrap_or_default(),
        component,
        ancestors,
        descendants: index.parents.iter().filter_map(of).collect(),
        copy_of,
        copies,
        stages,
        id,
    }
}

/// What each stage left in the row.
fn stages(dataset: &Dataset, found: &Found, copies: usize) -> Vec<(String, String)> {
    let example = &found.example;
    let answers = || example.trace.messages.iter().filter(|m| m.role == Role::Assistant);
    let mut known = Vec::new();
    for stage in &dataset.manifest.stages {
        let generated = example.kind.is_generated();
        let note = match stage.name.as_str() {
            _ if stage.source => match stage.name.strip_prefix("load").unwrap_or(&stage.name) {
                "" if example.kind == Kind::Real || generated => {
                    format!("its session was read from {}", example.trace.origin)
                }
                kind if kind.trim_start_matches('_') == example.kind.as_str() => {
                    format!("read from {}", example.trace.origin)
                }
                _ => continue,
            },
            "label" => {
                let mut labels: BTreeMap<String, u64> = BTreeMap::new();
                for label in answers().filter_map(|m| m.label.as_ref()) {
                    *labels.entry(label.outcome.as_str().into()).or_default() += 1;
                }
                let trained = answers().filter(|m| m.train).count();
                let all = answers().count();
                format!("{trained} of {all} answers are trained; labels: {}", none(counts(&labels)))
            }
            "redact" => {
                let texts = example.trace.messages.iter();
                let n: usize = texts.map(|m| placeholders(&m.content)).sum();
                format!("{n} placeholders stand in its texts")
            }
            "dedup" => format!("kept; {copies} rows were dropped as its copies"),
            "split" => {
                let component = example.component.as_deref().unwrap_or("none");
                format!("to {} with component {component}", found.part.as_str())
            }
            "mix" => match dataset.manifest.mix.iter().find(|r| r.kind == example.kind) {
                Some(ratio) if found.part == Part::Train => format!(
                    "taken {} times; {} rows are {} of the tokens",
                    found.times,
                    ratio.kind.as_str(),
                    ratio.got
                ),
                _ => "not mixed".into(),
            },
            "second_scan" => "nothing was found in it".into(),
            _ if stage.input == 0 && may_be_from(&stage.name, example) => {
                format!("{} rows were made here; whether it is one is not kept", stage.added)
            }
            _ if stage.input == 0 => continue,
            _ => "passed".into(),
        };
        known.push((stage.name.clone(), note));
    }
    known
}

/// Whether a stage that only makes rows may have made this one.
fn may_be_from(stage: &str, example: &Example) -> bool {
    let name = stage.strip_prefix("generate_").unwrap_or(stage);
    let kind = GENERATORS.iter().find(|generator| generator.name == name).map(|g| g.kind);
    example.kind.is_generated() && kind.is_none_or(|kind| kind == example.kind)
}

fn none(text: String) -> String {
    if text.is_empty() { "none".into() } else { text }
}

/// How many placeholders such as `<EMAIL_1>` a text holds.
fn placeholders(text: &str) -> usize {
    let inside = text.split('<').skip(1).filter_map(|rest| rest.split_once('>'));
    let telling = |name: &str| {
        let numbered = name
            .rsplit_once('_')
            .is_some_and(|(_, n)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        numbered && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    inside.filter(|(name, _)| telling(name)).count()
}

impl std::fmt::Display for RowStory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "row {} ({}) of run {}", self.id, self.kind.as_str(), self.run)?;
        match (self.part, self.line, &self.copy_of) {
            (Some(part), Some(line), _) => {
                let part = part.as_str();
                writeln!(f, "  stands in {part}.jsonl, line {line}, {} times", self.times)?;
            }
            (_, _, Some(copy)) => {
                let (how, share) = (copy.likeness.as_str(), copy.similarity);
                writeln!(f, "  dropped as a copy ({how}, {share}) of {}", copy.kept)?;
            }
            _ => {}
        }
        writeln!(f, "  session {}", self.session)?;
        if let Some(origin) = &self.origin {
            writeln!(f, "  read from {origin}")?;
        }
        if let Some(component) = &self.component {
            writeln!(f, "  component {component}: {}", counts(&self.component_rows))?;
        }
        for (parent, part) in &self.ancestors {
            let place = part.map_or("not in the dataset", Part::as_str);
            writeln!(f, "  made from {parent} ({place})")?;
        }
        for child in &self.descendants {
            writeln!(f, "  made into {child}")?;
        }
        for copy in &self.copies {
            let (how, share) = (copy.likeness.as_str(), copy.similarity);
            let Duplicate { dropped, session, .. } = copy;
            writeln!(f, "  stands for {dropped} of session {session} ({how}, {share})")?;
        }
        for (stage, note) in &self.stages {
            writeln!(f, "  {stage}: {note}")?;
        }
        match self.also_in.is_empty() {
            true => Ok(()),
            false => writeln!(f, "  also in {}", self.also_in.join(", ")),
        }
    }
}
