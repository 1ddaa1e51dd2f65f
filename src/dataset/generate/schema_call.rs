//! A question that asks for one call of a declared tool.

use serde_json::{Map, Value, json};

use super::super::{Example, schema};
use super::pool::Pool;
use crate::chance::Chance;
use crate::trace::{Message, Role, ToolCall, Trace};

const ASKS: &[&str] = &[
    "Call {tool} with {arguments}.",
    "Use {tool}: {arguments}.",
    "Please run {tool} with {arguments}.",
    "I need {tool}, {arguments}.",
];

/// Draws a tool the parent declares and values for its arguments, from the schema where it names
/// them, else from other sessions.
pub(super) fn schema_call(parent: &Example, pool: &Pool, chance: &mut Chance) -> Option<Trace> {
    let mut functions: Vec<&Map<String, Value>> = schema::functions(parent).collect();
    chance.shuffle(&mut functions);
    let (name, arguments) = functions.into_iter().find_map(|function| {
        let name = function.get("name")?.as_str()?;
        Some((name, arguments(function, name, pool, chance)?))
    })?;
    let said: Vec<String> = arguments.iter().map(|(k, v)| format!("{k} {}", plain(v))).collect();
    let ask = ASKS[chance.below(ASKS.len())];
    let ask = ask.replace("{tool}", name).replace("{arguments}", &said.join(" and "));
    let systems = parent.trace.messages.iter().take_while(|m| m.role == Role::System);
    let mut messages: Vec<Message> = systems.cloned().collect();
    messages.push(Message::text(Role::User, ask));
    let mut answer = Message::text(Role::Assistant, "");
    answer.author = Some(super::adversarial::AUTHOR.into());
    answer.tool_calls.push(ToolCall { id: "call_1".into(), name: name.into(), arguments });
    messages.push(answer);
    let keywords = Vec::new();
    Some(Trace { messages, keywords, task_category: None, outcome: None, ..parent.trace.clone() })
}

/// Values for every required argument and some of the others; none where one cannot be drawn.
fn arguments(
    function: &Map<String, Value>,
    tool: &str,
    pool: &Pool,
    chance: &mut Chance,
) -> Option<Map<String, Value>> {
    let required = schema::required(function);
    let mut drawn = Map::new();
    for (key, property) in schema::properties(function)? {
        let needed = required.contains(&key.as_str());
        if !needed && chance.below(3) > 0 {
            continue;
        }
        match value(property, tool, key, pool, chance) {
            Some(value) => {
                drawn.insert(key.clone(), value);
            }
            None if needed => return None,
            None => {}
        }
    }
    (!drawn.is_empty()).then_some(drawn)
}

fn value(
    property: &Value,
    tool: &str,
    key: &str,
    pool: &Pool,
    chance: &mut Chance,
) -> Option<Value> {
    if let Some(allowed) = property.get("enum").and_then(Value::as_array) {
        return (!allowed.is_empty()).then(|| allowed[chance.below(allowed.len())].clone());
    }
    let bound = |name: &str| property.get(name).and_then(Value::as_i64);
    match property.get("type").and_then(Value::as_str) {
        Some("string") => pool.any_value(tool, key, chance).map(Value::from),
        Some("boolean") => Some(json!(chance.below(2) == 1)),
        Some("integer" | "number") => {
            let low = bound("minimum").unwrap_or(1);
            let high = bound("maximum").unwrap_or(low.saturating_add(99)).max(low);
            let span = high.saturating_sub(low).clamp(0, 1 << 20) as usize;
            Some(json!(low + chance.below(span + 1) as i64))
        }
        _ => None,
    }
}

/// A value as a person would write it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
