//! Rows as they are written, with and without their envelope.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::jsonl::{self, Damage, Maybe, Parts, Text, joined, time_ms};
use super::output::{Item, Output};

#[derive(Deserialize)]
pub(super) struct Row<'a> {
    #[serde(borrow)]
    pub timestamp: Option<Text<'a>>,
    #[serde(borrow)]
    pub r#type: Option<Text<'a>>,
    #[serde(borrow)]
    pub record_type: Option<Text<'a>>,
    pub payload: Option<Payload>,
}

/// Every payload in one: which of the fields it has depends on its type.
#[derive(Deserialize)]
pub(super) struct Payload {
    pub r#type: Option<String>,
    pub role: Option<String>,
    #[serde(default)]
    pub content: Parts<Part>,
    #[serde(default)]
    pub summary: Parts<Part>,
    pub name: Option<String>,
    pub arguments: Option<Value>,
    pub input: Option<String>,
    #[serde(default)]
    pub action: Maybe<Map<String, Value>>,
    pub call_id: Option<String>,
    #[serde(default)]
    pub output: Output,
    // Of the session and its turns.
    pub id: Option<String>,
    pub timestamp: Option<String>,
    pub cwd: Option<String>,
    pub cli_version: Option<String>,
    pub model_provider: Option<String>,
    pub model: Option<String>,
    #[serde(default)]
    pub source: Maybe<Source>,
    #[serde(default)]
    pub base_instructions: Parts<Part>,
    // Of events.
    pub last_agent_message: Option<String>,
    pub num_turns: Option<u64>,
    pub codex_error_info: Option<Value>,
    #[serde(default)]
    pub item: Maybe<Item>,
}

#[derive(Deserialize)]
pub(super) struct Part {
    pub text: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Source {
    #[serde(default)]
    pub subagent: Maybe<Subagent>,
}

#[derive(Deserialize)]
pub(super) struct Subagent {
    #[serde(default)]
    pub thread_spawn: Maybe<Spawn>,
}

#[derive(Deserialize)]
pub(super) struct Spawn {
    pub parent_thread_id: Option<String>,
}

impl Parts<Part> {
    pub fn text(&self) -> String {
        match self {
            Parts::Text(text) => text.clone(),
            Parts::List(parts) => joined(parts.iter().filter_map(|part| part.text.as_deref())),
        }
    }
}

/// The kind of a row, whatever else it holds.
#[derive(Deserialize)]
pub(super) struct Bare<'a> {
    #[serde(borrow)]
    pub r#type: Text<'a>,
}

/// A row in either form: its time, its kind, and what it holds; nothing where it is of a kind
/// that is not read anyway.
pub(super) fn parse(text: &str) -> Result<(Option<i64>, String, Option<Payload>), Damage> {
    let row: Row = match jsonl::parse(text) {
        Ok(row) => row,
        Err(damage) => match jsonl::parse::<Bare>(text) {
            Ok(bare) if !READ.contains(&&*bare.r#type.0) => {
                return Ok((None, bare.r#type.0.into_owned(), None));
            }
            _ => return Err(damage),
        },
    };
    let time = row.timestamp.and_then(|time| time_ms(&time.0));
    let kind = row.r#type.map_or_else(String::new, |kind| kind.0.into_owned());
    if row.payload.is_some() || READ.contains(&&*kind) {
        return Ok((time, kind, row.payload));
    }
    if row.record_type.is_some() {
        return Ok((time, "state".into(), None));
    }
    let payload: Payload = jsonl::parse(text)?;
    let header = payload.r#type.is_none() && payload.id.is_some();
    let kind = if header { "session_meta" } else { "response_item" };
    Ok((time, kind.into(), Some(payload)))
}

/// The kinds of rows whose payload matters.
pub(super) const READ: &[&str] = &["session_meta", "turn_context", "response_item"];
