//! Generation with a key-value cache, several sequences at once; a sequence that ends leaves the
//! batch and the next one takes its place.

use anyhow::{Result, ensure};
use candle_core::Tensor;

use super::decoder::{Cache, Decoder, Packed};
use super::lora::Lora;
use super::ops::linear::linear;
use crate::chance::Chance;
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

/// How the next token is chosen, and how many at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decoding {
    /// Longest answer, in tokens.
    pub max_new: usize,
    /// The likeliest token at 0; else tokens are drawn by their probabilities to the power of its
    /// reciprocal.
    pub temperature: f64,
    /// Only the likeliest tokens that together have this share are drawn.
    pub top_p: f64,
}

impl Decoding {
    /// The likeliest token, always.
    pub fn greedy(max_new: usize) -> Decoding {
        Decoding { max_new, temperature: 0.0, top_p: 1.0 }
    }
}

/// What is to be answered.
#[derive(Debug, Clone, Copy)]
pub struct Prompt<'a> {
    /// Its tokens.
    pub ids: &'a [u32],
    /// The seed of what is drawn for it.
    pub seed: u64,
}

struct Answer {
    prompt: usize,
    chance: Chance,
    cache: Cache,
    /// The tokens the cache has not seen yet.
    next: Vec<u32>,
    ids: Vec<u32>,
    length: usize,
}

impl Generator<'_> {
    /// [`Generator::answers`], the likeliest.
    pub fn generate(
        &self,
        prompts: &[Vec<u32>],
        max_new: usize,
        stop: &[u32],
        observer: &dyn Observer,
    ) -> Result<Vec<(Vec<u32>, bool)>> {
        let prompts: Vec<Prompt> = prompts.iter().map(|ids| Prompt { ids, seed: 0 }).collect();
        self.answers(&prompts, &Decoding::greedy(max_new), stop, observer)
    }

    /// Answers each prompt: the new ids without the stop token, and whether one ended it. Work is
    /// reported to `observer` prompt by prompt.
    pub fn answers(
        &self,
        prompts: &[Prompt],
        decoding: &Decoding,
        stop: &[u32],
        observer: &dyn Observer,
    ) -> Result<Vec<(Vec<u32>, bool)>> {
        let limit = self.decoder.max_positions();
        for (i, prompt) in prompts.iter().enumerate() {
            let n = prompt.ids.len();
            ensure!(n > 0, "prompt {i} is empty");
            ensure!(n < limit, "prompt {i} has {n} tokens; the model's context holds {limit}");
        }
        let mut done: Vec<Option<(Vec<u32>, bool)>> = vec![None; prompts.len()];
        let mut active: Vec<Answer> = Vec::new();
        let (mut waiting, mut finished) = (0, 0);
        while finished < prompts.len() {
            observer.check()?;
            while active.len() < self.batch.max(1) && waiting < prompts.len() {
                let Prompt { ids, seed } = prompts[waiting];
                active.push(Answer {
                    prompt: waiting,
                    chance: Chance::resume(seed),
                    cache: self.decoder.cache(),
                    next: ids.to_vec(),
                    ids: Vec::new(),
                    length: ids.len(),
                });
                waiting += 1;
            }
            let chosen = self.step(&mut active, decoding)?;
            let mut going = Vec::with_capacity(active.len());
            for (mut answer, id) in active.drain(..).zip(chosen) {
                let ended = stop.contains(&id);
                if !ended {
                    answer.ids.push(id);
                    answer.length += 1;
                }
                if ended || answer.ids.len() >= decoding.max_new || answer.length >= limit {
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

    /// Feeds what each answer has not seen and chooses its next token.
    fn step(&self, active: &mut [Answer], decoding: &Decoding) -> Result<Vec<u32>> {
        let packed = Packed::new(active.iter().map(|a| a.next.as_slice()));
        let last: Vec<u32> = packed.sequences.iter().map(|s| s.end as u32 - 1).collect();
        let mut caches: Vec<_> = active.iter_mut().map(|a| &mut a.cache).collect();
        let hidden = self.decoder.continued(&packed, self.lora, &mut caches)?;
        let rows = Tensor::from_slice(&last, last.len(), self.decoder.device())?;
        let hidden = hidden.index_select(&rows, 0)?.detach();
        let logits = linear(&hidden, self.decoder.head())?.flatten_all()?.to_vec1::<f32>()?;
        let rows = logits.chunks_exact(self.decoder.config.vocab_size);
        let choose = |(row, answer): (&[f32], &mut Answer)| match decoding.temperature {
            0.0 => likeliest(row),
            _ => drawn(row, decoding, &mut answer.chance),
        };
        rows.zip(active).map(choose).collect()
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

/// A token drawn by its probability. The arithmetic is the same on every machine.
fn drawn(logits: &[f32], decoding: &Decoding, chance: &mut Chance) -> Result<u32> {
    let most = f64::from(logits[likeliest(logits)? as usize]);
    let weight = |(i, logit): (usize, &f32)| {
        (libm::exp((f64::from(*logit) - most) / decoding.temperature), i as u32)
    };
    // What is this unlikely is never drawn in practice, and need not be sorted.
    let mut weights: Vec<(f64, u32)> =
        logits.iter().enumerate().map(weight).filter(|(weight, _)| *weight > 1e-12).collect();
    weights.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let sum = |weights: &[(f64, u32)]| weights.iter().map(|(weight, _)| weight).sum::<f64>();
    let mut left = decoding.top_p * sum(&weights);
    let kept = weights.iter().take_while(|(weight, _)| {
        let open = left > 0.0;
        left -= weight;
        open
    });
    let kept = kept.count().max(1);
    weights.truncate(kept);
    let mut at = chance.unit() * sum(&weights);
    let found = weights.iter().find(|(weight, _)| {
        at -= weight;
        at < 0.0
    });
    Ok(found.unwrap_or(&weights[kept - 1]).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(temperature: f64, top_p: f64) -> Vec<f64> {
        let logits: Vec<f32> = [0.4f32, 0.1, 0.3, 0.2].iter().map(|p| p.ln()).collect();
        let decoding = Decoding { max_new: 1, temperature, top_p };
        let mut chance = Chance::new(3, "draws");
        let mut counts = vec![0.0; 4];
        for _ in 0..20_000 {
            counts[drawn(&logits, &decoding, &mut chance).unwrap() as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    #[test]
    fn tokens_are_drawn_by_their_probabilities() {
        let near = |a: Vec<f64>, b: [f64; 4]| {
            assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 0.02), "{a:?}");
        };
        near(shares(1.0, 1.0), [0.4, 0.1, 0.3, 0.2]);
        // Squared and scaled to one.
        near(shares(0.5, 1.0), [0.533, 0.033, 0.3, 0.133]);
        near(shares(1.0, 0.65), [0.571, 0.0, 0.429, 0.0]);
        near(shares(1.0, 0.01), [1.0, 0.0, 0.0, 0.0]);
    }
}
