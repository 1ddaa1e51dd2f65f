//! Harbor's trajectories: one `trajectory.json` per run, `schema_version` ATIF-v1.0 to v1.8.
//!
//! A step of the agent holds its text, its thoughts, its calls and what came back. Beside it lies
//! what the task's own check gave: `verifier/reward.txt` or `result.json`. (Format: Harbor's
//! `rfcs/0001-trajectory-format`.)

use std::fs;
use std::path::Path;

use anyhow::Result;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::find::Place;
use super::jsonl::{OneFile, Parts, joined, time_ms};
use super::lines::json_problem;
use super::store::{Heading, Reader, Reading, Records};
use super::talk::Talk;
use super::{BadLine, Message, Origin, Role, Trace, schema};
use crate::files;

const AGENT: &str = "atif";

/// The longest trajectory that is read, in bytes: it is read whole.
const MAX_FILE: u64 = 256 << 20;

pub(super) const READER: Reader = Reader {
    folder: |_| false,
    file: |_, head| {
        let head = String::from_utf8_lossy(head);
        let head = head.trim_start_matches('\u{feff}').trim_start();
        // Inside texts quotes are escaped.
        head.starts_with('{')
            && head.contains("\"schema_version\"")
            && head.contains("\"ATIF-v")
            && !head.lines().next().is_some_and(|line| line.contains("\"messages\":"))
    },
    open: |place| Ok(Box::new(OneFile { place: place.clone(), heading, read })),
};

#[derive(Deserialize)]
struct Trajectory {
    #[serde(default)]
    agent: Agent,
    /// Steps one by one: damage in one costs only itself.
    #[serde(default)]
    steps: Vec<Value>,
}

#[derive(Deserialize, Default)]
struct Agent {
    name: Option<String>,
    version: Option<String>,
    model_name: Option<String>,
    tool_definitions: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct Step {
    timestamp: Option<String>,
    source: String,
    #[serde(default)]
    message: Parts<Part>,
    reasoning_content: Option<String>,
    model_name: Option<String>,
    tool_calls: Option<Vec<Call>>,
    observation: Option<Observation>,
    is_copied_context: Option<bool>,
}

#[derive(Deserialize)]
struct Call {
    tool_call_id: Option<String>,
    function_name: String,
    arguments: Value,
}

#[derive(Deserialize)]
struct Observation {
    results: Option<Vec<Given>>,
}

#[derive(Deserialize)]
struct Given {
    source_call_id: Option<String>,
    #[serde(default)]
    content: Parts<Part>,
}

#[derive(Deserialize)]
struct Part {
    text: Option<String>,
}

impl Parts<Part> {
    fn into_text(self) -> String {
        match self {
            Parts::Text(text) => text,
            Parts::List(parts) => joined(parts.iter().filter_map(|part| part.text.as_deref())),
        }
    }
}

/// The session's own id, else one from the content.
fn heading(place: &Place) -> Result<Heading> {
    #[derive(Deserialize)]
    struct Named {
        session_id: Option<String>,
    }
    let bytes = contents(&place.path)?;
    let named = serde_json::from_slice::<Named>(&bytes).ok().and_then(|named| named.session_id);
    let digest = || format!("atif-{}", &files::digest(&bytes)[..16]);
    Ok(Heading {
        agent: AGENT,
        session: named.filter(|id| !id.is_empty()).unwrap_or_else(digest),
        generation: 1,
        bytes: place.bytes,
        updated_ms: None,
        skip: None,
        key: 0,
    })
}

fn contents(path: &Path) -> Result<Vec<u8>> {
    let size = fs::metadata(path)?.len();
    anyhow::ensure!(size <= MAX_FILE, "longer than {} MiB", MAX_FILE >> 20);
    let mut bytes = fs::read(path)?;
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    Ok(bytes)
}

fn read(place: &Place, heading: &Heading) -> Reading {
    let mut records = Records::default();
    let Ok(bytes) = contents(&place.path) else {
        return Reading { trace: Err("unreadable"), records, bad: Vec::new() };
    };
    let damaged = |line: u64, problem: String| BadLine { file: place.shown.clone(), line, problem };
    let Trajectory { agent, steps } = match serde_json::from_slice(&bytes) {
        Ok(trajectory) => trajectory,
        Err(e) => {
            let data = e.is_data();
            let problem = if data { "not a trajectory".into() } else { json_problem(&e) };
            let bad = vec![damaged(e.line() as u64, problem)];
            return Reading { trace: Err("unreadable"), records, bad };
        }
    };
    let mut bad = Vec::new();
    let mut session = Session { model: agent.model_name, ..Session::default() };
    for (number, step) in (1..).zip(steps) {
        // What a step holds is told from the outside only: serde's words would quote it.
        match serde_json::from_value::<Step>(step) {
            Ok(step) => match session.step(number, step) {
                Ok(()) => records.used(),
                Err(reason) => records.left(reason),
            },
            Err(_) => {
                records.left("malformed");
                bad.push(damaged(number, "not what a step is like".into()));
            }
        }
    }
    let messages = session.talk.finish();
    let times = || messages.iter().filter_map(|m| m.time_ms);
    let version: Vec<String> = agent.name.into_iter().chain(agent.version).collect();
    let trace = Trace {
        session: heading.session.clone(),
        source: AGENT.into(),
        outcome: reward(&place.path).and_then(outcome).map(String::from),
        agent_version: Some(version.join(" ")).filter(|version| !version.is_empty()),
        started_ms: times().min(),
        ended_ms: times().max(),
        tools: agent.tool_definitions.into_iter().flatten().filter_map(schema::of_tool).collect(),
        origin: Origin { file: place.shown.clone(), line: 1 },
        messages,
        ..Trace::default()
    };
    let empty = trace.messages.is_empty();
    Reading { trace: if empty { Err("no_message") } else { Ok(trace) }, records, bad }
}

#[derive(Default)]
struct Session {
    talk: Talk,
    model: Option<String>,
}

impl Session {
    fn step(&mut self, number: u64, step: Step) -> Result<(), &'static str> {
        let role = match step.source.as_str() {
            "system" => Role::System,
            "user" => Role::User,
            "agent" => Role::Assistant,
            _ => return Err("unknown_type"),
        };
        let content = step.message.into_text();
        let calls = step.tool_calls.unwrap_or_default();
        let results = step.observation.and_then(|seen| seen.results).unwrap_or_default();
        let thought = step.reasoning_content.filter(|thought| !thought.is_empty());
        if content.is_empty() && thought.is_none() && calls.is_empty() && results.is_empty() {
            return Err("no_content");
        }
        let time_ms = step.timestamp.as_deref().and_then(time_ms);
        let mut message = Message { row: number, time_ms, ..Message::text(role, content) };
        if role == Role::Assistant {
            message.reasoning_content = thought;
            message.author = step.model_name.or_else(|| self.model.clone());
            // A step that was copied from the run before is there for context only.
            message.train &= step.is_copied_context != Some(true);
        }
        let turn = self.talk.say(message);
        let ids: Vec<String> = calls
            .into_iter()
            .enumerate()
            .map(|(nth, call)| {
                let arguments = match call.arguments {
                    Value::Object(arguments) => arguments,
                    Value::Null => Map::new(),
                    other => Map::from_iter([("input".to_string(), other)]),
                };
                let id = call.tool_call_id.filter(|id| !id.is_empty());
                let id = id.unwrap_or_else(|| format!("call_{number}_{}", nth + 1));
                self.talk.call(turn, &id, call.function_name, arguments);
                id
            })
            .collect();
        let mut unnamed = ids.iter();
        for result in results {
            let text = result.content.into_text();
            let id = result.source_call_id.as_ref().or_else(|| unnamed.next());
            let message = Message { row: number, time_ms, ..Message::text(Role::Tool, &*text) };
            let answered = id.is_some_and(|id| self.talk.answer(id, message).is_ok());
            // Agents without tools get what they see as the next message.
            if !answered && !text.is_empty() {
                self.talk.say(Message { row: number, time_ms, ..Message::text(Role::User, text) });
            }
        }
        Ok(())
    }
}

fn outcome(reward: f64) -> Option<&'static str> {
    match reward {
        1.0 => Some("resolved"),
        0.0 => Some("unresolved"),
        _ => None,
    }
}

/// What the task's check gave, from beside the trajectory or, where that lies in the run's folder
/// `agent`, from the run's own.
fn reward(path: &Path) -> Option<f64> {
    let folder = path.parent()?;
    let run = folder.parent().filter(|_| folder.file_name().is_some_and(|name| name == "agent"));
    [Some(folder), run].into_iter().flatten().find_map(|folder| {
        let text = || small(&folder.join("verifier/reward.txt"))?.trim().parse().ok();
        let result = || -> Option<f64> {
            let result: Value = serde_json::from_str(&small(&folder.join("result.json"))?).ok()?;
            result.pointer("/verifier_result/rewards/reward")?.as_f64()
        };
        text().or_else(result)
    })
}

/// A regular file that is not long: a pipe must not be waited for.
fn small(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    let fits = metadata.is_file() && metadata.len() < 16 << 20;
    fits.then(|| fs::read_to_string(path).ok()).flatten()
}
