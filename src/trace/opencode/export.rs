//! What `opencode export` prints: one session as `{info, messages}`, in version 1 with the parts
//! of each message, in version 2 with its rows (`cli/cmd/export.ts`).

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{Session, SessionInfo, Stored, generation, problem, v1, v2};
use crate::trace::BadLine;
use crate::trace::find::Place;
use crate::trace::store::{Each, Heading, Reader, Reading, Records, Store, side_by_side};

pub(in crate::trace) const READER: Reader = Reader { folder: |_| false, file: recognise, open };

/// The largest export that is read, in bytes: all of it is in memory at once.
const MOST: u64 = 256 << 20;

/// A byte order mark, as some shells write it before what a program prints.
const MARK: &[u8] = b"\xef\xbb\xbf";

fn recognise(_: &Path, head: &[u8]) -> bool {
    let head = head.strip_prefix(MARK).unwrap_or(head);
    let text: String =
        head.iter().filter(|b| !b.is_ascii_whitespace()).map(|b| *b as char).collect();
    text.starts_with("{\"info\":{")
        && text.contains("\"id\":\"ses_")
        && (text.contains("\"projectID\":") || text.contains("\"directory\":"))
}

fn open(place: &Place) -> Result<Box<dyn Store>> {
    let (path, file, bytes) = (place.path.clone(), place.shown.clone(), place.bytes);
    Ok(Box::new(Export { path, file, bytes }))
}

struct Export {
    path: PathBuf,
    file: String,
    bytes: u64,
}

/// What could be read, up to where the text is cut or damaged.
#[derive(Default)]
struct Content {
    info: Value,
    messages: Vec<Value>,
    /// Whether the messages are wanted.
    with_messages: bool,
}

impl<'de> DeserializeSeed<'de> for &mut Content {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Content {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an exported session")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "info" => self.info = map.next_value()?,
                "messages" if self.with_messages => {
                    map.next_value_seed(Messages(&mut self.messages))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

struct Messages<'a>(&'a mut Vec<Value>);

impl<'de> DeserializeSeed<'de> for Messages<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Messages<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(message) = seq.next_element()? {
            self.0.push(message);
        }
        Ok(())
    }
}

impl Export {
    /// The session, and what is wrong with the text.
    fn content(&self, with_messages: bool) -> Result<(Content, Option<BadLine>)> {
        let cannot_read = || format!("cannot read {}", self.path.display());
        let file = File::open(&self.path).with_context(cannot_read)?;
        let mut content = Content { with_messages, ..Content::default() };
        let mut file = BufReader::new(file.take(MOST));
        if file.fill_buf().with_context(cannot_read)?.starts_with(MARK) {
            file.consume(MARK.len());
        }
        let mut from = serde_json::Deserializer::from_reader(file);
        let read = (&mut content).deserialize(&mut from);
        let bad = read.err().map(|e| BadLine {
            file: self.file.clone(),
            line: e.line() as u64,
            problem: format!("export: {}", problem(&e)),
        });
        Ok((content, bad))
    }

    fn session(&self, content: &Content) -> Session {
        let info = SessionInfo::deserialize(&content.info).unwrap_or_default();
        let id = info.id.text().to_owned();
        info.into_session(id, 1)
    }

    fn read_session(&self) -> Result<Reading> {
        let (content, bad) = self.content(true)?;
        let session = self.session(&content);
        let is_v1 = content.messages.iter().any(|message| message.get("info").is_some());
        let mut reading = match is_v1 {
            true => self.read_v1(&session, &content.messages),
            false => self.read_v2(&session, &content.messages),
        };
        if let Some(bad) = bad {
            reading.records.left("damaged");
            reading.bad.push(bad);
        }
        Ok(reading)
    }

    fn read_v1(&self, session: &Session, messages: &[Value]) -> Reading {
        let texts = |message: &Value| {
            let parts = message.get("parts").and_then(Value::as_array).into_iter().flatten();
            let info = message.get("info").unwrap_or(&Value::Null);
            (Text::new(info), parts.map(Text::new).collect::<Vec<_>>())
        };
        let texts: Vec<_> = messages.iter().map(texts).collect();
        let entries = texts.iter().zip(1..).map(|((info, parts), row)| v1::Entry {
            info: info.stored("message", row),
            parts: parts.iter().map(|part| part.stored("part", row)).collect(),
        });
        v1::read(session, &self.file, &entries.collect::<Vec<_>>())
    }

    fn read_v2(&self, session: &Session, messages: &[Value]) -> Reading {
        let texts: Vec<Text> = messages.iter().map(Text::new).collect();
        let rows = texts
            .iter()
            .zip(1..)
            .map(|(text, row)| v2::Row { kind: &text.kind, data: text.stored("message", row) });
        v2::read(session, &self.file, &rows.collect::<Vec<_>>())
    }
}

/// An element of the export by itself, as the other forms store it.
struct Text {
    id: String,
    kind: String,
    json: Vec<u8>,
}

impl Text {
    fn new(value: &Value) -> Text {
        let field = |key| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let json = serde_json::to_vec(value).unwrap_or_default();
        Text { id: field("id"), kind: field("type"), json }
    }

    fn stored(&self, what: &'static str, row: u64) -> Stored<'_> {
        Stored { what, id: &self.id, row, file: None, json: Ok(&self.json) }
    }
}

impl Store for Export {
    fn headings(&self, records: &mut Records, bad: &mut Vec<BadLine>) -> Result<Vec<Heading>> {
        let (content, problem) = self.content(false)?;
        let session = self.session(&content);
        if session.id.is_empty() {
            records.left("damaged");
            bad.extend(problem);
            return Ok(Vec::new());
        }
        records.used();
        Ok(vec![Heading {
            agent: super::AGENT,
            session: session.id,
            generation: generation::EXPORT,
            bytes: self.bytes,
            updated_ms: session.updated,
            skip: None,
            key: 0,
        }])
    }

    fn read(&self, wanted: &[&Heading], each: Each) -> Result<()> {
        side_by_side(wanted, each, |_| {
            self.read_session().unwrap_or_else(|e| Reading {
                trace: Err("unreadable"),
                records: Records::default(),
                bad: vec![BadLine { file: self.file.clone(), line: 1, problem: format!("{e:#}") }],
            })
        })
    }
}
