//! Which sessions were written before, so that a daily job takes nothing twice.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::files;
use crate::trace::Trace;

/// How far a session had got when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Reached {
    messages: u64,
    ended_ms: Option<i64>,
}

/// A session that was written.
pub(super) struct Entry(Option<(String, Reached)>);

/// The sessions written so far. It holds their ids and nothing they say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    sessions: BTreeMap<String, Reached>,
}

/// Whether the session's id is a digest of its text.
pub(super) fn named_by_content(trace: &Trace) -> bool {
    trace.session.starts_with("raw-")
}

fn key(trace: &Trace) -> Option<String> {
    (!named_by_content(trace)).then(|| format!("{}/{}", trace.source, trace.session))
}

impl Reached {
    fn of(trace: &Trace) -> Self {
        Reached { messages: trace.messages.len() as u64, ended_ms: trace.ended_ms }
    }
}

impl Entry {
    pub fn of(trace: &Trace) -> Self {
        Entry(key(trace).map(|key| (key, Reached::of(trace))))
    }
}

impl Ledger {
    /// The ledger in a file; empty where there is none yet.
    pub fn read(path: &Path) -> Result<Ledger> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Ledger::default()),
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
        };
        serde_json::from_slice(&bytes).with_context(|| {
            format!(
                "{}: not a list of ingested sessions; move it away to take every session again",
                path.display()
            )
        })
    }

    /// Writes it, for the owner only.
    pub fn write(&self, path: &Path) -> Result<()> {
        files::write_json(path, self)
    }

    /// Whether a session was written and has not grown since.
    pub fn has(&self, trace: &Trace) -> bool {
        let known = key(trace).and_then(|key| self.sessions.get(&key).copied());
        let now = Reached::of(trace);
        known.is_some_and(|then| then.messages >= now.messages && then.ended_ms >= now.ended_ms)
    }

    pub(super) fn learn(&mut self, entry: Entry) {
        self.sessions.extend(entry.0);
    }
}
