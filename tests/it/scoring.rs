//! A team's own metrics, from a script through the built program.

use std::fs;

use serde_json::Value;

use crate::protocol::Run;

/// A short run of the daily script with these metrics.
fn run(metrics: &str) -> Run {
    let daily = include_str!("../../scripts/daily.rhai");
    let call = "evaluate(dataset, adapter)";
    assert!(daily.contains(call));
    let with = format!("evaluate(dataset, adapter, #{{metrics: #{{{metrics}}}}})");
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("team.rhai");
    fs::write(&script, daily.replace(call, &with)).unwrap();
    let few = ["MAX_STEPS=1", "EVAL_MAX_ITEMS=4", "EVAL_MAX_NEW_TOKENS=6", "EVAL_FILES="];
    let set: Vec<&str> = few.iter().flat_map(|setting| ["--set", setting]).collect();
    Run::of(script.to_str().unwrap(), &set)
}

#[test]
fn a_script_adds_metrics_over_item_and_output() {
    let run = run(r#"
        brief: |item, output| output.tokens <= 6,
        seen: |item, output| {
            let whole = item.row.messages[item.index].content == item.reference.content
                && item.prompt.contains(item.request)
                && item.keywords.len() > 0
                && output.content.len() + output.calls.len() >= 0;
            if item.reference.tool_calls.len() > 0 { if whole { 7.5 } else { -1 } }
        },
    "#);
    let results = run.json("eval/eval_results.json");
    let means = &results["candidate"]["metrics"]["overall"];
    assert_eq!(means["brief"], serde_json::json!({"mean": 1.0, "n": 4}), "{}", run.told);
    let items = fs::read_to_string(run.folder.join("eval/items.jsonl")).unwrap();
    for line in items.lines() {
        let item: Value = serde_json::from_str(line).unwrap();
        let calls = item["reference"]["calls"].is_array();
        assert_eq!(item["base"]["scores"]["seen"].as_f64(), calls.then_some(7.5), "{line}");
    }
    assert_eq!(results["delta"]["brief"], 0.0);
}

#[test]
fn a_metric_that_fails_names_the_item_and_its_place_in_the_script() {
    for (metric, problem, place) in [
        ("odd: |item, output| item.frobnicate", "Item has no property `frobnicate`", "team.rhai:"),
        ("odd: |item, output| \"good\"", "a metric gives a finite number", "team.rhai:"),
        ("exact_match: |item, output| 1", "already a metric `exact_match`", "team.rhai:"),
    ] {
        let run = run(metric);
        assert_eq!(run.code, 2, "{}", run.told);
        assert!(run.told.contains(problem) && run.told.contains(place), "{}", run.told);
        if metric.starts_with("odd") {
            assert!(run.told.contains("of metric `odd`"), "{}", run.told);
        }
    }
}
