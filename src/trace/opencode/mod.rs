//! OpenCode's sessions, and those of its forks, in every form it has kept them in.
//!
//! | form | versions | where |
//! |---|---|---|
//! | rows | 2.0 and later | `opencode.db`: `session_v2`, `session_message` |
//! | messages and parts | 1.2 to 1.18 | `opencode.db`: `session`, `message`, `part` |
//! | messages and parts | 0.6 to 1.1 | `storage/{session,message,part}` |
//! | both | | what `opencode export` prints |
//! | messages and parts | before 0.6 | `project/<slug>/storage/session/{info,message,part}` |
//!
//! Upgrades leave the older form where it was, so a session often stands in several; the newest
//! is read. Sources: OpenCode's `session/message-v2.ts`, `session.sql.ts`, `storage.ts` and
//! `packages/schema/src/session-message.ts`.

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use self::loose::Loose;
use super::lines::json_problem;
use super::store::{Reading, Records};
use super::{BadLine, Message, Origin, Role, Signal, ToolCall, Trace};

mod data;
mod database;
mod export;
mod loose;
mod tree;
mod v1;
mod v2;

pub(super) use data::READER as DATA;
pub(super) use database::READER as DATABASE;
pub(super) use export::READER as EXPORT;
pub(super) use tree::READER as TREE;

const AGENT: &str = "opencode";

/// Newer forms of storage are higher: where a session stands in several, the newest is read.
mod generation {
    pub const OLD_TREE: u8 = 1;
    pub const EXPORT: u8 = 2;
    pub const TREE: u8 = 3;
    pub const V1: u8 = 4;
    pub const V2: u8 = 5;
}

/// What a person calls that form of storage.
pub(super) fn form(generation: u8) -> &'static str {
    match generation {
        generation::V2 => "database, v2",
        generation::V1 => "database, v1",
        generation::TREE => "JSON tree",
        generation::EXPORT => "export",
        _ => "JSON tree of 2025",
    }
}

/// About what a record takes, in bytes, where looking would mean to read all of them.
const RECORD: u64 = 1 << 10;

/// What is known of a session beside its messages.
#[derive(Debug, Clone, Default)]
struct Session {
    id: String,
    /// The row or line it was read from.
    row: u64,
    parent: Option<String>,
    directory: String,
    version: Option<String>,
    created: Option<i64>,
    updated: Option<i64>,
    revert: Option<Revert>,
}

/// Where the person went back to.
#[derive(Debug, Clone, Default)]
struct Revert {
    message: String,
    part: Option<String>,
}

/// A session as JSON: a file of the tree, `info` of an export.
#[derive(Deserialize, Default)]
#[serde(default)]
struct SessionInfo<'a> {
    #[serde(borrow)]
    id: Loose<'a>,
    #[serde(borrow, rename = "parentID")]
    parent: Loose<'a>,
    #[serde(borrow)]
    directory: Loose<'a>,
    #[serde(borrow)]
    location: Option<Location<'a>>,
    #[serde(borrow)]
    version: Loose<'a>,
    #[serde(borrow)]
    time: Time<'a>,
    #[serde(borrow)]
    revert: Option<RevertInfo<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Location<'a> {
    #[serde(borrow)]
    directory: Loose<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RevertInfo<'a> {
    #[serde(borrow, rename = "messageID")]
    message: Loose<'a>,
    #[serde(borrow, rename = "partID")]
    part: Loose<'a>,
}

/// Moments in Unix milliseconds; which of them there are depends on what they belong to.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Time<'a> {
    #[serde(borrow)]
    created: Loose<'a>,
    #[serde(borrow)]
    updated: Loose<'a>,
    #[serde(borrow)]
    completed: Loose<'a>,
    #[serde(borrow)]
    start: Loose<'a>,
    #[serde(borrow)]
    end: Loose<'a>,
    #[serde(borrow)]
    compacted: Loose<'a>,
}

/// What a tool says of its result; each tool has fields of its own.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Metadata<'a> {
    #[serde(borrow)]
    exit: Loose<'a>,
    #[serde(borrow)]
    interrupted: Loose<'a>,
}

/// A file that belongs to a message or a result.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Attachment<'a> {
    #[serde(borrow)]
    mime: Loose<'a>,
    #[serde(borrow, alias = "name")]
    filename: Loose<'a>,
}

impl SessionInfo<'_> {
    fn into_session(self, id: String, row: u64) -> Session {
        let directory = match self.directory {
            Loose::Text(directory) => directory.into_owned(),
            _ => self.location.unwrap_or_default().directory.into_text(),
        };
        Session {
            id,
            row,
            parent: some(self.parent.text()),
            directory,
            version: some(self.version.text()),
            created: self.time.created.number(),
            updated: self.time.updated.number(),
            revert: self.revert.and_then(RevertInfo::known),
        }
    }
}

impl RevertInfo<'_> {
    fn known(self) -> Option<Revert> {
        let part = some(self.part.text());
        Some(Revert { message: some(self.message.text())?, part })
    }
}

impl Attachment<'_> {
    /// A short mention in the file's place.
    fn mention(&self) -> String {
        let name = match (self.filename.text(), self.mime.text()) {
            ("", "") => "unnamed",
            ("", mime) => mime,
            (name, _) => name,
        };
        format!("[file: {name}]")
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// One stored record: a row, a file, an element of an export.
struct Stored<'a> {
    /// What it is called in reports: the table, or what the file holds.
    what: &'static str,
    id: &'a str,
    row: u64,
    /// Its file where that is not the session's.
    file: Option<&'a str>,
    /// Its JSON, or why it could not be read.
    json: Result<&'a [u8], &'a str>,
}

/// A session on its way to a trace.
struct Draft<'a> {
    file: &'a str,
    trace: Trace,
    records: Records,
    bad: Vec<BadLine>,
    calls: HashSet<String>,
    revert: Option<Revert>,
    /// Whether what comes now was undone.
    reverted: bool,
}

impl<'a> Draft<'a> {
    fn new(session: &Session, file: &'a str) -> Self {
        let trace = Trace {
            session: session.id.clone(),
            source: AGENT.into(),
            agent_version: session.version.clone(),
            parent: session.parent.clone(),
            repository: repository(&session.directory),
            started_ms: session.created,
            origin: Origin { file: file.into(), line: session.row },
            ..Trace::default()
        };
        let (records, bad) = (Records::default(), Vec::new());
        let (calls, revert) = (HashSet::new(), session.revert.clone());
        Draft { file, trace, records, bad, calls, revert, reverted: false }
    }

    /// A record's content. One that is damaged is counted and reported.
    fn parse<'j, T: Deserialize<'j>>(&mut self, stored: &Stored<'j>) -> Option<T> {
        let problem = match stored.json.map(serde_json::from_slice) {
            Ok(Ok(value)) => return Some(value),
            Ok(Err(e)) => problem(&e),
            Err(problem) => problem.into(),
        };
        self.damaged(stored, "damaged", &problem);
        None
    }

    fn damaged(&mut self, stored: &Stored, reason: &'static str, problem: &str) {
        self.records.left(reason);
        self.bad.push(BadLine {
            file: stored.file.unwrap_or(self.file).into(),
            line: stored.row,
            problem: format!("{}: {problem}", stored.what),
        });
    }

    /// An empty message that came from this record.
    fn message(&self, role: Role, stored: &Stored) -> Message {
        let mut message = Message::text(role, "");
        message.row = stored.row;
        message.file = stored.file.map(str::to_owned);
        if self.reverted {
            message.note(Signal::Reverted);
        }
        message
    }

    /// A call whose id no other call of the session has.
    fn call(&mut self, id: &str, name: &str, arguments: Value) -> ToolCall {
        let arguments = match arguments {
            Value::Object(arguments) => arguments,
            // Half a call: what the model had written when it was stopped.
            Value::String(text) => serde_json::from_str(&text).unwrap_or_default(),
            _ => Map::new(),
        };
        let id = if id.is_empty() { "call" } else { id };
        let later = (2..).map(|n| format!("{id}_{n}"));
        let mut ids = std::iter::once(id.to_owned()).chain(later);
        let id = ids.find(|id| self.calls.insert(id.clone())).unwrap_or_default();
        ToolCall { id, name: name.to_owned(), arguments }
    }

    /// Whether the person went back to this record, or to one before it.
    fn meets(&mut self, message: &str, part: Option<&str>) {
        if let Some(revert) = &self.revert {
            let here = revert.message == message && revert.part.as_deref() == part;
            self.reverted |= here;
        }
    }

    fn finish(mut self) -> Reading {
        let last = self.trace.messages.iter().filter_map(|m| m.time_ms).max();
        self.trace.ended_ms = self.trace.ended_ms.max(last);
        let trace = match self.trace.messages.is_empty() {
            true => Err("no_message"),
            false => Ok(self.trace),
        };
        Reading { trace, records: self.records, bad: self.bad }
    }
}

/// What is wrong with a record; never what it contains, which the parser's own words may quote.
fn problem(error: &serde_json::Error) -> String {
    match error.is_data() {
        true => format!("not in the form expected at column {}", error.column()),
        false => json_problem(error),
    }
}

/// The last part of a folder's path, on whatever system it was written.
fn repository(directory: &str) -> Option<String> {
    let mut parts = directory.split(['/', '\\']);
    parts.rfind(|part| !part.is_empty()).map(str::to_owned)
}

/// A prompt without the pair of quotes that `opencode run` puts around one that has spaces.
fn unquoted(prompt: &str) -> String {
    let inner = prompt.trim().strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match inner {
        Some(inner) if !inner.replace("\\\"", "").contains('"') => inner.replace("\\\"", "\""),
        _ => prompt.to_owned(),
    }
}

/// Appends a piece of text on a line of its own.
fn append(text: &mut String, piece: String) {
    if text.is_empty() {
        *text = piece;
    } else if !piece.is_empty() {
        text.push('\n');
        text.push_str(&piece);
    }
}

/// Who wrote an assistant message.
fn author(provider: &str, model: &str) -> Option<String> {
    match (provider, model) {
        (_, "") => None,
        ("", model) => Some(model.into()),
        (provider, model) => Some(format!("{provider}/{model}")),
    }
}

/// What the reason a step ended for says of it.
fn of_finish(reason: &str) -> Option<Signal> {
    match reason {
        "length" => Some(Signal::Length),
        "content-filter" => Some(Signal::ContentFilter),
        "error" => Some(Signal::ProviderError),
        _ => None,
    }
}

/// The files and folders in a folder by name, in order; none where it cannot be listed.
fn listed(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}
