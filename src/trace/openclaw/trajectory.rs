//! The trajectory sidecar: the only place where the system prompt and the tools' schemas stand.
//!
//! From src/trajectory/runtime.ts: a line an event; `context.compiled` is written for every
//! request. Values that are too large or too deep are replaced by `{"truncated": true, "reason":
//! "trajectory-…"}`, whole fields of an event that is too large are dropped.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::trace::pi::{self, file::Rows};
use crate::trace::store::Records;
use crate::trace::{BadLine, Message, Role};

/// What a session's requests had before the conversation.
#[derive(Default)]
pub(super) struct Compiled {
    pub system: Option<Message>,
    pub tools: Vec<Value>,
    pub version: Option<String>,
    used: bool,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    data: Option<Data>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Data {
    system_prompt: Value,
    tools: Value,
    harness: Value,
}

impl Compiled {
    /// Takes one event in; false where it is none.
    pub fn add(&mut self, row: u64, text: &[u8], records: &mut Records) -> bool {
        let Ok(event) = serde_json::from_slice::<Event>(text) else { return false };
        let data = event.data.unwrap_or_default();
        if event.kind == "trace.metadata" {
            let version = data.harness.get("version").and_then(Value::as_str);
            self.version = version.map(str::to_string).or(self.version.take());
        }
        // Every request writes such an event; together they say one thing.
        if event.kind == "context.compiled" && self.take(data, row) && !self.used {
            self.used = true;
            records.used();
            return true;
        }
        records.left("trajectory");
        true
    }

    /// Keeps the newest of what stands there in full; false where nothing does.
    fn take(&mut self, data: Data, row: u64) -> bool {
        let mut says = false;
        if let Value::String(prompt) = data.system_prompt {
            self.system = Some(Message { row, ..Message::text(Role::System, prompt) });
            says = true;
        }
        if let Value::Array(tools) = data.tools {
            let whole = !tools.iter().any(is_cut);
            let tools: Vec<Value> = tools.into_iter().filter_map(function).collect();
            if (whole || self.tools.is_empty()) && !tools.is_empty() {
                self.tools = tools;
                says = true;
            }
        }
        says
    }

    /// Reads a sidecar file; `shown` is its name in reports.
    pub fn read(
        path: &Path,
        shown: &str,
        records: &mut Records,
        bad: &mut Vec<BadLine>,
    ) -> io::Result<Compiled> {
        let mut compiled = Compiled::default();
        let mut rows = Rows::new(pi::file::open(path)(0)?);
        while let Some((row, text)) = rows.next()? {
            let problem = match text {
                Ok(text) if compiled.add(row, text, records) => continue,
                Ok(_) => "not a trajectory event".to_string(),
                Err(damage) => damage.problem,
            };
            records.left("not_json");
            bad.push(BadLine { file: shown.to_string(), line: row, problem });
        }
        if let Some(system) = &mut compiled.system {
            system.file = Some(shown.to_string());
        }
        Ok(compiled)
    }
}

/// Where a session's sidecar may lie: beside it, or in the folder the environment names.
pub(super) fn places(folder: &Path, moved: Option<&Path>, session: &str) -> Vec<PathBuf> {
    // An id is no path.
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if session.is_empty() || session.starts_with('.') || !session.chars().all(plain) {
        return Vec::new();
    }
    let beside = folder.join(format!("{session}.trajectory.jsonl"));
    let moved = moved.map(|folder| folder.join(format!("{session}.jsonl")));
    [beside].into_iter().chain(moved).collect()
}

fn is_cut(value: &Value) -> bool {
    let reason = value.get("reason").and_then(Value::as_str).unwrap_or_default();
    value.get("truncated") == Some(&Value::Bool(true)) && reason.starts_with("trajectory-")
}

/// A tool in OpenAI's shape.
fn function(mut tool: Value) -> Option<Value> {
    drop_cut(&mut tool);
    let mut function = json!({"name": tool.get("name")?.as_str()?});
    for field in ["description", "parameters"] {
        if let Some(value) = tool.get_mut(field).filter(|value| !value.is_null()) {
            function[field] = value.take();
        }
    }
    Some(json!({"type": "function", "function": function}))
}

/// Takes what was cut off out of a schema, which says less then but nothing wrong.
fn drop_cut(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, value| !is_cut(value) && key != "_truncated");
            map.values_mut().for_each(drop_cut);
        }
        Value::Array(values) => {
            values.retain(|value| !is_cut(value));
            values.iter_mut().for_each(drop_cut);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(lines: &[&str]) -> (Compiled, Records) {
        let (mut compiled, mut records) = (Compiled::default(), Records::default());
        for (n, line) in lines.iter().enumerate() {
            assert!(compiled.add(n as u64 + 1, line.as_bytes(), &mut records));
        }
        (compiled, records)
    }

    #[test]
    fn what_is_too_deep_in_a_schema_is_taken_out() {
        let (compiled, _) = compiled(&[r#"{"type":"context.compiled","data":{"systemPrompt":"s",
            "tools":[{"name":"a","parameters":{"type":"object","properties":{"x":{"type":"array",
            "items":{"truncated":true,"reason":"trajectory-depth-limit","limitDepth":6}}}}}]}}"#]);
        let parameters = &compiled.tools[0]["function"]["parameters"];
        assert_eq!(*parameters, json!({"type": "object", "properties": {"x": {"type": "array"}}}));
    }

    #[test]
    fn what_an_oversized_event_lost_stands_in_an_earlier_one() {
        let (compiled, records) = compiled(&[
            r#"{"type":"context.compiled","data":{"systemPrompt":"one","tools":[{"name":"a"}]}}"#,
            r#"{"type":"context.compiled","data":{"truncated":true,"droppedFields":["tools"]}}"#,
            r#"{"type":"context.compiled","data":{"systemPrompt":"two"}}"#,
        ]);
        let system = compiled.system.unwrap();
        assert_eq!((system.content.as_str(), system.row), ("two", 3));
        assert_eq!(compiled.tools.len(), 1);
        assert_eq!((records.read, records.used), (3, 1));
    }

    #[test]
    fn an_id_is_no_path() {
        assert!(places(Path::new("/a"), None, "../b").is_empty());
        assert!(places(Path::new("/a"), None, "..").is_empty());
        assert_eq!(places(Path::new("/a"), None, "b").len(), 1);
    }
}
