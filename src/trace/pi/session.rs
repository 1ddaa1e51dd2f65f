//! From lines to a trace.

use std::collections::{HashMap, HashSet};

use super::entry::{Damage, Dialect, Entry, Header, Says};
use super::tree;
use crate::trace::store::{Reading, Records};
use crate::trace::{BadLine, Message, Origin, Role, Signal, ToolCall, Trace};

/// A session while its lines come in.
pub struct Session {
    entries: Vec<Entry>,
    damaged: bool,
    pub records: Records,
    pub bad: Vec<BadLine>,
    /// The file's name in reports.
    file: String,
}

/// What is known of a session beside its lines.
#[derive(Default)]
pub struct Known {
    pub session: String,
    pub header: Header,
    pub version: Option<String>,
    pub tools: Vec<serde_json::Value>,
    pub system: Option<Message>,
    /// How its last turn ended.
    pub ending: Option<Signal>,
    /// Runs, and how each ended.
    pub endings: Vec<(String, Signal)>,
    /// Steps with a call each, for results whose step was not written.
    pub steps: Vec<Message>,
}

impl Session {
    pub fn new(file: &str) -> Session {
        let (entries, bad) = (Vec::new(), Vec::new());
        Session { entries, damaged: false, records: Records::default(), bad, file: file.into() }
    }

    /// Takes the next line in.
    pub fn add(&mut self, row: u64, line: Result<Entry, Damage>) {
        match line {
            Ok(mut entry) => {
                entry.after_damage = std::mem::take(&mut self.damaged);
                self.entries.push(entry);
            }
            Err(Damage { reason, problem }) => {
                self.damaged = true;
                self.records.left(reason);
                self.bad.push(BadLine { file: self.file.clone(), line: row, problem });
            }
        }
    }

    /// The trace of the active branch.
    pub fn finish(mut self, known: Known, dialect: &Dialect) -> Reading {
        let path = tree::active(&self.entries);
        let mut on_path = vec![false; self.entries.len()];
        path.iter().for_each(|n| on_path[*n] = true);
        for (entry, on_path) in self.entries.iter().zip(on_path) {
            match &entry.says {
                Says::Header(_) => self.records.used(),
                Says::Message(_) if on_path => self.records.used(),
                Says::Message(_) => self.records.left("other_branch"),
                Says::Leaf(_) => self.records.left("leaf"),
                Says::Reset => self.records.left("reset"),
                Says::Other(reason) | Says::Unknown(reason) => self.records.left(reason),
            }
        }
        let line = self.entries.first().map_or(1, |entry| entry.row);
        let Known { session, header, version, tools, system, ending, endings, mut steps } = known;
        let mut messages: Vec<Message> = system.into_iter().collect();
        let mut calls = Calls::default();
        // Where each run's messages end.
        let mut runs: HashMap<String, usize> = HashMap::new();
        for n in path {
            let entry = &mut self.entries[n];
            if let Says::Message(message) = std::mem::take(&mut entry.says) {
                let mut message = *message;
                if let Some(mut step) = calls.unwritten(&message, &mut steps) {
                    calls.link(&mut step);
                    messages.push(step);
                }
                calls.link(&mut message);
                messages.push(message);
                if let Some(run) = entry.run.take() {
                    runs.insert(run, messages.len());
                }
            }
        }
        let spoken = messages.iter().any(|m| m.role != Role::System);
        for (run, signal) in endings {
            if let Some(end) = runs.get(&run) {
                end_turn(&mut messages[..*end], signal);
            }
        }
        if let Some(signal) = ending {
            end_turn(&mut messages, signal);
        }
        let last = messages.iter().rev().find_map(|m| m.time_ms);
        let first = messages.iter().find_map(|m| m.time_ms);
        let trace = Trace {
            session,
            source: dialect.agent.into(),
            agent_version: version,
            parent: header.parent,
            repository: header.cwd.as_deref().and_then(last_part),
            started_ms: header.time_ms.or(first),
            ended_ms: last,
            tools,
            messages,
            origin: Origin { file: self.file, line },
            ..Trace::default()
        };
        let trace = if spoken { Ok(trace) } else { Err("no_message") };
        Reading { trace, records: self.records, bad: self.bad }
    }
}

const TURNS: &[Signal] = &[Signal::TurnSucceeded, Signal::TurnFailed, Signal::TurnInterrupted];

/// Notes how the last turn ended on its last answer, where it has one.
fn end_turn(messages: &mut [Message], signal: Signal) {
    let shell = |m: &Message| m.role == Role::User && m.signals.contains(&Signal::Shell);
    let turn = messages.iter_mut().rev().skip_while(|m| shell(m));
    let answer = turn.take_while(|m| m.role != Role::User).find(|m| m.role == Role::Assistant);
    if let Some(answer) = answer {
        answer.signals.retain(|known| !TURNS.contains(known));
        answer.note(signal);
    }
}

fn last_part(path: &str) -> Option<String> {
    let part = path.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next()?;
    Some(part.to_string()).filter(|part| !part.is_empty())
}

/// Gives every call an id of its own, and its results the same.
#[derive(Default)]
struct Calls {
    taken: HashSet<String>,
    /// The newest call of an id as it is written.
    newest: HashMap<String, Call>,
}

struct Call {
    id: String,
    tool: String,
    answered: bool,
}

impl Calls {
    /// The step a result answers, where that was not written.
    fn unwritten(&self, result: &Message, steps: &mut Vec<Message>) -> Option<Message> {
        let id = result.tool_call_id.as_deref().filter(|_| result.role == Role::Tool)?;
        let tool = result.name.as_deref();
        let open = self
            .newest
            .get(id)
            .is_some_and(|call| !call.answered && tool.is_none_or(|tool| call.tool == tool));
        // Of steps that repeat an id, the last before the result.
        let found = steps.iter().rposition(|step| {
            let same = |call: &ToolCall| call.id == id && tool.is_none_or(|tool| call.name == tool);
            !open && step.tool_calls.iter().any(same) && step.time_ms <= result.time_ms
        });
        found.map(|n| steps.remove(n))
    }

    fn link(&mut self, message: &mut Message) {
        for call in &mut message.tool_calls {
            let written = std::mem::take(&mut call.id);
            let mut copy = self.taken.len() + 1;
            call.id = match written.is_empty() {
                true => format!("call_{copy}"),
                false => written.clone(),
            };
            while !self.taken.insert(call.id.clone()) {
                copy += 1;
                call.id = format!("{written}_{copy}");
            }
            let (id, tool) = (call.id.clone(), call.name.clone());
            self.newest.insert(written, Call { id, tool, answered: false });
        }
        if message.role == Role::Tool {
            let written = message.tool_call_id.as_deref().unwrap_or_default();
            if let Some(call) = self.newest.get_mut(written) {
                call.answered = true;
                message.tool_call_id = Some(call.id.clone());
                message.name.get_or_insert_with(|| call.tool.clone());
            }
        }
    }
}
