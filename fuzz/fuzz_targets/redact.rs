//! Any text through the decoder and both scanners: no panic, output bounded, nothing left to find
//! the second time, JSON in stays JSON out.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use proto::redact::{Policy, Redactor, placeholders, second};
use serde_json::Value;

static REDACTOR: LazyLock<Redactor> =
    LazyLock::new(|| Redactor::new(Policy::default()).expect("the default policy has no rules"));

/// The longest placeholder there is, and the shortest text one can stand for.
const LONGEST: usize = 64;

/// Everything but strings and numbers, which may become strings.
fn shape(value: &Value) -> Value {
    match value {
        Value::String(_) | Value::Number(_) => Value::Null,
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Object(map) => map.values().map(shape).collect(),
        other => other.clone(),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (once, account) = REDACTOR.account_of(text).expect("no rule of a team can fail");
    let places: u64 = account.counts.values().sum();
    assert!(once.len() <= text.len() + places as usize * LONGEST, "output is not bounded");
    assert!(account.share() <= 1.0);
    if places == 0 {
        assert_eq!(once, text, "changed, but nothing was found");
    }
    for place in placeholders(&once) {
        assert!(once.get(place).is_some());
    }
    let twice = REDACTOR.text(&once).expect("no rule of a team can fail");
    assert_eq!(once, twice, "redacting twice changes something");
    for finding in second::scan(&once) {
        assert!(once.get(finding.start..finding.end).is_some());
    }
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        // As a text, a JSON document may lose a bare number to a placeholder; as JSON it stays.
        let mut values = [value.clone()];
        REDACTOR.json(&mut values).expect("no rule of a team can fail");
        let written = values[0].to_string();
        let read: Value = serde_json::from_str(&written).expect("JSON stays JSON");
        assert_eq!(shape(&read), shape(&value), "the shape of JSON changes");
    }
    // A JSON string stays one when it is redacted as the text it is.
    let quoted = Value::from(text).to_string();
    let redacted = REDACTOR.text(&quoted).expect("no rule of a team can fail");
    if redacted.starts_with('"') && redacted.ends_with('"') && redacted.len() > 1 {
        serde_json::from_str::<Value>(&redacted).expect("a JSON string stays a JSON string");
    }
});
