//! Tool schemas as rows declare them, and what a call does against its schema.

use serde_json::{Map, Value};

use self::validity::Kind;
use super::Example;
use crate::trace::ToolCall;

mod validity;

pub use validity::same_map;

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

/// What is wrong with a call's arguments, if anything: a place and what is wrong there, never a
/// value. Where a schema is broken or refers to itself without end, the call is not to blame.
pub fn violation(function: &Map<String, Value>, call: &ToolCall) -> Option<String> {
    let fault = validity::fault(function.get("parameters")?, &call.arguments)?;
    let (tool, path) = (&call.name, fault.path());
    Some(match fault.kind {
        Kind::Missing => format!("`{tool}` lacks the required argument `{path}`"),
        Kind::Undeclared => format!("`{tool}` takes no argument `{path}`"),
        Kind::Wrong(how) if path.is_empty() => format!("the argument object of `{tool}` {how}"),
        Kind::Wrong(how) => format!("argument `{path}` of `{tool}` {how}"),
    })
}

#[cfg(test)]
mod tests;
