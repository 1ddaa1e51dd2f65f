//! How sessions and turns ended: what a source's word for it means, and labels with their evidence.

use serde::{Deserialize, Serialize};

/// How a session ended, as far as it can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Someone or something judged it a success.
    Good,
    /// Nobody judged it. A clean stop proves nothing.
    Unknown,
    /// It failed, was stopped or was judged wrong.
    Bad,
}

impl Outcome {
    /// The word `TRAIN_OUTCOMES` uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Good => "good",
            Outcome::Unknown => "unknown",
            Outcome::Bad => "bad",
        }
    }

    /// What a source's word means; case, blanks and hyphens do not matter.
    pub fn of(word: Option<&str>) -> Outcome {
        let Some(word) = word else { return Outcome::Unknown };
        let word = word.trim().to_ascii_lowercase().replace([' ', '-'], "_");
        let found = WORDS.iter().find(|(known, _)| *known == word);
        found.map_or(Outcome::Unknown, |(_, outcome)| *outcome)
    }
}

/// What a message of the model is worth, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// The judgement.
    pub outcome: Outcome,
    /// What it rests on, the strongest first; also what was seen but did not decide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
}

/// One reason for a label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What was seen, in one word: `tests_passed`, `corrected`, `edit_mismatch`, ….
    pub fact: String,
    /// The row of the message it was seen in.
    pub row: u64,
}

/// The words that say how a session ended. Any other word means unknown, and so do words such as
/// `completed` or `done`, which only say that it ended.
#[rustfmt::skip]
pub const WORDS: &[(&str, Outcome)] = &[
    ("good", Outcome::Good), ("success", Outcome::Good), ("succeeded", Outcome::Good),
    ("successful", Outcome::Good), ("ok", Outcome::Good), ("pass", Outcome::Good),
    ("passed", Outcome::Good), ("resolved", Outcome::Good), ("solved", Outcome::Good),
    ("accepted", Outcome::Good), ("approved", Outcome::Good), ("merged", Outcome::Good),
    ("correct", Outcome::Good), ("true", Outcome::Good),
    ("bad", Outcome::Bad), ("failure", Outcome::Bad), ("failed", Outcome::Bad),
    ("fail", Outcome::Bad), ("error", Outcome::Bad), ("errored", Outcome::Bad),
    ("crashed", Outcome::Bad), ("aborted", Outcome::Bad), ("abort", Outcome::Bad),
    ("cancelled", Outcome::Bad), ("canceled", Outcome::Bad), ("interrupted", Outcome::Bad),
    ("timeout", Outcome::Bad), ("timed_out", Outcome::Bad), ("rejected", Outcome::Bad),
    ("reverted", Outcome::Bad), ("unresolved", Outcome::Bad), ("incorrect", Outcome::Bad),
    ("wrong", Outcome::Bad), ("refused", Outcome::Bad), ("false", Outcome::Bad),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_map_to_outcomes() {
        for (word, outcome) in [
            (Some("Success"), Outcome::Good),
            (Some(" timed out "), Outcome::Bad),
            (Some("Timed-Out"), Outcome::Bad),
            (Some("completed"), Outcome::Unknown),
            (Some(""), Outcome::Unknown),
            (None, Outcome::Unknown),
        ] {
            assert_eq!(Outcome::of(word), outcome, "{word:?}");
        }
    }
}
