//! Claude Code's sessions: `projects/<folder>/<session>.jsonl`, and one file per subagent.
//!
//! One row per content block of an answer, all with the same `message.id`; results of tools are
//! rows of the user. Rows form a tree by `uuid` and `parentUuid`; where the conversation was
//! compacted, `logicalParentUuid` leads on. What the person went back from stands on another
//! branch. (Format as written by 1.0 to 2.1, `@anthropic-ai/claude-code`.)

use anyhow::Result;
use serde_json::{Map, Value};

use super::find::Place;
use super::jsonl::{self, OneFile, Parts, append, each_row, joined};
use super::store::{Heading, Reader, Reading, Records};
use super::talk::Talk;
use super::{Message, Origin, Role, Signal, Trace};

mod branch;
mod harness;
mod row;

use harness::Said;
use row::{Block, Outcome, Owner, Row, Spoken, What, entry};

const AGENT: &str = "claude-code";

pub(super) const READER: Reader = Reader {
    folder: |_| false,
    file: |_, head| recognised(&String::from_utf8_lossy(head)),
    open: |place| Ok(Box::new(OneFile { place: place.clone(), heading, read })),
};

/// A row of this format has keys that no other has together. Inside texts quotes are escaped, so
/// that these stand for keys only.
fn recognised(head: &str) -> bool {
    let keys = [
        ["\"parentUuid\":", "\"sessionId\":"],
        ["\"type\":\"summary\"", "\"leafUuid\":"],
        ["\"type\":\"file-history-snapshot\"", "\"messageId\":"],
        ["\"type\":\"queue-operation\"", "\"sessionId\":"],
    ];
    head.lines().any(|line| {
        line.trim_start_matches('\u{feff}').starts_with('{')
            && keys.iter().any(|pair| pair.iter().all(|key| line.contains(key)))
    })
}

fn heading(place: &Place) -> Result<Heading> {
    let mut owner = None;
    each_row(&place.path, |_, text| {
        owner = text.ok().and_then(|text| Owner::of(&jsonl::parse(text).ok()?));
        owner.is_none()
    })?;
    let stem = || place.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Heading {
        agent: AGENT,
        session: owner.map_or_else(stem, |owner| owner.session),
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
    let mut trace = Trace {
        session: heading.session.clone(),
        source: AGENT.into(),
        origin: Origin { file: place.shown.clone(), line: 1 },
        ..Trace::default()
    };
    let mut entries = Vec::new();
    let mut subagent = None;
    let done = each_row(&place.path, |line, text| {
        match text.and_then(jsonl::parse::<Row>) {
            Ok(row) => {
                if subagent.is_none()
                    && let Some(owner) = Owner::of(&row)
                {
                    subagent = Some(owner.parent.is_some());
                    trace.parent = owner.parent;
                }
                entries.push(entry(line, row, subagent == Some(true), &mut trace));
            }
            Err(damage) => damage.note(&place.shown, line, &mut records, &mut bad),
        }
        true
    });
    if done.is_err() {
        return Reading { trace: Err("unreadable"), records, bad };
    }
    let on_branch = branch::active(&mut entries);
    let mut session = Session::default();
    for (entry, on) in entries.into_iter().zip(on_branch) {
        let left = match entry.what {
            What::Left(reason) => Err(reason),
            _ if !on => Err("abandoned"),
            What::Question { said, outcome } => {
                session.question(entry.line, entry.time_ms, said, outcome.0)
            }
            What::Answer(said) => session.answer(entry.line, entry.time_ms, said),
            What::Failure => session.note(Signal::ProviderError, "provider_error"),
        };
        match left {
            Ok(()) => records.used(),
            Err(reason) => records.left(reason),
        }
    }
    trace.messages = session.talk.finish();
    trace.started_ms = trace.messages.iter().filter_map(|m| m.time_ms).min();
    trace.ended_ms = trace.messages.iter().filter_map(|m| m.time_ms).max();
    let empty = trace.messages.is_empty();
    Reading { trace: if empty { Err("no_message") } else { Ok(trace) }, records, bad }
}

#[derive(Default)]
struct Session {
    talk: Talk,
    /// The answer whose blocks come row by row: its id and its number.
    steps: std::collections::BTreeMap<String, usize>,
}

impl Session {
    fn note(&mut self, signal: Signal, reason: &'static str) -> Result<(), &'static str> {
        self.talk.last_answer().map(|answer| answer.note(signal)).ok_or(reason)
    }

    fn answer(
        &mut self,
        line: u64,
        time_ms: Option<i64>,
        said: Spoken,
    ) -> Result<(), &'static str> {
        let says = |block: &Block| match block.r#type.as_str() {
            "text" => block.text.as_deref().is_some_and(|text| !text.trim().is_empty()),
            "thinking" => block.thinking.as_deref().is_some_and(|text| !text.trim().is_empty()),
            "tool_use" => block.name.is_some(),
            _ => false,
        };
        let (id, author, stop_reason) =
            (said.id.clone(), said.model.clone(), said.stop_reason.clone());
        let blocks = said.blocks();
        let known = id.as_ref().and_then(|id| self.steps.get(id)).copied();
        if !blocks.iter().any(says) && known.is_none() {
            return Err("no_content");
        }
        let turn = known.unwrap_or_else(|| {
            let message = Message { author, row: line, ..Message::text(Role::Assistant, "") };
            self.talk.say(message)
        });
        if let Some(id) = id {
            self.steps.insert(id, turn);
        }
        let mut any = false;
        for block in blocks.into_iter().filter(says) {
            any |= self.add(turn, block);
        }
        let message = self.talk.at(turn);
        message.time_ms = message.time_ms.max(time_ms);
        let stopped = match stop_reason.as_deref() {
            Some("max_tokens" | "model_context_window_exceeded") => Some(Signal::Length),
            Some("refusal") => Some(Signal::ContentFilter),
            _ => None,
        };
        stopped.into_iter().for_each(|signal| message.note(signal));
        if any || stopped.is_some() { Ok(()) } else { Err("repeated") }
    }

    fn add(&mut self, turn: usize, block: Block) -> bool {
        let message = self.talk.at(turn);
        match block.r#type.as_str() {
            "text" => append(&mut message.content, &block.text.unwrap_or_default()),
            "thinking" => append(
                message.reasoning_content.get_or_insert_default(),
                &block.thinking.unwrap_or_default(),
            ),
            _ => {
                let arguments = match block.input {
                    Some(Value::Object(arguments)) => arguments,
                    None | Some(Value::Null) => Map::new(),
                    Some(other) => Map::from_iter([("input".to_string(), other)]),
                };
                let id = block.id.unwrap_or_default();
                return self.talk.call(turn, &id, block.name.unwrap_or_default(), arguments);
            }
        }
        true
    }

    /// A row of the user: results of tools, or what the person wrote.
    fn question(
        &mut self,
        line: u64,
        time_ms: Option<i64>,
        said: Spoken,
        outcome: Option<Outcome>,
    ) -> Result<(), &'static str> {
        // A row may say several things; it is left out only if none of them says anything.
        let mut left = Err("no_content");
        let mut keep = |this: Result<(), &'static str>| match (left, this) {
            (Ok(()), _) => {}
            _ => left = this,
        };
        let mut texts = Vec::new();
        for block in said.blocks() {
            if block.r#type == "tool_result" {
                keep(self.result(line, time_ms, block, outcome.as_ref()));
                continue;
            }
            match harness::said(block.text.unwrap_or_default()) {
                Said::Nothing => {}
                Said::Text(text) => texts.push(text),
                Said::Interrupted => keep(self.note(Signal::Aborted, "interrupted")),
                Said::Harness(reason) => keep(Err(reason)),
                Said::Command(command) => {
                    let mut message = Message::text(Role::User, format!("$ {command}"));
                    message.note(Signal::Shell);
                    self.talk.say(Message { row: line, time_ms, ..message });
                    keep(Ok(()));
                }
                Said::Output(output) => {
                    let shell = |m: &&mut Message| m.signals.contains(&Signal::Shell);
                    match self.talk.last().filter(shell) {
                        Some(message) => {
                            append(&mut message.content, &output);
                            keep(Ok(()));
                        }
                        None => keep(Err("command")),
                    }
                }
            }
        }
        if !texts.is_empty() {
            let text = match texts.len() {
                1 => texts.remove(0),
                _ => joined(texts.iter().map(String::as_str)),
            };
            self.talk.say(Message { row: line, time_ms, ..Message::text(Role::User, text) });
            keep(Ok(()));
        }
        left
    }

    fn result(
        &mut self,
        line: u64,
        time_ms: Option<i64>,
        block: Block,
        outcome: Option<&Outcome>,
    ) -> Result<(), &'static str> {
        let id = block.tool_use_id.unwrap_or_default();
        let mut text = match block.content {
            Parts::Text(text) => text,
            Parts::List(blocks) => joined(blocks.iter().filter_map(|b| b.text.as_deref())),
        };
        harness::cut_reminders_at_end(&mut text);
        let mut message = Message::text(Role::Tool, text);
        let failed = block.is_error == Some(true);
        if failed {
            message.exit = exit(&message.content);
            // A command that ran and failed did what was asked of the tool.
            match Signal::of_failure(&message.content) {
                _ if message.exit.is_some() => {}
                signal => message.note(signal),
            }
        }
        let ran = outcome.is_some_and(|o| {
            o.stdout.is_some()
                && o.interrupted == Some(Value::Bool(false))
                && o.return_code_interpretation.is_none()
                && o.background_task_id.is_none()
        });
        if !failed && ran && self.talk.tool(&id) == Some("Bash") {
            // Any other exit is an error with its number in the text.
            message.exit = Some(0);
        }
        if outcome.is_some_and(|o| o.interrupted == Some(Value::Bool(true)))
            || message.exit.is_some() && message.content.contains("[Request interrupted by user")
        {
            message.note(Signal::Aborted);
        }
        self.talk.answer(&id, Message { row: line, time_ms, ..message })
    }
}

/// The exit status that a failed command's text begins with.
fn exit(text: &str) -> Option<i64> {
    let text = text.trim_start().strip_prefix("Error: ").unwrap_or(text.trim_start());
    text.strip_prefix("Exit code ")?.split_whitespace().next()?.parse().ok()
}
