//! Past mistakes asked again: every counterexample that went into training, as an item of its own.
//! They were trained on, so they are no evidence and stay out of every figure; what they show is
//! whether what a person corrected has been learnt.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::evaluation::{Output, Record};
use super::{
    Answer, Chat, Item, Metric, Settings, Subject, compare, item, metrics, outputs, secrets,
};
use crate::dataset::{Held, Kind, Rows};
use crate::files;
use crate::progress::Observer;
use crate::redact::Redactor;

/// The name of the file, beside `eval_results.json`.
pub const FILE: &str = "counterexamples.json";

/// The version of its form.
pub const SCHEMA_VERSION: u32 = 1;

/// What base and candidate answer to the counterexamples of a dataset.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// The version of this form.
    pub schema_version: u32,
    /// How many were asked.
    pub total: u64,
    /// Those that the candidate answers exactly.
    pub solved: u64,
    /// Those that the base answers exactly.
    pub solved_by_base: u64,
    /// Those that were not asked because their prompt is too long.
    pub too_long: u64,
    /// One by one: those not solved first.
    pub cases: Vec<Case>,
}

/// One counterexample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// The file and line it stands in.
    pub place: String,
    /// Whether the candidate answers it exactly.
    pub solved: bool,
    /// The item with its answers.
    pub record: Record,
}

impl Output {
    /// Whether it is the reference, exactly; of several drawn answers, whether most are.
    pub fn is_right(&self) -> bool {
        self.scores.get(Metric::ExactMatch.name()).is_some_and(|score| *score > 0.5)
    }
}

impl Past {
    /// Asks both subjects every counterexample among the rows; none where there is none.
    pub fn ask(
        train: &[Held],
        chat: &dyn Chat,
        base: &dyn Subject,
        candidate: &dyn Subject,
        redactor: &Redactor,
        settings: &Settings,
        observer: &dyn Observer,
    ) -> Result<Option<Past>> {
        let mut rows: Vec<Held> =
            train.iter().filter(|row| row.kind == Kind::Counterexample).cloned().collect();
        // A ratio may repeat them.
        rows.dedup_by(|a, b| a.id == b.id);
        if rows.is_empty() {
            return Ok(None);
        }
        let settings = Settings { max_items: 0, ..settings.clone() };
        let rows = Rows::of(&Arc::new(rows));
        let found = item::items(&rows, &[], &BTreeSet::new(), chat, &settings)?;
        let items = &found.items;
        let ask = |column: &str, subject: &dyn Subject| -> Result<Vec<Output>> {
            let name = format!("{column}: counterexamples");
            let mut column = outputs::Column { name: &name, subject, cache: None };
            let answers = column.answers(items, chat, &settings, observer)?;
            let output = |(item, answers): (&Item, Vec<Answer>)| {
                let scores = answers.iter().map(|answer| metrics::scores(item, answer)).collect();
                Output::of(answers.into_iter().next().unwrap_or_default(), scores)
            };
            Ok(items.iter().zip(answers).map(output).collect())
        };
        let (mut base, mut candidate) = (ask("base", base)?, ask("candidate", candidate)?);
        // What a model gives away is not written here either.
        secrets::search(items, &mut [&mut base, &mut candidate], redactor, settings.seed)?;
        let solved_by_base = base.iter().filter(|o| o.is_right()).count() as u64;
        let answers = items.iter().zip(base.into_iter().zip(candidate));
        let mut cases: Vec<Case> = answers
            .map(|(item, (base, candidate))| Case {
                place: item.example.trace.origin.to_string(),
                solved: candidate.is_right(),
                record: compare::record(item, base, None, candidate),
            })
            .collect();
        cases.sort_by(|a, b| {
            (a.solved, &a.place, &a.record.id).cmp(&(b.solved, &b.place, &b.record.id))
        });
        Ok(Some(Past {
            schema_version: SCHEMA_VERSION,
            total: cases.len() as u64,
            solved: cases.iter().filter(|case| case.solved).count() as u64,
            solved_by_base,
            too_long: found.left_out.values().sum(),
            cases,
        }))
    }

    /// One line for the reader.
    pub fn line(&self) -> String {
        let Past { total, solved, solved_by_base, .. } = self;
        let mut line =
            format!("counterexamples: {solved} of {total} solved (by the base: {solved_by_base})");
        if self.too_long > 0 {
            line += &format!("; {} not asked, their prompt is too long", self.too_long);
        }
        line
    }

    /// Writes it into an evaluation's folder.
    pub fn write(&self, folder: &Path) -> Result<()> {
        files::write_json(&folder.join(FILE), self)
    }

    /// Reads it from an evaluation's folder; none where there were no counterexamples.
    pub fn read(folder: &Path) -> Result<Option<Past>> {
        let path = folder.join(FILE);
        let bytes = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let past = serde_json::from_slice(&bytes).ok();
        past.map(Some).with_context(|| format!("{} is damaged", path.display()))
    }
}
