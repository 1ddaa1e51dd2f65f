//! Facts, signals and reasons as a person says them.

/// A fact of a label, a signal of a message or a reason not to train, in words; one that has none
/// as it is.
pub fn of(word: &str) -> &str {
    WORDS.iter().find(|(known, _)| *known == word).map_or(word, |(_, words)| words)
}

#[rustfmt::skip]
const WORDS: &[(&str, &str)] = &[
    // What the agent recorded
    ("schema", "the call's arguments did not fit its tool"),
    ("unknown_tool", "there is no tool of that name"),
    ("edit_mismatch", "the text to replace was not found as given"),
    ("denied", "the call was not allowed"),
    ("aborted", "it was stopped"),
    ("tool_error", "the tool failed"),
    ("missing_result", "no result was recorded"),
    ("cleared", "later requests carried a short note in its place"),
    ("provider_error", "the model's server failed"),
    ("length", "it was cut off at the length limit"),
    ("content_filter", "a content filter stopped it"),
    ("reverted", "it was undone in the agent"),
    ("turn_succeeded", "the agent says the turn succeeded"),
    ("turn_failed", "the agent says the turn failed"),
    ("turn_interrupted", "the agent says the turn was interrupted"),
    ("shell", "a command the person ran by hand"),
    // What was seen in the session
    ("reviewed", "a person said so"),
    ("undone_by_git", "its edits were undone through git"),
    ("session_outcome", "the source says so of the whole session"),
    ("checks_passed", "tests or a build passed after the last edit"),
    ("checks_failed", "tests or a build failed after the last edit"),
    ("checks_passed_but_tests_edited", "tests passed, but tests were edited as well"),
    ("praised", "the next message praises it"),
    ("corrected", "the next message corrects it"),
    ("asked_again", "the next message asks the same again"),
    ("starred_by_the_agent", "its agent starred part of the call out, so it is not what the model wrote"),
    ("repeated_call", "the same call again and again"),
    // Why it is not trained
    ("label_good", "TRAIN_OUTCOMES leaves good answers out"),
    ("label_unknown", "TRAIN_OUTCOMES leaves unknown answers out"),
    ("label_bad", "bad answers are not trained"),
    ("teacher_denied", "TEACHERS leaves its author out"),
    ("teacher_not_allowed", "TEACHERS names others"),
    ("rolled_back", "an adapter wrote it that was taken back, and nothing says that it is good"),
    ("self_written", "the base under training wrote it, and nothing says that it is good"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Signal;

    #[test]
    fn every_signal_has_words() {
        let all = serde_json::to_value(ALL).unwrap();
        for signal in all.as_array().unwrap() {
            let word = signal.as_str().unwrap();
            assert_ne!(of(word), word);
        }
        assert_eq!(of("something_new"), "something_new");
        // The facts and reasons of the room that labels, by its source.
        let source = concat!(include_str!("../label/mod.rs"), include_str!("../label/teachers.rs"));
        let facts = source.split("noted(\"").skip(1).chain(source.split("Some(\"").skip(1));
        for fact in facts.filter_map(|rest| rest.split('"').next()) {
            assert_ne!(of(fact), fact, "no words for it");
        }
    }

    const ALL: [Signal; 16] = [
        Signal::Schema,
        Signal::UnknownTool,
        Signal::EditMismatch,
        Signal::Denied,
        Signal::Aborted,
        Signal::ToolError,
        Signal::MissingResult,
        Signal::Cleared,
        Signal::ProviderError,
        Signal::Length,
        Signal::ContentFilter,
        Signal::Reverted,
        Signal::TurnSucceeded,
        Signal::TurnFailed,
        Signal::TurnInterrupted,
        Signal::Shell,
    ];
}
