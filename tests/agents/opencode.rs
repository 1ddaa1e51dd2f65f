//! The sessions that `scripts/agents/opencode.sh` makes with the real OpenCode: everything its
//! model was told to say must come out of the live database and of each export.

use std::path::{Path, PathBuf};

use proto::progress::Silent;
use proto::trace::{Loaded, Message, Role, Signal, Trace, load};
use serde_json::{Map, Value};

/// What the script left behind.
fn made() -> PathBuf {
    std::env::var_os("OPENCODE_CHECK").expect("run scripts/agents/opencode.sh").into()
}

fn read(path: &Path) -> Loaded {
    let loaded = load(&[path.to_path_buf()], &made(), &Silent).unwrap();
    assert_eq!(loaded.bad, []);
    assert_eq!(loaded.unread, []);
    loaded
}

/// Both ways to the same sessions.
fn both() -> [Loaded; 2] {
    [read(&made().join("data/opencode")), read(&made().join("exports"))]
}

/// Whether a prompt begins with these words, but for the files that came with it.
fn begins(message: &Message, words: &str) -> bool {
    message.role == Role::User && message.content.lines().any(|line| line.starts_with(words))
}

/// The session with the prompt that begins with these words.
fn session<'a>(loaded: &'a Loaded, words: &str) -> &'a Trace {
    let found = loaded.traces.iter().find(|t| t.messages.iter().any(|m| begins(m, words)));
    found.unwrap_or_else(|| panic!("no session of {words}"))
}

/// What the model was told to say in a turn.
fn turn(word: &str) -> Vec<Value> {
    let turns: Value =
        serde_json::from_str(include_str!("../../scripts/agents/opencode.json")).unwrap();
    turns[word].as_array().unwrap().clone()
}

/// The messages from one prompt to the next.
fn said<'a>(trace: &'a Trace, prompt: &str) -> &'a [Message] {
    let from = trace.messages.iter().position(|m| begins(m, prompt)).unwrap() + 1;
    let rest = &trace.messages[from..];
    &rest[..rest.iter().position(|m| m.role == Role::User).unwrap_or(rest.len())]
}

/// Fails unless a turn is in the trace as its model was told to say it: thoughts, texts, calls.
/// The first `steps` of it where it was stopped.
fn assert_said(trace: &Trace, word: &str, steps: usize) {
    let messages = said(trace, &format!("{word}:"));
    let answers: Vec<_> = messages.iter().filter(|m| m.role == Role::Assistant).collect();
    assert_eq!(answers.len(), steps, "{word}");
    for (answer, step) in answers.iter().zip(turn(word)) {
        assert_eq!(answer.content, step["say"].as_str().unwrap_or_default(), "{word}");
        assert_eq!(answer.reasoning_content.as_deref(), step["think"].as_str(), "{word}");
        assert_eq!(answer.author.as_deref(), Some("local/scripted"));
        let calls = step["calls"].as_array().cloned().unwrap_or_default();
        assert_eq!(answer.tool_calls.len(), calls.len(), "{word}");
        for (call, told) in answer.tool_calls.iter().zip(&calls) {
            assert_eq!(call.name, told[0], "{word}");
            let results: Vec<_> =
                messages.iter().filter(|m| m.tool_call_id.as_ref() == Some(&call.id)).collect();
            assert_eq!(results.len(), 1);
            // Of a call that fits no tool or is no JSON, only its name is stored.
            let kept = [Signal::UnknownTool, Signal::Schema];
            let lost = results[0].signals.iter().any(|signal| kept.contains(signal));
            match &told[1] {
                Value::Object(arguments) if !lost || word == "schema" => {
                    assert_eq!(call.arguments, *arguments, "{word}");
                }
                _ => assert_eq!(call.arguments, Map::new(), "{word}"),
            }
        }
    }
}

/// The signals of the results of a turn.
fn results<'a>(trace: &'a Trace, word: &str) -> Vec<&'a [Signal]> {
    let messages = said(trace, &format!("{word}:")).iter();
    messages.filter(|m| m.role == Role::Tool).map(|m| m.signals.as_slice()).collect()
}

#[test]
#[ignore = "needs what scripts/agents/opencode.sh makes"]
fn every_session_is_read_from_both() {
    let [database, exports] = both();
    assert_eq!(database.traces.len(), 17);
    let plain = |loaded: &Loaded| {
        let mut traces = loaded.traces.clone();
        for trace in &mut traces {
            trace.origin = Default::default();
            trace.messages.iter_mut().for_each(|m| m.row = 0);
        }
        traces
    };
    assert_eq!(plain(&database), plain(&exports));
    assert!(database.traces.iter().all(|t| t.repository.as_deref() == Some("project")));
}

#[test]
#[ignore = "needs what scripts/agents/opencode.sh makes"]
fn what_the_model_said_is_what_is_read() {
    for loaded in both() {
        for (word, steps) in [
            ("success", 4),
            ("edit", 4),
            ("schema", 3),
            ("unknown", 3),
            ("first", 1),
            ("second", 2),
            ("delegate", 2),
            ("errand", 2),
            ("long", 1),
            ("picture", 1),
            ("denied", 1),
        ] {
            assert_said(session(&loaded, &format!("{word}:")), word, steps);
        }
    }
}

#[test]
#[ignore = "needs what scripts/agents/opencode.sh makes"]
fn prompts_are_the_persons_words() {
    for loaded in both() {
        let prompt = |word: &str| session(&loaded, word).messages[0].content.clone();
        assert_eq!(prompt("success:"), "success: fix the typo in total.py and run it");
        assert_eq!(prompt("edit:"), "edit: say \"it\" right");
        assert_eq!(prompt("picture:"), "[file: dot.png]\npicture: what is this");
    }
}

#[test]
#[ignore = "needs what scripts/agents/opencode.sh makes"]
fn failures_are_told_apart() {
    for loaded in both() {
        let of = |word: &str| results(session(&loaded, &format!("{word}:")), word);
        assert!(of("success").iter().all(|signals| signals.is_empty()));
        assert_eq!(of("edit")[1], [Signal::EditMismatch]);
        assert_eq!(of("schema")[0], [Signal::Schema]);
        assert_eq!(of("unknown"), [[Signal::UnknownTool], [Signal::Schema]]);
        assert_eq!(of("denied"), [[Signal::Denied]]);
        let exits = |word: &str| -> Vec<i64> {
            let trace = session(&loaded, &format!("{word}:"));
            trace.messages.iter().filter_map(|m| m.exit).collect()
        };
        assert_eq!((exits("success"), exits("edit")), (vec![0], vec![3]));
    }
}

#[test]
#[ignore = "needs what scripts/agents/opencode.sh makes"]
fn ends_of_answers_are_told_apart() {
    for loaded in both() {
        let last = |prompt: &str| session(&loaded, prompt).messages.last().unwrap().signals.clone();
        assert_eq!(last("success:"), []);
        assert_eq!(last("long:"), [Signal::Length]);
        assert_eq!(last("refused:"), [Signal::ProviderError]);
    }
}

#[test]
#[ignore = "needs what scripts/agents/opencode.sh makes"]
fn stopped_turns_are_aborted() {
    for loaded in both() {
        for prompt in ["slow: wait", "slow: and stop"] {
            let trace = session(&loaded, prompt);
            assert_said(trace, "slow", 1);
            assert_eq!(results(trace, "slow"), [[Signal::Aborted]]);
            let answer = &said(trace, "slow:")[0];
            assert_eq!(answer.signals, [Signal::Aborted], "{prompt}");
        }
        // What a model had said before the agent ended is not stored.
        let stalled = session(&loaded, "stalled:");
        assert!(stalled.messages.iter().all(|m| m.role == Role::User || m.content.is_empty()));
    }
}

#[test]
#[ignore = "needs what scripts/agents/opencode.sh makes"]
fn a_subagent_names_its_parent() {
    for loaded in both() {
        let child = session(&loaded, "errand:");
        assert_eq!(child.parent.as_deref(), Some(&*session(&loaded, "delegate:").session));
    }
}

#[test]
#[ignore = "needs what scripts/agents/opencode.sh makes"]
fn what_was_undone_is_marked() {
    for loaded in both() {
        let trace = session(&loaded, "first: keep this");
        let undone: Vec<bool> =
            trace.messages.iter().map(|m| m.signals.contains(&Signal::Reverted)).collect();
        assert_eq!(undone, [false, false, true, true, true, true]);
    }
}

#[test]
#[ignore = "needs what scripts/agents/opencode.sh makes"]
fn a_command_run_by_hand_is_the_persons() {
    for loaded in both() {
        let ran = &session(&loaded, "first: after the command").messages[0];
        assert_eq!((ran.role, &*ran.content), (Role::User, "$ echo by hand; exit 4\nby hand\n"));
        assert_eq!(ran.signals, [Signal::Shell]);
    }
}

#[test]
#[ignore = "needs what scripts/agents/opencode.sh makes"]
fn a_compaction_is_left_out() {
    for loaded in both() {
        let trace = session(&loaded, "first: before the summary");
        let prompts: Vec<_> = trace
            .messages
            .iter()
            .filter(|m| m.role == Role::User)
            .map(|m| m.content.as_str())
            .collect();
        assert_eq!(prompts, ["first: before the summary", "second: after the summary"]);
        assert!(loaded.records.left["compaction"] > 0);
    }
}
