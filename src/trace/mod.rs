//! One agent session in canonical form, whatever agent and format it came from.
//!
//! A [`Trace`] is what every reader produces and everything downstream consumes: messages in
//! order, tool calls as structure (arguments are a JSON object, never a string), a train flag and
//! an author per message, and the file and row each message came from.
//!
//! The serde form is one JSON object a line with OpenAI's field names, so that a written row can
//! be read back by [`raw`] and by other people's tools.

use serde::{Deserialize, Serialize};
use serde_json::Value;

mod atif;
pub mod catalogue;
mod claude_code;
mod codex;
mod find;
pub mod intake;
mod jsonl;
mod lines;
mod load;
mod message;
mod openclaw;
mod opencode;
mod outcome;
mod pi;
pub mod places;
pub mod raw;
mod recognise;
mod schema;
mod shelf;
mod sqlite;
pub mod store;
mod talk;

pub use load::{BadLine, FileDigest, Leave, Loaded, Unread, chosen, each, load, stream};
pub use message::{Message, Role, Signal, ToolCall, pieces};
pub use outcome::{Evidence, Label, Outcome, WORDS};
pub use shelf::Shelf;

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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
    /// The version of the agent, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<String>,
    /// The session that started this one as a subagent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The repository or working directory, by the last part of its path, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// When the session began, in Unix milliseconds, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<i64>,
    /// When its last message was written, in Unix milliseconds, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<i64>,
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
    /// The same session with other messages.
    pub fn saying(&self, messages: Vec<Message>) -> Trace {
        Trace {
            session: self.session.clone(),
            source: self.source.clone(),
            task_category: self.task_category.clone(),
            outcome: self.outcome.clone(),
            agent_version: self.agent_version.clone(),
            parent: self.parent.clone(),
            repository: self.repository.clone(),
            started_ms: self.started_ms,
            ended_ms: self.ended_ms,
            keywords: self.keywords.clone(),
            tools: self.tools.clone(),
            messages,
            origin: self.origin.clone(),
        }
    }

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
