//! Schemas of tools, in the one shape traces have them in.

use serde_json::{Value, json};

/// A tool's schema in OpenAI's function shape; a bare function, as Anthropic and the agents
/// themselves write it, is wrapped. None where it is no schema.
pub(super) fn of_tool(mut tool: Value) -> Option<Value> {
    let map = tool.as_object_mut()?;
    if map.get("function").is_some_and(Value::is_object) {
        return Some(tool);
    }
    if !map.get("name").is_some_and(Value::is_string) {
        return None;
    }
    map.shift_remove("type");
    for key in ["input_schema", "inputSchema"] {
        if let Some(schema) = map.shift_remove(key) {
            map.entry("parameters").or_insert(schema);
        }
    }
    Some(json!({"type": "function", "function": tool}))
}
