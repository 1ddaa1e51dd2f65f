//! OpenCode's database, of version 1, 2 or both (`session.sql.ts`).
//!
//! The rows of a session are found by their row ids, which one pass over the tables collects (an
//! index answers it where there is one): an index that a fork lacks or a crash has damaged costs
//! speed and no session.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Statement};

use super::{RECORD, RevertInfo, Session, Stored, generation, v1, v2};
use crate::trace::BadLine;
use crate::trace::find::Place;
use crate::trace::sqlite;
use crate::trace::store::{Each, Heading, Reader, Reading, Records, Store};

pub(in crate::trace) const READER: Reader = Reader { folder: |_| false, file: recognise, open };

/// How long a locked database is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// How much is read before it is parsed together, in bytes.
const BATCH: usize = 16 << 20;

/// The columns a table must have to be OpenCode's.
const V1: [(&str, &[&str]); 3] = [
    ("session", &["id"]),
    ("message", &["id", "session_id", "data"]),
    ("part", &["id", "message_id", "session_id", "data"]),
];
const V2: [(&str, &[&str]); 2] =
    [("session_v2", &["id"]), ("session_message", &["id", "session_id", "type", "seq", "data"])];

fn holds(connection: &Connection, tables: &[(&str, &[&str])]) -> rusqlite::Result<bool> {
    for (table, needed) in tables {
        let columns = sqlite::columns(connection, table)?;
        if !needed.iter().all(|column| columns.contains(*column)) {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn recognise(path: &Path, head: &[u8]) -> bool {
    if !sqlite::is_database(head) {
        return false;
    }
    let seen = sqlite::open(path, Duration::ZERO)
        .and_then(|connection| Ok(holds(&connection, &V1)? || holds(&connection, &V2)?));
    // A database that is locked or damaged is to be reported, not to be overlooked: its first
    // pages say whose it is.
    seen.unwrap_or_else(|_| {
        let says = |word: &str| head.windows(word.len()).any(|part| part == word.as_bytes());
        says("session_message") || (says("message_id") && says("session_id") && says("part"))
    })
}

pub(super) fn open(place: &Place) -> Result<Box<dyn Store>> {
    let connection = sqlite::open(&place.path, PATIENCE)?;
    Ok(Box::new(Database { connection, file: place.shown.clone(), entries: OnceCell::new() }))
}

struct Database {
    connection: Connection,
    file: String,
    /// The sessions, in the order of their headings' keys.
    entries: OnceCell<Vec<Entry>>,
}

/// Which tables a session stands in.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    V1,
    V2,
}

/// A session and where its rows are.
struct Entry {
    form: Form,
    session: Session,
    messages: Vec<Range<i64>>,
    parts: Vec<Range<i64>>,
}

/// Row ids by session, as ranges in which no other session's row lies.
type Rows = HashMap<String, Vec<Range<i64>>>;

fn count(rows: &[Range<i64>]) -> u64 {
    rows.iter().map(|range| range.end.abs_diff(range.start)).sum()
}

impl Database {
    /// The row ids of a table by session. What cannot be read is reported and left.
    fn rows(&self, table: &'static str, bad: &mut Vec<BadLine>) -> Result<Rows> {
        let mut rows = Rows::new();
        let mut statement =
            self.connection.prepare(&format!("SELECT session_id, rowid FROM \"{table}\""))?;
        let mut found = statement.query([])?;
        let mut last = 0;
        // One session's rows mostly follow each other.
        let mut current = (String::new(), Vec::<Range<i64>>::new());
        loop {
            match found.next() {
                Ok(Some(row)) => {
                    let session = row.get_ref(0)?.as_str().unwrap_or_default();
                    last = row.get(1)?;
                    let Some(after) = i64::checked_add(last, 1) else {
                        bad.push(self.bad(last, format!("{table}: the last possible row")));
                        continue;
                    };
                    if session != current.0 {
                        let next = rows.remove(session).unwrap_or_default();
                        let (before, ranges) =
                            std::mem::replace(&mut current, (session.to_owned(), next));
                        rows.insert(before, ranges);
                    }
                    match current.1.last_mut() {
                        Some(range) if range.end == last => range.end = after,
                        _ => current.1.push(last..after),
                    }
                }
                Ok(None) => break,
                Err(e) => {
                    bad.push(self.bad(last, format!("{table}: what follows cannot be read: {e}")));
                    break;
                }
            }
        }
        rows.insert(current.0, current.1);
        rows.retain(|_, ranges| !ranges.is_empty());
        Ok(rows)
    }

    fn bad(&self, row: i64, problem: String) -> BadLine {
        BadLine { file: self.file.clone(), line: row.max(0) as u64, problem }
    }

    /// The sessions of one table.
    fn sessions(
        &self,
        table: &'static str,
        records: &mut Records,
        bad: &mut Vec<BadLine>,
    ) -> Result<Vec<Session>> {
        let wanted =
            ["id", "parent_id", "directory", "version", "time_created", "time_updated", "revert"];
        let columns = sqlite::columns(&self.connection, table)?;
        let list = sqlite::select(&columns, &wanted);
        let mut statement =
            self.connection.prepare(&format!("SELECT rowid, {list} FROM \"{table}\""))?;
        let mut found = statement.query([])?;
        let (mut sessions, mut last) = (Vec::new(), 0);
        loop {
            let row = match found.next() {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(sessions),
                Err(e) => {
                    bad.push(self.bad(last, format!("{table}: what follows cannot be read: {e}")));
                    return Ok(sessions);
                }
            };
            last = row.get(0)?;
            // Columns of another type than they should have count as absent.
            let text = |nth| match row.get_ref(nth) {
                Ok(ValueRef::Text(text)) => String::from_utf8(text.to_vec()).ok(),
                _ => None,
            };
            let Some(id) = text(1).filter(|id| !id.is_empty()) else {
                records.left("damaged");
                bad.push(self.bad(last, format!("{table}: no id")));
                continue;
            };
            let revert = text(7)
                .and_then(|json| serde_json::from_str::<Option<RevertInfo>>(&json).ok()??.known());
            records.used();
            sessions.push(Session {
                id,
                row: last.max(0) as u64,
                parent: text(2),
                directory: text(3).unwrap_or_default(),
                version: text(4),
                created: row.get(5).unwrap_or_default(),
                updated: row.get(6).unwrap_or_default(),
                revert,
            });
        }
    }

    fn entries(&self, records: &mut Records, bad: &mut Vec<BadLine>) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let old = holds(&self.connection, &V1)?;
        let new = holds(&self.connection, &V2)?;
        let (mut messages, mut parts) = (Rows::new(), Rows::new());
        let mut sessions = Vec::new();
        if old {
            messages = self.rows("message", bad)?;
            parts = self.rows("part", bad)?;
            sessions = self.sessions("session", records, bad)?;
        }
        // The last versions of 1 have the rows of 2 already, empty or as copies.
        let mut rows = match new || holds(&self.connection, &V2[1..])? {
            true => self.rows("session_message", bad)?,
            false => Rows::new(),
        };
        if new {
            for session in self.sessions("session_v2", records, bad)? {
                let messages = rows.remove(&session.id).unwrap_or_default();
                entries.push(Entry { form: Form::V2, session, messages, parts: Vec::new() });
            }
        }
        for session in sessions {
            let copies = rows.remove(&session.id).unwrap_or_default();
            let messages = messages.remove(&session.id).unwrap_or_default();
            let parts = parts.remove(&session.id).unwrap_or_default();
            if messages.is_empty() && !copies.is_empty() {
                let form = Form::V2;
                entries.push(Entry { form, session, messages: copies, parts: Vec::new() });
                continue;
            }
            (0..count(&copies)).for_each(|_| records.left("copy"));
            entries.push(Entry { form: Form::V1, session, messages, parts });
        }
        for (table, rest) in [("session_message", rows), ("message", messages), ("part", parts)] {
            let rest: BTreeMap<_, _> = rest.into_iter().collect();
            for ranges in rest.values() {
                let n = count(ranges);
                (0..n).for_each(|_| records.left("orphan"));
                let first = ranges.first().map_or(0, |range| range.start);
                let problem = format!("{table}: {n} rows of a session that is not there");
                bad.push(self.bad(first, problem));
            }
        }
        Ok(entries)
    }
}

impl Store for Database {
    fn headings(&self, records: &mut Records, bad: &mut Vec<BadLine>) -> Result<Vec<Heading>> {
        let entries = self.entries(records, bad)?;
        let entries = self.entries.get_or_init(|| entries);
        let heading = |(key, entry): (usize, &Entry)| {
            let rows = count(&entry.messages) + count(&entry.parts);
            Heading {
                agent: super::AGENT,
                session: entry.session.id.clone(),
                generation: match (rows, entry.form) {
                    // Whatever another place has is more.
                    (0, _) => 0,
                    (_, Form::V1) => generation::V1,
                    (_, Form::V2) => generation::V2,
                },
                bytes: rows * RECORD,
                updated_ms: entry.session.updated,
                skip: None,
                key: key as u64,
            }
        };
        Ok(entries.iter().enumerate().map(heading).collect())
    }

    fn read(&self, wanted: &[&Heading], each: Each) -> Result<()> {
        let entries = self.entries.get().context("the sessions were not listed")?;
        let mut queries = Queries::new(&self.connection)?;
        let mut rest = wanted.iter().map(|heading| &entries[heading.key as usize]);
        let mut fetch = || -> Result<Vec<Fetched>> {
            let (mut batch, mut held) = (Vec::new(), 0);
            while held < BATCH
                && let Some(entry) = rest.next()
            {
                let fetched = queries.fetch(entry)?;
                held += fetched.bytes();
                batch.push(fetched);
            }
            Ok(batch)
        };
        // While one batch is parsed, the next is read and the one before handed over.
        let file = self.file.as_str();
        let mut batch = fetch()?;
        let mut done: Vec<Reading> = Vec::new();
        while !batch.is_empty() || !done.is_empty() {
            let mut parsed: Vec<Option<Reading>> = batch.iter().map(|_| None).collect();
            let ready = std::mem::take(&mut done);
            let next = rayon::in_place_scope(|scope| {
                for (fetched, place) in batch.into_iter().zip(&mut parsed) {
                    scope.spawn(move |_| *place = Some(fetched.parse(file)));
                }
                let next = fetch();
                ready.into_iter().try_for_each(&mut *each)?;
                next
            });
            done = parsed.into_iter().flatten().collect();
            batch = next?;
        }
        Ok(())
    }
}

/// A session's rows as they stand in the database, in one piece of memory.
struct Fetched<'a> {
    entry: &'a Entry,
    bytes: Vec<u8>,
    messages: Vec<Fetch>,
    parts: Vec<Fetch>,
}

/// One row: what it is called, what it belongs to, what it contains.
struct Fetch {
    row: u64,
    id: Range<usize>,
    /// The message a part belongs to, the type of a row.
    of: Range<usize>,
    order: i64,
    json: Result<Range<usize>, String>,
}

/// The statements that bring the rows of a session; none for tables that are not there.
struct Queries<'a> {
    messages: Option<Statement<'a>>,
    parts: Option<Statement<'a>>,
    rows: Option<Statement<'a>>,
}

impl<'a> Queries<'a> {
    fn new(connection: &'a Connection) -> Result<Self> {
        let statement = |table: &str, of: &str, order: &str| -> Result<Option<Statement<'a>>> {
            let columns: BTreeSet<String> = sqlite::columns(connection, table)?;
            if !columns.contains("data") {
                return Ok(None);
            }
            let list = sqlite::select(&columns, &["id", of, order, "data"]);
            let rows = "WHERE rowid >= ?1 AND rowid < ?2 ORDER BY rowid";
            Ok(Some(connection.prepare(&format!("SELECT rowid, {list} FROM \"{table}\" {rows}"))?))
        };
        Ok(Queries {
            messages: statement("message", "session_id", "time_created")?,
            parts: statement("part", "message_id", "time_created")?,
            rows: statement("session_message", "type", "seq")?,
        })
    }

    fn fetch<'e>(&mut self, entry: &'e Entry) -> Result<Fetched<'e>> {
        let (n, of) = (count(&entry.messages) as usize, count(&entry.parts) as usize);
        let mut bytes = Vec::with_capacity((n + of).min(1 << 10) * RECORD as usize);
        let (mut messages, mut parts) = (Vec::with_capacity(n), Vec::with_capacity(of));
        let first = match entry.form {
            Form::V1 => &mut self.messages,
            Form::V2 => &mut self.rows,
        };
        for (statement, ranges, into) in
            [(first, &entry.messages, &mut messages), (&mut self.parts, &entry.parts, &mut parts)]
        {
            let Some(statement) = statement else { continue };
            for range in ranges {
                bring(statement, range.clone(), &mut bytes, into)?;
            }
        }
        Ok(Fetched { entry, bytes, messages, parts })
    }
}

/// Brings a range of rows. A row that cannot be read is noted in its place.
fn bring(
    statement: &mut Statement,
    mut range: Range<i64>,
    bytes: &mut Vec<u8>,
    into: &mut Vec<Fetch>,
) -> Result<()> {
    while range.start < range.end {
        let mut found = statement.query([range.start, range.end])?;
        loop {
            match found.next() {
                Ok(Some(row)) => {
                    let mut keep = |nth| match row.get_ref(nth) {
                        Ok(ValueRef::Text(text) | ValueRef::Blob(text)) => {
                            let start = bytes.len();
                            bytes.extend_from_slice(text);
                            Some(start..bytes.len())
                        }
                        _ => None,
                    };
                    let (id, of) = (keep(1).unwrap_or_default(), keep(2).unwrap_or_default());
                    let json = keep(4).ok_or_else(|| "its data is no text".to_owned());
                    let rowid: i64 = row.get(0)?;
                    let order = row.get(3).unwrap_or_default();
                    into.push(Fetch { row: rowid.max(0) as u64, id, of, order, json });
                    range.start = rowid + 1;
                }
                Ok(None) => return Ok(()),
                Err(e) => {
                    let json = Err(format!("cannot be read: {e}"));
                    let row = range.start.max(0) as u64;
                    into.push(Fetch { row, id: 0..0, of: 0..0, order: i64::MAX, json });
                    range.start += 1;
                    break;
                }
            }
        }
    }
    Ok(())
}

impl Fetched<'_> {
    fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn text(&self, range: &Range<usize>) -> &str {
        std::str::from_utf8(&self.bytes[range.clone()]).unwrap_or_default()
    }

    fn stored<'s>(&'s self, what: &'static str, row: &'s Fetch) -> Stored<'s> {
        let json = row.json.as_ref().map(|range| &self.bytes[range.clone()]);
        let json = json.map_err(String::as_str);
        Stored { what, id: self.text(&row.id), row: row.row, file: None, json }
    }

    fn parse(self, file: &str) -> Reading {
        let session = &self.entry.session;
        let mut messages: Vec<&Fetch> = self.messages.iter().collect();
        messages.sort_by_key(|row| (row.order, &self.bytes[row.id.clone()], row.row));
        if self.entry.form == Form::V2 {
            let row = |row| {
                let data = self.stored("session_message", row);
                v2::Row { kind: self.text(&row.of), data }
            };
            let rows: Vec<v2::Row> = messages.into_iter().map(row).collect();
            return v2::read(session, file, &rows);
        }
        let mut parts: Vec<&Fetch> = self.parts.iter().collect();
        parts
            .sort_by_key(|row| (&self.bytes[row.of.clone()], &self.bytes[row.id.clone()], row.row));
        let mut by_message: BTreeMap<&[u8], Vec<Stored>> = BTreeMap::new();
        for row in parts {
            let message = &self.bytes[row.of.clone()];
            by_message.entry(message).or_default().push(self.stored("part", row));
        }
        let entry = |row| {
            let row: &Fetch = row;
            let parts = by_message.remove(&self.bytes[row.id.clone()]).unwrap_or_default();
            v1::Entry { info: self.stored("message", row), parts }
        };
        let entries: Vec<v1::Entry> = messages.into_iter().map(entry).collect();
        let mut reading = v1::read(session, file, &entries);
        let orphans: Vec<Stored> = by_message.into_values().flatten().collect();
        v1::orphans(&mut reading, file, &orphans);
        reading
    }
}
