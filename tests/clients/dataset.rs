//! Hugging Face's datasets and mlcroissant read a dataset's folder row by row, whatever shape tool
//! arguments have.

use std::fs;
use std::path::Path;

use proto::dataset::manifest::Provenance;
use proto::dataset::redaction::redact;
use proto::dataset::source::{Recent, from_traces};
use proto::dataset::{Example, Kind, mix, snapshot, split};
use proto::redact::{Policy, Redactor};
use proto::trace;
use serde_json::{Value, json};

use super::{Layers, Silent, figures};

/// Arguments of which no two have a common type.
fn arguments(n: usize) -> Value {
    let shapes = [
        json!({"a": "x"}),
        json!({"a": 1}),
        json!({"a": [1, 2]}),
        json!({"a": null}),
        json!({"a": {"b": [{"c": 1}]}}),
        json!({}),
        json!({"b": true, "a": ["x", null]}),
    ];
    shapes[n % shapes.len()].clone()
}

fn session(n: usize) -> Value {
    let called = json!({"id": "c", "type": "function",
        "function": {"name": "read", "arguments": arguments(n)}});
    let mut session = json!({"session": format!("s{n}"), "messages": [
        {"role": "user", "content": format!("question number {n}")},
        {"role": "assistant", "content": "", "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "c", "content": format!("{n} lines")},
        {"role": "assistant", "content": format!("It has {n} lines.")},
    ]});
    if n.is_multiple_of(3) {
        session["tools"] = json!([{"type": "function",
            "function": {"name": "read", "parameters": {"properties": arguments(n / 3)}}}]);
        session["keywords"] = json!(["lines"]);
    }
    session
}

fn write(folder: &Path) {
    let lines: Vec<String> = (0..400).map(|n| session(n).to_string()).collect();
    fs::write(folder.join("traces.jsonl"), lines.join("\n")).unwrap();
    let config = Layers::new().resolve(&[]).unwrap();
    let redactor = Redactor::new(Policy::from_config(&config).unwrap()).unwrap();
    let loaded = trace::load(&["traces.jsonl".into()], folder, &Silent).unwrap();
    let rows = redact(&from_traces(loaded, Kind::Real, &Recent::default()), &redactor, 1, &Silent)
        .unwrap();
    let options = split::Options::from_config(&config).unwrap();
    let parts = split::split(&rows, &options, None, &Silent).unwrap();
    let options = mix::Options::from_config(&config).unwrap();
    let count = |_: &Example| -> anyhow::Result<usize> { Ok(1) };
    let dataset = mix::mix(&parts, &options, &count, &Silent).unwrap();
    let (to, provenance) = (folder.join("dataset"), Provenance::default());
    snapshot::write(&dataset, &to, &config, redactor.policy(), provenance, &Silent).unwrap();
}

#[test]
fn datasets_and_croissant_read_every_row_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let figures = figures("dataset_folder.py", &[folder.path().join("dataset")]);
    assert_eq!(figures["croissant.errors"], 0.0);
    for part in ["train", "tune", "val"] {
        let rows = figures[&format!("{part}.rows")];
        assert!(rows > 5.0, "{rows} rows in {part}");
        for reader in ["card", "json", "croissant"] {
            assert_eq!(figures[&format!("{part}.{reader}")], rows, "{part} as {reader} reads it");
        }
    }
}
