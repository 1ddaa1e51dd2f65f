//! What a counterexample says was wrong is not taught: the session it corrects comes into training
//! with it, and there the answer of that session at that place loses its train flag where it is
//! another one.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Result;

use super::{Example, Kind, Rows};
use crate::trace::Message;

/// Why such an answer is not trained.
const REASON: &str = "corrected";

/// The rows, in which no real one trains an answer that a counterexample of the same session
/// gives otherwise. Ids stay.
pub(super) fn mask(rows: &Rows) -> Result<Rows> {
    // Only looked up, never walked.
    let mut corrections: HashMap<String, Vec<Arc<Example>>> = HashMap::new();
    for row in rows.examples.iter().filter(|row| row.kind == Kind::Counterexample) {
        corrections.entry(row.session_key()).or_default().push(row.read()?);
    }
    let (mut examples, mut masked) = (Vec::with_capacity(rows.len()), 0);
    for row in rows.examples.iter() {
        let found = (row.kind == Kind::Real).then(|| corrections.get(&row.session_key()));
        let Some(corrections) = found.flatten() else {
            examples.push(row.clone());
            continue;
        };
        let mut example = row.read()?.as_ref().clone();
        let before = masked;
        for correction in corrections {
            let Some((right, history)) = correction.trace.messages.split_last() else { continue };
            let messages = &mut example.trace.messages;
            let same = messages.len() > history.len()
                && history.iter().zip(messages.iter()).all(|(a, b)| says(a) == says(b));
            if same
                && messages[history.len()].train
                && says(right) != says(&messages[history.len()])
            {
                messages[history.len()].train = false;
                masked += 1;
            }
        }
        examples.push(match masked > before {
            true => rows.pager.hold(example)?,
            false => row.clone(),
        });
    }
    if masked == 0 {
        return Ok(rows.clone());
    }
    let rows = Rows { examples: Arc::new(examples), ..rows.clone() };
    Ok(rows.noting(|account| *account.masked.entry(REASON.into()).or_default() += masked))
}

/// Who speaks and what is said, in text and in calls.
fn says(message: &Message) -> (&'static str, &str, Vec<(&str, String)>) {
    let calls = message.tool_calls.iter();
    let calls = calls.map(|c| (c.name.as_str(), serde_json::json!(c.arguments).to_string()));
    (message.role.as_str(), message.content.trim(), calls.collect())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{chat, prose, rows};
    use super::*;
    use crate::trace::Role;

    #[test]
    fn only_the_answer_that_was_corrected_is_not_trained() {
        let mut real = chat("a", &prose(1, 20), "wrong");
        real.trace.messages.extend(chat("a", "and then", "later").trace.messages);
        let other = chat("b", &prose(1, 20), "wrong");
        let mut right = chat("a", &prose(1, 20), "right");
        right.kind = Kind::Counterexample;
        let mut same = real.clone();
        same.kind = Kind::Counterexample;
        let all = rows(vec![real.clone(), other.clone(), right, same]);
        let out = mask(&all).unwrap();
        let trained = |n: usize| -> Vec<bool> {
            let example = out.examples[n].read().unwrap();
            let answers = example.trace.messages.iter().filter(|m| m.role == Role::Assistant);
            answers.map(|m| m.train).collect()
        };
        assert_eq!(out.examples[0].id, real.id);
        assert_eq!((trained(0), trained(1)), (vec![false, true], vec![true]));
        assert_eq!((trained(2), trained(3)), (vec![true], vec![true, true]));
        assert_eq!(out.account.masked["corrected"], 1);
        assert_eq!(out.stages.len(), all.stages.len());
        assert_eq!(mask(&rows(vec![other])).unwrap().account.masked.len(), 0);
    }
}
