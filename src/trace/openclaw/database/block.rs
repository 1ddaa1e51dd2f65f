//! Rows on their way from one connection to many threads.

use std::io::{self, Read};

use anyhow::Result;
use rayon::prelude::*;

use super::super::DIALECT;
use crate::trace::lines::MAX_LINE;
use crate::trace::pi::entry::{Damage, parse};
use crate::trace::pi::session::{Known, Session};
use crate::trace::store::{Each, Reading};

/// How much of the rows is held before it is parsed, in bytes.
const MOST: usize = 16 << 20;

/// An event as its row has it.
pub(super) enum Event {
    Plain(Vec<u8>),
    /// Packed with zstd.
    Packed(Vec<u8>),
    Empty,
}

struct Waiting {
    session: usize,
    row: u64,
    seq: i64,
    event: Event,
}

/// Sessions whose rows are read, and the rows that are not parsed yet.
#[derive(Default)]
pub(super) struct Block {
    sessions: Vec<(Session, Known)>,
    waiting: Vec<Waiting>,
    /// Bytes that wait, and bytes of all that is held.
    bytes: usize,
    held: usize,
}

impl Block {
    /// The rows that come now belong to this session.
    pub fn begin(&mut self, session: Session, known: Known) {
        self.sessions.push((session, known));
    }

    pub fn add(&mut self, row: u64, seq: i64, event: Event) {
        let length = match &event {
            Event::Plain(text) => text.len(),
            // As much as it may become.
            Event::Packed(text) => 4 * text.len(),
            Event::Empty => 0,
        };
        let session = self.sessions.len().saturating_sub(1);
        self.waiting.push(Waiting { session, row, seq, event });
        self.bytes += length;
        self.held += length;
        if self.bytes >= MOST {
            self.parse();
        }
    }

    /// What is wrong with the session's next row, and all after it.
    pub fn fail(&mut self, row: u64, damage: Damage) {
        self.parse();
        if let Some((session, _)) = self.sessions.last_mut() {
            session.add(row, Err(damage));
        }
    }

    fn parse(&mut self) {
        self.bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        let parsed: Vec<_> = waiting
            .into_par_iter()
            .map(|Waiting { session, row, seq, event }| {
                let entry = event.text().and_then(|text| parse(&text, row, &DIALECT));
                let told = |damage: Damage| Damage {
                    problem: format!("event {seq}: {}", damage.problem),
                    ..damage
                };
                (session, row, entry.map_err(told))
            })
            .collect();
        for (session, row, entry) in parsed {
            self.sessions[session].0.add(row, entry);
        }
    }

    /// Hands over the sessions once there is enough of them; all of them at the `end`.
    pub fn hand_over(&mut self, end: bool, each: Each) -> Result<()> {
        if !end && self.held < MOST {
            return Ok(());
        }
        self.parse();
        self.held = 0;
        let sessions = std::mem::take(&mut self.sessions);
        let finish = |(session, known): (Session, Known)| session.finish(known, &DIALECT);
        let readings: Vec<Reading> = sessions.into_par_iter().map(finish).collect();
        readings.into_iter().try_for_each(each)
    }
}

impl Event {
    fn text(self) -> Result<Vec<u8>, Damage> {
        match self {
            Event::Plain(text) => Ok(text),
            Event::Packed(packed) => unpack(&packed, MAX_LINE as u64).map_err(|problem| Damage {
                reason: "not_zstd",
                problem: format!("cannot be unpacked: {problem}"),
            }),
            Event::Empty => Err(Damage { reason: "empty", problem: "the event is empty".into() }),
        }
    }
}

/// Unpacks what zstd packed, up to a length.
pub(super) fn unpack(packed: &[u8], most: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    zstd::Decoder::with_buffer(packed)?.take(most + 1).read_to_end(&mut text)?;
    match text.len() as u64 > most {
        true => Err(io::Error::other(format!("longer than {} MiB", most >> 20))),
        false => Ok(text),
    }
}
