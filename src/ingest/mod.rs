//! The agents' sessions as files of canonical traces, redacted: what a daily job takes in.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rayon::prelude::*;
use serde::Serialize;

use crate::files;
use crate::progress::Observer;
use crate::redact::Redactor;
use crate::trace::store::Heading;
use crate::trace::{Loaded, Trace, chosen};

pub mod forgotten;
mod ignored;
mod ledger;
mod span;

pub use forgotten::Forgotten;
pub use ignored::refuse_tracked;
pub use ledger::Ledger;
pub use span::moment;

/// Which sessions are taken.
#[derive(Default)]
pub struct Wanted {
    /// Those that changed at this time or later, in Unix milliseconds.
    pub since: Option<i64>,
    /// Those that began before this time.
    pub until: Option<i64>,
    /// Only sessions that are new since then, or have grown.
    pub known: Option<Ledger>,
    /// Sessions that nobody takes any more, and what redacts those that are known by their text.
    pub forgotten: Option<(Forgotten, Redactor)>,
}

impl Wanted {
    /// Why a session is left out as it is listed.
    fn leaves(&self, heading: &Heading) -> Option<&'static str> {
        let changed = heading.updated_ms?;
        (changed < self.since?).then_some("before_since")
    }

    /// Why a session is left out now that it was read.
    fn refuses(&self, trace: &Trace) -> Result<Option<&'static str>> {
        if let Some((forgotten, redactor)) = &self.forgotten
            && forgotten.holds(trace, redactor)?
        {
            return Ok(Some(forgotten::REASON));
        }
        let (began, ended) =
            (trace.started_ms.or(trace.ended_ms), trace.ended_ms.or(trace.started_ms));
        if ended.zip(self.since).is_some_and(|(ended, since)| ended < since) {
            return Ok(Some("before_since"));
        }
        if began.zip(self.until).is_some_and(|(began, until)| began >= until) {
            return Ok(Some("after_until"));
        }
        let known = self.known.as_ref().is_some_and(|ledger| ledger.has(trace));
        Ok(known.then_some("known"))
    }
}

/// What became of the sessions.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Sessions written.
    pub written: u64,
    /// Of them, sessions in which something was redacted.
    pub redacted: u64,
    /// Sessions that were not written, by reason.
    pub left: BTreeMap<String, u64>,
    /// What was met on the way.
    #[serde(skip)]
    pub loaded: Loaded,
}

/// How many bytes of traces are redacted side by side.
const HELD: usize = 32 << 20;

/// Writes the wanted sessions to a new file, one canonical trace a line, in a fixed order and for
/// the owner's eyes only; without a redactor as they are. Where none is wanted no file is made.
/// `ledger` learns what was written.
pub fn ingest(
    paths: &[PathBuf],
    project: &Path,
    wanted: &Wanted,
    redactor: Option<&Redactor>,
    out: &Path,
    ledger: &mut Ledger,
    observer: &dyn Observer,
) -> Result<Report> {
    let mut left: BTreeMap<String, u64> = BTreeMap::new();
    let (mut written, mut redacted) = (0, 0);
    let mut loaded = None;
    let mut taken = Vec::new();
    files::write_atomically_if(out, |file| {
        let (mut held, mut bytes) = (Vec::new(), 0);
        let mut flush = |held: &mut Vec<Trace>| -> Result<()> {
            let lines: Result<Vec<_>> =
                held.par_iter().map(|trace| line(trace, redactor)).collect();
            for (trace, line) in held.drain(..).zip(lines?) {
                match line {
                    Some((line, changed)) => {
                        file.write_all(line.as_bytes())?;
                        written += 1;
                        redacted += u64::from(changed);
                        taken.push(ledger::Entry::of(&trace));
                    }
                    None => *left.entry("redacted_share".into()).or_default() += 1,
                }
            }
            Ok(())
        };
        let mut refused: BTreeMap<String, u64> = BTreeMap::new();
        let read = chosen(paths, project, &|h| wanted.leaves(h), observer, &mut |trace| {
            if let Some(reason) = wanted.refuses(&trace)? {
                *refused.entry(reason.into()).or_default() += 1;
                return Ok(());
            }
            bytes += size(&trace);
            held.push(trace);
            if bytes >= HELD {
                bytes = 0;
                flush(&mut held)?;
            }
            Ok(())
        })?;
        flush(&mut held)?;
        for (reason, count) in refused.into_iter().chain(read.reasons.clone()) {
            *left.entry(reason).or_default() += count;
        }
        loaded = Some(read);
        Ok(written > 0)
    })?;
    taken.into_iter().for_each(|entry| ledger.learn(entry));
    let loaded = loaded.context("nothing was read")?;
    Ok(Report { written, redacted, left, loaded })
}

fn size(trace: &Trace) -> usize {
    trace.messages.iter().map(|m| m.content.len() + 256).sum()
}

/// A trace as a line, and whether redaction changed it; none where it lost too much of its text.
fn line(trace: &Trace, redactor: Option<&Redactor>) -> Result<Option<(String, bool)>> {
    let Some(redactor) = redactor else {
        return Ok(Some((serde_json::to_string(trace)? + "\n", false)));
    };
    let place = || format!("{} (session {})", trace.origin, trace.session);
    let mut redacted = redactor.session(&[trace]).with_context(place)?;
    let redacted = redacted.pop().with_context(place)?;
    if redactor.too_much(&redacted) {
        return Ok(None);
    }
    let changed = redacted.trace != *trace;
    let mut clean = redacted.trace;
    if changed && ledger::named_by_content(trace) {
        // A digest of the text as it was could be searched for what was taken out.
        clean.session.clear();
    }
    Ok(Some((serde_json::to_string(&clean)? + "\n", changed)))
}

#[cfg(test)]
mod tests;
