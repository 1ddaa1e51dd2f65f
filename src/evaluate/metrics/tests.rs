use serde_json::{Value, json};

use super::super::testing;
use super::*;
use crate::trace::{Message, Role};

fn call(name: &str, arguments: Value) -> ToolCall {
    let Value::Object(arguments) = arguments else { panic!("not an object") };
    ToolCall { id: format!("id-{name}"), name: name.into(), arguments }
}

fn item(content: &str, calls: Vec<ToolCall>) -> Item {
    let mut reference = Message::text(Role::Assistant, content);
    reference.tool_calls = calls;
    testing::item("e#0", reference)
}

fn answer(content: &str, calls: Vec<ToolCall>) -> Answer {
    Answer { content: content.into(), calls, stopped: true, ..Answer::default() }
}

fn score(metric: Metric, item: &Item, answer: &Answer) -> Option<f64> {
    metric.score(item, answer)
}

#[test]
fn exact_match_folds_white_space_key_order_and_number_spelling_and_nothing_else() {
    let wanted = || call("edit", json!({"path": "a", "range": {"from": 1, "to": 2}}));
    let item = item("Done.  See below", vec![wanted()]);
    let equal = call("edit", json!({"range": {"to": 2.0, "from": 1}, "path": "a"}));
    let same = |content, calls| score(Metric::ExactMatch, &item, &answer(content, calls));
    assert_eq!(same("Done. See\nbelow ", vec![equal]), Some(1.0));
    assert_eq!(same("done. see below", vec![wanted()]), Some(0.0));
    assert_eq!(same("Done. See below", vec![]), Some(0.0));
    assert_eq!(same("Done. See below", vec![wanted(), wanted()]), Some(0.0));
    let text_for_number = call("edit", json!({"path": "a", "range": {"from": "1", "to": 2}}));
    assert_eq!(same("Done. See below", vec![text_for_number]), Some(0.0));
    let surplus = call("edit", json!({"path": "a", "range": {"from": 1, "to": 2}, "all": null}));
    assert_eq!(same("Done. See below", vec![surplus]), Some(0.0));
    let mut broken = answer("Done. See below", vec![wanted()]);
    broken.malformed = Some("half a call".into());
    assert_eq!(score(Metric::ExactMatch, &item, &broken), Some(0.0));
}

#[test]
fn large_whole_numbers_do_not_become_equal_by_rounding() {
    let item = item("", vec![call("get", json!({"id": 9007199254740993i64}))]);
    let near = answer("", vec![call("get", json!({"id": 9007199254740992i64}))]);
    assert_eq!(score(Metric::ExactMatch, &item, &near), Some(0.0));
}

#[test]
fn calls_are_scored_in_order() {
    let item = item("", vec![call("a", json!({"x": 1, "y": 2})), call("b", json!({"z": 3}))]);
    let got = answer("", vec![call("a", json!({"x": 1, "y": 5})), call("c", json!({"z": 3}))]);
    assert_eq!(score(Metric::ToolNameAcc, &item, &got), Some(0.5));
    assert_eq!(score(Metric::ArgsExactMatch, &item, &got), Some(0.0));
    assert_eq!(score(Metric::ArgsKeyF1, &item, &got), Some(1.0));
    let fewer = answer("", vec![call("a", json!({"x": 1}))]);
    assert_eq!(score(Metric::ToolNameAcc, &item, &fewer), Some(0.5));
    // One shared name of three wanted and one given.
    assert_eq!(score(Metric::ArgsKeyF1, &item, &fewer), Some(0.5));
    let none = answer("no", vec![]);
    assert_eq!(score(Metric::ArgsKeyF1, &item, &none), Some(0.0));
}

#[test]
fn metrics_that_do_not_apply_are_absent() {
    let item = item("ok", vec![]);
    let scored = scores(&item, &answer("ok", vec![]));
    let names: Vec<&str> = scored.keys().map(String::as_str).collect();
    assert_eq!(names, ["exact_match", "output_tokens", "stop_ok"]);
}

#[test]
fn repetition_counts_four_token_runs() {
    assert_eq!(repeat_rate(&[1, 2, 3]), None);
    assert_eq!(repeat_rate(&[1, 2, 3, 4]), Some(0.0));
    assert_eq!(repeat_rate(&[7; 7]), Some(0.75));
    assert_eq!(repeat_rate(&[1, 2, 3, 4, 5, 6, 7, 8]), Some(0.0));
}

#[test]
fn an_unknown_metric_lists_the_known_ones() {
    for metric in Metric::ALL {
        assert_eq!(Metric::parse(metric.name()), Ok(metric));
    }
    let error = Metric::parse("keyword_recal").unwrap_err();
    assert!(error.contains("did you mean `keyword_recall`?"), "{error}");
    assert!(error.contains("exact_match, keyword_recall, parse_ok"), "{error}");
    assert!(!Metric::parse("zzz").unwrap_err().contains("did you mean"));
}
