//! The real model as something to be asked, and the real codec as a chat.

use anyhow::Result;
use serde_json::Value;

use super::{Chat, Subject};
use crate::model::{Decoding, Generator, Packed, Prompt};
use crate::progress::Observer;
use crate::tokens::{Codec, Encoded, Reply};
use crate::trace::Message;

impl Subject for Generator<'_> {
    fn generate(
        &self,
        prompts: &[Prompt],
        decoding: &Decoding,
        stop: &[u32],
        observer: &dyn Observer,
    ) -> Result<Vec<(Vec<u32>, bool)>> {
        self.answers(prompts, decoding, stop, observer)
    }

    fn loss(&self, rows: &[&Encoded]) -> Result<Vec<Vec<f64>>> {
        let each = rows.iter().map(|row| {
            let (mut places, mut targets) = (Vec::new(), Vec::new());
            for at in 1..row.ids.len() {
                if row.trained[at] {
                    places.push(at as u32 - 1);
                    targets.push(row.ids[at]);
                }
            }
            if targets.is_empty() {
                return Ok(Vec::new());
            }
            let packed = Packed::new([row.ids.as_slice()]);
            let hidden = self.decoder.forward(&packed, self.lora)?;
            self.decoder.losses(&hidden, &places, &targets)
        });
        each.collect()
    }
}

impl Chat for Codec {
    fn prompt(&self, history: &[Message], tools: &[Value]) -> Result<Vec<u32>> {
        Codec::prompt(self, history, tools)
    }

    fn encode(&self, messages: &[Message], tools: &[Value]) -> Result<Vec<Encoded>> {
        Codec::sequences(self, messages, tools)
    }

    fn parse(&self, ids: &[u32]) -> Reply {
        Codec::parse(self, ids).unwrap_or_else(|error| Reply {
            malformed: Some(format!("the answer cannot be read: {error:#}")),
            ..Reply::default()
        })
    }

    fn stop_ids(&self) -> &[u32] {
        Codec::stop_ids(self)
    }
}
