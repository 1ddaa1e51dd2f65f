//! Rows for this room's tests.

use std::sync::Arc;

use serde_json::Value;

use super::{Example, Held, Rows, Stage};
use crate::chance::Chance;
use crate::trace::{Message, Origin, Role, ToolCall, Trace};

/// A real row with these messages.
pub fn row(session: &str, messages: Vec<Message>) -> Example {
    Example::real(Trace {
        session: session.into(),
        source: "raw".into(),
        messages,
        origin: Origin { file: "traces.jsonl".into(), line: 1 },
        ..Trace::default()
    })
}

/// Rows that a test made.
pub fn rows(examples: Vec<Example>) -> Rows {
    let stage = Stage::made("made", examples.len());
    Rows::new(examples, stage)
}

/// The rows read.
pub fn read(rows: &[Held]) -> Vec<Arc<Example>> {
    rows.iter().map(|row| row.read().unwrap()).collect()
}

/// One question and one answer.
pub fn chat(session: &str, user: &str, assistant: &str) -> Example {
    row(session, vec![Message::text(Role::User, user), Message::text(Role::Assistant, assistant)])
}

/// An assistant message with one call.
pub fn call(id: &str, name: &str, arguments: Value) -> Message {
    let arguments = arguments.as_object().cloned().unwrap_or_default();
    let mut message = Message::text(Role::Assistant, "");
    message.tool_calls.push(ToolCall { id: id.into(), name: name.into(), arguments });
    message
}

/// The result of a call.
pub fn result(id: &str, text: &str) -> Message {
    let mut message = Message::text(Role::Tool, text);
    message.tool_call_id = Some(id.into());
    message
}

/// So many words drawn from a few hundred: like prose, unlike other seeds.
pub fn prose(seed: u64, count: usize) -> String {
    let mut chance = Chance::new(seed, "prose");
    let syllables = ["ka", "lo", "mi", "ren", "ta", "vos", "pel", "dur", "sin", "ga"];
    let words: Vec<String> = (0..count)
        .map(|_| (0..3).map(|_| syllables[chance.below(syllables.len())]).collect())
        .collect();
    words.join(" ")
}
