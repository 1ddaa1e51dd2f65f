//! Codex CLI's sessions: the samples, and what its rollouts can hold beside them.

use std::path::PathBuf;

use proto::trace::{Role, Signal, Trace};
use serde_json::{Value, json};

use super::samples::{self, assert_adds_up, assert_linked, count, load, load_rows, with};

fn sessions() -> PathBuf {
    samples::folder().join("codex/sessions")
}

fn sample(session: &str) -> Trace {
    let id = samples::facts(session)["codex_id"].clone();
    load(&sessions()).traces.into_iter().find(|t| t.session == id).unwrap()
}

fn row(kind: &str, payload: Value) -> String {
    json!({"timestamp": "2026-09-01T08:40:00.000Z", "type": kind, "payload": payload}).to_string()
}

fn meta() -> String {
    row("session_meta", json!({"id": "s", "cwd": "/src/ledger", "model_provider": "ollama"}))
}

fn item(payload: Value) -> String {
    row("response_item", payload)
}

fn event(payload: Value) -> String {
    row("event_msg", payload)
}

fn user(text: &str) -> String {
    item(json!({"type": "message", "role": "user",
        "content": [{"type": "input_text", "text": text}]}))
}

fn says(text: &str) -> String {
    item(json!({"type": "message", "role": "assistant",
        "content": [{"type": "output_text", "text": text}]}))
}

fn call(id: &str, arguments: &str) -> String {
    item(json!({"type": "function_call", "name": "shell", "arguments": arguments, "call_id": id}))
}

fn output(id: &str, output: Value) -> String {
    item(json!({"type": "function_call_output", "call_id": id, "output": output}))
}

fn contents(trace: &Trace) -> Vec<&str> {
    trace.messages.iter().map(|m| m.content.as_str()).collect()
}

fn one(rows: &[String]) -> Trace {
    let rows: Vec<String> = [meta()].into_iter().chain(rows.iter().cloned()).collect();
    let mut loaded = load_rows("rollout-s.jsonl", &rows);
    assert_eq!(loaded.traces.len(), 1, "{:?}", loaded.reasons);
    loaded.traces.remove(0)
}

#[test]
fn every_fact_of_the_samples_is_found() {
    for session in ["fix-rounding", "wrong-args", "aborted", "secrets", "parent-task", "child-task"]
    {
        let (trace, facts) = (sample(session), samples::facts(session));
        assert_linked(&trace);
        assert_eq!(trace.source, "codex");
        assert_eq!(count(&trace, Role::User), facts["user_turns"], "{session}");
        // There is no row for the answer that the server refused.
        let refused = u64::from(facts["api_error"] == true);
        assert_eq!(trace.turns() as u64 + refused, facts["assistant_steps"], "{session}");
        let calls = trace.messages.iter().map(|m| m.tool_calls.len()).sum::<usize>();
        assert_eq!(json!(calls), facts["tool_calls"], "{session}");
        assert_eq!(count(&trace, Role::Tool), facts["tool_calls"], "{session}");
        let kinds = facts["tool_errors"].as_array().unwrap();
        let kinds: Vec<_> = kinds.iter().map(|e| e["kind"].as_str().unwrap()).collect();
        assert_eq!(samples::tool_errors(&trace), kinds, "{session}");
        assert_eq!(json!(samples::failed_exits(&trace)), facts["nonzero_exit"], "{session}");
        let stopped = with(&trace, Signal::Aborted).iter().any(|m| m.role == Role::Assistant);
        assert_eq!(json!(stopped), facts["aborted"], "{session}");
        let taken_back = with(&trace, Signal::Reverted).len();
        let all = if facts["reverted"] == true { trace.messages.len() } else { 0 };
        assert_eq!(taken_back, all, "{session}");
        let parent = facts["parent"].as_str().map(|p| samples::facts(p)["codex_id"].clone());
        assert_eq!(trace.parent.map(Value::from), parent, "{session}");
        assert_eq!(trace.repository.as_deref(), Some("ledger"));
        assert_eq!(trace.agent_version.as_deref(), Some("0.144.4"));
        assert!(trace.started_ms < trace.ended_ms && trace.outcome.is_none());
    }
}

#[test]
fn a_step_is_one_message_with_thoughts_text_and_calls() {
    let trace = sample("fix-rounding");
    let steps: Vec<_> = trace.messages.iter().filter(|m| m.role == Role::Assistant).collect();
    assert_eq!(steps[0].reasoning_content.as_deref(), Some("Read the function first."));
    assert_eq!(steps[0].tool_calls[0].arguments["timeout_ms"], 120_000);
    assert_eq!(steps[0].author.as_deref(), Some("ollama/qwen3-coder:30b"));
    assert_eq!(steps[1].content, "Float rounding is the cause; integer maths avoids it.");
    let patch = steps[1].tool_calls[0].arguments["input"].as_str().unwrap();
    assert!(patch.starts_with("*** Begin Patch"));
    assert_eq!((steps[0].row, steps[1].row), (7, 13));
    let results: Vec<_> = trace.messages.iter().filter(|m| m.role == Role::Tool).collect();
    assert_eq!(results.iter().map(|m| m.exit).collect::<Vec<_>>(), [Some(0), None, Some(0)]);
    assert!(results[1].content.starts_with("Success. Updated"));
}

#[test]
fn damage_and_rows_without_a_say_are_counted_with_their_place() {
    let loaded = load(&sessions());
    assert_adds_up(&loaded);
    assert_eq!(loaded.traces.len(), 6);
    assert_eq!(loaded.bad.len(), 1);
    let id = samples::facts("aborted")["codex_id"].as_str().unwrap().to_string();
    let name = format!("sessions/2026/09/03/rollout-2026-09-03T08-40-00-{id}.jsonl");
    assert_eq!((loaded.bad[0].file.as_str(), loaded.bad[0].line), (name.as_str(), 20));
    let left = &loaded.records.left;
    // The developer's row and the environment of each session, and the note of the interruption.
    assert_eq!((left["not_json"], left["harness"], left["provider_error"]), (1, 13, 1));
    assert_eq!(left.len(), 4, "{left:?}");
}

#[test]
fn rollouts_without_an_envelope_are_read() {
    let rows = [
        r#"{"id":"old","timestamp":"2025-08-01T10:00:00.000Z","instructions":null,"git":{}}"#,
        r#"{"record_type":"state"}"#,
        r#"{"type":"message","role":"user","content":[{"type":"input_text","text":"a"}]}"#,
        r#"{"type":"reasoning","id":"r","summary":[],"content":[{"type":"reasoning_text","text":"hm"}]}"#,
        r#"{"type":"local_shell_call","call_id":"c","status":"completed","action":{"type":"exec","command":["ls"]}}"#,
        r#"{"type":"function_call_output","call_id":"c","output":"{\"output\":\"x\",\"metadata\":{\"exit_code\":2}}"}"#,
    ];
    let loaded = load_rows("rollout.jsonl", &rows);
    let trace = &loaded.traces[0];
    assert_eq!((trace.session.as_str(), trace.started_ms), ("old", Some(1_754_042_400_000)));
    assert_eq!(contents(trace), ["a", "", "x"]);
    assert_eq!(trace.messages[1].reasoning_content.as_deref(), Some("hm"));
    assert_eq!(trace.messages[1].tool_calls[0].arguments["command"], json!(["ls"]));
    assert_eq!(trace.messages[2].exit, Some(2));
    assert_eq!(loaded.records.left["state"], 1);
}

#[test]
fn other_agents_rows_are_not_taken_for_a_rollout() {
    let headers = [
        r#"{"type":"session","version":3,"id":"s","timestamp":"2026-01-01T00:00:00Z","cwd":"/a"}"#,
        r#"{"id":"s","timestamp":"2026-01-01T00:00:00Z","messages":[]}"#,
    ];
    let message = r#"{"type":"message","id":"m","message":{"role":"user","content":"a"}}"#;
    for header in headers {
        let loaded = load_rows("s.jsonl", &[header, message]);
        assert!(loaded.traces.iter().all(|trace| trace.source != "codex"), "{header}");
    }
}

#[test]
fn a_scripts_commands_stand_for_its_missing_output() {
    let script = |id: &str| {
        item(json!({"type": "custom_tool_call", "name": "exec", "call_id": id,
            "input": "await tools.shell({cmd: `ls`})"}))
    };
    let ran = |text: &str, code: i64| {
        event(json!({"type": "item_completed", "item": {"type": "CommandExecution",
            "command": ["ls"], "aggregatedOutput": text, "exitCode": code, "status": "completed"}}))
    };
    let written = item(json!({"type": "custom_tool_call_output", "call_id": "c1",
        "output": [{"type": "input_text", "text": "Script completed\nOutput:\nall"}]}));
    let trace = one(&[
        user("go"),
        script("c1"),
        ran("first", 0),
        ran("second", 101),
        written,
        script("c2"),
        ran("third", 3),
        script("c3"),
        ran("fourth", 0),
        says("done"),
    ]);
    assert_linked(&trace);
    assert_eq!(
        contents(&trace),
        ["go", "", "Script completed\nOutput:\nall", "", "third", "", "fourth", "done"]
    );
    let exits: Vec<_> = trace.messages.iter().filter_map(|m| m.exit).collect();
    assert_eq!(exits, [101, 3, 0]);
    assert!(trace.messages[1].tool_calls[0].arguments["input"].is_string());
}

#[test]
fn text_of_the_harness_is_not_the_persons() {
    let mixed = item(json!({"type": "message", "role": "user", "content": [
        {"type": "input_text", "text": "# AGENTS.md instructions for /src\n<INSTRUCTIONS>"},
        {"type": "input_text", "text": "mine"}, {"type": "input_image", "image_url": "data:"}]}));
    let trace = one(&[
        user("<user_instructions>be nice</user_instructions>"),
        mixed,
        user("# Context from my IDE setup:\n## Open tabs\n## My request for Codex:\nfix it\n"),
        user("<user_shell_command>\n$ ls\n</user_shell_command>"),
    ]);
    assert_eq!(contents(&trace), ["mine", "fix it", "$ ls"]);
    assert_eq!(with(&trace, Signal::Shell).len(), 1);
}

#[test]
fn the_system_prompt_is_kept_where_it_is_stored() {
    let meta = row("session_meta", json!({"id": "s", "base_instructions": {"text": "You code."}}));
    let loaded = load_rows("r.jsonl", &[meta, user("a"), says("b")]);
    assert_eq!(contents(&loaded.traces[0]), ["You code.", "a", "b"]);
    assert_eq!(loaded.traces[0].messages[0].role, Role::System);
}

#[test]
fn a_rollback_takes_back_the_turns_that_still_stand() {
    let back = |n: u64| event(json!({"type": "thread_rolled_back", "num_turns": n}));
    let trace = one(&[
        user("1"),
        says("one"),
        user("2"),
        says("two"),
        back(1),
        user("3"),
        says("three"),
        back(2),
        user("4"),
    ]);
    let standing: Vec<_> =
        trace.messages.iter().filter(|m| m.signals.is_empty()).map(|m| &m.content).collect();
    assert_eq!(standing, ["4"]);
    assert_eq!(trace.messages.len(), 7);
}

#[test]
fn events_say_how_a_turn_ended() {
    let ended = event(json!({"type": "task_complete", "last_agent_message": "b"}));
    let full = event(json!({"type": "error", "message": "hunter2",
        "codex_error_info": "context_window_exceeded"}));
    let failed = event(json!({"type": "error", "codex_error_info": {"http": 500}}));
    let aborted = event(json!({"type": "turn_aborted", "reason": "interrupted"}));
    let signals = |events: &[String]| {
        let rows: Vec<_> = [user("a"), says("b")].into_iter().chain(events.to_vec()).collect();
        one(&rows).messages[1].signals.clone()
    };
    assert_eq!(signals(&[ended]), [Signal::TurnSucceeded]);
    assert_eq!(signals(&[full]), [Signal::Length]);
    assert_eq!(signals(std::slice::from_ref(&failed)), [Signal::ProviderError]);
    assert_eq!(signals(&[aborted]), [Signal::Aborted, Signal::TurnInterrupted]);
    // What comes before the turn's first answer is about no answer.
    assert_eq!(signals(&[user("c"), failed]), []);
}

#[test]
fn arguments_that_are_no_object_stay_as_they_were_written() {
    let trace = one(&[
        user("a"),
        call("c", "{\"cmd\": "),
        output("c", json!("failed to parse function arguments: EOF")),
    ]);
    assert_eq!(trace.messages[1].tool_calls[0].arguments["input"], "{\"cmd\": ");
    assert_eq!(trace.messages[2].signals, [Signal::Schema]);
}

#[test]
fn words_of_failure_in_a_commands_output_are_no_failure() {
    let text = "Exit code: 1\nWall time: 0.1 seconds\nOutput:\nunsupported call: aborted by user";
    let trace = one(&[user("a"), call("c", "{}"), output("c", json!(text))]);
    assert_eq!((trace.messages[2].exit, trace.messages[2].signals.len()), (Some(1), 0));
}

#[test]
fn unknown_rows_and_compactions_are_counted() {
    let loaded = load_rows(
        "r.jsonl",
        &[
            meta(),
            user("a"),
            row("compacted", json!({"message": "summary", "replacement_history": [{"id": 5}]})),
            row("novelty", json!({"id": 5, "name": []})),
            event(json!({"type": "novelty", "name": [1], "call_id": 7})),
            item(json!({"type": "novelty"})),
            item(json!({"type": "web_search_call", "action": {"type": "search"}})),
            item(json!({"type": "reasoning", "summary": [], "encrypted_content": "x"})),
            meta(),
            says("b"),
        ],
    );
    assert_eq!(contents(&loaded.traces[0]), ["a", "b"]);
    assert_eq!(loaded.bad, []);
    let left: Vec<_> = loaded.records.left.into_iter().collect();
    let expected =
        [("compaction", 1), ("encrypted", 1), ("event", 1), ("repeated", 1), ("server_tool", 1)];
    assert_eq!(left, [&expected[..], &[("unknown_type", 2)]].concat());
}

#[test]
fn hostile_rows_are_reported_and_the_rest_is_read() {
    let depth = 200_000;
    let nested = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let deep = item(json!({"type": "function_call", "name": "x", "arguments": 0}))
        .replace("\"arguments\":0", &format!("\"arguments\":{nested}"));
    let wrong = item(json!({"type": "message", "role": ["hunter2"], "content": "hunter2"}));
    let long = vec![b'x'; 40 << 20];
    let rows = [meta(), user("a"), deep, wrong, says("b")];
    let mut lines: Vec<&[u8]> = rows.iter().map(|r| r.as_bytes()).collect();
    lines.extend([b"\xff\xfe".as_slice(), &long, b"\0"]);
    let loaded = load_rows("r.jsonl", &lines);
    assert_eq!(contents(&loaded.traces[0]), ["a", "b"]);
    let places: Vec<_> = loaded.bad.iter().map(|b| b.line).collect();
    assert_eq!(places, [3, 4, 6, 7, 8]);
    assert!(loaded.bad.iter().all(|b| !b.problem.contains("hunter2")), "{:?}", loaded.bad);
    let left = &loaded.records.left;
    assert_eq!((left["not_json"], left["not_utf8"]), (2, 1));
    assert_eq!((left["malformed"], left["too_long"]), (1, 1));
}

#[test]
fn ids_may_repeat_and_hold_anything() {
    let trace = one(&[
        user("a"),
        call("../x", "{}"),
        output("../x", json!("1")),
        output("../x", json!("again")),
        call("../x", "{}"),
        output("../x", json!("2")),
    ]);
    assert_linked(&trace);
    let ids: Vec<_> = trace.messages.iter().filter_map(|m| m.tool_call_id.as_deref()).collect();
    assert_eq!(ids, ["../x", "../x_2"]);
    assert_eq!(contents(&trace), ["a", "", "1", "", "2"]);
}

#[test]
fn a_session_without_a_message_is_none() {
    let loaded =
        load_rows("r.jsonl", &[meta(), user("<environment_context></environment_context>")]);
    assert_eq!((loaded.traces.len(), loaded.reasons["no_message"]), (0, 1));
}
