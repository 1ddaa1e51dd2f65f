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
    let traces = folder.path().join("traces.jsonl");
    let house: Vec<&str> = include_str!("../../data/sample/house.jsonl").lines().take(80).collect();
    fs::write(&traces, house.join("\n")).unwrap();
    let traces = format!("TRACES={}", traces.display());
    let few = ["MAX_STEPS=1", "EVAL_MAX_ITEMS=4", "EVAL_MAX_NEW_TOKENS=6", "EVAL_FILES=", &traces]
        .into_iter()
        .chain(["MIN_TRAIN_EXAMPLES=1", "MIN_VAL_EXAMPLES=1"]);
    let set: Vec<&str> = few.flat_map(|setting| ["--set", setting]).collect();
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
    ] {
        let run = run(metric);
        assert_eq!(run.code, 2, "{}", run.told);
        assert!(run.told.contains(problem) && run.told.contains(place), "{}", run.told);
        assert!(
            run.told.contains("in item ") && run.told.contains("of metric `odd`"),
            "{}",
            run.told
        );
    }
}
