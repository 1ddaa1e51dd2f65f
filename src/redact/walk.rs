//! Every string of a trace, in a fixed order.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::trace::{Message, Trace};

/// A string with the name it is the value of, where it stands in structured data.
pub(super) struct Leaf {
    pub text: String,
    pub name: Option<String>,
}

/// Copies every string that redaction covers. Roles and ids are left out: they are structure.
pub(super) fn leaves(trace: &Trace) -> Vec<Leaf> {
    take(&mut trace.clone())
}

/// Takes every string that redaction covers out of a trace; its strings are empty then.
pub(super) fn take(trace: &mut Trace) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    visit(trace, &mut |text, name| {
        leaves.push(Leaf { text: std::mem::take(text), name: name.map(String::from) });
    });
    leaves
}

/// Puts back texts in the order in which [`take`] gave them.
pub(super) fn put_back(trace: &mut Trace, texts: impl Iterator<Item = String>) {
    let mut texts = texts;
    visit(trace, &mut |text, _| {
        if let Some(new) = texts.next() {
            *text = new;
        }
    });
}

/// The same of one message.
pub(super) fn message_leaves(from: &Message) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    message(&mut from.clone(), &mut |text, name| {
        leaves.push(Leaf { text: std::mem::take(text), name: name.map(String::from) });
    });
    leaves
}

/// The same of any JSON, which may be a row with `messages`: what is structure there stays.
pub(super) fn take_json(json: &mut Value) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    value(json, None, true, &mut |text, name| {
        leaves.push(Leaf { text: std::mem::take(text), name: name.map(String::from) });
    });
    leaves
}

/// Puts back texts in the order in which [`take_json`] gave them.
pub(super) fn put_back_json(json: &mut Value, texts: impl Iterator<Item = String>) {
    let mut texts = texts;
    value(json, None, true, &mut |text, _| {
        if let Some(new) = texts.next() {
            *text = new;
        }
    });
}

/// What links the parts of a row.
const IDS: [&str; 3] = ["id", "tool_call_id", "call_id"];
/// What says what a part is, in a word.
const KINDS: [&str; 2] = ["role", "type"];
/// Where structure goes on.
const STRUCTURED: [&str; 5] = ["messages", "conversation", "tool_calls", "function", "content"];

type Visit<'a> = &'a mut dyn FnMut(&mut String, Option<&str>);

fn visit(trace: &mut Trace, f: Visit) {
    f(&mut trace.source, None);
    for text in
        [&mut trace.task_category, &mut trace.outcome, &mut trace.repository].into_iter().flatten()
    {
        f(text, None);
    }
    for word in &mut trace.keywords {
        f(word, None);
    }
    f(&mut trace.origin.file, None);
    if let Some(version) = &mut trace.agent_version {
        f(version, None);
    }
    for tool in &mut trace.tools {
        value(tool, None, false, f);
    }
    for one in &mut trace.messages {
        message(one, f);
    }
}

fn message(message: &mut Message, f: Visit) {
    if let Some(reasoning) = &mut message.reasoning_content {
        f(reasoning, None);
    }
    f(&mut message.content, None);
    for call in &mut message.tool_calls {
        f(&mut call.name, None);
        object(&mut call.arguments, false, f);
    }
    for text in [&mut message.name, &mut message.author, &mut message.file].into_iter().flatten() {
        f(text, None);
    }
}

fn value(json: &mut Value, name: Option<&str>, structured: bool, f: Visit) {
    match json {
        Value::String(text) => f(text, name),
        Value::Array(items) => {
            let mut flag: Option<String> = None;
            for item in items {
                // `["--password", "…"]`: a flag names the element after it.
                let own = flag.take();
                flag = item.as_str().filter(|t| t.starts_with("--")).map(String::from);
                value(item, own.as_deref().or(name), structured, f);
            }
        }
        Value::Object(map) => object(map, structured, f),
        // A number can be a card or a PIN; it becomes text only if it has to go.
        Value::Number(number) => {
            let mut text = number.to_string();
            f(&mut text, name);
            if !text.is_empty() && text != number.to_string() {
                *json = Value::String(text);
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn is_structure(key: &str, value: &Value) -> bool {
    let is_word = |text: &str| {
        text.len() <= 24 && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b == b'-')
    };
    IDS.contains(&key) && !value.is_object() && !value.is_array()
        || KINDS.contains(&key) && value.as_str().is_some_and(is_word)
}

fn object(map: &mut Map<String, Value>, structured: bool, f: Visit) {
    // `{"name": "DB_PASSWORD", "value": "…"}`: the name stands beside the value.
    let beside = ["name", "key", "variable", "Name", "Key"]
        .into_iter()
        .find_map(|k| map.get(k)?.as_str().map(String::from));
    let entries = std::mem::take(map);
    let mut copies: HashMap<String, usize> = HashMap::new();
    for (key, mut item) in entries {
        if structured && is_structure(&key, &item) {
            map.insert(key, item);
            continue;
        }
        let mut new = key.clone();
        f(&mut new, None);
        let name = match (key.as_str(), &beside) {
            ("value" | "Value", Some(name)) => name,
            _ => &key,
        };
        let inner = structured && STRUCTURED.contains(&key.as_str());
        value(&mut item, Some(name), inner, f);
        // While its texts are taken out, an object keeps its keys.
        let new = if new.is_empty() { key } else { new };
        let mut free = new.clone();
        while map.contains_key(&free) {
            let copy = copies.entry(new.clone()).or_insert(1);
            *copy += 1;
            free = format!("{new}_{copy}");
        }
        map.insert(free, item);
    }
}
