use serde_json::json;

use super::*;
use crate::config::Layers;
use crate::trace::ToolCall;

fn user(text: &str) -> Message {
    Message::text(Role::User, text)
}

fn answer(text: &str) -> Message {
    Message::text(Role::Assistant, text)
}

/// A call of a tool and its result.
fn called(id: &str, name: &str, arguments: serde_json::Value, result: Message) -> [Message; 2] {
    let mut call = answer("");
    let arguments = arguments.as_object().cloned().unwrap_or_default();
    call.tool_calls.push(ToolCall { id: id.into(), name: name.into(), arguments });
    let mut result = result;
    result.tool_call_id = Some(id.into());
    [call, result]
}

fn output(text: &str, exit: Option<i64>) -> Message {
    let mut message = Message::text(Role::Tool, text);
    message.exit = exit;
    message
}

fn failing(signal: Signal) -> Message {
    let mut message = output("failed", None);
    message.note(signal);
    message
}

fn edit(id: &str, path: &str) -> [Message; 2] {
    called(id, "edit", json!({"filePath": path}), output("Edit applied", None))
}

fn run(id: &str, command: &str, text: &str, exit: Option<i64>) -> [Message; 2] {
    called(id, "bash", json!({"command": command}), output(text, exit))
}

/// The outcome and first fact of every message of the model.
fn labelled(parts: &[&[Message]]) -> Vec<(Outcome, String)> {
    labelled_as(None, parts)
}

fn labelled_as(outcome: Option<&str>, parts: &[&[Message]]) -> Vec<(Outcome, String)> {
    let mut messages = parts.concat();
    messages.iter_mut().zip(1..).for_each(|(m, row)| m.row = row);
    let mut trace = Trace { messages, outcome: outcome.map(String::from), ..Trace::default() };
    label(&mut trace);
    let labels = trace.messages.iter().filter_map(|m| m.label.as_ref());
    let first = |label: &Label| label.evidence.first().map_or(String::new(), |e| e.fact.clone());
    labels.map(|label| (label.outcome, first(label))).collect()
}

fn outcomes_of(parts: &[&[Message]]) -> Vec<Outcome> {
    labelled(parts).into_iter().map(|(outcome, _)| outcome).collect()
}

use Outcome::{Bad, Good, Unknown};

#[test]
fn a_clean_stop_proves_nothing() {
    let mut done = answer("Done.");
    done.note(Signal::TurnSucceeded);
    assert_eq!(labelled(&[&[user("do it"), done]]), [(Unknown, "turn_succeeded".into())]);
}

#[test]
fn failed_calls_are_bad_and_what_follows_is_not() {
    for signal in [Signal::Schema, Signal::UnknownTool, Signal::EditMismatch, Signal::Denied] {
        let wrong = called("a", "edit", json!({"x": 1}), failing(signal));
        let right = edit("b", "src/a.rs");
        let labels = labelled(&[&[user("fix it")], &wrong, &right, &[answer("Fixed.")]]);
        assert_eq!(labels[0], (Bad, signal.as_str().into()));
        assert_eq!(labels[1].0, Unknown);
        assert_eq!(labels[2].0, Unknown);
    }
    // A file that is not there is a fact about the world, not a mistake.
    let missing = called("a", "read", json!({}), failing(Signal::ToolError));
    assert_eq!(outcomes_of(&[&[user("look")], &missing, &[answer("Not there.")]]), [Unknown; 2]);
}

#[test]
fn a_check_counts_after_an_edit_and_the_last_one_decides() {
    let (edit, ask) = (edit("e", "src/a.rs"), [user("fix the rounding")]);
    let pass = run("t", "cargo test -q", "test result: ok. 3 passed; 0 failed", Some(0));
    let fail = run("f", "cargo test -q", "test result: FAILED. 1 passed; 2 failed", Some(101));
    assert_eq!(outcomes_of(&[&ask, &pass]), [Unknown], "nothing was edited");
    assert_eq!(outcomes_of(&[&ask, &pass, &edit]), [Unknown; 2], "edited after it");
    assert_eq!(outcomes_of(&[&ask, &edit, &pass]), [Good; 2]);
    assert_eq!(outcomes_of(&[&ask, &edit, &fail, &edit, &pass]), [Good; 4]);
    assert_eq!(outcomes_of(&[&ask, &edit, &pass, &edit, &fail]), [Bad; 4]);
}

#[test]
fn a_hidden_status_is_no_pass() {
    let (edit, ask) = (edit("e", "src/a.py"), [user("fix it")]);
    let check = |command: &str, text: &str| {
        let run = run("t", command, text, Some(0));
        outcomes_of(&[&ask, &edit, &run])[0]
    };
    assert_eq!(check("pytest", "whatever"), Good);
    assert_eq!(check("pytest | tail -5", "collected 3 items"), Unknown);
    assert_eq!(check("pytest -q | tail -5", "3 failed, 2 passed"), Bad);
    assert_eq!(check("pytest -q | tail -5", "5 passed in 0.1s"), Good);
    assert_eq!(check("set -o pipefail; pytest | tail", "collected"), Good);
    assert_eq!(check("npm test || true", "npm ERR! code 1"), Bad);
    assert_eq!(check("cd web && npm run build", "built"), Good);
    assert_eq!(check("echo latest", "5 passed"), Unknown, "no check at all");
}

#[test]
fn a_pass_after_editing_tests_decides_nothing() {
    let ask = [user("make it green")];
    let pass = run("t", "pytest", "2 passed", Some(0));
    for path in ["tests/test_a.py", "src/a.test.ts", "spec/a.rb", "pkg/test_x.py"] {
        let labels = labelled(&[&ask, &edit("e", path), &pass]);
        assert_eq!(labels[0], (Unknown, "checks_passed_but_tests_edited".into()), "{path}");
    }
    assert_eq!(outcomes_of(&[&ask, &edit("e", "src/latest.py"), &pass]), [Good; 2]);
}

#[test]
fn what_the_person_undid_is_bad() {
    let mut undone = answer("Rewritten.");
    undone.note(Signal::Reverted);
    let labels = labelled(&[&[user("faster"), answer("I will."), undone]]);
    assert_eq!(labels, [(Bad, "reverted".into()), (Bad, "reverted".into())]);

    let work = edit("e", "/src/import.rs");
    let later = |command: &str| {
        let mut shell = user(command);
        shell.note(Signal::Shell);
        outcomes_of(&[&[user("faster")], &work, &[answer("Done."), shell]])
    };
    assert_eq!(later("git checkout -- src/import.rs"), [Bad; 2]);
    assert_eq!(later("git reset --hard HEAD"), [Bad; 2]);
    assert_eq!(later("git restore ."), [Bad; 2]);
    assert_eq!(later("git checkout -- src/other.rs"), [Unknown; 2]);
    assert_eq!(later("git checkout main"), [Unknown; 2]);
}

#[test]
fn a_correction_falls_on_the_last_step() {
    let look = called("r", "read", json!({}), output("text", None));
    for next in [
        "No, you are guessing. Read the file first.",
        "that's wrong",
        "you didn't run the tests",
        "do not print keys!",
        "Still failing with the same error",
        "I said the other file",
        "why did you delete it?",
    ] {
        let labels = labelled(&[&[user("rename it")], &look, &[answer("Done."), user(next)]]);
        assert_eq!(labels[0].0, Unknown, "{next}");
        assert_eq!(labels[1], (Bad, "corrected".into()), "{next}");
    }
    for next in ["Now the same for b.rs", "Note that c.rs has it too", "go on", "nothing else?"] {
        let labels = outcomes_of(&[&[user("rename it"), answer("Done."), user(next)]]);
        assert_eq!(labels, [Unknown], "{next}");
    }
    let again = "rename the key retry_max to max_retries please";
    let labels = labelled(&[&[user(again), answer("Done."), user(&format!("{again}!"))]]);
    assert_eq!(labels, [(Bad, "asked_again".into())]);
}

#[test]
fn praise_makes_the_turn_good() {
    let after = |next: &str| outcomes_of(&[&[user("add a flag"), answer("Added."), user(next)]]);
    assert_eq!(after("Thanks! Now the docs."), [Good]);
    assert_eq!(after("perfect"), [Good]);
    assert_eq!(after("Great, but it does not work"), [Unknown]);
    // A step that went wrong on the way stays bad.
    let wrong = called("a", "edit", json!({}), failing(Signal::EditMismatch));
    let parts: [&[Message]; 3] = [&[user("x")], &wrong, &[answer("Done."), user("thanks")]];
    assert_eq!(outcomes_of(&parts), [Bad, Good]);
}

#[test]
fn the_same_call_three_times_is_a_loop_after_the_first() {
    let look = || called("r", "read", json!({"path": "a"}), output("x", None));
    let other = called("o", "read", json!({"path": "b"}), output("x", None));
    let ask = [user("look")];
    assert_eq!(outcomes_of(&[&ask, &look(), &look(), &other]), [Unknown; 3]);
    let labels = labelled(&[&ask, &look(), &look(), &look(), &other]);
    let facts: Vec<&str> = labels.iter().map(|(_, fact)| fact.as_str()).collect();
    assert_eq!(facts, ["", "repeated_call", "repeated_call", ""]);
}

#[test]
fn the_sources_word_for_the_session_counts() {
    let turn = [user("a"), answer("b")];
    assert_eq!(labelled_as(Some("resolved"), &[&turn])[0].0, Good);
    assert_eq!(labelled_as(Some("failed"), &[&turn])[0].0, Bad);
    assert_eq!(labelled_as(Some("completed"), &[&turn])[0].0, Unknown);
}

#[test]
fn a_call_that_its_agent_starred_out_is_not_what_the_model_wrote() {
    let call = |source: &str, command: &str| {
        let run = run("r", command, "", Some(0));
        let messages = [&[user("go")], &run[..]].concat();
        let mut trace = Trace { source: source.into(), messages, ..Trace::default() };
        label(&mut trace);
        trace.messages[1].label.as_ref().map(|l| l.outcome)
    };
    assert_eq!(call("openclaw", "echo DB_PASSWORD=*** false"), Some(Bad));
    assert_eq!(call("openclaw", "ls **/*.rs"), Some(Unknown));
    assert_eq!(call("opencode", "echo DB_PASSWORD=*** false"), Some(Unknown));
}

#[test]
fn a_label_that_is_there_stays() {
    let mut judged = answer("b");
    judged.label = Some(Label { outcome: Good, evidence: vec![] });
    assert_eq!(labelled_as(Some("failed"), &[&[user("a"), judged]])[0].0, Good);
}

fn policy(pairs: &[(&str, &str)]) -> Policy {
    let mut layers = Layers::new();
    for (key, value) in pairs {
        layers.command_line(&format!("{key}={value}")).unwrap();
    }
    Policy::from_config(&layers.resolve(&[]).unwrap()).unwrap()
}

/// Which of three answers (good, unknown, bad, by `author`) are trained.
fn trained(policy: &Policy, author: &str) -> Vec<Outcome> {
    let of = |outcome| {
        let mut message = answer("x");
        message.author = Some(author.into());
        message.label = Some(Label { outcome, evidence: vec![] });
        message
    };
    let mut trace = Trace { messages: [Good, Unknown, Bad].map(of).to_vec(), ..Trace::default() };
    let masked = policy.mask(&mut trace);
    let left: Vec<_> = trace.messages.iter().filter(|m| m.train).collect();
    assert_eq!(masked.len() + left.len(), 3);
    left.iter().filter_map(|m| m.label.as_ref().map(|l| l.outcome)).collect()
}

#[test]
fn bad_steps_are_never_trained_unless_asked_for() {
    assert_eq!(trained(&policy(&[]), "a/b"), [Good, Unknown]);
    assert_eq!(trained(&policy(&[("TRAIN_OUTCOMES", "good")]), "a/b"), [Good]);
    assert_eq!(trained(&policy(&[("TRAIN_OUTCOMES", "good,unknown,bad")]), "a/b").len(), 3);
}

#[test]
fn teachers_are_chosen_by_pattern() {
    let none: [Outcome; 0] = [];
    let some = policy(&[("TEACHERS", "openai/*,qwen3*")]);
    assert_eq!(trained(&some, "openai/gpt-9"), [Good, Unknown]);
    assert_eq!(trained(&some, "ollama/Qwen3-30b"), [Good, Unknown]);
    assert_eq!(trained(&some, "x/other"), none);
    let most = policy(&[("TEACHERS", "!*-tiny")]);
    assert_eq!(trained(&most, "x/other"), [Good, Unknown]);
    assert_eq!(trained(&most, "x/some-tiny"), none);
    let mut layers = Layers::new();
    layers.command_line("TEACHERS=a[").unwrap();
    let error = Teachers::from_config(&layers.resolve(&[]).unwrap()).unwrap_err();
    assert!(format!("{error:#}").contains("TEACHERS: `a[`"), "{error:#}");
}

#[test]
fn the_base_learns_from_itself_only_what_is_known_to_be_good() {
    let own = policy(&[("BASE_MODEL", "models/SmolLM2-135M.gguf")]);
    assert_eq!(trained(&own, "local/smollm2-135m"), [Good]);
    assert_eq!(trained(&own, "local/other"), [Good, Unknown]);
}
