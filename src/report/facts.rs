//! The manifest as tables and lists of labels and values.

use serde::Serialize;
use serde_json::Value;

use super::sides::shortened;
use crate::dataset::Stage;

#[derive(Debug, Serialize)]
pub(super) struct StageRow {
    pub name: String,
    pub input: u64,
    pub added: u64,
    pub output: u64,
    pub dropped: Vec<(String, u64)>,
}

/// A titled list of labels and values.
#[derive(Debug, Serialize)]
pub(super) struct Facts {
    pub title: &'static str,
    pub facts: Vec<(String, String)>,
}

pub(super) fn stages(manifest: &Value) -> Vec<StageRow> {
    let read = |value: &Value| serde_json::from_value::<Stage>(value.clone()).ok();
    let found = manifest.get("stages").and_then(Value::as_array);
    let row = |stage: Stage| StageRow {
        name: stage.name,
        input: stage.input,
        added: stage.added,
        output: stage.output,
        dropped: stage.dropped.into_iter().filter(|(_, n)| *n > 0).collect(),
    };
    found.into_iter().flatten().filter_map(read).map(row).collect()
}

/// The parts of the manifest a reader asks for, as labels and values.
pub(super) fn dataset(manifest: &Value) -> Vec<Facts> {
    let parts = [
        ("Rows", "counts"),
        ("Split", "splits"),
        ("Mix", "mix"),
        ("Gates", "gates"),
        ("Leakage", "leakage"),
        ("Redaction", "redaction"),
    ];
    let mut found = Vec::new();
    for (title, key) in parts {
        let mut facts = Vec::new();
        flatten("", manifest.get(key).unwrap_or(&Value::Null), &mut facts);
        if !facts.is_empty() {
            found.push(Facts { title, facts });
        }
    }
    found
}

fn flatten(label: &str, value: &Value, facts: &mut Vec<(String, String)>) {
    let mut say = |text: String| facts.push((label.replace('_', " "), text));
    match value {
        Value::Null => {}
        Value::Bool(truth) => say(if *truth { "yes" } else { "no" }.into()),
        Value::Number(number) => say(number.to_string()),
        Value::String(text) => say(shortened(text, 200)),
        Value::Array(list) if list.iter().all(|v| !v.is_object() && !v.is_array()) => {
            let words = list.iter().map(|v| v.as_str().map_or(v.to_string(), String::from));
            say(shortened(&words.collect::<Vec<_>>().join(", "), 200));
        }
        Value::Array(list) => say(format!("{} entries", list.len())),
        Value::Object(map) => {
            for (key, inner) in map {
                let label =
                    if label.is_empty() { key.clone() } else { format!("{label} · {key}") };
                flatten(&label, inner, facts);
            }
        }
    }
}
