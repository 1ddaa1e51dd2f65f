//! From what was read to examples: kinds, the time window, files of our own.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};

use super::example::number_repeats;
use super::ledger::Ledger;
use super::{Example, Kind, Rows, Stage};
use crate::progress::Observer;
use crate::trace::{self, Loaded};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Examples of one kind from what was read, with the account of every line: `input` are the
/// lines, bad ones are dropped by reason.
///
/// With `days` above zero only sessions that began within so many days before the newest one
/// are taken; a session that does not say when it began is.
pub fn from_traces(loaded: Loaded, kind: Kind, days: u64) -> Rows {
    from_traces_and_held_out(loaded, kind, days, &Ledger::default())
}

/// The same, where sessions that earlier runs held out are taken however long ago they began: what
/// is trained on stays recent, while what is judged on grows from day to day.
pub fn from_traces_and_held_out(loaded: Loaded, kind: Kind, days: u64, ledger: &Ledger) -> Rows {
    let name = match kind {
        Kind::Real => "load".to_string(),
        other => format!("load_{}", other.as_str()),
    };
    let newest = loaded.traces.iter().filter_map(|t| t.started_ms).max();
    let since = match (newest, days) {
        (Some(newest), 1..) => {
            newest.saturating_sub(DAY_MS.saturating_mul(days.min(i64::MAX as u64) as i64))
        }
        _ => i64::MIN,
    };
    let mut dropped = loaded.reasons;
    let mut examples = Vec::with_capacity(loaded.traces.len());
    for trace in loaded.traces {
        let old = trace.started_ms.is_some_and(|t| t < since);
        if old && !ledger.holds_out(&format!("{}/{}", trace.source, trace.session)) {
            *dropped.entry("outside_trace_days".into()).or_default() += 1;
        } else {
            examples.push(Example::new(kind, trace));
        }
    }
    number_repeats(&mut examples);
    let examples: Vec<_> = examples.into_iter().map(Arc::new).collect();
    let stage = Stage {
        name,
        source: true,
        input: loaded.lines,
        output: examples.len() as u64,
        dropped,
        ..Stage::default()
    };
    Rows::new(examples, stage).noting(|account| {
        account.inputs = loaded.files;
        account.bad_lines = loaded.bad;
        account.unread = loaded.unread;
    })
}

/// Hand-written counterexamples: every `*.jsonl` in `folder`. A folder that does not exist or
/// holds none gives no rows. `leave` takes out what is forgotten.
pub fn counterexamples(
    folder: &Path,
    project: &Path,
    leave: &dyn Fn(Loaded) -> Result<Loaded>,
    observer: &dyn Observer,
) -> Result<Rows> {
    let path = project.join(folder);
    if !path.exists() {
        return Ok(Rows::default());
    }
    let loaded = trace::load(&[folder.to_path_buf()], project, observer)?;
    if loaded.files.is_empty() {
        return Ok(Rows::default());
    }
    Ok(from_traces(leave(loaded)?, Kind::Counterexample, 0))
}

/// Rows that earlier runs wrote, or raw traces, with the pedigree each row states. A row that
/// names no kind is real.
pub fn from_rows(loaded: Loaded, name: &str) -> Result<Rows> {
    let mut examples = Vec::with_capacity(loaded.traces.len());
    for (trace, pedigree) in loaded.traces.into_iter().zip(loaded.pedigrees) {
        let kind = match &pedigree.kind {
            None => Kind::Real,
            Some(word) => Kind::named(word).with_context(|| trace.origin.to_string())?,
        };
        let mut example = Example::new(kind, trace);
        // A dataset row's id is its own; a raw trace's `id` names the session instead.
        if let (Some(id), Some(_)) = (pedigree.id, pedigree.kind) {
            example.id = id;
        }
        example.derived_from = pedigree.derived_from;
        example.component = pedigree.component;
        examples.push(example);
    }
    number_repeats(&mut examples);
    let stage = Stage {
        name: name.into(),
        source: true,
        input: loaded.lines,
        output: examples.len() as u64,
        dropped: loaded.reasons,
        ..Stage::default()
    };
    let rows = Rows::new(examples.into_iter().map(Arc::new).collect(), stage);
    Ok(rows.noting(|account| {
        account.inputs = loaded.files;
        account.bad_lines = loaded.bad;
        account.unread = loaded.unread;
    }))
}
