//! Which answers a person should be asked about: those whose label would teach most.
//!
//! | score | answer |
//! |---|---|
//! | 5 | the person corrected it, asked again, undid it, denied a call of it or stopped it |
//! | 4 | the last of a turn whose checks failed |
//! | 3 | the last of a turn that edited something, and nothing says how good it was |
//! | 2 | the last of any other turn of which nothing is known |
//! | 1 | a step that went wrong by itself: wrong arguments, an edit that does not match, a loop |
//!
//! The first two hold mistakes that only the person can put right; the others are known to be
//! right or wrong already, or matter less. Answers that are good by evidence, those a person
//! judged or wrote, and those that say nothing are not asked about.

use super::reviews::{HUMAN, REVIEWED};
use super::{asks, checks, steps};
use crate::trace::{Label, Outcome, Trace};

/// An answer to ask about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Its place among the session's messages.
    pub at: usize,
    /// Where its turn begins: the place of the question that it answers.
    pub asked: usize,
    /// Where its turn ends: the place after its last message.
    pub end: usize,
    /// How much a verdict would teach, from 1 to 5.
    pub score: u8,
}

/// Facts that say that the person objected.
const OBJECTED: [&str; 4] = ["corrected", "asked_again", "denied", "aborted"];
/// Facts that hold for a whole turn: its last answer is asked about.
const UNDONE: [&str; 3] = ["reverted", "undone_by_git", "turn_interrupted"];

/// The answers of a labelled session to ask about, the most telling first, else the latest first.
pub fn questions(trace: &Trace) -> Vec<Question> {
    let messages = &trace.messages;
    let starts: Vec<usize> = (0..messages.len()).filter(|at| asks(&messages[*at])).collect();
    let mut found = Vec::new();
    for (n, asked) in starts.iter().copied().enumerate() {
        let end = starts.get(n + 1).copied().unwrap_or(messages.len());
        let steps = steps(messages, asked + 1, end);
        let edited = !checks::edited(&messages[asked..end]).is_empty();
        let last = steps.last().map(|step| step.at);
        for at in steps.iter().map(|step| step.at) {
            let message = &messages[at];
            let silent = message.content.trim().is_empty() && message.tool_calls.is_empty();
            let Some(label) = &message.label else { continue };
            let human = message.author.as_deref() == Some(HUMAN) || says(label, &[REVIEWED]);
            if silent || human {
                continue;
            }
            if let Some(score) = score(label, last == Some(at), edited) {
                found.push(Question { at, asked, end, score });
            }
        }
    }
    found.sort_by_key(|question| (std::cmp::Reverse(question.score), messages.len() - question.at));
    found
}

fn says(label: &Label, facts: &[&str]) -> bool {
    label.evidence.iter().any(|evidence| facts.contains(&evidence.fact.as_str()))
}

fn score(label: &Label, last: bool, edited: bool) -> Option<u8> {
    let objected = says(label, &OBJECTED) || (last && says(label, &UNDONE));
    match label.outcome {
        Outcome::Good => None,
        _ if objected => Some(5),
        Outcome::Bad if last && says(label, &["checks_failed"]) => Some(4),
        Outcome::Unknown if last && edited => Some(3),
        Outcome::Unknown if last => Some(2),
        Outcome::Unknown => None,
        // What only its turn makes bad is asked about once, at the turn's end.
        Outcome::Bad => (last || of_its_own(label)).then_some(1),
    }
}

/// Whether a bad step is bad by itself and not because of its turn.
fn of_its_own(label: &Label) -> bool {
    let of_the_turn =
        ["session_outcome", "checks_failed", "reverted", "undone_by_git"].map(String::from);
    label.evidence.first().is_some_and(|first| !of_the_turn.contains(&first.fact))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::label;
    use super::*;
    use crate::trace::{Evidence, Message, Role, Signal, ToolCall};

    fn user(text: &str) -> Message {
        Message::text(Role::User, text)
    }

    fn answer(text: &str) -> Message {
        Message::text(Role::Assistant, text)
    }

    fn called(
        id: &str,
        name: &str,
        arguments: serde_json::Value,
        signal: &[Signal],
    ) -> [Message; 2] {
        let mut call = answer("");
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        call.tool_calls.push(ToolCall { id: id.into(), name: name.into(), arguments });
        let mut result = Message::text(Role::Tool, "output");
        result.tool_call_id = Some(id.into());
        signal.iter().for_each(|signal| result.note(*signal));
        [call, result]
    }

    /// Place and score of every question about a session.
    fn asked(parts: &[&[Message]]) -> Vec<(usize, u8)> {
        let mut trace = Trace { messages: parts.concat(), ..Trace::default() };
        label(&mut trace);
        questions(&trace).iter().map(|q| (q.at, q.score)).collect()
    }

    #[test]
    fn corrections_come_first_and_the_latest_of_equals() {
        let edit = called("e", "edit", json!({"filePath": "a.rs"}), &[]);
        let parts: [&[Message]; 3] = [
            &[user("what is this"), answer("A port."), user("rename it")],
            &edit,
            &[
                answer("Done."),
                user("add docs"),
                answer("Added."),
                user("No, shorter"),
                answer("Ok."),
            ],
        ];
        // 1: unknown, 5: edited something, 7: corrected, 9: unknown.
        assert_eq!(asked(&parts), [(7, 5), (5, 3), (9, 2), (1, 2)]);
    }

    #[test]
    fn what_was_denied_comes_before_failed_checks_and_those_before_a_wrong_call() {
        let edit = called("e", "edit", json!({"filePath": "a.rs"}), &[]);
        let mut failed = called("t", "bash", json!({"command": "cargo test"}), &[]);
        failed[1].exit = Some(1);
        let wrong = called("w", "edit", json!({}), &[Signal::Schema]);
        let denied = called("d", "bash", json!({"command": "rm -r x"}), &[Signal::Denied]);
        let parts: [&[Message]; 6] =
            [&[user("fix it")], &wrong, &denied, &edit, &failed, &[answer("Fixed.")]];
        assert_eq!(asked(&parts), [(3, 5), (9, 4), (1, 1)]);
    }

    #[test]
    fn what_is_known_or_says_nothing_is_not_asked_about() {
        assert_eq!(asked(&[&[user("add"), answer("Added."), user("thanks"), answer(" ")]]), []);
        let mut human = answer("Mine.");
        human.author = Some(HUMAN.into());
        assert_eq!(asked(&[&[user("add"), human]]), []);
        let mut judged = answer("b");
        let evidence = vec![Evidence { fact: REVIEWED.into(), row: 1 }];
        judged.label = Some(Label { outcome: Outcome::Bad, evidence });
        assert_eq!(asked(&[&[user("a"), judged, user("No, that's wrong"), answer("c")]]), [(3, 2)]);
    }
}
