//! Messages and parts: OpenCode 1 and before (`session/message-v2.ts`).
//!
//! An assistant message is one step of the model; before 1.0 it could hold several, each begun by
//! a `step-start`.

use serde::Deserialize;
use serde_json::Value;

use super::loose::Loose;
use super::{
    Attachment, Draft, Metadata, Session, Stored, Time, append, author, of_finish, unquoted,
};
use crate::trace::store::Reading;
use crate::trace::{Message, Role, Signal, ToolCall};

/// A message with its parts in order.
pub(super) struct Entry<'a> {
    pub info: Stored<'a>,
    pub parts: Vec<Stored<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Info<'a> {
    #[serde(borrow)]
    role: Loose<'a>,
    #[serde(borrow)]
    time: Time<'a>,
    #[serde(borrow, rename = "providerID")]
    provider: Loose<'a>,
    #[serde(borrow, rename = "modelID")]
    model: Loose<'a>,
    #[serde(borrow)]
    finish: Loose<'a>,
    #[serde(borrow)]
    error: Option<Failure<'a>>,
    /// `true` for the text a compaction made; of a question, what it changed.
    #[serde(borrow)]
    summary: Loose<'a>,
    /// Of an answer, in 2025: the system prompt it was given, in pieces.
    system: Value,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Failure<'a> {
    #[serde(borrow)]
    name: Loose<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Part<'a> {
    #[serde(borrow)]
    r#type: Loose<'a>,
    #[serde(borrow)]
    text: Loose<'a>,
    #[serde(borrow)]
    synthetic: Loose<'a>,
    #[serde(borrow)]
    ignored: Loose<'a>,
    #[serde(borrow)]
    prompt: Loose<'a>,
    #[serde(borrow)]
    mime: Loose<'a>,
    #[serde(borrow)]
    filename: Loose<'a>,
    #[serde(borrow, rename = "callID")]
    call: Loose<'a>,
    #[serde(borrow)]
    tool: Loose<'a>,
    #[serde(borrow)]
    state: Option<State<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct State<'a> {
    #[serde(borrow)]
    status: Loose<'a>,
    input: Value,
    #[serde(borrow)]
    output: Loose<'a>,
    #[serde(borrow)]
    error: Loose<'a>,
    #[serde(borrow)]
    metadata: Option<Metadata<'a>>,
    #[serde(borrow)]
    time: Option<Time<'a>>,
    #[serde(borrow)]
    attachments: Option<Vec<Attachment<'a>>>,
}

/// What a tool had said when it was stopped; looked for only then, since every command's output
/// stands there a second time.
#[derive(Deserialize)]
struct Partial<'a> {
    #[serde(borrow)]
    state: PartialState<'a>,
}

#[derive(Deserialize)]
struct PartialState<'a> {
    #[serde(borrow)]
    metadata: PartialOutput<'a>,
}

#[derive(Deserialize)]
struct PartialOutput<'a> {
    #[serde(borrow)]
    output: Loose<'a>,
}

/// What OpenCode writes as the question where the person ran a command with `!`.
const RAN_BY_HAND: &str = "The following tool was executed by the user";

/// What the question just read leads one to expect of the answer.
#[derive(Clone, Copy, PartialEq)]
enum Expect {
    Answer,
    /// A command the person ran.
    Shell,
    /// A subagent the person called: the harness writes the call.
    Subtask,
}

/// Makes a trace of a session's messages, which are in order.
pub(super) fn read(session: &Session, file: &str, entries: &[Entry]) -> Reading {
    let mut draft = Draft::new(session, file);
    let mut expect = Expect::Answer;
    for entry in entries {
        draft.meets(entry.info.id, None);
        let Some(info) = draft.parse::<Info>(&entry.info) else {
            entry.parts.iter().for_each(|_| draft.records.left("message_damaged"));
            continue;
        };
        match info.role.text() {
            "user" => expect = question(&mut draft, entry, &info),
            "assistant" if info.summary.is_true() => {
                draft.records.left("compaction");
                entry.parts.iter().for_each(|_| draft.records.left("compaction"));
            }
            "assistant" => answer(&mut draft, entry, &info, expect),
            _ => {
                draft.records.left("unknown_type");
                entry.parts.iter().for_each(|_| draft.records.left("unknown_type"));
            }
        }
    }
    draft.finish()
}

/// Parts that no message belongs to.
pub(super) fn orphans(reading: &mut Reading, file: &str, parts: &[Stored]) {
    let mut draft = Draft::new(&Session::default(), file);
    for part in parts {
        match part.json {
            Ok(_) => draft.damaged(part, "orphan", "its message is missing"),
            Err(problem) => draft.damaged(part, "damaged", problem),
        }
    }
    reading.records.add(draft.records);
    reading.bad.extend(draft.bad);
}

fn question(draft: &mut Draft, entry: &Entry, info: &Info) -> Expect {
    let mut message = draft.message(Role::User, &entry.info);
    message.time_ms = info.time.created.number();
    let (mut expect, mut left) = (Expect::Answer, "empty");
    for stored in &entry.parts {
        draft.meets(entry.info.id, Some(stored.id));
        let Some(part) = draft.parse::<Part>(stored) else { continue };
        let file = Attachment { mime: part.mime, filename: part.filename };
        let piece = match part.r#type.text() {
            "text" if part.ignored.is_true() => Err("ignored"),
            "text" if part.synthetic.is_true() => {
                if part.text.text() == RAN_BY_HAND {
                    expect = Expect::Shell;
                }
                Err("synthetic")
            }
            "text" => Ok(unquoted(part.text.text())),
            "file" => Ok(file.mention()),
            "subtask" => {
                expect = Expect::Subtask;
                Ok(part.prompt.into_text())
            }
            other => Err(unsaid(other)),
        };
        match piece {
            Ok(piece) => {
                draft.records.used();
                append(&mut message.content, piece);
            }
            Err(reason) => {
                draft.records.left(reason);
                left = reason;
            }
        }
    }
    if message.content.is_empty() {
        draft.records.left(left);
    } else {
        draft.records.used();
        draft.trace.messages.push(message);
        expect = if expect == Expect::Shell { Expect::Answer } else { expect };
    }
    expect
}

/// Why a part that says nothing in a trace is left out.
fn unsaid(kind: &str) -> &'static str {
    match kind {
        "step-start" | "step-finish" => "step",
        "snapshot" | "patch" => "snapshot",
        "agent" => "agent",
        "retry" => "retry",
        "compaction" => "compaction",
        _ => "unknown_type",
    }
}

/// One step of the model on its way into the trace.
struct Step {
    message: Message,
    results: Vec<Message>,
    /// Whether the model began it, not the harness.
    begun: bool,
}

impl Step {
    fn new(draft: &Draft, entry: &Entry, info: &Info, begun: bool) -> Step {
        let mut message = draft.message(Role::Assistant, &entry.info);
        message.time_ms = info.time.created.number();
        message.author = author(info.provider.text(), info.model.text());
        Step { message, results: Vec::new(), begun }
    }

    fn is_empty(&self) -> bool {
        let Message { content, reasoning_content, tool_calls, .. } = &self.message;
        content.is_empty() && reasoning_content.is_none() && tool_calls.is_empty()
    }
}

fn answer(draft: &mut Draft, entry: &Entry, info: &Info, expect: Expect) {
    if let Some(pieces) = info.system.as_array()
        && draft.trace.messages.iter().all(|m| m.role != Role::System)
    {
        let pieces: Vec<&str> = pieces.iter().filter_map(Value::as_str).collect();
        let mut message = Message::text(Role::System, pieces.join("\n"));
        message.row = entry.info.row;
        message.file = entry.info.file.map(str::to_owned);
        message.time_ms = info.time.created.number();
        if !message.content.is_empty() {
            draft.trace.messages.insert(0, message);
        }
    }
    let mut step = Step::new(draft, entry, info, false);
    for stored in &entry.parts {
        draft.meets(entry.info.id, Some(stored.id));
        let Some(part) = draft.parse::<Part>(stored) else { continue };
        if step.is_empty() && draft.reverted {
            step.message.note(Signal::Reverted);
        }
        let kind = part.r#type.text();
        match kind {
            "step-start" => {
                draft.records.left("step");
                if !step.is_empty() {
                    push(draft, step);
                    step = Step::new(draft, entry, info, true);
                }
                step.begun = true;
            }
            "text" | "reasoning" if part.ignored.is_true() => draft.records.left("ignored"),
            "text" | "reasoning" if part.synthetic.is_true() => draft.records.left("synthetic"),
            "text" => {
                draft.records.used();
                append(&mut step.message.content, part.text.into_text());
            }
            "reasoning" => {
                draft.records.used();
                if !part.text.text().is_empty() {
                    let reasoning = step.message.reasoning_content.get_or_insert_default();
                    append(reasoning, part.text.into_text());
                }
            }
            "tool" => match part.state {
                None => draft.damaged(stored, "damaged", "a call without a state"),
                Some(state) => {
                    draft.records.used();
                    let id = [part.call.text(), stored.id].into_iter().find(|id| !id.is_empty());
                    let (call, result) =
                        tool(draft, stored, id.unwrap_or_default(), part.tool.text(), state);
                    step.message.tool_calls.push(call);
                    step.results.push(result);
                }
            },
            other => draft.records.left(unsaid(other)),
        }
    }
    let ended = info.time.completed.number();
    draft.trace.ended_ms = draft.trace.ended_ms.max(ended);
    let signal = match info.error.as_ref().map(|e| e.name.text()) {
        Some("MessageAbortedError") => Some(Signal::Aborted),
        Some("MessageOutputLengthError" | "ContextOverflowError") => Some(Signal::Length),
        Some("StructuredOutputError") => None,
        Some(_) => Some(Signal::ProviderError),
        None => of_finish(info.finish.text()),
    };
    if let Some(signal) = signal {
        step.message.note(signal);
    }
    let unfinished = info.error.is_none() && info.finish.text().is_empty() && ended.is_none();
    match expect {
        Expect::Shell if !step.begun && !step.message.tool_calls.is_empty() => {
            draft.records.used();
            by_hand(draft, step);
            return;
        }
        // The harness wrote this call for the person.
        Expect::Subtask if !step.begun => step.message.author = Some(super::AGENT.into()),
        _ => {}
    }
    if step.is_empty() && unfinished {
        draft.records.left("empty");
        return;
    }
    if unfinished {
        // The agent ended before its model did.
        step.message.note(Signal::Aborted);
    }
    draft.records.used();
    push(draft, step);
}

fn push(draft: &mut Draft, step: Step) {
    draft.trace.messages.push(step.message);
    draft.trace.messages.extend(step.results);
}

/// Commands the person ran, which are stored as calls.
fn by_hand(draft: &mut Draft, step: Step) {
    for (call, result) in step.message.tool_calls.iter().zip(step.results) {
        let command = call.arguments.get("command").and_then(Value::as_str).unwrap_or_default();
        let mut message = result;
        message.role = Role::User;
        message.content = format!("$ {command}\n{}", message.content);
        (message.tool_call_id, message.name) = (None, None);
        message.note(Signal::Shell);
        draft.trace.messages.push(message);
    }
}

/// What stands below the output of a command that was ended; it is stored as completed.
fn cut_short(output: &str) -> Option<Signal> {
    let (above, _) = output.trim_end().strip_suffix("metadata>")?.rsplit_once('\n')?;
    let (_, notes) = above.rsplit_once("metadata>\n")?;
    if notes.contains("User aborted the command") {
        Some(Signal::Aborted)
    } else if notes.contains("terminated command after exceeding timeout") {
        Some(Signal::ToolError)
    } else {
        None
    }
}

/// A call and its result.
fn tool(
    draft: &mut Draft,
    stored: &Stored,
    id: &str,
    name: &str,
    mut state: State,
) -> (ToolCall, Message) {
    let mut result = draft.message(Role::Tool, stored);
    let metadata = state.metadata.unwrap_or_default();
    result.exit = metadata.exit.number();
    if let Some(time) = &state.time {
        result.time_ms = time.end.number().or(time.start.number());
        if time.compacted.number().is_some() {
            result.note(Signal::Cleared);
        }
    }
    let mut name = name.to_owned();
    match state.status.text() {
        "completed" => {
            result.content = state.output.into_text();
            if let Some(signal) = cut_short(&result.content) {
                result.note(signal);
            }
            for file in state.attachments.iter().flatten() {
                append(&mut result.content, file.mention());
            }
        }
        "error" => {
            result.content = state.error.into_text();
            result.note(Signal::of_failure(&result.content));
            if metadata.interrupted.is_true() {
                result.signals.retain(|signal| *signal != Signal::ToolError);
                result.note(Signal::Aborted);
                let partial = stored.json.ok().map(serde_json::from_slice::<Partial>);
                if let Some(Ok(Partial { state })) = partial
                    && let output @ Loose::Text(_) = state.metadata.output
                {
                    result.content = output.into_text();
                }
            }
        }
        // Still so in the store: the agent ended before the tool did.
        _ => result.note(Signal::Aborted),
    }
    // A call that fits no tool is rewritten to a call of the tool `invalid`.
    if name == "invalid"
        && let Some(tool) = state.input.get("tool").and_then(Value::as_str)
    {
        name = tool.to_owned();
        let error = state.input.get("error").and_then(Value::as_str).unwrap_or_default();
        result.note(match Signal::of_failure(error) {
            Signal::UnknownTool => Signal::UnknownTool,
            _ => Signal::Schema,
        });
        state.input = Value::Null;
    }
    let call = draft.call(id, &name, state.input);
    result.tool_call_id = Some(call.id.clone());
    result.name = Some(call.name.clone());
    (call, result)
}
