//! One JSON object → one [`Trace`].

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::calls::Calls;
use super::message;
use crate::files;
use crate::trace::{Message, Origin, Role, Trace, schema};

/// Why a row gives no trace. Holds nothing of the row's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// One word to count by.
    pub reason: &'static str,
    /// What is wrong, for a reader.
    pub message: String,
}

impl Problem {
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Problem { reason, message: message.into() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// What a dataset row says of itself beside its trace; all absent in a raw trace, save perhaps
/// the id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pedigree {
    /// The row's id.
    pub id: Option<String>,
    /// Real or generated.
    pub kind: Option<String>,
    /// The row this one was generated from.
    pub derived_from: Option<String>,
    /// What it is split with.
    pub component: Option<String>,
}

/// A row that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The session.
    pub trace: Trace,
    /// What the row says of itself.
    pub pedigree: Pedigree,
}

/// Every field of a row that is looked at.
#[rustfmt::skip]
pub(super) const FIELDS: &[&str] = &[
    "messages", "conversation", "conversations", "user", "assistant", "system", "tools",
    "functions", "session", "session_id", "conversation_id", "id", "source", "task_category",
    "outcome", "repository", "cwd", "agent_version", "parent", "started_ms", "ended_ms",
    "timestamp", "keywords", "model", "kind", "derived_from", "component", "origin",
];

/// The fields that may hold the messages, the first first.
pub(super) const LISTS: &[&str] = &["messages", "conversation", "conversations"];

/// Reads one raw trace or dataset row. `origin` is where it stands; a row that carries an
/// `origin` of its own keeps that.
pub fn parse_row(value: Value, origin: &Origin) -> Result<Row, Problem> {
    let Value::Object(mut row) = value else {
        return Err(Problem::new("not_object", "the line is not a JSON object"));
    };
    let pedigree = Pedigree {
        id: text(&row, "id")?,
        kind: text(&row, "kind")?,
        derived_from: text(&row, "derived_from")?,
        component: text(&row, "component")?,
    };
    let origin = match row.get("origin") {
        Some(Value::Object(own)) => Origin {
            file: text(own, "file")?.unwrap_or_else(|| origin.file.clone()),
            line: whole(own, "line")?.unwrap_or(origin.line),
        },
        _ => origin.clone(),
    };
    let author = text(&row, "model")?;
    let messages = messages(&mut row, author.as_deref(), origin.line)?;
    let session = match first_text(&row, &["session", "session_id", "conversation_id", "id"])? {
        Some(session) if !session.is_empty() => session,
        _ => content_id(&messages),
    };
    let trace = Trace {
        session,
        source: text(&row, "source")?.unwrap_or_else(|| "raw".into()),
        task_category: text(&row, "task_category")?,
        outcome: text(&row, "outcome")?,
        repository: first_text(&row, &["repository", "cwd"])?,
        agent_version: text(&row, "agent_version")?,
        parent: text(&row, "parent")?,
        started_ms: started_ms(&row)?,
        ended_ms: given(&row, "ended_ms")?,
        keywords: keywords(&row)?,
        tools: tools(&mut row)?,
        messages,
        origin,
    };
    Ok(Row { trace, pedigree })
}

fn messages(
    row: &mut Map<String, Value>,
    author: Option<&str>,
    line: u64,
) -> Result<Vec<Message>, Problem> {
    let listed = LISTS.iter().find_map(|key| row.remove(*key).filter(|v| !v.is_null()));
    let mut values = match listed {
        Some(Value::Array(values)) => values,
        Some(_) => return Err(Problem::new("no_messages", "`messages` is not an array")),
        None => match (row.remove("user"), row.remove("assistant")) {
            (Some(user), Some(assistant)) => vec![
                json!({"role": "user", "content": user}),
                json!({"role": "assistant", "content": assistant}),
            ],
            _ => {
                return Err(Problem::new(
                    "no_messages",
                    "neither `messages` (or `conversation`) nor `user` with `assistant`",
                ));
            }
        },
    };
    if values.is_empty() {
        return Err(Problem::new("no_messages", "`messages` is empty"));
    }
    if let Some(system) = row.remove("system").filter(|s| !s.is_null()) {
        values.insert(0, json!({"role": "system", "content": system}));
    }
    let mut calls = Calls::default();
    let mut messages = Vec::with_capacity(values.len());
    for (index, value) in values.into_iter().enumerate() {
        let mut message = message::parse(value, line, &mut calls)
            .map_err(|p| Problem::new(p.reason, format!("message {}: {}", index + 1, p.message)))?;
        if message.role == Role::Assistant && message.author.is_none() {
            message.author = author.map(String::from);
        }
        messages.push(message);
    }
    Ok(messages)
}

/// An id for a session without one: the same messages give the same id wherever they stand.
fn content_id(messages: &[Message]) -> String {
    let mut messages = messages.to_vec();
    messages.iter_mut().for_each(|m| m.row = 0);
    let bytes = serde_json::to_vec(&messages).unwrap_or_default();
    format!("raw-{}", &files::digest(&bytes)[..16])
}

fn keywords(row: &Map<String, Value>) -> Result<Vec<String>, Problem> {
    let wrong = || Problem::new("field", "`keywords` is not a list of strings");
    match row.get("keywords") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(list)) => {
            Ok(list.split(',').map(str::trim).filter(|w| !w.is_empty()).map(String::from).collect())
        }
        Some(Value::Array(words)) => {
            words.iter().map(|w| w.as_str().map(String::from).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

/// Tool schemas in OpenAI's shape; a bare function is wrapped, a JSON string is parsed.
fn tools(row: &mut Map<String, Value>) -> Result<Vec<Value>, Problem> {
    let wrong = || Problem::new("field", "`tools` is not a list of function schemas");
    let given =
        ["tools", "functions"].into_iter().find_map(|key| row.remove(key).filter(|v| !v.is_null()));
    let list = match given {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) => list,
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(Vec::new()),
        Some(Value::String(text)) => serde_json::from_str(&text).map_err(|_| wrong())?,
        Some(_) => return Err(wrong()),
    };
    list.into_iter().map(|tool| schema::of_tool(tool).ok_or_else(wrong)).collect()
}

fn started_ms(row: &Map<String, Value>) -> Result<Option<i64>, Problem> {
    let wrong = |key: &str| {
        let wanted = "Unix seconds, Unix milliseconds or an RFC 3339 time";
        Problem::new("timestamp", format!("`{key}` is not {wanted}"))
    };
    if let Some(value) = row.get("started_ms").filter(|v| !v.is_null()) {
        return value.as_i64().map(Some).ok_or_else(|| wrong("started_ms"));
    }
    match row.get("timestamp") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => {
            let time =
                number.as_f64().filter(|t| t.is_finite()).ok_or_else(|| wrong("timestamp"))?;
            // Seconds reach 1e11 in the year 5138; milliseconds passed it in 1973.
            let ms = if time.abs() < 1e11 { time * 1000.0 } else { time };
            Ok(Some(ms as i64))
        }
        Some(Value::String(text)) => {
            let zoned = text.parse::<jiff::Timestamp>().ok();
            // Without an offset it is taken as UTC: the machine's zone must not matter.
            let civil = || text.parse::<jiff::civil::DateTime>().ok();
            let utc = || Some(civil()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp());
            let time = zoned.or_else(utc).ok_or_else(|| wrong("timestamp"))?;
            Ok(Some(time.as_millisecond()))
        }
        Some(_) => Err(wrong("timestamp")),
    }
}

/// A field that is a text, or a number or yes/no written as one; absent when null.
pub(super) fn text(map: &Map<String, Value>, key: &str) -> Result<Option<String>, Problem> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(Value::Bool(flag)) => Ok(Some(flag.to_string())),
        Some(_) => Err(Problem::new("field", format!("`{key}` is not a text"))),
    }
}

/// A field that this program writes, as it writes it.
pub(super) fn given<T: DeserializeOwned>(
    map: &Map<String, Value>,
    key: &str,
) -> Result<Option<T>, Problem> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => T::deserialize(value).map(Some).map_err(|_| {
            Problem::new("field", format!("`{key}` is not what this program writes there"))
        }),
    }
}

/// A field that is a whole number.
pub(super) fn whole(map: &Map<String, Value>, key: &str) -> Result<Option<u64>, Problem> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(number) => Ok(Some(number)),
            None => Err(Problem::new("field", format!("`{key}` is not a whole number"))),
        },
    }
}

fn first_text(map: &Map<String, Value>, keys: &[&str]) -> Result<Option<String>, Problem> {
    for key in keys {
        if let Some(found) = text(map, key)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
