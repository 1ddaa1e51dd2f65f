//! Which tools a model could call, and what it was told of itself, where its agent does not store
//! that: from a captured request, else from what ships with this program.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Message, Role, Trace, schema};

mod opencode;

pub use opencode::{Counts, Generation, normalise};

/// The longest capture that is read, in bytes.
const MAX_FILE: u64 = 256 << 20;

/// A system prompt and tools as an agent sends them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalogue {
    /// The system prompt, where one was captured.
    pub system: Option<String>,
    /// The tools as OpenAI function schemas.
    pub tools: Vec<Value>,
}

/// What a catalogue gave to a trace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Added {
    /// The system prompt.
    pub system: bool,
    /// The tools.
    pub tools: bool,
}

impl Catalogue {
    /// Reads captured requests: one, or several in a row, of which the last with tools counts.
    pub fn read(path: &Path) -> Result<Catalogue> {
        let shown = path.display();
        let metadata = fs::metadata(path).with_context(|| format!("cannot read {shown}"))?;
        if !metadata.is_file() {
            bail!("{shown}: not a regular file");
        }
        if metadata.len() > MAX_FILE {
            bail!("{shown}: longer than {} MiB", MAX_FILE >> 20);
        }
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        Catalogue::parse(&text).with_context(|| format!("{shown}: not a captured request"))
    }

    /// As [`Catalogue::read`], from text.
    pub fn parse(text: &str) -> Result<Catalogue> {
        let text = text.trim_start_matches('\u{feff}');
        let mut last = None;
        for request in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
            let request = request.map_err(|e| {
                anyhow::anyhow!("not valid JSON at line {} column {}", e.line(), e.column())
            })?;
            // Agents also ask for titles, without tools.
            last = Some(of_request(&request)?).filter(|c| !c.tools.is_empty()).or(last);
        }
        last.context("there is no request with `tools` in it")
    }

    /// What ships for the agent OpenCode: its usual tools, described in this program's own words,
    /// without a system prompt.
    pub fn shipped(generation: Generation) -> Result<Catalogue> {
        Catalogue::parse(match generation {
            Generation::One => include_str!("catalogue/opencode-1.json"),
            Generation::Two => include_str!("catalogue/opencode-2.json"),
        })
    }

    /// The schema of a tool.
    pub fn tool(&self, name: &str) -> Option<&Value> {
        self.tools.iter().find(|tool| tool["function"]["name"] == name)
    }
}

/// One request in the shape of OpenAI's chat, its responses, or Anthropic's messages.
fn of_request(request: &Value) -> Result<Catalogue> {
    let Some(request) = request.as_object() else { bail!("a request is not an object") };
    let tools = match request.get("tools") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(tools)) => tools.clone(),
        Some(_) => bail!("`tools` is not a list"),
    };
    // Tools that the model's server runs itself have no schema.
    let tools: Vec<Value> = tools.into_iter().filter_map(schema::of_tool).collect();
    let messages = request.get("messages").and_then(Value::as_array).into_iter().flatten();
    let is_system = |message: &&Value| matches!(role(message), "system" | "developer");
    let mut system: Vec<String> = ["system", "instructions"]
        .iter()
        .filter_map(|key| request.get(*key).map(text))
        .chain(messages.take_while(is_system).map(|message| text(&message["content"])))
        .collect();
    system.retain(|text| !text.is_empty());
    let system = (!system.is_empty()).then(|| system.join("\n"));
    Ok(Catalogue { system, tools })
}

fn role(message: &Value) -> &str {
    message["role"].as_str().unwrap_or_default()
}

/// A text, or the texts of a list of parts.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

/// Puts a catalogue's system prompt and tools on a trace that has none.
pub fn apply(trace: &mut Trace, catalogue: &Catalogue) -> Added {
    let mut added = Added::default();
    if trace.tools.is_empty() && !catalogue.tools.is_empty() {
        trace.tools = catalogue.tools.clone();
        added.tools = true;
    }
    if let Some(system) = &catalogue.system
        && trace.messages.iter().all(|message| message.role != Role::System)
    {
        trace.messages.insert(0, Message::text(Role::System, system));
        added.system = true;
    }
    added
}
