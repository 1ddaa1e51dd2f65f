//! The real model as something to be asked, and the real codec as a chat.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{Chat, Subject};
use crate::model::{Decoding, Generator, Packed, Prompt};
use crate::progress::Observer;
use crate::tokens::{Codec, Encoded, Reply};
use crate::trace::Message;
use crate::train::memory;

impl Subject for Generator<'_> {
    fn prepare(&self, longest: usize, max_new: usize, observer: &dyn Observer) -> Result<()> {
        let answers = self.batch.max(1);
        let needed = memory::answering(self.decoder, answers, longest, max_new) + memory::SLACK;
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        observer.say(&format!(
            "evaluate: about {} MiB more, for {answers} answers at a time to prompts of up to \
             {longest} tokens",
            mib(needed)
        ));
        let on_card = self.decoder.device().is_cuda();
        if let Some(free) = memory::free_bytes(on_card)? {
            ensure!(
                needed <= free,
                "evaluation needs about {} MiB more and {} MiB are free {}; lower EVAL_BATCH_SIZE \
                 or EVAL_MAX_NEW_TOKENS, or leave the longest items out of EVAL_FILES",
                mib(needed),
                mib(free),
                if on_card { "on the card" } else { "on this machine" }
            );
        }
        Ok(())
    }

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
