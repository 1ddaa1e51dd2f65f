//! Tool schemas as rows declare them, and what a call does against its schema.

use serde_json::{Map, Value};

use super::Example;
use crate::trace::ToolCall;

/// The declared tool of a name, as its `function` object.
pub fn declared<'a>(example: &'a Example, name: &str) -> Option<&'a Map<String, Value>> {
    functions(example).find(|f| f.get("name").and_then(Value::as_str) == Some(name))
}

/// Every declared tool's `function` object.
pub fn functions(example: &Example) -> impl Iterator<Item = &Map<String, Value>> {
    let tools = example.trace.tools.iter();
    tools.filter_map(|tool| tool.get("function").unwrap_or(tool).as_object())
}

/// The names of the declared tools.
pub fn names(example: &Example) -> Vec<&str> {
    functions(example).filter_map(|f| f.get("name")?.as_str()).collect()
}

/// The schema's properties by name, in its own order.
pub fn properties(function: &Map<String, Value>) -> Option<&Map<String, Value>> {
    function.get("parameters")?.get("properties")?.as_object()
}

/// The names of the arguments that must be given.
pub fn required(function: &Map<String, Value>) -> Vec<&str> {
    let list = function.get("parameters").and_then(|p| p.get("required")?.as_array());
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What is wrong with a call's arguments, if anything. Values are never quoted.
pub fn violation(function: &Map<String, Value>, call: &ToolCall) -> Option<String> {
    if let Some(missing) = required(function).into_iter().find(|k| !call.arguments.contains_key(*k))
    {
        return Some(format!("`{}` lacks the required argument `{missing}`", call.name));
    }
    let properties = properties(function)?;
    let closed = function["parameters"].get("additionalProperties") == Some(&Value::Bool(false));
    for (key, value) in &call.arguments {
        let Some(property) = properties.get(key) else {
            if closed {
                return Some(format!("`{}` takes no argument `{key}`", call.name));
            }
            continue;
        };
        if let Some(types) = property.get("type")
            && !has_type(value, types)
        {
            return Some(format!("argument `{key}` of `{}` is not {types}", call.name));
        }
        if let Some(Value::Array(allowed)) = property.get("enum")
            && !allowed.contains(value)
        {
            return Some(format!("argument `{key}` of `{}` is none of its enum", call.name));
        }
    }
    None
}

fn has_type(value: &Value, types: &Value) -> bool {
    match types {
        Value::Array(several) => several.iter().any(|t| has_type(value, t)),
        Value::String(name) => match name.as_str() {
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64() || is_whole(value),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            "null" => value.is_null(),
            _ => true,
        },
        _ => true,
    }
}

fn is_whole(value: &Value) -> bool {
    value.as_f64().is_some_and(|n| n.fract() == 0.0)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{call, row};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_call_is_held_against_its_schema() {
        let mut example = row("s", vec![]);
        example.trace.tools = vec![json!({"type": "function", "function": {
            "name": "read",
            "parameters": {
                "type": "object",
                "properties": {
                    "path": {"type": "string"},
                    "limit": {"type": ["integer", "null"]},
                    "mode": {"enum": ["text", "bytes"]},
                },
                "required": ["path"],
                "additionalProperties": false,
            },
        }})];
        assert_eq!(names(&example), ["read"]);
        let read = declared(&example, "read").unwrap();
        let check = |arguments| {
            let message = call("c", "read", arguments);
            violation(read, &message.tool_calls[0])
        };
        assert_eq!(check(json!({"path": "a", "limit": 3.0, "mode": "text"})), None);
        assert_eq!(check(json!({"path": "a", "limit": null})), None);
        for (arguments, problem) in [
            (json!({"limit": 3}), "`read` lacks the required argument `path`"),
            (json!({"path": 3}), "argument `path` of `read` is not \"string\""),
            (json!({"path": "a", "file": "b"}), "`read` takes no argument `file`"),
            (json!({"path": "a", "mode": "x"}), "argument `mode` of `read` is none of its enum"),
        ] {
            assert_eq!(check(arguments).as_deref(), Some(problem));
        }
    }
}
