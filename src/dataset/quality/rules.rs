//! The rules themselves.

use std::collections::BTreeSet;

use super::super::{Example, Kind, schema};
use super::{Bounds, Reason};
use crate::trace::{Message, Outcome, Role, ToolCall};

/// The trained messages with their numbers, from 1.
fn trained(example: &Example) -> impl Iterator<Item = (usize, &Message)> {
    numbered(example).filter(|(_, m)| m.train)
}

fn numbered(example: &Example) -> impl Iterator<Item = (usize, &Message)> {
    example.trace.messages.iter().enumerate().map(|(i, m)| (i + 1, m))
}

pub(super) fn outcome(example: &Example, bounds: &Bounds) -> Option<Reason> {
    let said = example.trace.outcome.is_some();
    match example.kind {
        Kind::Counterexample => return None,
        // What is made from a session that failed shows its steps; what is made of nothing has
        // no outcome to speak of.
        Kind::Synthetic | Kind::Adversarial if !said => return None,
        _ => {}
    }
    let outcome = Outcome::of(example.trace.outcome.as_deref());
    (!bounds.outcomes.contains(&outcome)).then(|| format!("the outcome is {}", outcome.as_str()))
}

pub(super) fn role_order(example: &Example, _: &Bounds) -> Option<Reason> {
    let mut before = None;
    for (n, message) in numbered(example) {
        let wrong = match (before, message.role) {
            (None | Some(Role::System), Role::System | Role::User) => None,
            (None | Some(Role::System), _) => Some("comes before any user message"),
            (_, Role::System) => Some("is a system message in the middle"),
            (Some(Role::Assistant), Role::Assistant) => Some("answers an answer"),
            (Some(Role::User), Role::Tool) => Some("is a result right after a question"),
            _ => None,
        };
        if let Some(what) = wrong {
            return Some(format!("message {n} {what}"));
        }
        before = Some(message.role);
    }
    let asked = example.trace.messages.iter().any(|m| m.role == Role::User);
    (!asked).then(|| "there is no user message".into())
}

pub(super) fn call_pairing(example: &Example, _: &Bounds) -> Option<Reason> {
    let mut known = BTreeSet::new();
    let mut open: BTreeSet<&str> = BTreeSet::new();
    for (n, message) in numbered(example) {
        if message.role == Role::Tool {
            let id = message.tool_call_id.as_deref().unwrap_or("");
            if !open.remove(id) {
                return Some(format!("message {n} is a result without its call"));
            }
            continue;
        }
        if !open.is_empty() {
            return Some(format!("message {n} comes before the result of a call"));
        }
        for call in &message.tool_calls {
            if call.id.is_empty() || !known.insert(call.id.as_str()) {
                return Some(format!("message {n} has a call without an id of its own"));
            }
            open.insert(&call.id);
        }
    }
    // The calls of the last turn are the answer to learn: nothing has answered them yet.
    let last = example.trace.messages.last();
    let ends_on_a_result = last.is_some_and(|m| m.role == Role::Tool);
    (!open.is_empty() && ends_on_a_result).then(|| "a call has no result".into())
}

/// How harnesses write a turn that never came.
const BROKEN_OFF: &[&str] = &[
    "API Error",
    "Request timed out",
    "[Request interrupted",
    "[interrupted",
    "Error: aborted",
    "stream error",
];

pub(super) fn truncated_end(example: &Example, _: &Bounds) -> Option<Reason> {
    let Some(last) = example.trace.messages.last() else {
        return Some("there are no messages".into());
    };
    if last.role != Role::Assistant {
        return Some(format!("ends on a {} message", last.role.as_str()));
    }
    if !last.tool_calls.is_empty() {
        return None;
    }
    if BROKEN_OFF.iter().any(|start| last.content.trim_start().starts_with(start)) {
        return Some("ends on the harness's error instead of an answer".into());
    }
    let fences = last.content.lines().filter(|l| l.trim_start().starts_with("```")).count();
    (fences % 2 == 1).then(|| "ends inside a code block".into())
}

pub(super) fn no_trained_answer(example: &Example, _: &Bounds) -> Option<Reason> {
    let none = !example.trace.messages.iter().any(|m| m.train && m.role == Role::Assistant);
    none.then(|| "no assistant message is trained".into())
}

pub(super) fn empty_answer(example: &Example, bounds: &Bounds) -> Option<Reason> {
    let short = |m: &Message| {
        m.tool_calls.is_empty() && m.content.trim().chars().count() < bounds.min_answer_chars
    };
    trained(example).find(|(_, m)| short(m)).map(|(n, _)| format!("answer {n} says too little"))
}

pub(super) fn undeclared_tools(example: &Example, _: &Bounds) -> Option<Reason> {
    if example.trace.tools.is_empty() {
        return None;
    }
    let names = schema::names(example);
    let undeclared = |m: &Message| m.tool_calls.iter().any(|c| !names.contains(&c.name.as_str()));
    let (n, _) = trained(example).find(|(_, m)| undeclared(m))?;
    Some(format!("message {n} calls a tool that is not declared"))
}

pub(super) fn tool_arguments(example: &Example, _: &Bounds) -> Option<Reason> {
    trained(example).find_map(|(n, message)| {
        let problem = message.tool_calls.iter().find_map(|call| {
            schema::declared(example, &call.name).and_then(|f| schema::violation(f, call))
        })?;
        Some(format!("message {n}: {problem}"))
    })
}

pub(super) fn identical_calls(example: &Example, _: &Bounds) -> Option<Reason> {
    let mut last: Option<&ToolCall> = None;
    let mut run = 0;
    for (n, message) in numbered(example) {
        for call in &message.tool_calls {
            let same = last.is_some_and(|l| l.name == call.name && l.arguments == call.arguments);
            run = if same { run + 1 } else { 1 };
            last = Some(call);
            if run >= 3 && message.train {
                return Some(format!("message {n} makes the same call for the third time"));
            }
        }
    }
    None
}

pub(super) fn repetition(example: &Example, bounds: &Bounds) -> Option<Reason> {
    let repeats = |m: &Message| repeated_share(&m.content) > bounds.max_repetition;
    trained(example).find(|(_, m)| repeats(m)).map(|(n, _)| format!("answer {n} repeats itself"))
}

/// The share of a text's five-word runs that stood in it before; of its runs of sixteen
/// characters where it has few words. Short texts do not repeat themselves.
fn repeated_share(text: &str) -> f64 {
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.len() >= 30 {
        return share_seen_before(&words, 5);
    }
    let chars: Vec<char> = text.chars().collect();
    if chars.len() >= 200 { share_seen_before(&chars, 16) } else { 0.0 }
}

fn share_seen_before<T: Ord>(items: &[T], run: usize) -> f64 {
    let distinct: BTreeSet<&[T]> = items.windows(run).collect();
    1.0 - distinct.len() as f64 / (items.len() + 1 - run) as f64
}

/// How models decline, in lower case with straight apostrophes.
const REFUSALS: &[&str] = &[
    "i'm sorry, but i can",
    "i am sorry, but i can",
    "i'm sorry, i can",
    "sorry, but i can't",
    "sorry, i can't",
    "i can't help with that",
    "i cannot help with that",
    "i can't assist",
    "i cannot assist",
    "i can't comply",
    "i cannot comply",
    "i can't fulfill",
    "i cannot fulfill",
    "i'm unable to assist",
    "i'm unable to help",
    "i am unable to assist",
    "i am unable to help",
    "i'm not able to assist",
    "i'm not able to help",
    "i must decline",
    "as an ai language model",
    "as a large language model",
];

pub(super) fn refusal(example: &Example, _: &Bounds) -> Option<Reason> {
    if matches!(example.kind, Kind::Adversarial | Kind::Counterexample) {
        return None;
    }
    let declines = |m: &Message| {
        let start: String = m.content.trim_start().chars().take(40).collect();
        let start = start.to_lowercase().replace('’', "'");
        m.tool_calls.is_empty() && REFUSALS.iter().any(|r| start.starts_with(r))
    };
    trained(example).find(|(_, m)| declines(m)).map(|(n, _)| format!("answer {n} declines"))
}

pub(super) fn control_characters(example: &Example, _: &Bounds) -> Option<Reason> {
    let stray = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    numbered(example).find_map(|(n, message)| {
        // Colours and cursor movements are what tools print; a model must not write them.
        let spoken = matches!(message.role, Role::User | Role::Assistant);
        let found = message.content.chars().any(|c| if spoken { stray(c) } else { c == '\0' });
        found.then(|| format!("message {n} holds control characters"))
    })
}

/// What common templates write between messages, beside `<|…|>`.
const MARKERS: &[&str] = &["[INST]", "[/INST]", "<start_of_turn>", "<end_of_turn>"];
/// Serialised calls: harmless in what a tool printed, a call gone astray in an answer.
const CALL_MARKERS: &[&str] = &["<tool_call>", "</tool_call>"];

pub(super) fn special_token_text(example: &Example, _: &Bounds) -> Option<Reason> {
    numbered(example).find_map(|(n, message)| {
        let texts = [Some(message.content.as_str()), message.reasoning_content.as_deref()];
        let marked = texts.into_iter().flatten().any(|text| {
            let answer = message.role == Role::Assistant;
            has_special(text)
                || MARKERS.iter().any(|m| text.contains(m))
                || answer && CALL_MARKERS.iter().any(|m| text.contains(m))
        });
        marked.then(|| format!("message {n} holds the text of a special token"))
    })
}

/// Whether a text holds `<|name|>`.
fn has_special(text: &str) -> bool {
    text.match_indices("<|").any(|(at, _)| {
        let rest = &text.as_bytes()[at + 2..];
        let name = rest.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
        (1..=40).contains(&name) && rest[name..].starts_with(b"|>")
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{call, chat, prose, result, row};
    use super::super::rule;
    use super::*;
    use serde_json::json;

    fn objects(name: &str, example: &Example) -> bool {
        (rule(name).unwrap().check)(example, &Bounds::default()).is_some()
    }

    fn user(text: &str) -> Message {
        Message::text(Role::User, text)
    }

    fn answer(text: &str) -> Message {
        Message::text(Role::Assistant, text)
    }

    fn context(mut message: Message) -> Message {
        message.train = false;
        message
    }

    #[test]
    fn role_order_wants_questions_before_answers() {
        let system = || Message::text(Role::System, "be brief");
        let ok = [
            vec![system(), system(), user("a"), user("b"), answer("c")],
            vec![user("a"), call("1", "t", json!({})), result("1", "r"), answer("b")],
        ];
        for messages in ok {
            assert!(!objects("role_order", &row("s", messages)));
        }
        let wrong = [
            vec![answer("a")],
            vec![system(), answer("a")],
            vec![user("a"), system(), answer("b")],
            vec![user("a"), answer("b"), answer("c")],
            vec![user("a"), result("1", "r"), answer("b")],
            vec![system()],
            vec![],
        ];
        for messages in wrong {
            assert!(objects("role_order", &row("s", messages.clone())), "{messages:?}");
        }
    }

    #[test]
    fn calls_and_results_come_in_pairs() {
        let one = || call("1", "t", json!({}));
        let mut both = one();
        both.tool_calls.extend(call("2", "t", json!({})).tool_calls);
        let ok = [
            vec![user("a"), both.clone(), result("2", "r"), result("1", "r"), answer("b")],
            vec![user("a"), both.clone()],
        ];
        for messages in ok {
            assert!(!objects("call_pairing", &row("s", messages)));
        }
        let wrong = [
            vec![user("a"), both.clone(), result("1", "r"), answer("b")],
            vec![user("a"), both, result("1", "r")],
            vec![user("a"), one(), result("2", "r"), answer("b")],
            vec![user("a"), one(), result("1", "r"), one(), result("1", "r"), answer("b")],
            vec![user("a"), one(), user("stop"), answer("b")],
            vec![user("a"), answer("b"), result("1", "r"), answer("c")],
        ];
        for messages in wrong {
            assert!(objects("call_pairing", &row("s", messages.clone())), "{messages:?}");
        }
    }

    #[test]
    fn an_end_is_a_whole_answer() {
        assert!(!objects("truncated_end", &chat("s", "a", "```\nx\n```")));
        assert!(!objects("truncated_end", &row("s", vec![user("a"), call("1", "t", json!({}))])));
        assert!(objects("truncated_end", &chat("s", "a", "```rust\nfn main() {")));
        assert!(objects("truncated_end", &chat("s", "a", "API Error: 529 overloaded")));
        assert!(objects("truncated_end", &row("s", vec![user("a")])));
        assert!(objects("truncated_end", &row("s", vec![])));
    }

    #[test]
    fn answers_must_exist_and_say_something() {
        assert!(objects("empty_answer", &chat("s", "a", " \n")));
        assert!(!objects("empty_answer", &chat("s", "a", "b")));
        let silent = row("s", vec![user("a"), context(answer("")), user("b"), answer("c")]);
        assert!(!objects("empty_answer", &silent));
        assert!(objects("no_trained_answer", &row("s", vec![user("a"), context(answer("b"))])));
        assert!(!objects("no_trained_answer", &silent));
    }

    #[test]
    fn trained_calls_keep_to_the_declared_tools() {
        let mut example = row("s", vec![user("a"), call("1", "read", json!({"path": 3}))]);
        assert!(!objects("undeclared_tools", &example));
        let read = json!({"properties": {"path": {"type": "string"}}});
        example.trace.tools = vec![json!({"function": {"name": "read", "parameters": read}})];
        assert!(!objects("undeclared_tools", &example));
        assert!(objects("tool_arguments", &example));
        example.trace.messages[1].tool_calls[0].name = "cat".into();
        assert!(objects("undeclared_tools", &example));
        assert!(!objects("tool_arguments", &example));
        example.trace.messages[1].train = false;
        assert!(!objects("undeclared_tools", &example));
    }

    #[test]
    fn the_third_same_call_is_one_too_many() {
        let again = |id: &str| [call(id, "t", json!({"a": 1})), result(id, "r")];
        let two: Vec<_> = [vec![user("a")], again("1").into(), again("2").into()].concat();
        assert!(!objects("identical_calls", &row("s", two.clone())));
        let three = [two.clone(), again("3").into()].concat();
        assert!(objects("identical_calls", &row("s", three.clone())));
        let masked = three.into_iter().map(context).collect();
        assert!(!objects("identical_calls", &row("s", masked)));
        let other = vec![call("3", "t", json!({"a": 2})), result("3", "r")];
        assert!(!objects("identical_calls", &row("s", [two, other, again("4").into()].concat())));
    }

    #[test]
    fn repetition_counts_only_in_trained_answers() {
        let loops = "the same five words again ".repeat(20);
        assert!(objects("repetition", &chat("s", "a", &loops)));
        assert!(objects("repetition", &chat("s", "a", &"ab".repeat(150))));
        assert!(!objects("repetition", &chat("s", &loops, "fine")));
        assert!(!objects("repetition", &chat("s", "a", &prose(1, 300))));
        assert!(!objects("repetition", &chat("s", "a", "no no no no no")));
        let context = row("s", vec![user("a"), context(answer(&loops)), user("b"), answer("c")]);
        assert!(!objects("repetition", &context));
    }

    #[test]
    fn a_refusal_is_dropped_unless_it_was_made_to_be_one() {
        let mut example = chat("s", "a", "I’m sorry, but I can’t help with that request.");
        assert!(objects("refusal", &example));
        example.kind = Kind::Adversarial;
        assert!(!objects("refusal", &example));
        assert!(!objects("refusal", &chat("s", "a", "I cannot find the file; is it renamed?")));
    }

    #[test]
    fn stray_characters_and_template_text_are_found() {
        assert!(objects("control_characters", &chat("s", "a", "b\u{1b}[0m")));
        assert!(objects("control_characters", &chat("s", "a\u{7f}", "b")));
        assert!(!objects("control_characters", &chat("s", "a\r\n\tb", "c")));
        for text in ["<|im_start|>user", "x<|eot_id|>", "[INST] a", "<tool_call>{}"] {
            assert!(objects("special_token_text", &chat("s", "a", text)), "{text}");
        }
        for text in ["a <| b |> c", "<||>", "<|é|>", "a |> b", "<|"] {
            assert!(!objects("special_token_text", &chat("s", "a", text)), "{text}");
        }
        assert!(!objects("special_token_text", &chat("s", "write <tool_call>", "b")));
    }

    #[test]
    fn an_outcome_counts_for_a_session_and_what_is_made_from_it() {
        let only_good = Bounds { outcomes: vec![Outcome::Good], ..Bounds::default() };
        let mut example = chat("s", "a", "b");
        for (word, kind, objection) in [
            (Some("failed"), Kind::Real, true),
            (Some("failed"), Kind::Adversarial, true),
            (Some("failed"), Kind::Counterexample, false),
            (Some("success"), Kind::Synthetic, false),
            (None, Kind::Synthetic, false),
            (None, Kind::Real, true),
        ] {
            example.trace.outcome = word.map(String::from);
            example.kind = kind;
            assert_eq!(outcome(&example, &only_good).is_some(), objection, "{word:?} {kind:?}");
        }
    }
}
