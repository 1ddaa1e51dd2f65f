//! One agent session in canonical form, whatever agent and format it came from.
//!
//! A [`Trace`] is what every reader produces and everything downstream consumes: messages in
//! order, tool calls as structure (arguments are a JSON object, never a string), a train flag and
//! an author per message, and the file and row each message came from.
//!
//! The serde form is one JSON object a line with OpenAI's field names, so that a written row can
//! be read back by [`raw`] and by other people's tools.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub mod raw;

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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "WireCall", into = "WireCall")]
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
struct WireCall {
    id: String,
    r#type: String,
    function: WireFunction,
}

#[derive(Serialize, Deserialize)]
struct WireFunction {
    name: String,
    arguments: Map<String, Value>,
}

impl From<ToolCall> for WireCall {
    fn from(call: ToolCall) -> Self {
        WireCall {
            id: call.id,
            r#type: "function".into(),
            function: WireFunction { name: call.name, arguments: call.arguments },
        }
    }
}

impl From<WireCall> for ToolCall {
    fn from(wire: WireCall) -> Self {
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
    /// The line or row in the origin's file that this message came from, from 1.
    #[serde(default)]
    pub row: u64,
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
            row: 0,
        }
    }
}

/// Where a trace was read from.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// The file, relative to the project where it lies inside it, else its name alone: an
    /// absolute path would differ between machines.
    pub file: String,
    /// The line or row of the session's first record, from 1.
    pub line: u64,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// One session in canonical form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// The session's id: the agent's own where it has one, else a digest of the content.
    pub session: String,
    /// Which agent or pool it came from (`opencode`, `raw`, …).
    pub source: String,
    /// What kind of task it was, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_category: Option<String>,
    /// How it ended, in the source's own word, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// A stable id of the repository or working directory, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// When the session began, in Unix milliseconds, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<i64>,
    /// Words the answer should contain, where the source names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
    /// The tools the model could call, as OpenAI function schemas.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Value>,
    /// The messages in order.
    pub messages: Vec<Message>,
    /// File and line it was read from.
    #[serde(default)]
    pub origin: Origin,
}

impl Trace {
    /// The model's own messages.
    fn own(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter().filter(|m| m.role == Role::Assistant)
    }

    /// All text: every message's reasoning and content, one part a line; tool calls left out.
    pub fn text(&self) -> String {
        joined(self.messages.iter())
    }

    /// The model's own text: reasoning and content of its messages.
    pub fn answers(&self) -> String {
        joined(self.own())
    }

    /// How many messages the model wrote.
    pub fn turns(&self) -> usize {
        self.own().count()
    }
}

fn joined<'a>(messages: impl Iterator<Item = &'a Message>) -> String {
    let parts =
        messages.flat_map(|m| m.reasoning_content.as_deref().into_iter().chain([&*m.content]));
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}
