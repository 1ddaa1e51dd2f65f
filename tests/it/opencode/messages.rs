//! What single messages, parts and rows become.

use proto::trace::{Message, Role, Signal};
use serde_json::{Value, json};

use super::{Hand, assert_adds_up, assistant, call, text, user};

#[test]
fn a_call_that_was_never_finished_is_aborted_with_an_empty_result() {
    for status in ["pending", "running"] {
        let hand = Hand::v1();
        let state = json!({"status": status, "input": {"command": "ls"}, "raw": ""});
        hand.message(1, assistant(), &[call("c", state)]);
        let result = &hand.messages()[1];
        assert_eq!((&*result.content, &result.signals[..]), ("", &[Signal::Aborted][..]));
    }
}

#[test]
fn a_call_that_was_stopped_has_what_it_had_printed() {
    let hand = Hand::v1();
    let metadata = json!({"interrupted": true, "output": "half\n"});
    let state = json!({"status": "error", "input": {}, "error": "Tool execution aborted",
                       "metadata": metadata});
    hand.message(1, assistant(), &[call("c", state)]);
    let result = &hand.messages()[1];
    assert_eq!((&*result.content, &result.signals[..]), ("half\n", &[Signal::Aborted][..]));
}

#[test]
fn a_command_that_was_ended_is_told_from_one_that_completed() {
    let timeout = "shell tool terminated command after exceeding timeout 9 ms";
    for (tag, note, signals) in [
        ("shell_metadata", "User aborted the command", &[Signal::Aborted][..]),
        ("bash_metadata", "User aborted the command", &[Signal::Aborted]),
        ("shell_metadata", timeout, &[Signal::ToolError]),
        ("shell_metadata", "(truncated)", &[]),
    ] {
        let hand = Hand::v1();
        let output = format!("User aborted the command\n\n<{tag}>\n{note}\n</{tag}>");
        let state = json!({"status": "completed", "input": {}, "output": output});
        hand.message(1, assistant(), &[call("c", state)]);
        assert_eq!(hand.messages()[1].signals, signals);
    }
}

#[test]
fn arguments_that_fit_no_schema_keep_the_tools_name() {
    let hand = Hand::v1();
    let error = "Invalid input for tool bash: JSON parsing failed: Text: {.";
    let state = json!({"status": "completed", "input": {"tool": "bash", "error": error},
                       "output": "The arguments provided to the tool are invalid: …"});
    let part = json!({"type": "tool", "callID": "c", "tool": "invalid", "state": state});
    hand.message(1, assistant(), &[part]);
    let messages = hand.messages();
    assert_eq!(messages[0].tool_calls[0].name, "bash");
    assert_eq!(messages[1].signals, [Signal::Schema]);
}

#[test]
fn a_rejection_keeps_what_the_person_said() {
    let hand = Hand::v1();
    let error = "The user rejected permission with feedback: use rg instead";
    let state = json!({"status": "error", "input": {}, "error": error});
    hand.message(1, assistant(), &[call("c", state)]);
    let result = &hand.messages()[1];
    assert_eq!((&*result.content, &result.signals[..]), (error, &[Signal::Denied][..]));
}

#[test]
fn a_cleared_result_keeps_its_output() {
    let hand = Hand::v1();
    let state = json!({"status": "completed", "input": {}, "output": "long ago",
                       "time": {"start": 1, "end": 2, "compacted": 9}});
    hand.message(1, assistant(), &[call("c", state)]);
    let result = &hand.messages()[1];
    assert_eq!((&*result.content, &result.signals[..]), ("long ago", &[Signal::Cleared][..]));
}

#[test]
fn ids_of_calls_are_unique_within_a_session() {
    let hand = Hand::v1();
    let done = json!({"status": "completed", "input": {}, "output": ""});
    hand.message(1, assistant(), &[call("call_0", done.clone()), call("call_0", done.clone())]);
    hand.message(2, assistant(), &[call("call_0", done.clone()), call("", done)]);
    let messages = hand.messages();
    let ids: Vec<_> = messages.iter().flat_map(|m| &m.tool_calls).map(|c| &*c.id).collect();
    assert_eq!(ids, ["call_0", "call_0_2", "call_0_3", "prt_2_1"]);
    let results: Vec<_> = messages.iter().filter_map(|m| m.tool_call_id.as_deref()).collect();
    assert_eq!(results, ids);
}

#[test]
fn ends_of_steps_become_signals() {
    let errors = [
        ("MessageAbortedError", Some(Signal::Aborted)),
        ("MessageOutputLengthError", Some(Signal::Length)),
        ("ContextOverflowError", Some(Signal::Length)),
        ("APIError", Some(Signal::ProviderError)),
        ("StructuredOutputError", None),
    ];
    let errors = errors.map(|(name, signal)| (json!({"name": name}), json!(null), signal));
    let finishes = [
        (json!(null), json!("length"), Some(Signal::Length)),
        (json!(null), json!("content-filter"), Some(Signal::ContentFilter)),
        (json!(null), json!("stop"), None),
    ];
    for (error, finish, signal) in errors.into_iter().chain(finishes) {
        let hand = Hand::v1();
        let mut info = assistant();
        (info["error"], info["finish"]) = (error, finish);
        hand.message(1, info, &[text("So")]);
        assert_eq!(hand.messages()[0].signals, signal.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn an_answer_that_its_agent_did_not_live_to_see_is_aborted() {
    let hand = Hand::v1();
    let info = json!({"role": "assistant", "time": {"created": 2}});
    hand.message(1, info.clone(), &[text("I wi")]);
    hand.message(2, info, &[]);
    let messages = hand.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].signals, [Signal::Aborted]);
}

#[test]
fn steps_in_one_message_become_messages() {
    let hand = Hand::v1();
    let done = json!({"status": "completed", "input": {}, "output": "1"});
    let (start, finish) = (json!({"type": "step-start"}), json!({"type": "step-finish"}));
    let parts = [start.clone(), call("a", done), finish.clone(), start, text("One."), finish];
    hand.message(1, assistant(), &parts);
    let roles: Vec<_> = hand.messages().iter().map(|m| m.role).collect();
    assert_eq!(roles, [Role::Assistant, Role::Tool, Role::Assistant]);
}

#[test]
fn what_the_harness_wrote_is_left_out_and_counted() {
    let hand = Hand::v1();
    let synthetic = json!({"type": "text", "text": "Called the Read tool", "synthetic": true});
    let ignored = json!({"type": "text", "text": "hm", "ignored": true});
    hand.message(1, user(), &[text("Fix it."), synthetic.clone(), ignored]);
    hand.message(2, user(), &[json!({"type": "compaction", "auto": true})]);
    let mut summary = assistant();
    summary["summary"] = json!(true);
    hand.message(3, summary, &[text("We fixed much.")]);
    hand.message(4, user(), &[synthetic]);
    hand.message(5, user(), &[json!({"type": "hologram"}), text("Go on.")]);
    let loaded = hand.read();
    let contents: Vec<_> = loaded.traces[0].messages.iter().map(|m| &*m.content).collect();
    assert_eq!(contents, ["Fix it.", "Go on."]);
    let left: Vec<_> = loaded.records.left.iter().map(|(reason, n)| (*reason, *n)).collect();
    // A message that is left takes the reason of its parts.
    let expected = [("compaction", 4), ("ignored", 1), ("synthetic", 3), ("unknown_type", 1)];
    assert_eq!(left, expected);
    assert_adds_up(&loaded);
}

#[test]
fn a_prompts_outer_quotes_are_those_of_the_command_line() {
    for (stored, prompt) in [
        (r#""fix the typo""#, "fix the typo"),
        (r#""say \"hi\" twice""#, r#"say "hi" twice"#),
        (r#""a" is not "b""#, r#""a" is not "b""#),
        ("plain", "plain"),
        (r#"""#, r#"""#),
    ] {
        let hand = Hand::v1();
        hand.message(1, user(), &[text(stored)]);
        assert_eq!(hand.messages()[0].content, prompt);
        let hand = Hand::v2();
        hand.row(1, "user", json!({"text": stored}));
        assert_eq!(hand.messages()[0].content, prompt);
    }
}

#[test]
fn files_are_mentioned_by_name() {
    let hand = Hand::v1();
    let data = "data:image/png;base64,iVBORw0KGgo=";
    let file = json!({"type": "file", "mime": "image/png", "filename": "cut.png", "url": data});
    hand.message(1, user(), &[text("See"), file]);
    assert_eq!(hand.messages()[0].content, "See\n[file: cut.png]");
    let hand = Hand::v2();
    let file = json!({"uri": data, "mime": "image/png", "name": "cut.png"});
    hand.row(1, "user", json!({"text": "See", "files": [file]}));
    assert_eq!(hand.messages()[0].content, "See\n[file: cut.png]");
}

#[test]
fn commands_run_by_hand_are_the_persons() {
    let hand = Hand::v1();
    let ran = "The following tool was executed by the user";
    hand.message(1, user(), &[json!({"type": "text", "text": ran, "synthetic": true})]);
    let state = json!({"status": "completed", "input": {"command": "make"}, "output": "ok",
                       "metadata": {"exit": 0}});
    hand.message(2, assistant(), &[call("c", state)]);
    let hands = [hand, Hand::v2()];
    hands[1].row(1, "shell", json!({"command": "make", "output": "ok", "exit": 0}));
    for hand in hands {
        let messages = hand.messages();
        assert_eq!(messages.len(), 1);
        let Message { role, content, exit, signals, .. } = &messages[0];
        assert_eq!((*role, &**content, *exit), (Role::User, "$ make\nok", Some(0)));
        assert_eq!(signals, &[Signal::Shell]);
    }
}

#[test]
fn a_subagent_called_by_the_person_is_not_the_models_call() {
    let hand = Hand::v1();
    hand.message(1, user(), &[json!({"type": "subtask", "prompt": "Look for it."})]);
    let state = json!({"status": "completed", "input": {}, "output": "Found."});
    hand.message(2, assistant(), &[call("c", state)]);
    hand.message(3, assistant(), &[json!({"type": "step-start"}), text("There.")]);
    let messages = hand.messages();
    assert_eq!(messages[0].content, "Look for it.");
    let authors: Vec<_> = messages.iter().filter_map(|m| m.author.as_deref()).collect();
    assert_eq!(authors, ["opencode", "local/small"]);
}

#[test]
fn a_revert_marks_what_comes_at_and_after_it() {
    let undone = |revert: Value| -> Vec<bool> {
        let hand = Hand::v1();
        hand.message(1, user(), &[text("Fix it.")]);
        let done = json!({"status": "completed", "input": {}, "output": ""});
        hand.message(2, assistant(), &[text("So:"), call("a", done.clone()), call("b", done)]);
        hand.message(3, assistant(), &[text("Done.")]);
        let set = "UPDATE session SET revert = ?";
        hand.connection.execute(set, [revert.to_string()]).unwrap();
        hand.messages().iter().map(|m| m.signals.contains(&Signal::Reverted)).collect()
    };
    assert_eq!(undone(json!({"messageID": "msg_1"})), [true; 5]);
    assert_eq!(undone(json!({"messageID": "msg_3"})), [false, false, false, false, true]);
    let from_part = json!({"messageID": "msg_2", "partID": "prt_2_2"});
    assert_eq!(undone(from_part), [false, false, false, true, true]);
    assert_eq!(undone(json!("nonsense")), [false; 5]);
}

#[test]
fn an_idle_row_says_how_the_turns_last_answer_ended() {
    let hand = Hand::v2();
    let answer = |words: &str| json!({"content": [text(words)], "finish": "stop"});
    for (nth, outcome) in (0..).zip(["succeeded", "failed", "interrupted"]) {
        hand.row(nth * 4, "user", json!({"text": "Go on."}));
        hand.row(nth * 4 + 1, "assistant", answer("First"));
        hand.row(nth * 4 + 2, "assistant", answer("Last"));
        hand.row(nth * 4 + 3, "idle", json!({"outcome": outcome}));
    }
    hand.row(20, "user", json!({"text": "And?"}));
    hand.row(21, "idle", json!({"outcome": "failed"}));
    let loaded = hand.read();
    let signals: Vec<_> = loaded.traces[0].messages.iter().map(|m| m.signals.as_slice()).collect();
    let (ok, failed, stopped) =
        (&[Signal::TurnSucceeded][..], &[Signal::TurnFailed][..], &[Signal::TurnInterrupted][..]);
    assert_eq!(signals, [&[], &[], ok, &[], &[], failed, &[], &[], stopped, &[]]);
    assert_eq!(loaded.records.left["no_answer"], 1);
    assert_eq!(loaded.traces[0].outcome, None);
}

#[test]
fn rows_of_version_2_that_the_harness_wrote_are_left_out_and_counted() {
    let hand = Hand::v2();
    for (nth, kind) in (0..).zip([
        "synthetic",
        "system",
        "skill",
        "compaction",
        "agent-switched",
        "model-switched",
        "location-switched",
        "hologram",
    ]) {
        hand.row(nth, kind, json!({"text": "x", "summary": "y"}));
    }
    hand.row(9, "user", json!({"text": "Hello"}));
    let loaded = hand.read();
    assert_eq!(loaded.traces[0].messages.len(), 1);
    let left: Vec<_> = loaded.records.left.iter().map(|(reason, n)| (*reason, *n)).collect();
    let expected =
        [("compaction", 1), ("skill", 1), ("switch", 3), ("synthetic", 2), ("unknown_type", 1)];
    assert_eq!(left, expected);
}

#[test]
fn calls_of_version_2_end_in_every_way() {
    let hand = Hand::v2();
    let error = |kind: &str, message: &str| {
        json!({"status": "error", "input": {"command": "ls"},
               "error": {"type": kind, "message": message}})
    };
    let states = [
        (error("aborted", "Session interrupted by user"), Signal::Aborted),
        (error("permission.rejected", "No"), Signal::Denied),
        (error("tool.execution", "Unknown tool: lss"), Signal::UnknownTool),
        (error("tool.execution", "Invalid arguments for tool \"shell\":"), Signal::Schema),
        (error("unknown", "boom"), Signal::ToolError),
        (json!({"status": "running", "input": {"command": "ls"}}), Signal::Aborted),
        (json!({"status": "streaming", "input": "{\"command\":\"ls\"}"}), Signal::Aborted),
    ];
    let tool = |(nth, (state, _)): (usize, &(Value, Signal))| json!({"type": "tool", "id": nth.to_string(), "name": "shell", "state": state});
    let content: Vec<_> = states.iter().enumerate().map(tool).collect();
    hand.row(1, "assistant", json!({"content": content, "finish": "tool-calls"}));
    let messages = hand.messages();
    for ((_, signal), result) in states.iter().zip(&messages[1..]) {
        assert_eq!(result.signals, [*signal]);
    }
    assert!(messages[0].tool_calls.iter().all(|call| call.arguments["command"] == "ls"));
    assert_eq!(messages[6].content, "");
}

#[test]
fn a_system_prompt_is_taken_from_the_first_answer_that_has_one() {
    let hand = Hand::v1();
    hand.message(1, user(), &[text("Hello.")]);
    let mut info = assistant();
    info["system"] = json!(["You are OpenCode.", "Be brief."]);
    hand.message(2, info.clone(), &[text("Hi.")]);
    info["system"] = json!(["You are OpenCode.", "It is noon."]);
    hand.message(3, info, &[text("Hi again.")]);
    let messages = hand.messages();
    let contents: Vec<_> = messages.iter().map(|m| &*m.content).collect();
    assert_eq!(contents, ["You are OpenCode.\nBe brief.", "Hello.", "Hi.", "Hi again."]);
    assert_eq!(messages[0].role, Role::System);
}
