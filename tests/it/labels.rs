//! What the sample sessions' steps are worth, the same in every agent's form of them.

use proto::label::label;
use proto::trace::{Outcome, Role, Trace};
use serde_json::Value;

use crate::samples;

/// Steps (the model's messages and the person's, from 0) whose own evidence is bad.
fn bad_steps(trace: &Trace) -> Vec<u64> {
    let whole = ["reverted", "undone_by_git", "session_outcome", "checks_failed"];
    let steps = trace.messages.iter().filter(|m| m.role != Role::Tool && m.role != Role::System);
    let bad = steps.enumerate().filter(|(_, message)| {
        let Some(label) = &message.label else { return false };
        let own = label.evidence.first().is_some_and(|e| !whole.contains(&e.fact.as_str()));
        label.outcome == Outcome::Bad && own
    });
    bad.map(|(at, _)| at as u64).collect()
}

#[test]
fn the_steps_that_went_wrong_are_bad_and_no_other() {
    let places = [
        ("opencode/storage", "opencode_id"),
        ("openclaw/agents/main", "openclaw_id"),
        ("claude-code/projects", "claude_session_id"),
        ("codex/sessions", "codex_id"),
    ];
    for (place, key) in places {
        let mut loaded = samples::load(&samples::folder().join(place));
        let mut seen = 0;
        for session in ["fix-rounding", "wrong-args", "aborted", "secrets", "parent-task"] {
            let facts = samples::facts(session);
            let of = |t: &&mut Trace| t.session == facts[key].as_str().unwrap();
            let trace = loaded.traces.iter_mut().find(of).unwrap();
            label(trace);
            let wanted: Vec<u64> =
                facts["mask_steps"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
            let steps = trace.messages.iter().filter(|m| m.role != Role::Tool).count() as u64;
            // A step of which a form holds no row cannot be masked.
            let wanted: Vec<u64> = wanted.into_iter().filter(|step| *step < steps).collect();
            assert_eq!(bad_steps(trace), wanted, "{place} {session}");
            seen += 1;
        }
        assert_eq!(seen, 5);
    }
}

#[test]
fn tests_that_pass_in_the_end_make_the_turn_good() {
    let mut loaded = samples::load(&samples::folder().join("opencode/storage"));
    let facts = samples::facts("wrong-args");
    let of = |t: &&mut Trace| t.session == facts["opencode_id"].as_str().unwrap();
    let trace = loaded.traces.iter_mut().find(of).unwrap();
    label(trace);
    let labels: Vec<_> = trace.messages.iter().filter_map(|m| m.label.as_ref()).collect();
    let good = labels.iter().filter(|l| l.outcome == Outcome::Good).count();
    assert_eq!((labels.len(), good), (10, 6));
    assert!(labels[9].evidence.iter().any(|e| e.fact == "checks_passed"));
}
