//! Harbor's trajectories.

use std::fs;
use std::path::PathBuf;

use proto::trace::{Loaded, Role, Trace};
use serde_json::{Value, json};

use super::samples::{assert_adds_up, assert_linked, load};

fn trajectory() -> Value {
    json!({
        "schema_version": "ATIF-v1.6", "session_id": "run/7",
        "agent": {"name": "opencode", "version": "1.17.2", "model_name": "ollama/qwen3",
            "tool_definitions": [{"type": "function", "function": {"name": "bash",
                "parameters": {"type": "object"}}}]},
        "steps": [
            {"step_id": 1, "timestamp": "2026-09-01T08:40:00Z", "source": "system", "message": "You code."},
            {"step_id": 2, "source": "user", "message": [{"type": "text", "text": "fix"},
                {"type": "image", "source": {"media_type": "image/png", "path": "a.png"}}]},
            {"step_id": 3, "timestamp": "2026-09-01T08:40:04Z", "source": "agent", "message": "",
                "reasoning_content": "hm", "model_name": "other",
                "tool_calls": [
                    {"tool_call_id": "c1", "function_name": "bash", "arguments": {"command": "ls"}},
                    {"tool_call_id": "c2", "function_name": "bash", "arguments": {}}],
                "observation": {"results": [
                    {"source_call_id": "c2", "content": "second"},
                    {"source_call_id": "c1", "content": [{"type": "text", "text": "first"}]}]},
                "metrics": {"prompt_tokens": 5}},
            {"step_id": 4, "source": "agent", "message": "done"},
        ],
        "final_metrics": {"total_steps": 4},
    })
}

/// Writes the files and loads the trajectory among them.
fn read(files: &[(&str, String)]) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path: PathBuf = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let loaded = load(&folder.path().join(files[0].0));
    assert_adds_up(&loaded);
    loaded
}

fn one(trajectory: &Value) -> Trace {
    let mut loaded = read(&[("trajectory.json", format!("{trajectory:#}"))]);
    assert_eq!(loaded.bad, []);
    loaded.traces.remove(0)
}

#[test]
fn a_trajectory_becomes_a_trace() {
    let trace = one(&trajectory());
    assert_linked(&trace);
    let shown: Vec<_> =
        trace.messages.iter().map(|m| (m.role.as_str(), m.content.as_str(), m.row)).collect();
    let expected = [
        ("system", "You code.", 1),
        ("user", "fix", 2),
        ("assistant", "", 3),
        ("tool", "second", 3),
        ("tool", "first", 3),
        ("assistant", "done", 4),
    ];
    assert_eq!(shown, expected);
    assert_eq!((trace.session.as_str(), trace.source.as_str()), ("run/7", "atif"));
    assert_eq!(trace.agent_version.as_deref(), Some("opencode 1.17.2"));
    assert_eq!(trace.messages[2].author.as_deref(), Some("other"));
    assert_eq!(trace.messages[2].reasoning_content.as_deref(), Some("hm"));
    assert_eq!(trace.messages[5].author.as_deref(), Some("ollama/qwen3"));
    assert_eq!(trace.messages[3].tool_call_id.as_deref(), Some("c2"));
    assert_eq!(trace.tools[0]["function"]["name"], "bash");
    assert_eq!(trace.ended_ms, Some(1_788_252_004_000));
    assert_eq!(trace.outcome, None);
}

#[test]
fn every_version_is_recognised_by_its_content() {
    for version in ["1.0", "1.2", "1.8"] {
        let mut given = trajectory();
        given["schema_version"] = json!(format!("ATIF-v{version}"));
        let loaded = read(&[("whatever.json", given.to_string())]);
        assert_eq!(loaded.traces.len(), 1, "{version}");
    }
}

#[test]
fn the_reward_beside_it_is_the_outcome() {
    let text = trajectory().to_string();
    let beside = |run: &'static str, name: &str, reward: &str| {
        let run = (run, text.clone());
        read(&[run, (name, reward.to_string())]).traces.remove(0).outcome
    };
    let outcome = |name: &str, reward: &str| beside("run/agent/trajectory.json", name, reward);
    let result =
        |reward: f64| json!({"verifier_result": {"rewards": {"reward": reward}}}).to_string();
    assert_eq!(outcome("run/verifier/reward.txt", "1\n").as_deref(), Some("resolved"));
    assert_eq!(outcome("run/agent/verifier/reward.txt", "0.0").as_deref(), Some("unresolved"));
    assert_eq!(outcome("run/result.json", &result(1.0)).as_deref(), Some("resolved"));
    assert_eq!(outcome("run/result.json", &result(0.5)), None);
    // What lies further up is about other runs.
    assert_eq!(outcome("verifier/reward.txt", "1"), None);
    assert_eq!(beside("run/other/trajectory.json", "run/verifier/reward.txt", "1"), None);
}

#[test]
fn what_agents_without_tools_see_is_the_next_message() {
    let mut given = trajectory();
    given["steps"] = json!([
        {"step_id": 1, "source": "user", "message": "go"},
        {"step_id": 2, "source": "agent", "message": "{\"keys\": \"ls\\n\"}",
            "observation": {"results": [{"content": "a.rs"}]}},
    ]);
    let trace = one(&given);
    assert_eq!(trace.messages[2].role, Role::User);
    assert_eq!(trace.messages[2].content, "a.rs");
}

#[test]
fn results_without_an_id_answer_the_calls_in_order() {
    let mut given = trajectory();
    for step in given["steps"].as_array_mut().unwrap() {
        let results = step.pointer_mut("/observation/results").and_then(Value::as_array_mut);
        for result in results.into_iter().flatten() {
            result.as_object_mut().unwrap().remove("source_call_id");
        }
    }
    let trace = one(&given);
    let ids: Vec<_> = trace.messages.iter().filter_map(|m| m.tool_call_id.as_deref()).collect();
    assert_eq!(ids, ["c1", "c2"]);
}

#[test]
fn a_step_copied_for_context_is_not_trained() {
    let mut given = trajectory();
    given["steps"][2]["is_copied_context"] = json!(true);
    let trace = one(&given);
    let trained: Vec<_> = trace.messages.iter().filter(|m| m.train).map(|m| m.row).collect();
    assert_eq!(trained, [4]);
}

#[test]
fn a_session_without_an_id_is_named_by_its_content() {
    let mut given = trajectory();
    given.as_object_mut().unwrap().remove("session_id");
    let (first, second) = (one(&given).session, one(&given).session);
    assert!(first.starts_with("atif-") && first == second);
    given["steps"][3]["message"] = json!("other");
    assert_ne!(first, one(&given).session);
}

#[test]
fn a_damaged_step_costs_only_itself_and_is_not_quoted() {
    let mut given = trajectory();
    given["steps"][1] = json!({"source": ["hunter2"]});
    given["steps"][3] = json!({"source": "narrator", "message": "hunter2"});
    let loaded = read(&[("t.json", given.to_string())]);
    assert_eq!(loaded.traces[0].messages.len(), 4);
    assert_eq!((loaded.bad.len(), loaded.bad[0].line), (1, 2));
    assert!(!loaded.bad[0].problem.contains("hunter2"));
    let left = &loaded.records.left;
    assert_eq!((left["malformed"], left["unknown_type"]), (1, 1));
}

#[test]
fn a_file_that_is_cut_or_nests_too_deep_is_reported_with_its_row() {
    let whole = format!("{:#}", trajectory());
    let depth = 200_000;
    let deep = format!(
        "{{\"schema_version\": \"ATIF-v1.2\",\n\"steps\": {}{}}}",
        "[".repeat(depth),
        "]".repeat(depth)
    );
    let cut = whole.split_inclusive('\n').take(30).collect::<String>();
    let cut = cut.trim_end().to_string();
    for (text, line) in [(cut, 30), (deep, 2)] {
        let loaded = read(&[("t.json", text)]);
        assert_eq!((loaded.traces.len(), loaded.reasons["unreadable"]), (0, 1));
        let bad: Vec<_> = loaded.bad.iter().map(|b| (b.file.as_str(), b.line)).collect();
        assert_eq!(bad, [("t.json", line)]);
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_in_the_rewards_place_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("verifier")).unwrap();
    let path = folder.path().join("trajectory.json");
    fs::write(&path, trajectory().to_string()).unwrap();
    let pipe = folder.path().join("verifier/reward.txt");
    assert!(std::process::Command::new("mkfifo").arg(pipe).status().unwrap().success());
    assert_eq!(load(&path).traces[0].outcome, None);
}
