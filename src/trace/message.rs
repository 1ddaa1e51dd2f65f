//! Messages, tool calls and what is known of each.

use std::ops::Range;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::Label;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions from the harness or its owner (also `developer`).
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

impl Role {
    /// The name chat templates use.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }
}

/// One call of a tool by the model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "WireCall<String, Map<String, Value>>")]
pub struct ToolCall {
    /// Links the call to its result; unique within a session.
    pub id: String,
    /// The tool's name as the model wrote it.
    pub name: String,
    /// The arguments as structure.
    pub arguments: Map<String, Value>,
}

/// OpenAI's shape of a tool call, with the arguments as an object.
#[derive(Serialize, Deserialize)]
struct WireCall<T, A> {
    id: T,
    r#type: T,
    function: WireFunction<T, A>,
}

#[derive(Serialize, Deserialize)]
struct WireFunction<T, A> {
    name: T,
    arguments: A,
}

impl Serialize for ToolCall {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let ToolCall { id, name, arguments } = self;
        let function = WireFunction { name: name.as_str(), arguments };
        WireCall { id: id.as_str(), r#type: "function", function }.serialize(to)
    }
}

impl From<WireCall<String, Map<String, Value>>> for ToolCall {
    fn from(wire: WireCall<String, Map<String, Value>>) -> Self {
        ToolCall { id: wire.id, name: wire.function.name, arguments: wire.function.arguments }
    }
}

/// One message of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The text, without reasoning and without serialised tool calls; may be empty.
    pub content: String,
    /// The model's reasoning, kept apart from its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Calls the model made in this message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// For a tool result: the id of the call it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// For a tool result: the tool's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether the loss covers this message. Only assistant messages can be trained.
    #[serde(default)]
    pub train: bool,
    /// Who wrote an assistant message: a model's name, `human`, or absent when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// When it was written, in Unix milliseconds, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<i64>,
    /// What the agent recorded about it, in the order of [`Signal`], each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<Signal>,
    /// What a message of the model is worth, where it was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    /// For the result of a command: its exit status, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i64>,
    /// The file it came from where that is not the trace's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line or row in the file that this message came from, from 1.
    #[serde(default)]
    pub row: u64,
}

impl Default for Message {
    fn default() -> Self {
        Message::text(Role::System, "")
    }
}

impl Message {
    /// A plain message with text only. Assistant messages are trained unless told otherwise.
    pub fn text(role: Role, content: impl Into<String>) -> Self {
        Message {
            role,
            content: content.into(),
            reasoning_content: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
            name: None,
            train: role == Role::Assistant,
            author: None,
            time_ms: None,
            signals: Vec::new(),
            label: None,
            exit: None,
            file: None,
            row: 0,
        }
    }

    /// Notes a signal, once.
    pub fn note(&mut self, signal: Signal) {
        if let Err(place) = self.signals.binary_search(&signal) {
            self.signals.insert(place, signal);
        }
    }
}

/// A fact about a message that its agent recorded; facts, not judgements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Tool result: the arguments did not fit the tool's schema.
    Schema,
    /// Tool result: there is no tool of that name.
    UnknownTool,
    /// Tool result: the text to replace is not in the file, stands there more than once, or is
    /// the same as its replacement.
    EditMismatch,
    /// Tool result: the person or the configuration did not allow the call.
    Denied,
    /// Tool result or answer: the person stopped it.
    Aborted,
    /// Tool result: it failed in any other way.
    ToolError,
    /// Tool result: the agent made it up because none was recorded.
    MissingResult,
    /// Tool result: later requests carried a short note in its place.
    Cleared,
    /// Answer: the model's server failed.
    ProviderError,
    /// Answer: cut off at the length limit, or the context was full.
    Length,
    /// Answer: stopped by a content filter.
    ContentFilter,
    /// The person went back to before this message: undone, reverted or left on another branch.
    Reverted,
    /// The turn's last answer: the agent says that the turn ended without an error.
    TurnSucceeded,
    /// The turn's last answer: the agent says that the turn failed.
    TurnFailed,
    /// The turn's last answer: the agent says that the turn was interrupted.
    TurnInterrupted,
    /// Question: a command the person ran by hand, with its output.
    Shell,
}

impl Signal {
    /// The word that files use.
    pub fn as_str(self) -> &'static str {
        match self {
            Signal::Schema => "schema",
            Signal::UnknownTool => "unknown_tool",
            Signal::EditMismatch => "edit_mismatch",
            Signal::Denied => "denied",
            Signal::Aborted => "aborted",
            Signal::ToolError => "tool_error",
            Signal::MissingResult => "missing_result",
            Signal::Cleared => "cleared",
            Signal::ProviderError => "provider_error",
            Signal::Length => "length",
            Signal::ContentFilter => "content_filter",
            Signal::Reverted => "reverted",
            Signal::TurnSucceeded => "turn_succeeded",
            Signal::TurnFailed => "turn_failed",
            Signal::TurnInterrupted => "turn_interrupted",
            Signal::Shell => "shell",
        }
    }

    /// What the text of a failed tool result says of the kind of failure, in the words of the
    /// agents this program reads; [`Signal::ToolError`] for any other text.
    pub fn of_failure(text: &str) -> Signal {
        let text: String = text.chars().take(600).collect::<String>().to_ascii_lowercase();
        let found = PHRASES.iter().find(|(phrase, _)| text.contains(phrase));
        found.map_or(Signal::ToolError, |(_, signal)| *signal)
    }
}

/// Phrases in lower case, the first that occurs decides.
#[rustfmt::skip]
const PHRASES: &[(&str, Signal)] = &[
    ("missing tool result in session history", Signal::MissingResult),
    ("unknown tool", Signal::UnknownTool),
    ("no such tool", Signal::UnknownTool),
    ("unavailable tool", Signal::UnknownTool),
    ("unsupported call", Signal::UnknownTool),
    ("user rejected permission", Signal::Denied),
    ("user doesn't want to", Signal::Denied),
    ("rejected by user", Signal::Denied),
    ("exec denied", Signal::Denied),
    ("permission denied by", Signal::Denied),
    ("tool execution aborted", Signal::Aborted),
    ("tool execution was interrupted", Signal::Aborted),
    ("request interrupted by user", Signal::Aborted),
    ("operation aborted", Signal::Aborted),
    ("command aborted", Signal::Aborted),
    ("aborted by user", Signal::Aborted),
    ("could not find oldstring", Signal::EditMismatch),
    ("oldstring not found", Signal::EditMismatch),
    ("found multiple matches for oldstring", Signal::EditMismatch),
    ("oldstring and newstring", Signal::EditMismatch),
    ("could not find the exact text", Signal::EditMismatch),
    ("occurrences of the text in", Signal::EditMismatch),
    ("string to replace not found", Signal::EditMismatch),
    ("old_string and new_string are exactly the same", Signal::EditMismatch),
    ("failed to find expected lines", Signal::EditMismatch),
    ("called with invalid arguments", Signal::Schema),
    ("arguments provided to the tool are invalid", Signal::Schema),
    ("invalid arguments for tool", Signal::Schema),
    ("validation failed for tool", Signal::Schema),
    ("missing required parameter", Signal::Schema),
    ("inputvalidationerror", Signal::Schema),
    ("failed to parse function arguments", Signal::Schema),
];
/// A conversation in pieces: what it begins with up to the first question, and what follows, an
/// answer with the results of its calls or a single message each.
pub fn pieces(messages: &[Message]) -> (usize, Vec<Range<usize>>) {
    let asked = messages.iter().position(|m| m.role == Role::User);
    let head = asked.map_or(0, |at| at + 1);
    let mut pieces: Vec<Range<usize>> = Vec::new();
    for (at, message) in messages.iter().enumerate().skip(head) {
        match pieces.last_mut() {
            Some(piece) if message.role == Role::Tool => piece.end = at + 1,
            _ => pieces.push(at..at + 1),
        }
    }
    (head, pieces)
}
