//! Sessions of the pi coding agent, and the line format that OpenClaw took over from it.
//!
//! From badlogic/pi-mono, packages/coding-agent/src/core/session-manager.ts and docs/session.md.
//! A file is a tree of lines: a header, then entries that name their parent. Version 1 (2025) was
//! linear, version 2 brought the tree, version 3 renamed a role, version 4 (OpenClaw) changed
//! nothing a reader of messages sees. What is read is the branch that was active last, in full:
//! a compaction's summary is left out, since what it summarises still stands there. A `reset`
//! line ends a session and begins the next one in the same file.

use std::path::Path;

use anyhow::{Context, Result};

use super::BadLine;
use super::find::Place;
use super::store::{Each, Heading, Reader, Records, Store, side_by_side};
use entry::{Dialect, Header};
use file::{Listed, Part};
use session::{Known, Session};

pub(super) mod entry;
pub(super) mod file;
mod line;
pub(super) mod session;
mod tree;

/// Single files; pi keeps one for each session in a folder for each working directory.
pub(super) const READER: Reader = Reader {
    folder: |_| false,
    file: |_, head| file::header(head).is_some(),
    open: |place| Ok(Box::new(Single::open(place)?)),
};

const PI: Dialect = Dialect { agent: "pi", own_words: Some };

struct Single {
    place: Place,
    listed: Listed,
    updated_ms: Option<i64>,
}

impl Single {
    fn open(place: &Place) -> Result<Single> {
        let listed = file::list(&file::open(&place.path))
            .with_context(|| format!("cannot read {}", place.path.display()))?;
        Ok(Single { place: place.clone(), listed, updated_ms: changed_ms(&place.path) })
    }
}

impl Store for Single {
    fn headings(&self, _: &mut Records, _: &mut Vec<BadLine>) -> Result<Vec<Heading>> {
        let id = self.listed.header.as_ref().and_then(|h| h.session.as_deref());
        let headings = self.listed.parts.iter().enumerate().map(|(n, part)| Heading {
            agent: PI.agent,
            session: part_name(id.unwrap_or_default(), n),
            generation: 1,
            bytes: part.bytes,
            updated_ms: self.updated_ms,
            skip: None,
            key: n as u64,
        });
        Ok(headings.collect())
    }

    fn read(&self, wanted: &[&Heading], each: Each) -> Result<()> {
        side_by_side(wanted, each, |heading| {
            let part = self.listed.parts.get(heading.key as usize).copied().unwrap_or_default();
            let header = header_of(self.listed.header.as_ref(), part);
            let known = Known { session: heading.session.clone(), header, ..Known::default() };
            let session = Session::new(&self.place.shown);
            file::read(&file::open(&self.place.path), part, session, known, &PI)
        })
    }
}

/// The name of the n-th session in a file: the first has the file's own.
pub(super) fn part_name(session: &str, n: usize) -> String {
    if n == 0 { session.to_string() } else { format!("{session}#{}", n + 1) }
}

/// What a file's header says of one of its parts; only the first began when the file did.
pub(super) fn header_of(header: Option<&Header>, part: Part) -> Header {
    let mut header = header.cloned().unwrap_or_default();
    header.time_ms = header.time_ms.filter(|_| part.row == 0);
    header
}

/// When a file last changed, in Unix milliseconds.
pub(super) fn changed_ms(path: &Path) -> Option<i64> {
    let time = path.metadata().ok()?.modified().ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}
