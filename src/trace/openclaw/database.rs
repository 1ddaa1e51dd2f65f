//! The era of databases (from 2026.7.2): `openclaw-agent.sqlite` of each agent.
//!
//! From src/state/openclaw-agent-schema.sql. The first form names sessions in `sessions` and
//! `session_entries`, the second (2026.8) in `session_windows` and `session_nodes`; in both a row
//! of `transcript_events` is a line of pi's format. From 2026.9 on rows of a kilobyte and more
//! are packed with zstd (`event_zstd`), and old transcripts may be packed as a whole. A database
//! without these tables holds credentials only and is no store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::files::{Files, known};
use super::index::{Entry, Facts, Index};
use super::trajectory::Compiled;
use super::{DATABASE, DIALECT, Listing};
use crate::trace::BadLine;
use crate::trace::pi::entry::{Damage, Header};
use crate::trace::pi::file::{self, Part};
use crate::trace::pi::session::{Known, Session};
use crate::trace::pi::{header_of, part_name};
use crate::trace::sqlite;
use crate::trace::store::{Each, Heading, Reading, Records};
use block::{Block, Event};
use packed::Packed;

mod block;
mod packed;

pub(super) fn is_sqlite(path: &Path) -> bool {
    super::head_of(path).is_some_and(|head| sqlite::is_database(&head))
}

/// Whether a database holds sessions; one that cannot be opened is told by its name, so that
/// opening it says why.
pub(super) fn is_store(path: &Path) -> bool {
    is_sqlite(path)
        && match sqlite::open(path, Duration::from_millis(100)) {
            Ok(connection) => Tables::of(&connection).is_ok_and(|tables| tables.hold_sessions()),
            Err(_) => path.file_name().is_some_and(|name| name == DATABASE),
        }
}

/// The columns of the tables that are read.
struct Tables(BTreeMap<&'static str, BTreeSet<String>>);

const TABLES: &[&str] = &[
    "sessions",
    "session_entries",
    "session_windows",
    "session_nodes",
    "transcript_events",
    "session_transcript_archives",
    "session_transcript_cold_archives",
    "trajectory_runtime_events",
];

impl Tables {
    fn of(connection: &Connection) -> rusqlite::Result<Tables> {
        let columns = |table: &&'static str| Ok((*table, sqlite::columns(connection, table)?));
        Ok(Tables(TABLES.iter().map(columns).collect::<rusqlite::Result<_>>()?))
    }

    fn has(&self, table: &str, column: &str) -> bool {
        self.0.get(table).is_some_and(|columns| columns.contains(column))
    }

    fn hold_sessions(&self) -> bool {
        self.has("transcript_events", "session_id")
            && (self.has("sessions", "session_key") || self.has("session_windows", "session_key"))
    }

    fn columns(&self, table: &str, columns: &[&str]) -> String {
        self.0.get(table).map(|present| sqlite::select(present, columns)).unwrap_or_default()
    }

    /// `SELECT` these columns of a table, NULL for those it has not; none where the first is
    /// missing.
    fn select(&self, table: &str, columns: &[&str]) -> Option<String> {
        let present = self.has(table, columns[0]);
        present.then(|| format!("SELECT {} FROM {table}", self.columns(table, columns)))
    }
}

/// Where a session stands in a database.
#[derive(Debug, Clone, Copy)]
pub(super) enum At {
    Rows(usize, usize),
    Packed(usize, usize),
}

pub(super) struct Database {
    connection: Connection,
    tables: Tables,
    /// What numbers the rows.
    row: &'static str,
    shown: String,
    pub index: Index,
    live: Vec<Live>,
    packed: Vec<Packed>,
    /// The folder of the agent's files, for sidecars.
    beside: Option<Files>,
    cold: Option<PathBuf>,
}

/// A session in rows.
struct Live {
    session: String,
    /// Rows after `from` up to `to` in the order of `seq`.
    parts: Vec<Stretch>,
}

#[derive(Clone, Copy)]
struct Stretch {
    from: i64,
    to: i64,
    bytes: u64,
}

impl Database {
    pub fn open(
        path: &Path,
        shown: String,
        sessions: Option<&Path>,
        listing: &mut Listing,
    ) -> Result<Database> {
        let connection = sqlite::open(path, Duration::from_secs(1))?;
        let tables = Tables::of(&connection)?;
        if !tables.hold_sessions() {
            bail!("{}: no sessions of OpenClaw", path.display());
        }
        // Only sidecars are looked for there; the sessions are listed by whoever wants them.
        let nothing = Some("");
        let beside = sessions.filter(|folder| folder.is_dir()).and_then(|folder| {
            let ignored = &mut Listing::default();
            Files::open(folder, String::new(), nothing, Index::default(), ignored).ok()
        });
        let numbered = connection.prepare("SELECT rowid FROM transcript_events").is_ok();
        let mut database = Database {
            connection,
            tables,
            row: if numbered { "rowid" } else { "seq + 1" },
            shown,
            index: Index::default(),
            live: Vec::new(),
            packed: Vec::new(),
            beside,
            cold: sessions.map(|folder| folder.join("cold")),
        };
        let cannot = || format!("cannot read {}", path.display());
        database.read_index(listing).with_context(cannot)?;
        database.list_rows().with_context(cannot)?;
        database.list_packed(listing).with_context(cannot)?;
        Ok(database)
    }

    /// What the tables of sessions say, newer tables over older ones.
    fn read_index(&mut self, listing: &mut Listing) -> rusqlite::Result<()> {
        let columns = [
            "session_id",
            "session_key",
            "started_at",
            "updated_at",
            "status",
            "spawned_by",
            "parent_session_key",
            "created_at",
        ];
        for table in ["sessions", "session_windows"] {
            let Some(select) = self.tables.select(table, &columns) else { continue };
            let mut statement = self.connection.prepare(&select)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let facts = Facts {
                    key: text(row, 1).unwrap_or_default(),
                    started_ms: number(row, 2).or(number(row, 7)),
                    updated_ms: number(row, 3),
                    status: text(row, 4),
                    spawned_by: text(row, 5).or(text(row, 6)),
                    ..Facts::default()
                };
                self.index.0.insert(text(row, 0).unwrap_or_default(), facts);
            }
        }
        let columns = ["session_key", "entry_json", "created_via", "status"];
        for table in ["session_entries", "session_nodes"] {
            let Some(select) = self.tables.select(table, &columns) else { continue };
            let mut statement = self.connection.prepare(&select)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let key = text(row, 0).unwrap_or_default();
                let entry =
                    bytes(row, 1).and_then(|json| serde_json::from_slice::<Entry>(json).ok());
                let Some(entry) = entry else {
                    listing.records.left("not_json");
                    listing
                        .bad(self.shown.clone(), format!("{table}: an entry is not a session's"));
                    continue;
                };
                let (session, more) = entry.facts(&key);
                let facts = self.index.0.entry(session).or_insert_with(|| more.clone());
                facts.aborted |= more.aborted;
                facts.created_via = text(row, 2).or(more.created_via);
                facts.spawned_by = facts.spawned_by.take().or(more.spawned_by);
                facts.status = facts.status.take().or(text(row, 3)).or(more.status);
            }
        }
        Ok(())
    }

    /// The sessions that have rows. Lengths are counted without reading what is long.
    fn list_rows(&mut self) -> rusqlite::Result<()> {
        let packed = self.tables.has("transcript_events", "event_utf8_bytes");
        let length = match packed {
            true => "coalesce(event_utf8_bytes, octet_length(event_json), 0)",
            false => "coalesce(octet_length(event_json), 0)",
        };
        let mut resets: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        let mut statement = self.connection.prepare(
            "SELECT session_id, seq, event_json FROM transcript_events \
             WHERE octet_length(event_json) < 65536 AND instr(event_json, '\"reset\"') \
             ORDER BY session_id, seq",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if bytes(row, 2).is_some_and(file::resets) {
                resets.entry(text(row, 0).unwrap_or_default()).or_default().push(row.get(1)?);
            }
        }
        let mut totals = self.connection.prepare(&format!(
            "SELECT session_id, min(seq), max(seq), sum({length} + 1) FROM transcript_events \
             GROUP BY session_id ORDER BY session_id"
        ))?;
        let mut stretch = self.connection.prepare(&format!(
            "SELECT coalesce(sum({length} + 1), 0) FROM transcript_events \
             WHERE session_id = ?1 AND seq > ?2 AND seq <= ?3"
        ))?;
        let mut rows = totals.query([])?;
        while let Some(row) = rows.next()? {
            let session = text(row, 0).unwrap_or_default();
            let (first, last): (i64, i64) = (row.get(1)?, row.get(2)?);
            let mut from = first.saturating_sub(1);
            let mut parts = Vec::new();
            let ends = resets.remove(&session).unwrap_or_default();
            let cuts: Vec<i64> = ends.into_iter().filter(|seq| *seq < last).collect();
            for to in cuts.iter().copied().chain([last]) {
                let bytes: i64 = match cuts.is_empty() {
                    true => row.get(3)?,
                    false => stretch.query_row((&session, from, to), |row| row.get(0))?,
                };
                parts.push(Stretch { from, to, bytes: bytes.max(0) as u64 });
                from = to;
            }
            self.live.push(Live { session, parts });
        }
        Ok(())
    }

    pub fn headings(&self) -> Vec<(Heading, At)> {
        let heading = |session: &str, n: usize, bytes: u64, deleted: bool| {
            let facts = self.index.0.get(session).cloned().unwrap_or_default();
            Heading {
                agent: DIALECT.agent,
                session: part_name(session, n),
                generation: super::GENERATION,
                bytes,
                updated_ms: facts.updated_ms,
                skip: deleted.then_some("deleted").or(facts.skip(session)),
                key: 0,
            }
        };
        let mut all = Vec::new();
        for (i, live) in self.live.iter().enumerate() {
            let parts = live.parts.iter().enumerate();
            all.extend(
                parts.map(|(n, part)| {
                    (heading(&live.session, n, part.bytes, false), At::Rows(i, n))
                }),
            );
        }
        for (i, packed) in self.packed.iter().enumerate() {
            let parts = packed.listed.parts.iter().enumerate();
            all.extend(parts.map(|(n, part)| {
                let bytes = if packed.deleted { 0 } else { part.bytes };
                (heading(&packed.session, n, bytes, packed.deleted), At::Packed(i, n))
            }));
        }
        all
    }

    /// Reads sessions in this order; their rows are parsed some megabytes at a time.
    pub fn read(&self, wanted: &[(&Heading, At)], each: Each) -> Result<()> {
        let mut block = Block::default();
        for (heading, at) in wanted {
            match *at {
                At::Packed(item, n) => {
                    block.hand_over(true, each)?;
                    each(self.read_packed(heading, &self.packed[item], n))?;
                }
                At::Rows(item, n) => {
                    self.read_rows(heading, &self.live[item], n, &mut block);
                    block.hand_over(false, each)?;
                }
            }
        }
        block.hand_over(true, each)
    }

    fn read_packed(&self, heading: &Heading, packed: &Packed, n: usize) -> Reading {
        let mut session = Session::new(&format!("{}/{}", self.shown, packed.name));
        let part = packed.listed.parts[n];
        let last = n + 1 == packed.listed.parts.len();
        let header = header_of(packed.listed.header.as_ref(), part);
        let known = self.known(heading, &packed.session, header, (n, last), &mut session);
        match self.unpack(packed) {
            Ok(text) => file::read(&file::held(text), part, session, known, &DIALECT),
            Err(_) => {
                let (records, bad) = (session.records, session.bad);
                Reading { trace: Err("unreadable"), records, bad }
            }
        }
    }

    fn read_rows(&self, heading: &Heading, live: &Live, n: usize, block: &mut Block) {
        let part = live.parts[n];
        let mut session = Session::new(&self.shown);
        let header = self.header(&live.session);
        let header = header_of(header.as_ref(), Part { row: n as u64, ..Part::default() });
        let place = (n, n + 1 == live.parts.len());
        let known = self.known(heading, &live.session, header, place, &mut session);
        block.begin(session, known);
        let columns = self.tables.columns("transcript_events", &["event_json", "event_zstd"]);
        let select = format!(
            "SELECT {}, seq, {columns} FROM transcript_events \
             WHERE session_id = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq",
            self.row
        );
        let mut last = 0;
        let mut rows = || -> rusqlite::Result<()> {
            let mut statement = self.connection.prepare_cached(&select)?;
            let mut rows = statement.query((&live.session, part.from, part.to))?;
            while let Some(row) = rows.next()? {
                last = number(row, 0).unwrap_or(last + 1);
                let event = match (bytes(row, 2), bytes(row, 3)) {
                    (Some(json), _) => Event::Plain(json.to_vec()),
                    (None, Some(zstd)) => Event::Packed(zstd.to_vec()),
                    (None, None) => Event::Empty,
                };
                block.add(last as u64, number(row, 1).unwrap_or_default(), event);
            }
            Ok(())
        };
        if let Err(e) = rows() {
            let problem = format!("transcript_events: cannot read on: {e}");
            block.fail(last as u64 + 1, Damage { reason: "unreadable", problem });
        }
    }

    /// What is known of a session beside its rows: its n-th part, which may be the last.
    fn known(
        &self,
        heading: &Heading,
        id: &str,
        mut header: Header,
        (n, last): (usize, bool),
        session: &mut Session,
    ) -> Known {
        let facts = self.index.0.get(id).cloned().unwrap_or_default();
        if n == 0 {
            header.time_ms = header.time_ms.or(facts.started_ms);
        }
        let (mut records, mut bad) = (Records::default(), Vec::new());
        let mut compiled = self.compiled(id, &mut records, &mut bad);
        if let Some(files) = self.beside.as_ref().filter(|_| records.read == 0) {
            compiled = files.compiled(id, &mut records, &mut bad);
        }
        if n == 0 {
            session.records.add(records);
            session.bad.append(&mut bad);
        }
        compiled.complete(known(heading, header, &facts, &self.index, last))
    }

    fn header(&self, session: &str) -> Option<Header> {
        let first = "SELECT event_json FROM transcript_events WHERE session_id = ?1 \
                     ORDER BY seq LIMIT 1";
        let mut statement = self.connection.prepare_cached(first).ok()?;
        let json: String = statement.query_row([session], |row| row.get(0)).ok()?;
        file::header(json.as_bytes())
    }

    /// What the trajectory's rows say. Without them a session is the same, but for its system
    /// prompt and tools, so that a row that cannot be read ends the search and nothing else.
    fn compiled(&self, session: &str, records: &mut Records, bad: &mut Vec<BadLine>) -> Compiled {
        let mut compiled = Compiled::default();
        if !self.tables.has("trajectory_runtime_events", "event_json") {
            return compiled;
        }
        let mut read = || -> rusqlite::Result<()> {
            let mut statement = self.connection.prepare_cached(
                "SELECT seq, event_json FROM trajectory_runtime_events \
                 WHERE session_id = ?1 ORDER BY seq",
            )?;
            let mut rows = statement.query([session])?;
            while let Some(row) = rows.next()? {
                let line = number(row, 0).unwrap_or_default() as u64;
                if !compiled.add(line, bytes(row, 1).unwrap_or_default(), records) {
                    records.left("not_json");
                    let problem = "trajectory_runtime_events: not a trajectory event".into();
                    bad.push(BadLine { file: self.shown.clone(), line, problem });
                }
            }
            Ok(())
        };
        let _ended_early = read().is_err();
        compiled
    }
}

fn text(row: &Row, column: usize) -> Option<String> {
    bytes(row, column).map(|text| String::from_utf8_lossy(text).into_owned())
}

fn bytes<'a>(row: &'a Row, column: usize) -> Option<&'a [u8]> {
    match row.get_ref(column).ok()? {
        ValueRef::Text(text) | ValueRef::Blob(text) => Some(text),
        _ => None,
    }
}

fn number(row: &Row, column: usize) -> Option<i64> {
    match row.get_ref(column).ok()? {
        ValueRef::Integer(number) => Some(number),
        ValueRef::Real(number) => Some(number as i64),
        _ => None,
    }
}
