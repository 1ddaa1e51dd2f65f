//! From a line to what it says: a message, a step in the tree, or nothing for a trace.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::line::{Block, Content, Line, Parent, Spoken, Text};
use crate::trace::lines::{MAX_LINE, json_problem};
use crate::trace::{Message, Role, Signal, ToolCall};

/// A line that was understood.
#[derive(Debug, Default)]
pub struct Entry {
    pub id: Option<String>,
    pub parent: Follows,
    pub row: u64,
    /// It hangs beside the branch: what comes next does not follow it.
    pub side: bool,
    /// Damaged lines stand between the line before and this one.
    pub after_damage: bool,
    /// The run it was written in.
    pub run: Option<String>,
    pub says: Says,
}

#[derive(Debug, Default)]
pub enum Follows {
    #[default]
    LineBefore,
    Nothing,
    Id(String),
}

#[derive(Debug)]
pub enum Says {
    /// The first line: which session it is.
    Header(Header),
    Message(Box<Message>),
    /// The branch goes on at another line.
    Leaf(Option<String>),
    /// A new session begins.
    Reset,
    /// Nothing for a trace, and why; the line is a link of the tree.
    Other(&'static str),
    /// The same, and later lines do not follow it unless they say so.
    Unknown(&'static str),
}

impl Default for Says {
    fn default() -> Self {
        Says::Unknown("unknown_type")
    }
}

#[derive(Debug, Default, Clone)]
pub struct Header {
    pub session: Option<String>,
    pub cwd: Option<String>,
    /// The session it was started from or forked off.
    pub parent: Option<String>,
    pub time_ms: Option<i64>,
}

/// Why a line gives nothing: one word for the account, and what is wrong for people, which never
/// quotes the line.
#[derive(Debug)]
pub struct Damage {
    pub reason: &'static str,
    pub problem: String,
}

impl Damage {
    pub fn too_long() -> Damage {
        let problem = format!("longer than {} MiB", MAX_LINE >> 20);
        Damage { reason: "too_long", problem }
    }
}

/// What an agent that writes this format does in its own way.
#[derive(Clone, Copy)]
pub struct Dialect {
    pub agent: &'static str,
    /// A person's text without what the agent put around it; `None` where nothing is left.
    pub own_words: fn(String) -> Option<String>,
}

/// Understands one line.
pub fn parse(bytes: &[u8], row: u64, dialect: &Dialect) -> Result<Entry, Damage> {
    let text = std::str::from_utf8(bytes).map_err(|e| Damage {
        reason: "not_utf8",
        problem: format!("invalid UTF-8 at byte {}", e.valid_up_to() + 1),
    })?;
    // A list would be taken for the fields in their order.
    if text.trim_ascii_start().starts_with('[') {
        let problem = "not an entry: a list".to_string();
        return Err(Damage { reason: "unexpected_shape", problem });
    }
    let line: Line = serde_json::from_str(text).map_err(|e| {
        // A message about types quotes the value.
        if e.is_data() {
            let problem = format!("not an entry: unexpected type at column {}", e.column());
            return Damage { reason: "unexpected_shape", problem };
        }
        Damage { reason: "not_json", problem: json_problem(&e) }
    })?;
    let parent = match line.parent_id {
        Parent::Unsaid => Follows::LineBefore,
        Parent::Root => Follows::Nothing,
        Parent::Id(id) => Follows::Id(id.into_owned()),
    };
    let time = line.timestamp.as_deref().and_then(time_ms);
    let mut run = None;
    let says = match &*line.kind {
        "session" => Says::Header(Header {
            session: line.id.as_deref().filter(|id| !id.is_empty()).map(str::to_string),
            cwd: line.cwd.map(Text::into_owned),
            parent: line.parent_session.as_deref().and_then(session_of),
            time_ms: time,
        }),
        "message" => match line.message {
            Some(spoken) => {
                run = spoken
                    .own
                    .as_ref()
                    .and_then(|own| own.get("runId")?.as_str().map(str::to_string));
                said(spoken, time, row, dialect)
            }
            None => Says::Other("no_message"),
        },
        "leaf" => Says::Leaf(line.target_id.map(Text::into_owned)),
        "reset" => Says::Reset,
        "model_change" => Says::Other("model_change"),
        "thinking_level_change" => Says::Other("thinking_level_change"),
        "compaction" => Says::Other("compaction"),
        "branch_summary" => Says::Other("branch_summary"),
        "custom" => Says::Other("custom"),
        "custom_message" => Says::Other("custom_message"),
        "label" => Says::Other("label"),
        "session_info" => Says::Other("session_info"),
        _ => Says::Unknown("unknown_type"),
    };
    let side = line.append_mode.as_deref() == Some("side");
    let id = line.id.map(Text::into_owned);
    Ok(Entry { id, parent, row, side, after_damage: false, run, says })
}

/// The id of a session that is named by its file or by its id.
fn session_of(written: &str) -> Option<String> {
    let file = written.rsplit(['/', '\\']).next()?;
    let stem = file.split(".jsonl").next()?;
    // pi puts the time before the id.
    let id = stem.rsplit_once('_').map_or(stem, |(_, id)| id);
    Some(id.to_string()).filter(|id| !id.is_empty())
}

/// ISO 8601, or milliseconds as a number.
pub fn time_ms(text: &str) -> Option<i64> {
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return text.parse::<f64>().ok().map(|ms| ms as i64);
    }
    Some(text.parse::<Timestamp>().ok()?.as_millisecond())
}

fn said(spoken: Spoken, time: Option<i64>, row: u64, dialect: &Dialect) -> Says {
    let time = time.or_else(|| spoken.timestamp.as_deref().and_then(time_ms));
    let message = match &*spoken.role {
        "user" => match (dialect.own_words)(text_of(spoken.content)) {
            Some(words) => Message::text(Role::User, words),
            None => return Says::Other("envelope"),
        },
        "assistant" => match assistant(spoken) {
            Ok(message) => message,
            Err(reason) => return Says::Other(reason),
        },
        "toolResult" => result(spoken),
        "bashExecution" if spoken.exclude_from_context == Some(true) => {
            return Says::Other("excluded");
        }
        "bashExecution" => shell(spoken),
        "system" | "developer" => Message::text(Role::System, text_of(spoken.content)),
        "custom" | "hookMessage" => return Says::Other("custom_message"),
        "branchSummary" => return Says::Other("branch_summary"),
        "compactionSummary" => return Says::Other("compaction"),
        _ => return Says::Other("unknown_role"),
    };
    Says::Message(Box::new(Message { time_ms: time, row, ..message }))
}

/// The text of some content, a block a line; pictures are named, for the answer was given to
/// them as well.
fn text_of(content: Content) -> String {
    let mut text = String::new();
    match content {
        Content::None => {}
        Content::Text(all) => text = all.into_owned(),
        Content::Blocks(blocks) => blocks.into_iter().for_each(|block| match &*block.kind {
            "image" => add(&mut text, Text("[image]".into())),
            _ => block.text.into_iter().for_each(|part| add(&mut text, part)),
        }),
    }
    text
}

fn add(text: &mut String, part: Text) {
    match text.is_empty() {
        true => *text = part.into_owned(),
        false => {
            text.push('\n');
            text.push_str(&part);
        }
    }
}

/// A step of the model, or why the model did not write it.
fn assistant(spoken: Spoken) -> Result<Message, &'static str> {
    let provider = spoken.provider.as_deref().filter(|p| !p.is_empty());
    let model = spoken.model.as_deref().filter(|m| !m.is_empty());
    match (provider, model) {
        (Some("openclaw"), Some("delivery-mirror")) => return Err("delivery_mirror"),
        (Some("openclaw"), Some("gateway-injected")) => return Err("gateway_injected"),
        _ => {}
    }
    let author = match (provider, model) {
        (Some(provider), Some(model)) => Some(format!("{provider}/{model}")),
        (_, model) => model.map(str::to_string),
    };
    let mut message = Message { author, ..Message::text(Role::Assistant, "") };
    match spoken.content {
        Content::None => {}
        Content::Text(text) => message.content = text.into_owned(),
        Content::Blocks(blocks) => {
            let mut reasoning = String::new();
            for block in blocks {
                match &*block.kind {
                    "thinking" => {
                        block.thinking.into_iter().for_each(|part| add(&mut reasoning, part));
                    }
                    "toolCall" | "toolUse" | "tool_use" | "tool_call" => {
                        message.tool_calls.push(call(block));
                    }
                    _ => {
                        let text = block.text.into_iter().filter(|part| !part.is_empty());
                        text.for_each(|part| add(&mut message.content, part));
                    }
                }
            }
            message.reasoning_content = Some(reasoning).filter(|text| !text.is_empty());
        }
    }
    let error = spoken.error_message.as_deref().unwrap_or_default();
    match spoken.stop_reason.as_deref() {
        Some("aborted") => message.note(Signal::Aborted),
        Some("length") => message.note(Signal::Length),
        Some("error") => message.note(failure(error)),
        _ => {}
    }
    Ok(message)
}

/// What the error of a model's server says.
fn failure(error: &str) -> Signal {
    let error: String = error.chars().take(600).collect::<String>().to_ascii_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| error.contains(phrase));
    if says(&["content_filter", "content filter"]) {
        Signal::ContentFilter
    } else if says(&["context length", "context window", "context size", "prompt is too long"]) {
        Signal::Length
    } else {
        Signal::ProviderError
    }
}

fn call(block: Block) -> ToolCall {
    let arguments = match block.arguments {
        Some(Value::Object(arguments)) => arguments,
        // Some providers' broken arguments are kept as the text they came as.
        Some(Value::String(text)) => serde_json::from_str(&text).unwrap_or_default(),
        _ => Map::new(),
    };
    let text = |text: Option<Text>| text.map(Text::into_owned).unwrap_or_default();
    ToolCall { id: text(block.id), name: text(block.name), arguments }
}

fn result(spoken: Spoken) -> Message {
    let name = spoken.tool_name.map(Text::into_owned).filter(|name| !name.is_empty());
    let text = text_of(spoken.content);
    let exit = spoken.details.exit_code.or_else(|| match name.as_deref() {
        Some("exec" | "bash" | "process") => exit_of(&text),
        _ => None,
    });
    let mut message = Message {
        tool_call_id: spoken.tool_call_id.map(Text::into_owned),
        exit,
        ..Message::text(Role::Tool, text)
    };
    let no_such = name.as_deref().is_some_and(|name| {
        let text = message.content.strip_prefix("Tool ").and_then(|t| t.strip_prefix(name));
        text.is_some_and(|text| text.trim_end() == " not found")
    });
    if no_such {
        message.note(Signal::UnknownTool);
    } else if message.content.starts_with("[openclaw] missing tool result") {
        message.note(Signal::MissingResult);
    } else if spoken.is_error == Some(true) && exit.is_none_or(|status| status == 0) {
        // A command that fails is no failure of the tool that ran it; its status says it all.
        message.note(Signal::of_failure(&message.content));
    }
    message.name = name;
    message
}

/// The status at the end of a command's output.
fn exit_of(text: &str) -> Option<i64> {
    let (_, status) = text.rsplit_once("Command exited with code ")?;
    status.trim_end().trim_end_matches(')').parse().ok()
}

/// A command the person ran by hand, in the words in which the model reads it.
fn shell(spoken: Spoken) -> Message {
    let command = spoken.command.as_deref().unwrap_or_default();
    let mut text = format!("Ran `{command}`\n");
    match spoken.output.as_deref().filter(|output| !output.is_empty()) {
        Some(output) => text += &format!("```\n{output}\n```"),
        None => text += "(no output)",
    }
    if spoken.cancelled == Some(true) {
        text += "\n\n(command cancelled)";
    } else if let Some(status) = spoken.exit_code.filter(|status| *status != 0) {
        text += &format!("\n\nCommand exited with code {status}");
    }
    let exit = spoken.exit_code;
    let mut message = Message { exit, ..Message::text(Role::User, text) };
    message.note(Signal::Shell);
    message
}
