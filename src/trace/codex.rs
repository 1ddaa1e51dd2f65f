//! Codex CLI's sessions: `sessions/<year>/<month>/<day>/rollout-<time>-<id>.jsonl`.
//!
//! Rows are `{timestamp, type, payload}`; before October 2025 the payload stood alone. The
//! conversation is in the `response_item` rows; `event_msg` rows repeat it and are read only for
//! what they alone say: errors, interruptions, turns taken back, and since 0.147 what the commands
//! inside a script put out. (Format: `codex-rs/protocol/src/protocol.rs`, `models.rs`,
//! `items.rs`.)

use anyhow::Result;
use serde_json::{Map, Value};

use super::find::Place;
use super::jsonl::{self, OneFile, Parts, append, each_row, folder_name, joined, time_ms};
use super::store::{Heading, Reader, Reading, Records};
use super::talk::Talk;
use super::{Message, Origin, Role, Signal, Trace};

mod harness;
mod output;
mod row;

use harness::Said;
use row::{Part, Payload, READ, parse};

const AGENT: &str = "codex";

pub(super) const READER: Reader = Reader {
    folder: |_| false,
    file: |_, head| recognised(&String::from_utf8_lossy(head)),
    open: |place| Ok(Box::new(OneFile { place: place.clone(), heading, read })),
};

/// The first row says of whom the session is; inside texts quotes are escaped, so that these
/// stand for keys only.
fn recognised(head: &str) -> bool {
    let has = |line: &str, keys: &[&str]| keys.iter().all(|key| line.contains(key));
    let mut lines = head.trim_start_matches('\u{feff}').lines();
    let Some(first) = lines.next().filter(|line| line.starts_with('{')) else { return false };
    // Before October 2025 the first row has no type, as other agents' have; what follows has.
    let old = |line: &str| {
        line.contains("\"record_type\":") || has(line, &["\"type\":\"message\"", "\"role\":"])
    };
    has(first, &["\"type\":\"session_meta\"", "\"payload\":"])
        || has(first, &["\"id\":", "\"timestamp\":"])
            && !first.contains("\"type\":")
            && !first.contains("\"messages\":")
            && lines.take(3).any(old)
}

fn heading(place: &Place) -> Result<Heading> {
    let mut session = None;
    each_row(&place.path, |_, text| {
        if let Ok((_, kind, payload)) = text.and_then(parse)
            && kind == "session_meta"
        {
            session = payload.and_then(|meta| meta.id);
        }
        session.is_none()
    })?;
    let stem = || place.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Heading {
        agent: AGENT,
        session: session.unwrap_or_else(stem),
        generation: 1,
        bytes: place.bytes,
        updated_ms: jsonl::last_time(&place.path),
        skip: None,
        key: 0,
    })
}

fn read(place: &Place, heading: &Heading) -> Reading {
    let mut records = Records::default();
    let mut bad = Vec::new();
    let trace = Trace {
        session: heading.session.clone(),
        source: AGENT.into(),
        origin: Origin { file: place.shown.clone(), line: 1 },
        ..Trace::default()
    };
    let mut session = Session { trace, ..Session::default() };
    let done = each_row(&place.path, |line, text| {
        match text.and_then(parse) {
            Ok((time, kind, payload)) => match session.row(line, time, &kind, payload) {
                Ok(()) => records.used(),
                Err(reason) => records.left(reason),
            },
            Err(damage) => damage.note(&place.shown, line, &mut records, &mut bad),
        }
        true
    });
    if done.is_err() {
        return Reading { trace: Err("unreadable"), records, bad };
    }
    let trace = session.finish();
    let spoken = trace.messages.iter().any(|m| m.role != Role::System);
    Reading { trace: if spoken { Ok(trace) } else { Err("no_message") }, records, bad }
}

#[derive(Default)]
struct Session {
    trace: Trace,
    talk: Talk,
    /// Whether a row of the session itself was met: a fork copies that of its origin behind it.
    known: bool,
    provider: Option<String>,
    model: Option<String>,
    /// The step that still takes thoughts, text and calls.
    step: Option<usize>,
    /// The last script, and what its commands put out.
    script: Option<String>,
    ran: output::Ran,
}

impl Session {
    fn row(
        &mut self,
        line: u64,
        time: Option<i64>,
        kind: &str,
        payload: Option<Payload>,
    ) -> Result<(), &'static str> {
        match (kind, payload) {
            ("session_meta", Some(_)) if self.known => Err("repeated"),
            ("session_meta", Some(meta)) => {
                self.meta(line, meta);
                Ok(())
            }
            ("turn_context", Some(context)) => {
                self.model = context.model.or(self.model.take());
                Ok(())
            }
            ("response_item", Some(item)) => self.item(line, time, item),
            ("event_msg", Some(event)) => self.event(line, time, event),
            ("event_msg", None) => Err("event"),
            ("compacted", _) => Err("compaction"),
            ("state" | "world_state", _) => Err("state"),
            (kind, _) if READ.contains(&kind) => Err("no_content"),
            _ => Err("unknown_type"),
        }
    }

    fn meta(&mut self, line: u64, meta: Payload) {
        self.known = true;
        self.trace.agent_version = meta.cli_version;
        self.trace.repository = meta.cwd.as_deref().and_then(folder_name);
        self.trace.started_ms = meta.timestamp.as_deref().and_then(time_ms);
        self.provider = meta.model_provider;
        let spawn = meta.source.0.and_then(|s| s.subagent.0).and_then(|s| s.thread_spawn.0);
        self.trace.parent = spawn.and_then(|spawn| spawn.parent_thread_id);
        let prompt = meta.base_instructions.text();
        if !prompt.is_empty() {
            self.talk.say(Message { row: line, ..Message::text(Role::System, prompt) });
        }
    }

    /// The step that a thought, a text or a call belongs to.
    fn step(&mut self, line: u64, time_ms: Option<i64>) -> usize {
        let step = match self.step {
            Some(step) => step,
            None => {
                self.close_script();
                let author = match (&self.provider, &self.model) {
                    (Some(provider), Some(model)) => Some(format!("{provider}/{model}")),
                    (_, model) => model.clone(),
                };
                let message = Message { author, row: line, ..Message::text(Role::Assistant, "") };
                self.talk.say(message)
            }
        };
        let message = self.talk.at(step);
        message.time_ms = message.time_ms.max(time_ms);
        self.step = Some(step);
        step
    }

    fn item(&mut self, line: u64, time: Option<i64>, item: Payload) -> Result<(), &'static str> {
        match item.r#type.as_deref().unwrap_or_default() {
            "message" => match item.role.as_deref() {
                Some("assistant") => {
                    let text = item.content.text();
                    if text.is_empty() {
                        return Err("no_content");
                    }
                    let step = self.step(line, time);
                    append(&mut self.talk.at(step).content, &text);
                    Ok(())
                }
                Some("user") => self.question(line, time, item.content),
                Some("developer" | "system") => Err("harness"),
                _ => Err("unknown_type"),
            },
            "reasoning" => {
                let (full, summary) = (item.content.text(), item.summary.text());
                let thought = if full.is_empty() { summary } else { full };
                if thought.is_empty() {
                    return Err("encrypted");
                }
                let step = self.step(line, time);
                append(self.talk.at(step).reasoning_content.get_or_insert_default(), &thought);
                Ok(())
            }
            "function_call" => {
                let arguments = match item.arguments {
                    Some(Value::String(text)) => structure(text),
                    Some(Value::Object(arguments)) => arguments,
                    _ => Map::new(),
                };
                self.call(line, time, item.call_id, item.name, arguments)
            }
            "custom_tool_call" => {
                let arguments = input(item.input.unwrap_or_default());
                let script = item.call_id.clone().filter(|_| item.name.as_deref() == Some("exec"));
                let made = self.call(line, time, item.call_id, item.name, arguments);
                self.script = script.or(self.script.take());
                made
            }
            "local_shell_call" => {
                let arguments = item.action.0.unwrap_or_default();
                let id = item.call_id.or(item.id);
                self.call(line, time, id, Some("local_shell".into()), arguments)
            }
            "function_call_output" | "custom_tool_call_output" | "local_shell_call_output" => {
                let id = item.call_id.unwrap_or_default();
                let mut result = item.output.result(self.talk.tool(&id));
                if self.script.as_deref() == Some(&id) {
                    self.script = None;
                    result.exit = std::mem::take(&mut self.ran).exit().or(result.exit);
                }
                self.step = None;
                self.talk.answer(&id, Message { row: line, time_ms: time, ..result })
            }
            "web_search_call" | "tool_search_call" | "image_generation_call" => Err("server_tool"),
            "compaction" | "compaction_summary" | "context_compaction" => Err("compaction"),
            "ghost_snapshot" => Err("snapshot"),
            _ => Err("unknown_type"),
        }
    }

    fn call(
        &mut self,
        line: u64,
        time: Option<i64>,
        id: Option<String>,
        name: Option<String>,
        arguments: Map<String, Value>,
    ) -> Result<(), &'static str> {
        let name = name.filter(|name| !name.is_empty()).ok_or("no_content")?;
        let step = self.step(line, time);
        let new = self.talk.call(step, &id.unwrap_or_default(), name, arguments);
        if new { Ok(()) } else { Err("repeated") }
    }

    fn question(
        &mut self,
        line: u64,
        time: Option<i64>,
        content: Parts<Part>,
    ) -> Result<(), &'static str> {
        let texts = match content {
            Parts::Text(text) => vec![text],
            Parts::List(parts) => parts.into_iter().filter_map(|part| part.text).collect(),
        };
        let mut own = Vec::new();
        let mut left = Err("no_content");
        for text in &texts {
            match harness::said(text) {
                Said::Text(text) => own.push(text),
                Said::Command(text) => {
                    let mut message = Message::text(Role::User, text);
                    message.note(Signal::Shell);
                    self.step = None;
                    self.talk.say(Message { row: line, time_ms: time, ..message });
                    left = Ok(());
                }
                Said::Harness => left = left.or(Err("harness")),
            }
        }
        if !own.is_empty() {
            self.close_script();
            self.step = None;
            let text = joined(own);
            let message = Message::text(Role::User, text);
            self.talk.say(Message { row: line, time_ms: time, ..message });
            left = Ok(());
        }
        left
    }

    fn event(&mut self, line: u64, time: Option<i64>, event: Payload) -> Result<(), &'static str> {
        match event.r#type.as_deref().unwrap_or_default() {
            "turn_aborted" => {
                let answer = self.talk.last_answer().ok_or("interrupted")?;
                answer.note(Signal::Aborted);
                answer.note(Signal::TurnInterrupted);
                self.step = None;
                Ok(())
            }
            "error" => {
                let full = |info: &Value| *info == "context_window_exceeded";
                let signal = match event.codex_error_info.as_ref().is_some_and(full) {
                    true => Signal::Length,
                    false => Signal::ProviderError,
                };
                self.step = None;
                self.talk.last_answer().map(|answer| answer.note(signal)).ok_or("provider_error")
            }
            "task_complete" | "turn_complete" => {
                let ended = event.last_agent_message.is_some();
                let answer = self.talk.last_answer().filter(|_| ended).ok_or("event")?;
                answer.note(Signal::TurnSucceeded);
                self.step = None;
                Ok(())
            }
            "thread_rolled_back" => {
                self.step = None;
                match self.talk.take_back(event.num_turns.unwrap_or(0)) {
                    true => Ok(()),
                    false => Err("event"),
                }
            }
            "item_completed" => match event.item.0 {
                Some(item) if self.script.is_some() && item.is_command() => {
                    self.ran.add(line, time, item);
                    // Commands run when the step has been written.
                    self.step = None;
                    Ok(())
                }
                _ => Err("event"),
            },
            _ => Err("event"),
        }
    }

    /// A script without a result of its own has what its commands put out.
    fn close_script(&mut self) {
        let ran = std::mem::take(&mut self.ran);
        if let (Some(id), Some(result)) = (self.script.take(), ran.result()) {
            // There is such a call: the script is its id.
            let _ = self.talk.answer(&id, result);
            self.step = None;
        }
    }

    fn finish(mut self) -> Trace {
        self.close_script();
        let mut trace = self.trace;
        trace.messages = self.talk.finish();
        let times = || trace.messages.iter().filter_map(|m| m.time_ms);
        trace.started_ms = trace.started_ms.or(times().min());
        trace.ended_ms = times().max();
        trace
    }
}

/// Arguments as structure; what is no JSON object stays as the model wrote it.
fn structure(text: String) -> Map<String, Value> {
    match serde_json::from_str(&text) {
        Ok(Value::Object(arguments)) => arguments,
        _ if text.trim().is_empty() => Map::new(),
        _ => input(text),
    }
}

fn input(text: String) -> Map<String, Value> {
    Map::from_iter([("input".to_string(), Value::String(text))])
}
