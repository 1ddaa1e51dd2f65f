//! Sessions of pi, in the versions its files have had.

use std::fs;
use std::path::Path;

use proto::progress::Silent;
use proto::trace::{Loaded, Role, Signal, Trace};
use serde_json::{Value, json};

const ID: &str = "0199aaaa-0000-7000-8000-000000000001";

/// A folder as pi keeps it, with one session of these lines.
fn load(lines: &[Value]) -> Loaded {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("sessions/--home-mira-src-ledger--");
    fs::create_dir_all(&folder).unwrap();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(folder.join(format!("2026-01-05T09-30-00-000Z_{ID}.jsonl")), text).unwrap();
    let loaded = proto::trace::load(&[root.path().to_path_buf()], Path::new("/"), &Silent).unwrap();
    let records = &loaded.records;
    assert_eq!(records.read, records.used + records.left.values().sum::<u64>());
    assert_eq!(records.read, lines.len() as u64);
    loaded
}

fn trace(lines: &[Value]) -> Trace {
    let mut loaded = load(lines);
    assert_eq!(loaded.bad, []);
    loaded.traces.remove(0)
}

fn header(version: u64) -> Value {
    json!({"type": "session", "version": version, "id": ID,
        "timestamp": "2026-01-05T09:30:00.000Z", "cwd": "/home/mira/src/ledger"})
}

fn entry(id: &str, parent: Option<&str>, message: Value) -> Value {
    json!({"type": "message", "id": id, "parentId": parent,
        "timestamp": "2026-01-05T09:30:01.000Z", "message": message})
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text, "timestamp": 1_767_605_401_500_i64})
}

fn answer(content: Value, stop: &str) -> Value {
    json!({"role": "assistant", "content": content, "api": "a", "provider": "ollama",
        "model": "qwen3", "usage": {"input": 1, "output": 1}, "stopReason": stop})
}

fn said(trace: &Trace) -> Vec<&str> {
    trace.messages.iter().map(|m| m.content.as_str()).collect()
}

#[test]
fn a_session_of_version_3_is_read() {
    let call =
        json!({"type": "toolCall", "id": "c1", "name": "bash", "arguments": {"command": "make"}});
    let think = json!({"type": "thinking", "thinking": "Try it."});
    let result = json!({"role": "toolResult", "toolCallId": "c1", "toolName": "bash", "isError": true,
        "content": [{"type": "text", "text": "no rule\n\nCommand exited with code 2"}]});
    let trace = trace(&[
        header(3),
        entry("a", None, user("build it")),
        entry("b", Some("a"), answer(json!([think, call]), "toolUse")),
        entry("c", Some("b"), result),
        entry("d", Some("c"), answer(json!([{"type": "text", "text": "No."}]), "stop")),
    ]);
    assert_eq!((trace.source.as_str(), trace.session.as_str()), ("pi", ID));
    assert_eq!(trace.repository.as_deref(), Some("ledger"));
    assert_eq!(trace.started_ms, Some(1_767_605_400_000));
    assert_eq!(trace.ended_ms, Some(1_767_605_401_000));
    let roles: Vec<_> = trace.messages.iter().map(|m| m.role).collect();
    assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool, Role::Assistant]);
    let step = &trace.messages[1];
    assert_eq!(step.reasoning_content.as_deref(), Some("Try it."));
    assert_eq!(step.tool_calls[0].arguments["command"], "make");
    assert_eq!(step.author.as_deref(), Some("ollama/qwen3"));
    assert_eq!(step.row, 3);
    // pi calls it an error, but the tool did what it should.
    assert_eq!((trace.messages[2].exit, &trace.messages[2].signals[..]), (Some(2), &[][..]));
}

#[test]
fn a_linear_session_of_2025_is_read() {
    let old = json!({"type": "session", "id": ID, "timestamp": "2025-11-05T09:30:00.000Z",
        "cwd": "/home/mira/src/ledger", "provider": "ollama", "modelId": "qwen3"});
    let line = |message| json!({"type": "message", "timestamp": "2025-11-05T09:30:01.000Z", "message": message});
    let compaction = json!({"type": "compaction", "summary": "short", "firstKeptEntryIndex": 1, "tokensBefore": 5});
    let trace = trace(&[old, line(user("one")), compaction, line(user("two"))]);
    assert_eq!(said(&trace), ["one", "two"]);
}

#[test]
fn a_branch_is_followed_to_its_root() {
    let trace = trace(&[
        header(2),
        entry("a", None, user("one")),
        entry("b", Some("a"), user("left behind")),
        json!({"type": "branch_summary", "id": "s", "parentId": "a", "fromId": "b", "summary": "gone"}),
        entry("c", Some("s"), user("two")),
    ]);
    assert_eq!(said(&trace), ["one", "two"]);
}

#[test]
fn a_command_run_by_hand_is_a_question_unless_kept_from_the_model() {
    let shell = |excluded: bool| {
        json!({"role": "bashExecution", "command": "ls", "output": "a.rs", "exitCode": 1,
            "cancelled": false, "truncated": false, "excludeFromContext": excluded})
    };
    let loaded =
        load(&[header(3), entry("a", None, shell(false)), entry("b", Some("a"), shell(true))]);
    let [message] = &loaded.traces[0].messages[..] else { panic!() };
    assert_eq!(message.content, "Ran `ls`\n```\na.rs\n```\n\nCommand exited with code 1");
    assert_eq!((message.role, message.exit), (Role::User, Some(1)));
    assert_eq!(message.signals, [Signal::Shell]);
    assert_eq!(loaded.records.left["excluded"], 1);
}

#[test]
fn how_a_step_stopped_is_noted() {
    let stopped = |stop: &str, error: &str| {
        let mut message = answer(json!([]), stop);
        message["errorMessage"] = json!(error);
        trace(&[header(3), entry("a", None, user("go")), entry("b", Some("a"), message)]).messages
            [1]
        .signals
        .clone()
    };
    assert_eq!(stopped("aborted", ""), [Signal::Aborted]);
    assert_eq!(stopped("length", ""), [Signal::Length]);
    assert_eq!(stopped("error", "503"), [Signal::ProviderError]);
    assert_eq!(stopped("error", "maximum context length is 8192"), [Signal::Length]);
    assert_eq!(stopped("error", "Provider finish_reason: content_filter"), [Signal::ContentFilter]);
    assert_eq!(stopped("endTurn", ""), []);
}

#[test]
fn rows_that_say_nothing_are_counted() {
    let line =
        |kind: &str, id: &str, parent: &str| json!({"type": kind, "id": id, "parentId": parent});
    let loaded = load(&[
        header(4),
        entry("a", None, user("one")),
        line("model_change", "b", "a"),
        line("thinking_level_change", "c", "b"),
        line("label", "d", "c"),
        line("session_info", "e", "d"),
        line("custom", "f", "e"),
        line("custom_message", "g", "f"),
        line("from_the_future", "h", "g"),
        entry("i", Some("g"), json!({"role": "hookMessage", "content": "x"})),
        entry("j", Some("i"), json!({"role": "nobody", "content": "x"})),
        entry("k", Some("j"), user("two")),
    ]);
    assert_eq!(said(&loaded.traces[0]), ["one", "two"]);
    let left: Vec<_> = loaded.records.left.iter().map(|(word, n)| (*word, *n)).collect();
    assert_eq!(
        left,
        [
            ("custom", 1),
            ("custom_message", 2),
            ("label", 1),
            ("model_change", 1),
            ("session_info", 1),
            ("thinking_level_change", 1),
            ("unknown_role", 1),
            ("unknown_type", 1),
        ]
    );
}

#[test]
fn the_session_it_was_forked_from_is_its_parent() {
    let mut header = header(3);
    header["parentSession"] =
        json!("/home/mira/.pi/agent/sessions/--x--/2026-01-04T09-30-00-000Z_abc.jsonl");
    let trace = trace(&[header, entry("a", None, user("one"))]);
    assert_eq!(trace.parent.as_deref(), Some("abc"));
}

#[test]
fn an_envelope_is_no_envelope_outside_openclaw() {
    let text = "Sender (untrusted metadata):\n```json\n{}\n```\n\nhi";
    let trace = trace(&[header(3), entry("a", None, user(text))]);
    assert_eq!((trace.source.as_str(), said(&trace)), ("pi", vec![text]));
}

#[test]
fn a_session_that_says_openclaw_is_openclaws() {
    let snapshot = json!({"type": "custom", "id": "s", "parentId": null,
        "customType": "model-snapshot", "data": {}});
    let trace = trace(&[header(3), snapshot, entry("a", Some("s"), user("one"))]);
    assert_eq!(trace.source, "openclaw");
}

#[test]
fn pictures_leave_a_mark() {
    let content =
        json!([{"type": "text", "text": "what is this?"}, {"type": "image", "data": "AA=="}]);
    let trace = trace(&[header(3), entry("a", None, json!({"role": "user", "content": content}))]);
    assert_eq!(said(&trace), ["what is this?\n[image]"]);
}
