//! Tool calls in the shapes people write them, and which result answers which call.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::row::{Problem, text};
use crate::trace::ToolCall;

/// The calls of one session so far. Every call gets an id of its own; a result without an id
/// answers the oldest open call of its tool.
#[derive(Default)]
pub(super) struct Calls {
    taken: BTreeSet<String>,
    /// Calls without a result, oldest first.
    open: Vec<Open>,
    made: usize,
}

struct Open {
    id: String,
    /// The id as the row has it, which some agents repeat within a session.
    written: String,
    tool: String,
}

impl Calls {
    /// The calls of an assistant message, from `tool_calls` or the older `function_call`.
    pub fn made(&mut self, message: &mut Map<String, Value>) -> Result<Vec<ToolCall>, Problem> {
        let values = match message.remove("tool_calls").filter(|v| !v.is_null()) {
            Some(Value::Array(values)) => values,
            Some(_) => return Err(Problem::new("tool_call", "`tool_calls` is not a list")),
            None => message.remove("function_call").filter(|v| !v.is_null()).into_iter().collect(),
        };
        let earlier = self.open.len();
        let calls = values.into_iter().map(|value| self.call(value)).collect::<Result<_, _>>()?;
        // A repeated id means the newer call: the older one was never answered.
        let (old, new) = self.open.split_at(earlier);
        let stale: Vec<_> =
            old.iter().map(|o| new.iter().any(|n| n.written == o.written)).collect();
        let mut stale = stale.into_iter();
        self.open.retain(|_| !stale.next().unwrap_or(false));
        Ok(calls)
    }

    fn call(&mut self, value: Value) -> Result<ToolCall, Problem> {
        let Value::Object(mut call) = value else {
            return Err(Problem::new("tool_call", "a tool call is not an object"));
        };
        let own = text(&call, "id")?.filter(|id| !id.is_empty());
        // A call of a tool that takes plain text.
        if let Some(Value::Object(mut custom)) = call.remove("custom") {
            if let Some(input) = custom.remove("input") {
                custom.insert("arguments".into(), json!({"input": input}));
            }
            call.insert("function".into(), Value::Object(custom));
        }
        let mut function = match call.remove("function") {
            Some(Value::Object(function)) => function,
            None => call,
            Some(_) => return Err(Problem::new("tool_call", "`function` is not an object")),
        };
        let name = match function.remove("name") {
            Some(Value::String(name)) if !name.is_empty() => name,
            _ => return Err(Problem::new("tool_call", "a tool call has no name")),
        };
        let arguments = arguments(function.remove("arguments"))?;
        self.made += 1;
        let written = own.unwrap_or_else(|| format!("call_{}", self.made));
        let id = self.unique(&written);
        self.open.push(Open { id: id.clone(), written, tool: name.clone() });
        Ok(ToolCall { id, name, arguments })
    }

    fn unique(&mut self, written: &str) -> String {
        let mut id = written.to_string();
        let mut copy = 1;
        while !self.taken.insert(id.clone()) {
            copy += 1;
            id = format!("{written}_{copy}");
        }
        id
    }

    /// The call a tool result answers, and that call's tool where the result does not say.
    pub fn answered(
        &mut self,
        id: Option<String>,
        name: Option<String>,
    ) -> (Option<String>, Option<String>) {
        let open = self.open.iter().position(|open| match (&id, &name) {
            (Some(id), _) => open.written == *id || open.id == *id,
            (None, Some(name)) => open.tool == *name,
            (None, None) => true,
        });
        match open {
            Some(index) => {
                let call = self.open.remove(index);
                (Some(call.id), Some(name.unwrap_or(call.tool)))
            }
            None => (id, name),
        }
    }
}

/// The calls that a text holds as JSON: one, or a list of them.
pub(super) fn listed(value: Option<Value>) -> Result<Value, Problem> {
    let wrong = || Problem::new("tool_call", "a call is not a JSON object with a name");
    match value {
        Some(Value::String(text)) => {
            listed(Some(serde_json::from_str(&text).map_err(|_| wrong())?))
        }
        Some(call @ Value::Object(_)) => Ok(Value::Array(vec![call])),
        Some(calls @ Value::Array(_)) => Ok(calls),
        _ => Err(wrong()),
    }
}

/// Arguments as structure; OpenAI sends them as a string of JSON.
fn arguments(value: Option<Value>) -> Result<Map<String, Value>, Problem> {
    let wrong = |what: &str| Problem::new("tool_arguments", format!("tool arguments {what}"));
    match value {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(Map::new()),
        Some(Value::String(text)) => match serde_json::from_str(&text) {
            Ok(Value::Object(map)) => Ok(map),
            Ok(_) => Err(wrong("are not an object")),
            Err(_) => Err(wrong("are not valid JSON")),
        },
        Some(_) => Err(wrong("are neither an object nor a string of JSON")),
    }
}
