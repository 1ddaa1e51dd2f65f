//! What is mended rather than dropped.

use super::super::{Example, schema};
use crate::trace::{Message, Role};

/// Mends an example, or gives none when nothing is wrong; with it the names of what was mended.
///
/// - `trimmed_end`: messages after the last assistant turn can teach nothing and are cut off.
/// - `masked_call`: a trained call of an undeclared tool or against its schema is kept in the
///   context but no longer trained, as long as another answer still is: what the model learned
///   from its mistake is in the turns after it.
pub fn mend(example: &Example) -> Option<(Example, Vec<&'static str>)> {
    let messages = &example.trace.messages;
    let spoken = |m: &Message| m.role == Role::Assistant;
    let end = messages.iter().rposition(spoken).map_or(messages.len(), |last| last + 1);
    let wrong: Vec<usize> =
        (0..end).filter(|i| messages[*i].train && calls_wrongly(example, &messages[*i])).collect();
    let trained = messages[..end].iter().filter(|m| m.train).count();
    let mask = !wrong.is_empty() && wrong.len() < trained;
    if end == messages.len() && !mask {
        return None;
    }
    let mut mended = example.clone();
    let mut what = Vec::new();
    if end < messages.len() {
        mended.trace.messages.truncate(end);
        what.push("trimmed_end");
    }
    if mask {
        for at in wrong {
            mended.trace.messages[at].train = false;
        }
        what.push("masked_call");
    }
    Some((mended, what))
}

fn calls_wrongly(example: &Example, message: &Message) -> bool {
    !example.trace.tools.is_empty()
        && message.tool_calls.iter().any(|call| match schema::declared(example, &call.name) {
            Some(function) => schema::violation(function, call).is_some(),
            None => true,
        })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{call, result, row};
    use super::*;
    use serde_json::json;

    fn session() -> Example {
        let mut example = row(
            "s",
            vec![
                Message::text(Role::User, "read it"),
                call("c1", "raed", json!({})),
                result("c1", "unknown tool"),
                call("c2", "read", json!({"path": "a"})),
                result("c2", "text"),
            ],
        );
        let parameters = json!({"properties": {"path": {"type": "string"}}, "required": ["path"]});
        example.trace.tools = vec![json!({"function": {"name": "read", "parameters": parameters}})];
        example
    }

    #[test]
    fn a_wrong_call_is_masked_and_a_loose_end_cut() {
        let (mended, what) = mend(&session()).unwrap();
        assert_eq!(what, ["trimmed_end", "masked_call"]);
        assert_eq!(mended.trace.messages.len(), 4);
        let trained: Vec<bool> = mended.trace.messages.iter().map(|m| m.train).collect();
        assert_eq!(trained, [false, false, false, true]);
        assert!(mend(&mended).is_none());
    }

    #[test]
    fn a_row_with_only_wrong_calls_is_left_to_the_rules() {
        let mut example = session();
        example.trace.messages.truncate(2);
        assert!(mend(&example).is_none());
    }
}
