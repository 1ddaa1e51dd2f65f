//! What a mask must hold before anything is trained on it.
//!
//! What a template, the tokenizer or the context cannot carry is refused while encoding. This is
//! the second look, at what came out: an answer that was to be trained and is not would be
//! silently without effect, and one whose end is not trained teaches never to stop.

use anyhow::{Context, Result, ensure};

use crate::tokens::Encoded;
use crate::trace::{Message, Role};

/// Refuses an example whose masks do not train what its messages say, once, naming the message.
pub(super) fn check(messages: &[Message], rows: &[&Encoded]) -> Result<()> {
    for (at, _) in messages.iter().enumerate().filter(|(_, m)| m.train && m.role == Role::Assistant)
    {
        let masks = rows.iter().flat_map(|row| {
            let turns = row.turns.iter().filter(|turn| turn.message == at);
            turns.map(|turn| &row.trained[turn.tokens.clone()])
        });
        let mut masks = masks.filter(|mask| mask.contains(&true));
        let mask = masks.next().with_context(|| {
            format!(
                "message {} is to be trained, but no token of it is; take it out of the row or \
                 mend the chat template",
                at + 1
            )
        })?;
        ensure!(masks.next().is_none(), "message {} would be trained more than once", at + 1);
        ensure!(
            mask.last() == Some(&true),
            "the end of turn of message {} is not trained, so the model would not learn to stop; \
             mend the chat template",
            at + 1
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::Turn;

    fn refusal(trained: [bool; 5], turn: Option<std::ops::Range<usize>>) -> Option<String> {
        let mut answer = Message::text(Role::Assistant, "yes");
        answer.train = true;
        let messages = [Message::text(Role::User, "is it"), answer];
        let turns = turn.map(|tokens| Turn { message: 1, tokens }).into_iter().collect();
        let row = Encoded { ids: vec![7; 5], trained: trained.to_vec(), turns };
        check(&messages, &[&row]).err().map(|e| e.to_string())
    }

    #[test]
    fn an_answer_without_its_end_or_without_any_token_is_refused() {
        let all = [false, false, true, true, true];
        assert_eq!(refusal(all, Some(2..5)), None);
        let open = refusal([false, false, true, true, false], Some(2..5)).unwrap();
        assert!(open.contains("end of turn of message 2"), "{open}");
        let lost = refusal([false; 5], Some(2..5)).unwrap();
        assert!(lost.contains("message 2 is to be trained, but no token"), "{lost}");
        assert_eq!(refusal(all, None), Some(lost), "a turn that the template lost");
    }
}
