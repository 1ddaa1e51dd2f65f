//! Items with every answer beside the reference.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use crate::dataset::Kind;
use crate::evaluate::evaluation::Output;
use crate::evaluate::{Evaluation, Metric, Past, Record};

/// At most this many fixes and persistent failures are shown; the rest is in `items.jsonl`.
/// Regressions are shown without exception.
const MOST_SHOWN: usize = 100;
/// Longest text shown of one answer, in characters.
const LONGEST: usize = 4000;

/// One item with every answer beside its reference.
#[derive(Debug, Serialize)]
pub(super) struct Side {
    pub id: String,
    pub tags: Vec<String>,
    pub request: String,
    pub reference: String,
    pub answers: Vec<Answered>,
}

#[derive(Debug, Serialize)]
pub(super) struct Answered {
    pub who: &'static str,
    pub text: String,
    pub right: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Changes {
    pub title: &'static str,
    pub explanation: &'static str,
    pub total: usize,
    pub open: bool,
    pub items: Vec<Side>,
}

/// Three real validation items, always the same: the smallest hashes of their ids.
pub(super) fn examples(records: &[Record]) -> Vec<Side> {
    let mut real: Vec<&Record> =
        records.iter().filter(|r| r.suite.is_none() && r.kind == Kind::Real).collect();
    real.sort_by_key(|r| (xxh3_64(r.id.as_bytes()), r.id.as_str()));
    real.into_iter().take(3).map(side).collect()
}

pub(super) fn changes(evaluation: &Evaluation, records: &[Record]) -> Vec<Changes> {
    let found = &evaluation.changes;
    let by_id: BTreeMap<&str, &Record> = records.iter().map(|r| (r.id.as_str(), r)).collect();
    let lists = [
        ("Regressions", "The base was right, the adapter is wrong.", &found.regressions, true),
        ("Fixes", "The base was wrong, the adapter is right.", &found.fixes, false),
        ("Persistent failures", "No model was right.", &found.persistent, false),
    ];
    lists
        .into_iter()
        .map(|(title, explanation, ids, open)| {
            let of = |id: &String| by_id.get(id.as_str()).copied();
            let most = if open { ids.len() } else { MOST_SHOWN };
            let items = ids.iter().take(most).filter_map(of).map(side).collect();
            Changes { title, explanation, total: ids.len(), open, items }
        })
        .collect()
}

/// Counterexamples asked again: those that are still wrong, then the solved ones.
pub(super) fn past(past: &Past) -> Vec<Changes> {
    let lists = [
        ("Still wrong", "Trained on, and still answered otherwise.", false, true),
        ("Solved", "The adapter answers as it was taught.", true, false),
    ];
    let list = |(title, explanation, solved, open)| {
        let of = || past.cases.iter().filter(|case| case.solved == solved);
        let items = of().take(MOST_SHOWN).map(|case| {
            let mut side = side(&case.record);
            side.tags.insert(0, case.place.clone());
            side
        });
        Changes { title, explanation, total: of().count(), open, items: items.collect() }
    };
    lists.into_iter().map(list).collect()
}

fn side(record: &Record) -> Side {
    let exact = Metric::ExactMatch.name();
    let answered = |who, output: &Output| Answered {
        who,
        text: said(output),
        right: output.scores.get(exact) == Some(&1.0),
    };
    let mut answers = vec![answered("base", &record.base)];
    answers.extend(record.champion.as_ref().map(|o| answered("champion", o)));
    answers.push(answered("adapter", &record.candidate));
    let generated = (record.kind != Kind::Real).then(|| record.kind.as_str().to_string());
    let tags = [
        record.suite.clone(),
        generated,
        Some(record.source.clone()),
        record.task_category.clone(),
    ];
    Side {
        id: record.id.clone(),
        tags: tags.into_iter().flatten().collect(),
        request: shortened(&record.request, LONGEST),
        reference: said(&record.reference),
        answers,
    }
}

/// What an answer says, as a person reads it.
pub fn said(output: &Output) -> String {
    let mut parts = Vec::new();
    if !output.content.trim().is_empty() {
        parts.push(output.content.trim().to_string());
    }
    for call in &output.calls {
        parts.push(format!("{} {}", call.name, Value::Object(call.arguments.clone())));
    }
    if let Some(reason) = &output.malformed {
        parts.push(format!("[a call that does not parse: {reason}]"));
    }
    if parts.is_empty() {
        parts.push("[nothing]".into());
    }
    if output.stopped == Some(false) {
        parts.push("[cut off at the length limit]".into());
    }
    shortened(&parts.join("\n"), LONGEST)
}

/// The text, or its beginning with an ellipsis.
pub(super) fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}
