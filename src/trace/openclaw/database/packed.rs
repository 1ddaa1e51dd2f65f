//! Transcripts that are packed as a whole: those of sessions that were reset or deleted
//! (`session_transcript_archives`), and old ones (`session_transcript_cold_archives`, off by
//! default, in the database or in a file under `sessions/cold`).
//!
//! From src/config/sessions/session-cold-storage-codec.ts.

use std::io;

use rusqlite::Result;
use serde::Deserialize;

use super::block::unpack;
use super::{Database, bytes, number, text};
use crate::trace::openclaw::Listing;
use crate::trace::pi::file::{self, Listed};

/// The longest transcript that is unpacked, in bytes; OpenClaw itself stops at 64 MiB.
const MOST: u64 = 256 << 20;

pub(super) struct Packed {
    pub session: String,
    /// The name OpenClaw gives the file it makes of it.
    pub name: String,
    pub deleted: bool,
    pub listed: Listed,
    place: Place,
}

enum Place {
    /// A row of `session_transcript_archives`.
    Archive(i64),
    /// A row of `session_transcript_cold_archives`.
    Cold(i64),
}

/// A line of a cold archive; only events say something.
#[derive(Deserialize)]
struct Record {
    kind: String,
    #[serde(default)]
    row: Event,
}

#[derive(Default, Deserialize)]
struct Event {
    #[serde(default)]
    event_json: String,
}

impl Database {
    pub(super) fn list_packed(&mut self, listing: &mut Listing) -> Result<()> {
        let mut found = Vec::new();
        let columns = ["session_id", "archive_name", "reason"];
        for table in ["session_transcript_archives", "session_transcript_cold_archives"] {
            let Some(select) = self.tables.select(table, &columns) else { continue };
            let select = select.replacen("SELECT ", "SELECT rowid, ", 1) + " ORDER BY 2, 3";
            let mut statement = self.connection.prepare(&select)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let id = number(row, 0).unwrap_or_default();
                found.push(Packed {
                    session: text(row, 1).unwrap_or_default(),
                    name: text(row, 2).unwrap_or_default(),
                    deleted: text(row, 3).as_deref() == Some("deleted"),
                    listed: Listed { parts: vec![file::Part::default()], ..Listed::default() },
                    place: match table {
                        "session_transcript_archives" => Place::Archive(id),
                        _ => Place::Cold(id),
                    },
                });
            }
        }
        for mut packed in found {
            // What was deleted is not looked into.
            if !packed.deleted {
                match self.unpack(&packed).and_then(|text| file::list(&file::held(text))) {
                    Ok(listed) => packed.listed = listed,
                    Err(e) => {
                        listing.records.left("unreadable");
                        let file = format!("{}/{}", self.shown, packed.name);
                        listing.bad(file, format!("cannot be unpacked: {e}"));
                        continue;
                    }
                }
            }
            self.packed.push(packed);
        }
        Ok(())
    }

    /// A packed transcript as lines.
    pub(super) fn unpack(&self, packed: &Packed) -> io::Result<Vec<u8>> {
        let blob = |table: &str, id: i64| {
            let select = self.tables.select(table, &["archive_blob", "encoding"]);
            let select = select.unwrap_or_default() + " WHERE rowid = ?1";
            self.connection.query_row(&select, [id], |row| {
                Ok((bytes(row, 0).map(<[u8]>::to_vec), text(row, 1)))
            })
        };
        match packed.place {
            Place::Archive(id) => {
                let found = blob("session_transcript_archives", id).map_err(io::Error::other)?;
                match found {
                    (Some(text), Some(encoding)) if encoding == "identity" => Ok(text),
                    (Some(packed), _) => unpack(&packed, MOST),
                    (None, _) => Err(io::Error::other("the archive is empty")),
                }
            }
            Place::Cold(id) => {
                let found =
                    blob("session_transcript_cold_archives", id).map_err(io::Error::other)?;
                let records = match found.0 {
                    Some(packed) => unpack(&packed, MOST)?,
                    None => self.cold_file(&packed.name)?,
                };
                Ok(events(&records))
            }
        }
    }

    fn cold_file(&self, name: &str) -> io::Result<Vec<u8>> {
        let plain = name.ends_with(".jsonl.zst") && !name.contains(['/', '\\']);
        let path = self.cold.as_ref().filter(|_| plain).map(|folder| folder.join(name));
        let path = path.ok_or_else(|| io::Error::other("not the name of an archive"))?;
        let mut text = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file::open(&path)(0)?, MOST), &mut text)?;
        Ok(text)
    }
}

/// The lines of the transcript in a cold archive.
fn events(records: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
    for record in records.split(|b| *b == b'\n') {
        match serde_json::from_slice::<Record>(record) {
            Ok(Record { kind, row }) if kind == "event" => lines.extend(row.event_json.bytes()),
            Ok(_) => continue,
            // It is reported as the line it should have been.
            Err(_) if record.trim_ascii().is_empty() => continue,
            Err(_) => lines.extend_from_slice(record),
        }
        lines.push(b'\n');
    }
    lines
}
