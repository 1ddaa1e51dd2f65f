//! Rows as they are written, and what each of them is.

use serde::Deserialize;
use serde_json::Value;

use super::super::Trace;
use super::super::jsonl::{Maybe, Parts, Present, Text, folder_name, time_ms};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row<'a> {
    #[serde(borrow)]
    pub r#type: Option<Text<'a>>,
    pub uuid: Option<String>,
    pub parent_uuid: Option<String>,
    pub logical_parent_uuid: Option<String>,
    #[serde(borrow)]
    pub session_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub agent_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub timestamp: Option<Text<'a>>,
    #[serde(borrow)]
    pub cwd: Option<Text<'a>>,
    #[serde(borrow)]
    pub version: Option<Text<'a>>,
    pub is_sidechain: Option<bool>,
    pub is_meta: Option<bool>,
    pub is_compact_summary: Option<bool>,
    pub is_api_error_message: Option<bool>,
    #[serde(default)]
    pub message: Maybe<Spoken>,
    #[serde(default)]
    pub tool_use_result: Maybe<Outcome>,
    #[serde(default)]
    pub attachment: Maybe<Attachment>,
}

/// What was put beside the conversation.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Attachment {
    pub r#type: Option<String>,
    pub command_mode: Option<String>,
    #[serde(default)]
    pub prompt: Parts<Block>,
}

#[derive(Deserialize, Default)]
pub(super) struct Spoken {
    pub id: Option<String>,
    pub model: Option<String>,
    #[serde(default)]
    pub content: Parts<Block>,
    pub stop_reason: Option<String>,
}

/// A part of a message; which of the fields it has depends on its type.
#[derive(Deserialize, Default)]
pub(super) struct Block {
    #[serde(default)]
    pub r#type: String,
    pub text: Option<String>,
    pub thinking: Option<String>,
    pub id: Option<String>,
    pub name: Option<String>,
    pub input: Option<Value>,
    pub tool_use_id: Option<String>,
    #[serde(default)]
    pub content: Parts<Block>,
    pub is_error: Option<bool>,
}

/// What the agent noted about a result beside its text.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outcome {
    pub stdout: Present,
    /// Other tools may have anything under this name.
    pub interrupted: Option<Value>,
    pub return_code_interpretation: Present,
    pub background_task_id: Present,
}

/// One row, as far as it matters.
pub(super) struct Entry {
    pub line: u64,
    pub uuid: Option<String>,
    pub parent: Option<String>,
    pub logical: Option<String>,
    pub time_ms: Option<i64>,
    pub what: What,
}

pub(super) enum What {
    /// Says nothing in the trace, but may be a link of the chain.
    Left(&'static str),
    Question {
        said: Spoken,
        outcome: Maybe<Outcome>,
    },
    Answer(Spoken),
    /// The agent's own text where the model's server failed.
    Failure,
}

/// Whose session a file is.
#[derive(Default)]
pub(super) struct Owner {
    pub session: String,
    pub parent: Option<String>,
}

impl Owner {
    pub fn of(row: &Row) -> Option<Owner> {
        let session = row.session_id.as_ref()?.0.to_string();
        row.message.0.as_ref()?;
        match (&row.agent_id, row.is_sidechain) {
            // An agent's own id is short: alone it may come again elsewhere.
            (Some(agent), Some(true)) => {
                Some(Owner { session: format!("{session}.{}", agent.0), parent: Some(session) })
            }
            _ => Some(Owner { session, parent: None }),
        }
    }
}

pub(super) fn entry(line: u64, row: Row, subagent: bool, trace: &mut Trace) -> Entry {
    if let Some(version) = row.version {
        trace.agent_version = Some(version.0.into_owned());
    }
    if trace.repository.is_none() {
        trace.repository = row.cwd.and_then(|cwd| folder_name(&cwd.0));
    }
    let kind = row.r#type.as_ref().map_or("", |kind| &*kind.0);
    let is = |flag: Option<bool>| flag == Some(true);
    let sidechain = is(row.is_sidechain) && !subagent;
    // What the person wrote while the model worked.
    let typed = row.attachment.0.filter(|a| {
        a.r#type.as_deref() == Some("queued_command")
            && a.command_mode.as_deref().is_none_or(|mode| mode == "prompt")
    });
    let what = match (kind, row.message.0) {
        _ if sidechain => What::Left("sidechain"),
        ("user", Some(_)) if is(row.is_compact_summary) => What::Left("compaction"),
        ("user", Some(_)) if is(row.is_meta) => What::Left("meta"),
        ("user", Some(said)) => What::Question { said, outcome: row.tool_use_result },
        ("assistant", Some(_)) if is(row.is_api_error_message) => What::Failure,
        ("assistant", Some(said)) if said.model.as_deref() == Some("<synthetic>") => {
            // Before it had a flag, the failure was known by its text.
            if said.begins_with("API Error") { What::Failure } else { What::Left("synthetic") }
        }
        ("assistant", Some(said)) => What::Answer(said),
        ("user" | "assistant", None) => What::Left("no_content"),
        ("system", _) => What::Left("system"),
        ("summary" | "custom-title" | "ai-title" | "tag", _) => What::Left("summary"),
        ("file-history-snapshot", _) => What::Left("snapshot"),
        ("queue-operation", _) => What::Left("queue"),
        ("attachment", _) => typed.map_or(What::Left("harness"), |typed| {
            let said = Spoken { content: typed.prompt, ..Spoken::default() };
            What::Question { said, outcome: Maybe(None) }
        }),
        ("progress" | "last-prompt", _) => What::Left("harness"),
        _ => What::Left("unknown_type"),
    };
    Entry {
        line,
        // Side chains inside the main file do not link to it.
        uuid: row.uuid.filter(|_| !sidechain),
        parent: row.parent_uuid,
        logical: row.logical_parent_uuid,
        time_ms: row.timestamp.and_then(|time| time_ms(&time.0)),
        what,
    }
}

impl Spoken {
    pub fn begins_with(&self, start: &str) -> bool {
        let text = match &self.content {
            Parts::Text(text) => Some(text),
            Parts::List(blocks) => blocks.first().and_then(|block| block.text.as_ref()),
        };
        text.is_some_and(|text| text.starts_with(start))
    }

    pub fn blocks(self) -> Vec<Block> {
        match self.content {
            Parts::List(blocks) => blocks,
            Parts::Text(text) => {
                vec![Block { r#type: "text".into(), text: Some(text), ..Block::default() }]
            }
        }
    }
}
