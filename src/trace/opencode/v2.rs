//! Rows: OpenCode 2 (`packages/schema/src/session-message.ts`). One row is one message, step or
//! event; a step holds its calls and their results.

use serde::Deserialize;
use serde_json::Value;

use super::loose::Loose;
use super::{
    Attachment, Draft, Metadata, Session, Stored, Time, append, author, of_finish, unquoted,
};
use crate::trace::store::Reading;
use crate::trace::{Message, Role, Signal, ToolCall};

/// A row with its type.
pub(super) struct Row<'a> {
    pub kind: &'a str,
    pub data: Stored<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Data<'a> {
    #[serde(borrow)]
    time: Time<'a>,
    #[serde(borrow)]
    text: Loose<'a>,
    #[serde(borrow)]
    files: Option<Vec<Attachment<'a>>>,
    #[serde(borrow)]
    model: Option<Model<'a>>,
    #[serde(borrow)]
    content: Option<Vec<Piece<'a>>>,
    #[serde(borrow)]
    finish: Loose<'a>,
    #[serde(borrow)]
    error: Option<Failure<'a>>,
    #[serde(borrow)]
    outcome: Loose<'a>,
    #[serde(borrow)]
    command: Loose<'a>,
    #[serde(borrow)]
    exit: Loose<'a>,
    output: Value,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Model<'a> {
    #[serde(borrow)]
    id: Loose<'a>,
    #[serde(borrow, rename = "providerID")]
    provider: Loose<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Failure<'a> {
    #[serde(borrow)]
    r#type: Loose<'a>,
    #[serde(borrow)]
    message: Loose<'a>,
}

/// A piece of a step, or of a result.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Piece<'a> {
    #[serde(borrow)]
    r#type: Loose<'a>,
    #[serde(borrow)]
    text: Loose<'a>,
    #[serde(borrow)]
    id: Loose<'a>,
    #[serde(borrow)]
    name: Loose<'a>,
    #[serde(borrow)]
    mime: Loose<'a>,
    #[serde(borrow)]
    state: Option<State<'a>>,
    #[serde(borrow)]
    time: Time<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct State<'a> {
    #[serde(borrow)]
    status: Loose<'a>,
    input: Value,
    #[serde(borrow)]
    content: Option<Vec<Piece<'a>>>,
    #[serde(borrow)]
    error: Option<Failure<'a>>,
    #[serde(borrow)]
    metadata: Option<Metadata<'a>>,
}

/// Makes a trace of a session's rows, which are in order.
pub(super) fn read(session: &Session, file: &str, rows: &[Row]) -> Reading {
    let mut draft = Draft::new(session, file);
    for row in rows {
        draft.meets(row.data.id, None);
        let reason = match row.kind {
            "user" | "assistant" | "shell" | "idle" => {
                if let Some(data) = draft.parse::<Data>(&row.data) {
                    said(&mut draft, row, data);
                }
                continue;
            }
            "synthetic" | "system" => "synthetic",
            "skill" => "skill",
            "compaction" => "compaction",
            "agent-switched" | "model-switched" | "location-switched" => "switch",
            _ => "unknown_type",
        };
        draft.records.left(reason);
    }
    draft.finish()
}

fn said(draft: &mut Draft, row: &Row, data: Data) {
    let time_ms = data.time.created.number();
    let mut message = draft.message(Role::User, &row.data);
    message.time_ms = time_ms;
    match row.kind {
        "assistant" => return answer(draft, row, data),
        "idle" => return idle(draft, &data),
        "shell" => {
            message.content = format!("$ {}\n{}", data.command.text(), printed(&data.output));
            message.exit = data.exit.number();
            message.note(Signal::Shell);
        }
        _ => {
            message.content = unquoted(data.text.text());
            for file in data.files.iter().flatten() {
                append(&mut message.content, file.mention());
            }
        }
    }
    match message.content.is_empty() {
        true => draft.records.left("empty"),
        false => {
            draft.records.used();
            draft.trace.messages.push(message);
        }
    }
}

/// What a command printed: its text, or the text in whatever holds it.
fn printed(output: &Value) -> &str {
    let inner = ["output", "text"].iter().find_map(|key| output.get(key));
    inner.unwrap_or(output).as_str().unwrap_or_default()
}

/// The end of a turn, which says how it ended.
fn idle(draft: &mut Draft, data: &Data) {
    let signal = match data.outcome.text() {
        "succeeded" => Signal::TurnSucceeded,
        "failed" => Signal::TurnFailed,
        "interrupted" => Signal::TurnInterrupted,
        _ => return draft.records.left("unknown_type"),
    };
    let turn = draft.trace.messages.iter_mut().rev().take_while(|m| m.role != Role::User);
    match turn.into_iter().find(|m| m.role == Role::Assistant) {
        Some(answer) => {
            answer.note(signal);
            draft.records.used();
        }
        None => draft.records.left("no_answer"),
    }
}

fn answer(draft: &mut Draft, row: &Row, data: Data) {
    let mut message = draft.message(Role::Assistant, &row.data);
    message.time_ms = data.time.created.number();
    let model = data.model.unwrap_or_default();
    message.author = author(model.provider.text(), model.id.text());
    let mut results = Vec::new();
    for (nth, piece) in data.content.into_iter().flatten().enumerate() {
        match (piece.r#type.text(), piece.state) {
            ("text", _) => append(&mut message.content, piece.text.into_text()),
            ("reasoning", _) if piece.text.text().is_empty() => {}
            ("reasoning", _) => {
                let reasoning = message.reasoning_content.get_or_insert_default();
                append(reasoning, piece.text.into_text());
            }
            ("tool", Some(state)) => {
                let id = match piece.id.text() {
                    "" => format!("{}_{nth}", row.data.id),
                    id => id.to_owned(),
                };
                let (call, mut result) = tool(draft, &row.data, &id, piece.name.text(), state);
                result.time_ms = piece.time.completed.number().or(piece.time.created.number());
                message.tool_calls.push(call);
                results.push(result);
            }
            ("tool", None) => draft.damaged(&row.data, "damaged", "a call without a state"),
            _ => draft.records.left("unknown_type"),
        }
    }
    let signal = match data.error.as_ref().map(|e| e.r#type.text()) {
        Some("aborted") => Some(Signal::Aborted),
        Some("provider.content-filter") => Some(Signal::ContentFilter),
        // Its words are those of the tool or the person, whose result says so.
        Some("permission.rejected" | "tool.execution") => None,
        Some(_) => Some(Signal::ProviderError),
        None => of_finish(data.finish.text()),
    };
    if let Some(signal) = signal {
        message.note(signal);
    }
    let ended = data.time.completed.number();
    draft.trace.ended_ms = draft.trace.ended_ms.max(ended);
    let unfinished = data.error.is_none() && data.finish.text().is_empty() && ended.is_none();
    let empty = message.content.is_empty()
        && message.reasoning_content.is_none()
        && message.tool_calls.is_empty();
    if empty && unfinished {
        return draft.records.left("empty");
    }
    if unfinished {
        // The agent ended before its model did.
        message.note(Signal::Aborted);
    }
    draft.records.used();
    draft.trace.messages.push(message);
    draft.trace.messages.extend(results);
}

/// A call and its result.
fn tool(
    draft: &mut Draft,
    stored: &Stored,
    id: &str,
    name: &str,
    state: State,
) -> (ToolCall, Message) {
    let mut result = draft.message(Role::Tool, stored);
    result.exit = state.metadata.unwrap_or_default().exit.number();
    for piece in state.content.into_iter().flatten() {
        match piece.r#type.text() {
            "file" => {
                let file = Attachment { mime: piece.mime, filename: piece.name };
                append(&mut result.content, file.mention());
            }
            _ => append(&mut result.content, piece.text.into_text()),
        }
    }
    match state.status.text() {
        "completed" => {}
        "error" => {
            let error = state.error.unwrap_or_default();
            result.note(match error.r#type.text() {
                "aborted" => Signal::Aborted,
                "permission.rejected" => Signal::Denied,
                _ => Signal::of_failure(error.message.text()),
            });
            append(&mut result.content, error.message.into_text());
        }
        // Still so in the store: the agent ended before the tool did.
        _ => {
            result.content.clear();
            result.note(Signal::Aborted);
        }
    }
    let call = draft.call(id, name, state.input);
    result.tool_call_id = Some(call.id.clone());
    result.name = Some(call.name.clone());
    (call, result)
}
