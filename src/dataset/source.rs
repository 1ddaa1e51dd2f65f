//! From what was read to examples: kinds, the time window, files of our own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use rayon::prelude::*;

use super::example::number_repeats;
use super::ledger::Ledger;
use super::{Example, Held, Kind, Pager, Rows, Stage};
use crate::files;
use crate::progress::Observer;
use crate::trace::{self, Loaded, Trace};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Which sessions are taken.
///
/// With `days` above zero only those that began within so many days before the newest one, and
/// those that do not say when they began. Sessions that earlier runs held out are taken however
/// long ago they began: what is trained on stays recent, while what is judged on grows from day to
/// day.
#[derive(Debug, Clone, Default)]
pub struct Recent {
    /// How many days; 0 takes all.
    pub days: u64,
    /// Says what was held out.
    pub or_held_out: Ledger,
}

/// Traces that are taken in together.
const TOGETHER: usize = 64;

/// Examples of one kind from what the paths name, paged out as they are read, with the account of
/// every line: `input` are the lines, bad ones are dropped by reason. `leave` sees every trace and
/// gives a reason to leave it out.
pub fn read(
    paths: &[PathBuf],
    project: &Path,
    kind: Kind,
    recent: &Recent,
    pager: &Arc<Pager>,
    observer: &dyn Observer,
    leave: &mut dyn FnMut(&Trace) -> Result<Option<&'static str>>,
) -> Result<Rows> {
    let mut rows = Vec::new();
    let mut batch = Vec::new();
    let mut left: BTreeMap<String, u64> = BTreeMap::new();
    let hold = |batch: &mut Vec<Trace>, rows: &mut Vec<Held>| -> Result<()> {
        let held: Vec<Result<Held>> =
            batch.par_drain(..).map(|trace| pager.hold(Example::new(kind, trace))).collect();
        for row in held {
            rows.push(row?);
        }
        Ok(())
    };
    let loaded = trace::each(paths, project, observer, &mut |trace| {
        if let Some(reason) = leave(&trace)? {
            *left.entry(reason.to_string()).or_default() += 1;
            return Ok(());
        }
        batch.push(trace);
        if batch.len() == TOGETHER { hold(&mut batch, &mut rows) } else { Ok(()) }
    })?;
    hold(&mut batch, &mut rows)?;
    let mut loaded = loaded.refuse(rows.is_empty() && left.is_empty())?;
    loaded.reasons.extend(left);
    in_order(&mut rows)?;
    Ok(sourced(loaded, kind, recent, rows).paged(pager))
}

/// Examples of one kind from what was read; see [`read`].
pub fn from_traces(mut loaded: Loaded, kind: Kind, recent: &Recent) -> Rows {
    let traces = std::mem::take(&mut loaded.traces);
    let rows = traces.into_iter().map(|trace| Example::new(kind, trace).into()).collect();
    sourced(loaded, kind, recent, rows)
}

/// Orders rows by session and origin, whatever the order of the files. Where two files of one name
/// hold the same session, content decides.
fn in_order(rows: &mut [Held]) -> Result<()> {
    rows.par_sort_by(|a, b| (&a.session, &a.origin, &a.id).cmp(&(&b.session, &b.origin, &b.id)));
    for same in
        rows.chunk_by_mut(|a, b| (&a.session, &a.origin, &a.id) == (&b.session, &b.origin, &b.id))
    {
        if same.len() > 1 {
            let content = |row: &Held| -> Result<String> {
                Ok(files::digest(&serde_json::to_vec(&row.read()?.trace)?))
            };
            let digests = same.iter().map(content).collect::<Result<Vec<_>>>()?;
            let mut order: Vec<_> = digests.into_iter().zip(same.iter().cloned()).collect();
            order.sort_by(|a, b| a.0.cmp(&b.0));
            for (place, (_, row)) in same.iter_mut().zip(order) {
                *place = row;
            }
        }
    }
    Ok(())
}

fn sourced(loaded: Loaded, kind: Kind, recent: &Recent, mut rows: Vec<Held>) -> Rows {
    let name = match kind {
        Kind::Real => "load".to_string(),
        other => format!("load_{}", other.as_str()),
    };
    let newest = rows.iter().filter_map(|row| row.started_ms).max();
    let since = match (newest, recent.days) {
        (Some(newest), days @ 1..) => {
            newest.saturating_sub(DAY_MS.saturating_mul(days.min(i64::MAX as u64) as i64))
        }
        _ => i64::MIN,
    };
    let mut dropped = loaded.reasons;
    let all = rows.len();
    rows.retain(|row| {
        row.started_ms.is_none_or(|began| began >= since)
            || recent.or_held_out.holds_out(&row.session_key())
    });
    if rows.len() < all {
        let outside = (all - rows.len()) as u64;
        *dropped.entry("outside_trace_days".into()).or_default() += outside;
    }
    number_repeats(&mut rows);
    let stage = Stage {
        name,
        source: true,
        input: loaded.lines,
        output: rows.len() as u64,
        dropped,
        ..Stage::default()
    };
    Rows::new(rows, stage).noting(|account| {
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
    let mut loaded = leave(loaded)?;
    let pedigrees = std::mem::take(&mut loaded.pedigrees);
    let mut rows = from_traces(loaded, Kind::Counterexample, &Recent::default());
    // All are taken, so each row has its pedigree. What one corrects is its family: several about
    // one session are not each other's copies.
    let named = rows.examples.iter().zip(pedigrees);
    let named = named.map(|(row, pedigree)| row.known_as(None, pedigree.derived_from, None));
    rows.examples = Arc::new(named.collect());
    Ok(rows)
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
        examples.push(Held::from(example));
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
    let rows = Rows::new(examples, stage);
    Ok(rows.noting(|account| {
        account.inputs = loaded.files;
        account.bad_lines = loaded.bad;
        account.unread = loaded.unread;
    }))
}
