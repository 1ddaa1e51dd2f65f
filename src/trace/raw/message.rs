//! One JSON object → one [`Message`].

use serde_json::{Map, Value};

use super::calls::{self, Calls};
use super::row::{Problem, given, text, whole};
use crate::trace::{Message, Role};

pub(super) fn parse(value: Value, line: u64, made: &mut Calls) -> Result<Message, Problem> {
    let Value::Object(mut map) = value else {
        return Err(Problem::new("message", "not a JSON object"));
    };
    let role = role(&map)?;
    // ShareGPT's call is a message of its own, whose value is the call as JSON.
    if role == Role::Assistant && speaker(&map).is_some_and(|name| name == "function_call") {
        let given = map.shift_remove("value").or_else(|| map.shift_remove("content"));
        map.insert("tool_calls".into(), calls::listed(given)?);
    }
    let tool_calls = if role == Role::Assistant { made.made(&mut map)? } else { Vec::new() };
    let content = match map.remove("content").or_else(|| map.remove("value")) {
        Some(given) => content(given)?,
        None if !tool_calls.is_empty() => String::new(),
        None => return Err(Problem::new("content", "no `content`")),
    };
    let reasoning_content = match text(&map, "reasoning_content")? {
        Some(reasoning) => Some(reasoning),
        None => text(&map, "reasoning")?,
    };
    let (tool_call_id, name) = match role {
        Role::Tool => {
            let (id, name) = (text(&map, "tool_call_id")?, text(&map, "name")?);
            made.answered(id, name)
        }
        _ => (None, None),
    };
    let author = match text(&map, "author")? {
        Some(author) => Some(author),
        None if role == Role::Assistant => text(&map, "model")?,
        None => None,
    };
    Ok(Message {
        time_ms: given(&map, "time_ms")?,
        signals: given(&map, "signals")?.unwrap_or_default(),
        label: given(&map, "label")?,
        exit: given(&map, "exit")?,
        file: given(&map, "file")?,
        role,
        content,
        reasoning_content: reasoning_content.filter(|r| !r.is_empty()),
        tool_calls,
        tool_call_id,
        name,
        train: train(&map, role)?,
        author,
        row: whole(&map, "row")?.filter(|row| *row > 0).unwrap_or(line),
    })
}

fn speaker(map: &Map<String, Value>) -> Option<&str> {
    map.get("role").or_else(|| map.get("from"))?.as_str()
}

fn role(map: &Map<String, Value>) -> Result<Role, Problem> {
    let Some(name) = speaker(map) else {
        return Err(Problem::new("unknown_role", "no `role`"));
    };
    match name.to_ascii_lowercase().as_str() {
        "system" | "developer" => Ok(Role::System),
        "user" | "human" => Ok(Role::User),
        "assistant" | "gpt" | "model" | "bot" | "chatgpt" | "function_call" => Ok(Role::Assistant),
        "tool" | "function" | "observation" | "function_response" => Ok(Role::Tool),
        other
            if other.len() <= 24 && other.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') =>
        {
            let known = "system, user, assistant and tool";
            Err(Problem::new("unknown_role", format!("unknown role `{other}`; known are {known}")))
        }
        _ => Err(Problem::new("unknown_role", "unknown role")),
    }
}

/// A message's text: a string, nothing, or a list of text parts.
fn content(value: Value) -> Result<String, Problem> {
    match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text),
        Value::Array(parts) => parts.into_iter().map(part).collect(),
        _ => Err(Problem::new("content", "`content` is neither a text nor a list of parts")),
    }
}

fn part(value: Value) -> Result<String, Problem> {
    match value {
        Value::String(text) => Ok(text),
        Value::Object(mut map) => match map.remove("text") {
            Some(Value::String(text)) => Ok(text),
            _ => Err(Problem::new("content", "a part of `content` is not text")),
        },
        _ => Err(Problem::new("content", "a part of `content` is not text")),
    }
}

/// Whether the loss covers the message: its own `train`, OpenAI's `weight`, else by role.
fn train(map: &Map<String, Value>, role: Role) -> Result<bool, Problem> {
    let flag = match (map.get("train"), map.get("weight")) {
        (Some(Value::Bool(flag)), _) => *flag,
        (None | Some(Value::Null), None | Some(Value::Null)) => return Ok(role == Role::Assistant),
        (None | Some(Value::Null), Some(weight)) => match weight.as_f64() {
            Some(0.0) => false,
            Some(1.0) => role == Role::Assistant,
            _ => return Err(Problem::new("train_flag", "`weight` is neither 0 nor 1")),
        },
        _ => return Err(Problem::new("train_flag", "`train` is neither true nor false")),
    };
    if flag && role != Role::Assistant {
        return Err(Problem::new(
            "train_flag",
            "`train` is set on a message the model did not write",
        ));
    }
    Ok(flag)
}
