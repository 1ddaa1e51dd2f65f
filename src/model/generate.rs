//! Greedy generation with a key-value cache, several sequences at once; a sequence that ends
//! leaves the batch and the next one takes its place.

use anyhow::{Result, ensure};
use candle_core::Tensor;

use super::decoder::{Cache, Decoder, Packed};
use super::lora::Lora;
use super::ops::linear::linear;
use crate::progress::Observer;

/// A base, with or without an adapter, that answers.
pub struct Generator<'a> {
    /// The base.
    pub decoder: &'a Decoder,
    /// The adapter, where there is one.
    pub lora: Option<&'a Lora>,
    /// Sequences generated at once.
    pub batch: usize,
}

struct Answer {
    prompt: usize,
    cache: Cache,
    /// The tokens the cache has not seen yet.
    next: Vec<u32>,
    ids: Vec<u32>,
    length: usize,
}

impl Generator<'_> {
    /// Answers each prompt: the new ids without the stop token, and whether one ended it. Work is
    /// reported to `observer` prompt by prompt.
    pub fn generate(
        &self,
        prompts: &[Vec<u32>],
        max_new: usize,
        stop: &[u32],
        observer: &dyn Observer,
    ) -> Result<Vec<(Vec<u32>, bool)>> {
        let limit = self.decoder.max_positions();
        for (i, prompt) in prompts.iter().enumerate() {
            ensure!(!prompt.is_empty(), "prompt {i} is empty");
            ensure!(
                prompt.len() < limit,
                "prompt {i} has {} tokens; the model's context holds {limit}",
                prompt.len()
            );
        }
        let mut done: Vec<Option<(Vec<u32>, bool)>> = vec![None; prompts.len()];
        let mut active: Vec<Answer> = Vec::new();
        let (mut waiting, mut finished) = (0, 0);
        while finished < prompts.len() {
            observer.check()?;
            while active.len() < self.batch.max(1) && waiting < prompts.len() {
                active.push(Answer {
                    prompt: waiting,
                    cache: self.decoder.cache(),
                    next: prompts[waiting].clone(),
                    ids: Vec::new(),
                    length: prompts[waiting].len(),
                });
                waiting += 1;
            }
            let chosen = self.step(&mut active)?;
            let mut going = Vec::with_capacity(active.len());
            for (mut answer, id) in active.drain(..).zip(chosen) {
                let ended = stop.contains(&id);
                if !ended {
                    answer.ids.push(id);
                    answer.length += 1;
                }
                if ended || answer.ids.len() >= max_new || answer.length >= limit {
                    done[answer.prompt] = Some((answer.ids, ended));
                    finished += 1;
                    observer.advance(finished as u64, "");
                } else {
                    answer.next = vec![id];
                    going.push(answer);
                }
            }
            active = going;
        }
        Ok(done.into_iter().flatten().collect())
    }

    /// Feeds what each answer has not seen and picks its likeliest next token.
    fn step(&self, active: &mut [Answer]) -> Result<Vec<u32>> {
        let packed = Packed::new(active.iter().map(|a| a.next.as_slice()));
        let last: Vec<u32> = packed.sequences.iter().map(|s| s.end as u32 - 1).collect();
        let mut caches: Vec<_> = active.iter_mut().map(|a| &mut a.cache).collect();
        let hidden = self.decoder.continued(&packed, self.lora, &mut caches)?;
        let rows = Tensor::from_slice(&last, last.len(), self.decoder.device())?;
        let hidden = hidden.index_select(&rows, 0)?.detach();
        let logits = linear(&hidden, self.decoder.head())?.flatten_all()?.to_vec1::<f32>()?;
        logits.chunks_exact(self.decoder.config.vocab_size).map(likeliest).collect()
    }
}

/// The index of the largest logit, the first of equals.
fn likeliest(logits: &[f32]) -> Result<u32> {
    let mut best = 0;
    for (i, value) in logits.iter().enumerate() {
        ensure!(!value.is_nan(), "the model's output is not a number; the weights are damaged");
        if *value > logits[best] {
            best = i;
        }
    }
    Ok(best as u32)
}
