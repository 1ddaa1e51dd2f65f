//! Where an agent keeps its sessions: what every reader of such a place has in common.
//!
//! A reader is one file with a [`Reader`] to recognise its places and a [`Store`] that reads them.
//! What a session contains never enters a message about damage: it may still hold secrets.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use rayon::prelude::*;

use super::find::Place;
use super::{BadLine, Trace, opencode};

/// How places of one format are recognised and opened.
pub struct Reader {
    /// Whether a folder as a whole is such a place; nothing below it is looked at then.
    pub folder: fn(&Path) -> bool,
    /// Whether a file is, by its first bytes (64 KiB of them where it has so many) and, if need
    /// be, by what lies in it or beside it.
    pub file: fn(&Path, head: &[u8]) -> bool,
    /// Opens the place for reading only.
    pub open: fn(&Place) -> Result<Box<dyn Store>>,
}

/// One open place: a database, a folder of files or a single file. What is read through it is the
/// state at one moment, also while the agent goes on writing.
pub trait Store {
    /// The sessions that stand here, without their messages. Damage met on the way costs only
    /// itself and goes into `bad`; records that belong to no session go into `records`.
    fn headings(&self, records: &mut Records, bad: &mut Vec<BadLine>) -> Result<Vec<Heading>>;

    /// Reads these sessions in this order and hands over one [`Reading`] for each. At any time
    /// only some of them are in memory.
    fn read(&self, wanted: &[&Heading], each: Each) -> Result<()>;
}

/// Takes over one session; an error ends the reading.
pub type Each<'a> = &'a mut dyn FnMut(Reading) -> Result<()>;

/// A session as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// The agent: `opencode`, `openclaw`, …; what [`Trace::source`] says.
    pub agent: &'static str,
    /// What the agent calls it.
    pub session: String,
    /// Which form of storage it stands in, newer ones higher: where a session stands in several,
    /// the newest is read.
    pub generation: u8,
    /// About how much there is of it, in bytes: of one generation the fuller copy is read.
    pub bytes: u64,
    /// When it last changed, in Unix milliseconds, where known.
    pub updated_ms: Option<i64>,
    /// Why it is left out: `deleted`, `cron`, `heartbeat`, `hook`, `probe`, ….
    pub skip: Option<&'static str>,
    /// What the store needs to find it again: a row's key, a file's number.
    pub key: u64,
}

impl Heading {
    /// The form of storage, as a person calls it.
    pub fn form(&self) -> &'static str {
        match (self.agent, self.generation) {
            ("opencode", generation) => opencode::form(generation),
            ("openclaw", _) => "sessions",
            ("atif", _) => "trajectory",
            _ => "JSONL",
        }
    }
}

/// What came of one session.
pub struct Reading {
    /// The session, or one word for why there is none: `no_message`, `unreadable`.
    pub trace: Result<Trace, &'static str>,
    /// What became of its records.
    pub records: Records,
    /// Damaged records: file, row and what is wrong.
    pub bad: Vec<BadLine>,
}

/// What became of records (rows, lines, parts): `read = used + Σ left`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    /// Records met.
    pub read: u64,
    /// Records that say something in a trace.
    pub used: u64,
    /// Records that say nothing there, by reason: `not_json`, `unknown_type`, `compaction`, ….
    pub left: BTreeMap<&'static str, u64>,
}

impl Records {
    /// A record that says something in a trace.
    pub fn used(&mut self) {
        self.read += 1;
        self.used += 1;
    }

    /// A record that does not.
    pub fn left(&mut self, reason: &'static str) {
        self.read += 1;
        *self.left.entry(reason).or_default() += 1;
    }

    /// Adds another account to this one.
    pub fn add(&mut self, other: Records) {
        self.read += other.read;
        self.used += other.used;
        for (reason, count) in other.left {
            *self.left.entry(reason).or_default() += count;
        }
    }
}

/// Reads sessions side by side, some 64 MB of them at a time, and hands them over in order.
pub fn side_by_side(
    wanted: &[&Heading],
    each: Each,
    read: impl Fn(&Heading) -> Reading + Sync,
) -> Result<()> {
    const HELD: u64 = 64 << 20;
    let mut rest = wanted;
    while !rest.is_empty() {
        let mut held = 0;
        let fits = rest.iter().take_while(|heading| {
            held += heading.bytes;
            held <= HELD
        });
        let (batch, later) = rest.split_at(fits.count().max(1));
        let readings: Vec<Reading> = batch.par_iter().map(|heading| read(heading)).collect();
        readings.into_iter().try_for_each(&mut *each)?;
        rest = later;
    }
    Ok(())
}
