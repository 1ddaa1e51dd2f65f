//! The trajectory sidecar: the only place where the system prompt and the tools' schemas stand.
//!
//! From src/trajectory/runtime.ts: a line an event; `context.compiled` is written for every
//! request. What is too large or too deep is replaced by `{"truncated": true, "reason":
//! "trajectory-…"}`, what may be a secret and what comes after some thousand values by a short
//! note; whole fields of an event that is too large are dropped. A system prompt or a list of
//! tools that is not whole is not what the model saw, and is left. `tools` are all there are;
//! where the model is shown a few of them only, `providerVisibleTools` are those.
//!
//! Two facts that a transcript may lack stand here as well: how a run ended, and calls of tools
//! that do not exist (2026.9.6 records their results and not the step that made them).

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::trace::pi::entry::time_ms;
use crate::trace::pi::session::Known;
use crate::trace::pi::{self, file::Rows};
use crate::trace::store::Records;
use crate::trace::{BadLine, Message, Role, Signal, ToolCall};

/// What a sidecar says of a session.
#[derive(Default)]
pub(super) struct Compiled {
    pub system: Option<Message>,
    pub tools: Vec<Value>,
    pub version: Option<String>,
    /// Runs, and how each ended.
    pub endings: Vec<(String, Signal)>,
    /// Calls, each as a step.
    pub steps: Vec<Message>,
    used: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    ts: Value,
    #[serde(default)]
    run_id: Option<String>,
    #[serde(default)]
    provider: Value,
    #[serde(default)]
    model_id: Value,
    #[serde(default)]
    data: Option<Data>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Data {
    system_prompt: Value,
    tools: Value,
    provider_visible_tools: Value,
    harness: Value,
    status: Value,
    aborted: Value,
    tool_call_id: Value,
    name: Value,
    args: Value,
}

impl Compiled {
    /// Takes one event in; false where it is none.
    pub fn add(&mut self, row: u64, text: &[u8], records: &mut Records) -> bool {
        let Ok(event) = serde_json::from_slice::<Event>(text) else { return false };
        let data = event.data.unwrap_or_default();
        let time = event.ts.as_str().and_then(time_ms);
        match event.kind.as_str() {
            "trace.metadata" => {
                let version = data.harness.get("version").and_then(Value::as_str);
                self.version = version.map(str::to_string).or(self.version.take());
            }
            "session.ended" => self.endings.extend(event.run_id.zip(ending(&data))),
            "tool.call" => {
                let (Value::String(id), Value::String(name)) = (data.tool_call_id, data.name)
                else {
                    return false;
                };
                let arguments = match data.args {
                    Value::Object(arguments) => arguments,
                    _ => Map::new(),
                };
                let author = [event.provider.as_str(), event.model_id.as_str()];
                let author: Vec<&str> = author.into_iter().flatten().collect();
                let step = Message {
                    tool_calls: vec![ToolCall { id, name, arguments }],
                    author: Some(author.join("/")).filter(|author| !author.is_empty()),
                    time_ms: time,
                    row,
                    ..Message::text(Role::Assistant, "")
                };
                self.steps.push(step);
            }
            // Every request writes such an event; together they say one thing.
            "context.compiled" if self.take(data, row) && !self.used => {
                self.used = true;
                records.used();
                return true;
            }
            _ => {}
        }
        records.left("trajectory");
        true
    }

    /// Keeps the newest of what stands there in full; false where nothing does.
    fn take(&mut self, data: Data, row: u64) -> bool {
        let mut says = false;
        if let Value::String(prompt) = data.system_prompt
            && !is_note(&prompt)
        {
            self.system = Some(Message { row, ..Message::text(Role::System, prompt) });
            says = true;
        }
        let visible = match data.provider_visible_tools {
            Value::Null => data.tools,
            visible => visible,
        };
        if let Value::Array(tools) = visible
            && !tools.is_empty()
            && tools.iter().all(is_whole)
        {
            self.tools = tools.into_iter().filter_map(function).collect();
            says = true;
        }
        says
    }

    /// Adds what the sidecar says to what is known of a session.
    pub fn complete(self, known: Known) -> Known {
        let Compiled { system, tools, version, endings, steps, .. } = self;
        Known { system, tools, version, endings, steps, ..known }
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
        for message in compiled.system.iter_mut().chain(&mut compiled.steps) {
            message.file = Some(shown.to_string());
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

fn ending(data: &Data) -> Option<Signal> {
    match data.status.as_str() {
        _ if data.aborted == Value::Bool(true) => Some(Signal::TurnInterrupted),
        Some("interrupted" | "aborted") => Some(Signal::TurnInterrupted),
        Some("success") => Some(Signal::TurnSucceeded),
        Some("error" | "failed" | "timeout") => Some(Signal::TurnFailed),
        _ => None,
    }
}

/// What stands in the place of a value after so many values.
const TOO_MANY: &str = "[Truncated]";

/// What stands in the place of a value that was taken out.
fn is_note(text: &str) -> bool {
    [TOO_MANY, "[Malformed diagnostic JSON redacted]", "***", "<redacted>"].contains(&text)
}

fn is_cut(value: &Value) -> bool {
    let reason = value.get("reason").and_then(Value::as_str).unwrap_or_default();
    let cut = value.get("truncated") == Some(&Value::Bool(true));
    (cut && reason.starts_with("trajectory-")) || value.as_str().is_some_and(is_note)
}

/// Whether a tool stands there with all its parameters, however little of them is said.
fn is_whole(tool: &Value) -> bool {
    fn goes_on(value: &Value) -> bool {
        match value {
            Value::String(text) => text != TOO_MANY,
            Value::Array(values) => values.iter().all(goes_on),
            Value::Object(map) => map.values().all(goes_on),
            _ => true,
        }
    }
    tool.get("name").is_some_and(Value::is_string) && goes_on(tool)
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
    fn a_list_that_breaks_off_is_no_list() {
        let (compiled, records) = compiled(&[
            r#"{"type":"context.compiled","data":{"systemPrompt":{"truncated":true,
            "reason":"trajectory-field-size-limit"},"tools":[{"name":"a"},"[Truncated]"]}}"#,
            r#"{"type":"context.compiled","data":{"tools":[{"name":"a","parameters":{"type":"object",
            "properties":{"x":"[Truncated]"}}}]}}"#,
            r#"{"type":"context.compiled","data":{"tools":[{"name":"a"}],
            "providerVisibleTools":"[Truncated]"}}"#,
        ]);
        assert!(compiled.system.is_none() && compiled.tools.is_empty());
        assert_eq!((records.read, records.used), (3, 0));
    }

    #[test]
    fn the_tools_the_model_was_shown_are_its_tools() {
        let (compiled, _) = compiled(&[r#"{"type":"context.compiled","data":{
            "tools":[{"name":"a"},{"name":"b"}],"providerVisibleTools":[{"name":"b"}]}}"#]);
        assert_eq!(compiled.tools, [json!({"type": "function", "function": {"name": "b"}})]);
    }

    #[test]
    fn an_id_is_no_path() {
        assert!(places(Path::new("/a"), None, "../b").is_empty());
        assert!(places(Path::new("/a"), None, "..").is_empty());
        assert_eq!(places(Path::new("/a"), None, "b").len(), 1);
    }
}
