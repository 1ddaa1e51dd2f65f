//! A conversation on its way through a chat template: where its answers stand in the text.

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use minijinja::Value;
use xxhash_rust::xxh3::xxh3_128;

use super::codec::{Codec, place, template_message};
use super::{Encoded, Turn};
use crate::trace::{Message, Role};

/// An assistant turn as it is asked for and answered.
pub(super) struct Served {
    /// Its index.
    pub message: usize,
    /// The answer with its end-of-turn token, in the text up to it.
    answer: Range<usize>,
    /// A digest of the text up to the answer's end.
    digest: u128,
}

impl Served {
    /// Whether the text begins with this turn's prompt and answer.
    fn stands_in(&self, text: &str) -> bool {
        let begins = text.as_bytes().get(..self.answer.end);
        begins.is_some_and(|begins| xxh3_128(begins) == self.digest)
    }
}

/// A conversation on its way through the template.
pub(super) struct Talk<'a> {
    codec: &'a Codec,
    messages: &'a [Message],
    values: Vec<Value>,
    tools: Option<Value>,
}

impl<'a> Talk<'a> {
    pub fn new(
        codec: &'a Codec,
        messages: &'a [Message],
        tools: &[serde_json::Value],
    ) -> Result<Talk<'a>> {
        codec.check_tools(messages, tools)?;
        let values = messages.iter().map(template_message).collect();
        let tools = (!tools.is_empty()).then(|| Value::from_serialize(tools));
        Ok(Talk { codec, messages, values, tools })
    }

    /// The first `n` messages as text.
    pub fn render(&self, n: usize, prompt: bool) -> Result<String> {
        let render =
            |n: usize| self.codec.template.render(&self.values[..n], self.tools.as_ref(), prompt);
        render(n).map_err(|error| {
            // A template may want more than a few messages, so the last that it took counts.
            let taken = (1..n).rev().find(|n| render(*n).is_ok());
            let place = taken.map_or("the conversation".into(), |at| place(self.messages, at));
            error.context(format!(
                "{place} does not go through the chat template; leave the row out or set \
                 CHAT_TEMPLATE=hermes"
            ))
        })
    }

    /// The assistant's turns. One that the template cannot ask for is left out, unless it is to be
    /// trained: that is an error.
    pub fn turns(&self, train: bool) -> Result<Vec<Served>> {
        let answers = self.messages.iter().enumerate().filter(|(_, m)| m.role == Role::Assistant);
        let served = answers.filter_map(|(k, message)| match self.turn(k) {
            Err(_) if !(train && message.train) => None,
            served => Some(served),
        });
        served.collect()
    }

    fn turn(&self, k: usize) -> Result<Served> {
        let end_text = &self.codec.end_text;
        let before = self.render(k, true)?;
        let through = self.render(k + 1, false)?;
        let answer = through.strip_prefix(&before).with_context(|| {
            format!(
                "{}: the chat template shows this answer differently than it asks for it; set \
                 CHAT_TEMPLATE=hermes or to another",
                place(self.messages, k)
            )
        })?;
        let end = answer.find(end_text).with_context(|| {
            format!(
                "{}: the chat template does not end this turn with {end_text}; set CHAT_TEMPLATE \
                 to another",
                place(self.messages, k)
            )
        })?;
        ensure!(
            answer.rfind(end_text) == Some(end),
            "{}: the text of this answer contains the end-of-turn token {end_text}, which the \
             model could never have written",
            place(self.messages, k)
        );
        let answer = before.len()..before.len() + end + end_text.len();
        let digest = xxh3_128(&through.as_bytes()[..answer.end]);
        Ok(Served { message: k, answer, digest })
    }

    /// A text as token ids, cut at the turns that stand in it. Those in `wanted` are trained.
    pub fn tokens(&self, text: &str, turns: &[Served], wanted: &[usize]) -> Result<Encoded> {
        let codec = self.codec;
        let mut encoded = Encoded::default();
        let mut at = 0;
        for turn in turns.iter().filter(|turn| turn.stands_in(text)) {
            codec.append(&text[at..turn.answer.start], &mut encoded)?;
            let start = encoded.ids.len();
            let answer = &text[turn.answer.clone()];
            codec.append(answer, &mut encoded)?;
            let message = turn.message;
            if wanted.contains(&message) {
                codec.check_calls(self.messages, turn, answer)?;
                if encoded.ids.last() != Some(&codec.end_id) {
                    bail!("{}: the end of turn is not one token", place(self.messages, message));
                }
                codec.mark(answer, &mut encoded.trained[start..])?;
            }
            encoded.turns.push(Turn { message, tokens: start..encoded.ids.len() });
            at = turn.answer.end;
        }
        codec.append(&text[at..], &mut encoded)?;
        Ok(encoded)
    }
}
