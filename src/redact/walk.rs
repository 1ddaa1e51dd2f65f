//! Every string of a trace, in a fixed order.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::rules::names;
use crate::trace::{Message, Trace};

/// A string with the name it is the value of, where it stands in structured data.
pub(super) struct Leaf {
    pub text: String,
    pub name: Option<String>,
    /// How many bare numbers of a list it holds, with [`APART`] between them; none in a string.
    pub numbers: usize,
}

impl Leaf {
    /// A text by itself.
    pub fn new(text: String, name: Option<&str>) -> Self {
        Leaf { text, name: name.map(String::from), numbers: 0 }
    }
}

/// Stands between numbers that are read together; nothing reads across it.
const APART: &str = "\n\0\n";

/// Copies every string that redaction covers. Roles and ids are left out: they are structure.
pub(super) fn leaves(trace: &Trace) -> Vec<Leaf> {
    take(&mut trace.clone(), true)
}

/// Takes every string that redaction covers out of a trace; its strings are empty then. Numbers in
/// a list may be read `together`, as long as no rule asks where a text begins or ends.
pub(super) fn take(trace: &mut Trace, together: bool) -> Vec<Leaf> {
    let mut take = Take { leaves: Vec::new(), together };
    visit(trace, &mut take);
    take.leaves
}

/// Puts back texts in the order in which [`take`] gave them, each with its number of numbers.
pub(super) fn put_back(trace: &mut Trace, texts: &mut dyn Iterator<Item = (String, usize)>) {
    visit(trace, &mut PutBack(texts));
}

/// The same of one message.
pub(super) fn message_leaves(from: &Message) -> Vec<Leaf> {
    let mut take = Take { leaves: Vec::new(), together: true };
    message(&mut from.clone(), &mut take);
    take.leaves
}

/// The same of any JSON, which may be a row with `messages`: what is structure there stays.
pub(super) fn take_json(json: &mut Value, together: bool) -> Vec<Leaf> {
    let mut take = Take { leaves: Vec::new(), together };
    value(json, None, true, &mut take);
    take.leaves
}

/// Puts back texts in the order in which [`take_json`] gave them.
pub(super) fn put_back_json(json: &mut Value, texts: &mut dyn Iterator<Item = (String, usize)>) {
    value(json, None, true, &mut PutBack(texts));
}

/// What is done with each string and each run of numbers.
trait Visit {
    fn text(&mut self, text: &mut String, name: Option<&str>);
    /// Numbers that follow each other in a list, or one by itself.
    fn numbers(&mut self, numbers: &mut [Value], name: Option<&str>);
}

struct Take {
    leaves: Vec<Leaf>,
    together: bool,
}

impl Visit for Take {
    fn text(&mut self, text: &mut String, name: Option<&str>) {
        self.leaves.push(Leaf::new(std::mem::take(text), name));
    }

    fn numbers(&mut self, numbers: &mut [Value], name: Option<&str>) {
        // What a name makes a secret of, it makes one of each.
        let alone = !self.together || name.and_then(names::strength).is_some();
        for numbers in numbers.chunks(if alone { 1 } else { numbers.len() }) {
            let mut text = String::new();
            for (index, number) in numbers.iter().enumerate() {
                let apart = if index > 0 { APART } else { "" };
                // Nothing can fail that is written to a string.
                let _ = write!(text, "{apart}{number}");
            }
            self.leaves.push(Leaf { numbers: numbers.len(), ..Leaf::new(text, name) });
        }
    }
}

struct PutBack<'a>(&'a mut dyn Iterator<Item = (String, usize)>);

impl Visit for PutBack<'_> {
    fn text(&mut self, text: &mut String, _: Option<&str>) {
        if let Some((new, _)) = self.0.next() {
            *text = new;
        }
    }

    fn numbers(&mut self, mut numbers: &mut [Value], _: Option<&str>) {
        let mut old = String::new();
        while !numbers.is_empty() {
            let Some((text, count)) = self.0.next() else { return };
            let (these, rest) = numbers.split_at_mut(count.clamp(1, numbers.len()));
            let whole = text.matches(APART).count() + 1 == these.len();
            // Where a rule took several at once, they go together.
            let mut parts = text.splitn(if whole { these.len() } else { 1 }, APART);
            for number in these {
                old.clear();
                let _ = write!(old, "{number}");
                let new = parts.next().unwrap_or("");
                // A number can be a card or a PIN; it becomes text only if it has to go.
                if new != old {
                    *number = Value::from(new);
                }
            }
            numbers = rest;
        }
    }
}

/// What links the parts of a row.
const IDS: [&str; 3] = ["id", "tool_call_id", "call_id"];
/// What says what a part is, in a word.
const KINDS: [&str; 2] = ["role", "type"];
/// Where structure goes on.
const STRUCTURED: [&str; 5] = ["messages", "conversation", "tool_calls", "function", "content"];

fn visit(trace: &mut Trace, f: &mut dyn Visit) {
    f.text(&mut trace.source, None);
    for text in
        [&mut trace.task_category, &mut trace.outcome, &mut trace.repository].into_iter().flatten()
    {
        f.text(text, None);
    }
    for word in &mut trace.keywords {
        f.text(word, None);
    }
    f.text(&mut trace.origin.file, None);
    if let Some(version) = &mut trace.agent_version {
        f.text(version, None);
    }
    for tool in &mut trace.tools {
        value(tool, None, false, f);
    }
    for one in &mut trace.messages {
        message(one, f);
    }
}

fn message(message: &mut Message, f: &mut dyn Visit) {
    if let Some(reasoning) = &mut message.reasoning_content {
        f.text(reasoning, None);
    }
    f.text(&mut message.content, None);
    for call in &mut message.tool_calls {
        f.text(&mut call.name, None);
        object(&mut call.arguments, false, f);
    }
    for text in [&mut message.name, &mut message.author, &mut message.file].into_iter().flatten() {
        f.text(text, None);
    }
}

fn value(json: &mut Value, name: Option<&str>, structured: bool, f: &mut dyn Visit) {
    match json {
        Value::String(text) => f.text(text, name),
        Value::Array(items) => {
            let mut flag: Option<String> = None;
            let mut items = items.as_mut_slice();
            while !items.is_empty() {
                // `["--password", "…"]`: a flag names the element after it.
                let own = flag.take();
                let run = items.iter().take_while(|item| item.is_number()).count();
                let (these, rest) = items.split_at_mut(if own.is_some() { 1 } else { run.max(1) });
                items = rest;
                let name = own.as_deref().or(name);
                match these {
                    [item] => {
                        flag = item.as_str().filter(|t| t.starts_with("--")).map(String::from);
                        value(item, name, structured, f);
                    }
                    numbers => f.numbers(numbers, name),
                }
            }
        }
        Value::Object(map) => object(map, structured, f),
        Value::Number(_) => f.numbers(std::slice::from_mut(json), name),
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

fn object(map: &mut Map<String, Value>, structured: bool, f: &mut dyn Visit) {
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
        f.text(&mut new, None);
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_find_over_several_numbers_takes_them_together() {
        let mut row = json!({"codes": [11, 22, 33], "others": [44, 55.5]});
        let leaves = take_json(&mut row, true);
        let found = format!("22{APART}33");
        let texts =
            leaves.into_iter().map(|leaf| (leaf.text.replace(&found, "<CARD_1>"), leaf.numbers));
        put_back_json(&mut row, &mut texts.collect::<Vec<_>>().into_iter());
        let together = format!("11{APART}<CARD_1>");
        assert_eq!(row, json!({"codes": [together, "", ""], "others": [44, 55.5]}));
    }
}
