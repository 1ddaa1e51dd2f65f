//! Claude Code's sessions: the samples, and what its rows can hold beside them.

use std::path::PathBuf;

use proto::trace::{Role, Signal, Trace};
use serde_json::{Value, json};

use super::samples::{self, assert_adds_up, assert_linked, count, load, load_rows, with};

const PROJECT: &str = "-home-mira-src-ledger";

fn projects() -> PathBuf {
    samples::folder().join("claude-code/projects")
}

fn sample(session: &str) -> Trace {
    let id = samples::facts(session)["claude_session_id"].as_str().unwrap().to_string();
    let child = session == "child-task";
    let loaded = load(&projects());
    let is = |trace: &Trace| match child {
        true => trace.parent.as_ref() == Some(&id),
        false => trace.session == id,
    };
    loaded.traces.into_iter().find(is).unwrap()
}

/// A row of a conversation in one line: each follows the one before.
fn rows(messages: &[Value]) -> Vec<String> {
    let row = |(n, given): (usize, &Value)| {
        let mut row = json!({
            "parentUuid": n.checked_sub(1).map(|n| format!("u{n}")), "isSidechain": false,
            "cwd": "C:\\src\\ledger", "sessionId": "s", "version": "2.1.0", "uuid": format!("u{n}"),
            "timestamp": format!("2026-09-01T08:40:{n:02}.000Z"),
        });
        row.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
        row.to_string()
    };
    messages.iter().enumerate().map(row).collect()
}

fn user(text: &str) -> Value {
    json!({"type": "user", "message": {"role": "user", "content": text}})
}

fn says(id: &str, block: Value) -> Value {
    json!({"type": "assistant", "message": {"id": id, "role": "assistant", "model": "m",
        "content": [block], "stop_reason": null}})
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn call(id: &str) -> Value {
    json!({"type": "tool_use", "id": id, "name": "Bash", "input": {"command": id}})
}

fn result(id: &str, text: &str) -> Value {
    json!({"type": "user", "message": {"role": "user", "content":
        [{"type": "tool_result", "tool_use_id": id, "content": text}]}})
}

fn with_parent(mut row: Value, parent: &str) -> Value {
    row["parentUuid"] = json!(parent);
    row
}

fn contents(trace: &Trace) -> Vec<&str> {
    trace.messages.iter().map(|m| m.content.as_str()).collect()
}

fn one(rows: &[String]) -> Trace {
    let mut loaded = load_rows("s.jsonl", rows);
    assert_eq!(loaded.traces.len(), 1, "{:?}", loaded.reasons);
    loaded.traces.remove(0)
}

#[test]
fn every_fact_of_the_samples_is_found() {
    for session in ["fix-rounding", "wrong-args", "aborted", "secrets", "parent-task", "child-task"]
    {
        let (trace, facts) = (sample(session), samples::facts(session));
        assert_linked(&trace);
        assert_eq!(trace.source, "claude-code");
        assert_eq!(count(&trace, Role::User), facts["user_turns"], "{session}");
        // The answer that the server refused has no text of the model: it is counted instead.
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
        assert_eq!(trace.parent.is_some(), !facts["parent"].is_null(), "{session}");
        assert_eq!(trace.repository.as_deref(), Some("ledger"));
        assert_eq!(trace.agent_version.as_deref(), Some("2.1.209"));
        assert!(trace.started_ms < trace.ended_ms && trace.outcome.is_none());
    }
}

#[test]
fn a_step_is_one_message_with_thoughts_text_and_calls() {
    let trace = sample("fix-rounding");
    let steps: Vec<_> = trace.messages.iter().filter(|m| m.role == Role::Assistant).collect();
    assert_eq!(steps[0].reasoning_content.as_deref(), Some("Read the function first."));
    assert_eq!(steps[0].tool_calls[0].name, "Read");
    assert!(steps[0].tool_calls[0].arguments["file_path"].as_str().unwrap().ends_with("money.rs"));
    assert_eq!(steps[1].content, "Float rounding is the cause; integer maths avoids it.");
    assert_eq!(steps[1].tool_calls.len(), 1);
    assert_eq!(steps[0].author.as_deref(), Some("qwen3-coder:30b"));
    assert_eq!(steps[0].row, 4);
    let tests = trace.messages.iter().find(|m| m.name.as_deref() == Some("Bash")).unwrap();
    assert_eq!(tests.exit, Some(0));
}

#[test]
fn damage_and_rows_without_a_say_are_counted_with_their_place() {
    let loaded = load(&projects());
    assert_adds_up(&loaded);
    assert_eq!(loaded.traces.len(), 6);
    assert_eq!(loaded.bad.len(), 1);
    let facts = samples::facts("wrong-args");
    let id = facts["claude_session_id"].as_str().unwrap();
    assert_eq!(loaded.bad[0].file, format!("projects/{PROJECT}/{id}.jsonl"));
    assert_eq!(loaded.bad[0].line, 25);
    let left = &loaded.records.left;
    assert_eq!((left["not_json"], left["repeated"], left["provider_error"]), (1, 1, 1));
    assert_eq!((left["summary"], left["snapshot"]), (5, 5));
    assert_eq!(left.len(), 5, "{left:?}");
}

#[test]
fn a_project_folder_and_the_agents_own_give_the_same() {
    let sessions = |path: PathBuf| -> Vec<(String, Vec<proto::trace::Message>)> {
        load(&path).traces.into_iter().map(|t| (t.session, t.messages)).collect()
    };
    let whole = sessions(projects());
    assert_eq!(whole, sessions(samples::folder().join("claude-code")));
    assert_eq!(whole, sessions(projects().join(PROJECT)));
}

#[test]
fn what_the_person_went_back_from_is_left_out() {
    let loaded = load_rows(
        "s.jsonl",
        &rows(&[
            user("first"),
            says("a", text("wrong way")),
            with_parent(user("instead"), "u0"),
            says("b", text("right way")),
        ]),
    );
    assert_eq!(contents(&loaded.traces[0]), ["first", "instead", "right way"]);
    assert_eq!(loaded.records.left["abandoned"], 1);
}

#[test]
fn calls_side_by_side_stay_one_step_with_both_results() {
    let trace = one(&rows(&[
        user("go"),
        says("a", call("c1")),
        result("c1", "one"),
        with_parent(says("a", call("c2")), "u1"),
        result("c2", "two"),
        says("b", text("done")),
    ]));
    assert_linked(&trace);
    assert_eq!(contents(&trace), ["go", "", "one", "two", "done"]);
    assert_eq!(trace.messages[1].tool_calls.len(), 2);
}

#[test]
fn a_compaction_joins_both_sides_without_its_summary() {
    let summary = json!({"type": "user", "isCompactSummary": true,
        "message": {"role": "user", "content": "summary"}});
    let boundary = json!({"type": "system", "subtype": "compact_boundary", "parentUuid": null,
        "logicalParentUuid": "u1", "content": "Conversation compacted"});
    let mut silent = boundary.clone();
    silent.as_object_mut().unwrap().remove("logicalParentUuid");
    for boundary in [boundary, silent] {
        let said = [user("a"), says("m", text("b")), boundary, summary.clone(), user("c")];
        let loaded = load_rows("s.jsonl", &rows(&said));
        assert_eq!(contents(&loaded.traces[0]), ["a", "b", "c"]);
        assert_eq!((loaded.records.left["compaction"], loaded.records.left["system"]), (1, 1));
    }
}

#[test]
fn text_of_the_harness_is_not_the_persons() {
    let meta = json!({"type": "user", "isMeta": true, "message": {"content": "caveat"}});
    let loaded = load_rows(
        "s.jsonl",
        &rows(&[
            meta,
            user("<command-name>/clear</command-name>\n<command-message>clear</command-message>"),
            user("<local-command-stdout>done</local-command-stdout>"),
            user("fix it<system-reminder>\nnever mention this\n</system-reminder>"),
            user("<system-reminder>only this</system-reminder>"),
            says("a", call("c")),
            result("c", "1 line\n\n<system-reminder>be careful</system-reminder>\n"),
            user("<bash-input>ls</bash-input>"),
            user("<bash-stdout>a.rs</bash-stdout><bash-stderr></bash-stderr>"),
        ]),
    );
    let trace = &loaded.traces[0];
    assert_eq!(contents(trace), ["fix it", "", "1 line", "$ ls\na.rs"]);
    assert_eq!(with(trace, Signal::Shell).len(), 1);
    let left = &loaded.records.left;
    assert_eq!((left["meta"], left["command"], left["harness"]), (1, 2, 1));
}

#[test]
fn what_the_person_wrote_while_the_model_worked_is_theirs() {
    let typed = |mode: &str, prompt: Value| {
        json!({"type": "attachment", "attachment":
            {"type": "queued_command", "commandMode": mode, "prompt": prompt}})
    };
    let loaded = load_rows(
        "s.jsonl",
        &rows(&[
            user("a"),
            says("m", call("c")),
            result("c", "1"),
            typed("prompt", json!("and this")),
            typed("prompt", json!([{"type": "text", "text": "and that"}])),
            typed("task-notification", json!("done")),
            json!({"type": "attachment", "attachment": {"type": "todo_reminder"}}),
            says("n", text("b")),
        ]),
    );
    assert_eq!(contents(&loaded.traces[0]), ["a", "", "1", "and this", "and that", "b"]);
    assert_eq!(loaded.records.left["harness"], 2);
}

#[test]
fn an_interruption_is_about_the_answer_it_stopped() {
    let stop = user("[Request interrupted by user]");
    let stopped = one(&rows(&[user("a"), says("m", text("b")), stop.clone(), user("c")]));
    assert_eq!(contents(&stopped), ["a", "b", "c"]);
    assert_eq!(stopped.messages[1].signals, [Signal::Aborted]);
    let loaded = load_rows("s.jsonl", &rows(&[user("a"), says("m", text("b")), user("c"), stop]));
    assert_eq!(with(&loaded.traces[0], Signal::Aborted).len(), 0);
    assert_eq!(loaded.records.left["interrupted"], 1);
}

#[test]
fn an_exit_status_is_known_where_the_agent_noted_that_the_command_ran() {
    let noted = |note: Value| {
        let mut ran = result("c", "text");
        ran["toolUseResult"] = note;
        one(&rows(&[user("a"), says("m", call("c")), ran])).messages.remove(2)
    };
    let ran = json!({"stdout": "text", "stderr": "", "interrupted": false});
    assert_eq!(noted(ran.clone()).exit, Some(0));
    let with = |key: &str, value: Value| {
        let mut note = ran.clone();
        note[key] = value;
        noted(note)
    };
    assert_eq!(with("returnCodeInterpretation", json!("No matches found")).exit, None);
    assert_eq!(with("backgroundTaskId", json!("b1")).exit, None);
    let stopped = with("interrupted", json!(true));
    assert_eq!((stopped.exit, stopped.signals), (None, vec![Signal::Aborted]));
    for other in [json!("text"), json!([1]), json!({"interrupted": {"a": 1}}), json!(null)] {
        assert_eq!(noted(other).exit, None);
    }
}

#[test]
fn the_servers_failure_is_noted_and_its_text_never_trained() {
    let mut failure = says("x", text("API Error: 500"));
    failure["message"]["model"] = json!("<synthetic>");
    let trace = one(&rows(&[user("a"), says("m", text("b")), failure]));
    assert_eq!(contents(&trace), ["a", "b"]);
    assert_eq!(trace.messages[1].signals, [Signal::ProviderError]);
}

#[test]
fn a_subagents_trace_has_an_id_of_its_own_and_names_its_parent() {
    let side = |mut row: Value| {
        row["isSidechain"] = json!(true);
        row["agentId"] = json!("a1");
        row
    };
    let loaded = load_rows("agent-a1.jsonl", &rows(&[side(user("a")), side(says("m", text("b")))]));
    let trace = &loaded.traces[0];
    assert_eq!((trace.session.as_str(), trace.parent.as_deref()), ("s.a1", Some("s")));
    assert_eq!(contents(trace), ["a", "b"]);
}

#[test]
fn one_thread_reads_the_same() {
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(load(&projects()).traces, one.install(|| load(&projects())).traces);
}

#[test]
fn a_resumed_copy_comes_once_and_the_fuller_wins() {
    let folder = tempfile::tempdir().unwrap();
    let long = rows(&[user("a"), says("m", text("b")), user("c")]);
    std::fs::write(folder.path().join("a.jsonl"), long[..2].join("\n")).unwrap();
    std::fs::write(folder.path().join("b.jsonl"), long.join("\n")).unwrap();
    let loaded = load(folder.path());
    assert_adds_up(&loaded);
    assert_eq!((loaded.traces.len(), loaded.reasons["found_again"]), (1, 1));
    assert_eq!(loaded.traces[0].messages.len(), 3);
}

#[test]
fn rows_of_side_chains_inside_the_session_are_counted() {
    let mut side = says("x", text("of a subagent"));
    side["isSidechain"] = json!(true);
    side["parentUuid"] = json!(null);
    let after = with_parent(user("c"), "damaged");
    let loaded = load_rows("s.jsonl", &rows(&[user("a"), says("m", text("b")), side, after]));
    assert_eq!(contents(&loaded.traces[0]), ["a", "b", "c"]);
    assert_eq!(loaded.records.left["sidechain"], 1);
}

#[test]
fn parents_in_a_circle_or_missing_cost_only_themselves() {
    let circle = [with_parent(user("a"), "u1"), says("m", text("b"))];
    assert_eq!(contents(&one(&rows(&circle))), ["a", "b"]);
    let own = [user("a"), with_parent(says("m", text("b")), "u1")];
    assert_eq!(contents(&one(&rows(&own))), ["b"]);
    let gone = [user("a"), with_parent(says("m", text("b")), "damaged")];
    assert_eq!(contents(&one(&rows(&gone))), ["a", "b"]);
}

#[test]
fn hostile_rows_are_reported_and_the_rest_is_read() {
    let good = rows(&[user("a"), says("m", text("b"))]);
    let depth = 200_000;
    let deep = format!("{{\"toolUseResult\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
    let secret = r#"{"type":"user","uuid":{"hunter2":1},"timestamp":"hunter2"}"#;
    let long = vec![b'x'; 40 << 20];
    let lines: Vec<&[u8]> = vec![
        good[0].as_bytes(),
        deep.as_bytes(),
        b"\xff\xfe",
        secret.as_bytes(),
        &long,
        b"\0\0",
        good[1].as_bytes(),
    ];
    let loaded = load_rows("s.jsonl", &lines);
    assert_eq!(contents(&loaded.traces[0]), ["a", "b"]);
    let places: Vec<_> = loaded.bad.iter().map(|b| b.line).collect();
    assert_eq!(places, [2, 3, 4, 5, 6]);
    assert!(loaded.bad.iter().all(|b| !b.problem.contains("hunter2")), "{:?}", loaded.bad);
    let left = &loaded.records.left;
    assert_eq!((left["not_json"], left["not_utf8"]), (2, 1));
    assert_eq!((left["malformed"], left["too_long"]), (1, 1));
}

#[test]
fn ids_may_repeat_and_hold_anything() {
    let mut row = rows(&[
        user("a"),
        says("m", call("../../x")),
        result("../../x", "1"),
        says("n", call("../../x")),
        result("../../x", "2"),
        result("nobody", "3"),
    ]);
    row.iter_mut().for_each(|r| *r = r.replace("\"s\"", "\"../s/\\u0000\""));
    let loaded = load_rows("s.jsonl", &row);
    let trace = &loaded.traces[0];
    assert_linked(trace);
    assert_eq!(trace.session, "../s/\0");
    let ids: Vec<_> = trace.messages.iter().filter_map(|m| m.tool_call_id.as_deref()).collect();
    assert_eq!(ids, ["../../x", "../../x_2"]);
    assert_eq!(loaded.records.left["orphan_result"], 1);
}
