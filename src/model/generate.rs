//! Generation with a key-value cache, several sequences at once; a sequence that ends leaves the
//! batch and the next one takes its place. What prompts begin with in common is computed once.

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::decoder::{Cache, Decoder, Packed, TILE};
use super::lora::Lora;
use super::ops::lanes::{largest, wide};
use super::ops::linear::linear;
use super::ops::read;
use super::ops::{Precision, few_rows};
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

/// Fewer tokens in common are not worth keeping.
const SHARED: usize = 16;
/// Tokens of new prompts that are fed at a time, one prompt at least: on a CPU in f32 as many as
/// are multiplied without unpacking the weights.
pub fn fed_at_once(decoder: &Decoder) -> usize {
    match decoder.device().is_cpu() && decoder.precision() == Precision::Full {
        true => few_rows::MOST,
        false => TILE,
    }
}

/// What the prompts last begun have in common.
struct Beginning<'a> {
    ids: &'a [u32],
    cache: Cache,
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
        // On a thread of the pool, which others of it then help; from outside, every product
        // would have to wake them.
        match self.decoder.device().is_cpu() {
            true => rayon::scope(|_| self.all(prompts, decoding, stop, observer)),
            false => self.all(prompts, decoding, stop, observer),
        }
    }

    fn all(
        &self,
        prompts: &[Prompt],
        decoding: &Decoding,
        stop: &[u32],
        observer: &dyn Observer,
    ) -> Result<Vec<(Vec<u32>, bool)>> {
        let limit = self.decoder.max_positions();
        // In this order, prompts that begin alike are neighbours.
        let mut waiting: Vec<usize> = (0..prompts.len()).collect();
        waiting.sort_by_key(|i| prompts[*i].ids);
        let mut waiting = waiting.as_slice();
        let mut begun = Beginning { ids: &[], cache: self.decoder.cache() };
        let mut done: Vec<Option<(Vec<u32>, bool)>> = vec![None; prompts.len()];
        let mut active: Vec<Answer> = Vec::new();
        let mut finished = 0;
        while finished < prompts.len() {
            observer.check()?;
            let free = self.batch.max(1) - active.len();
            let mut new = self.begin(prompts, &mut waiting, free, &mut begun)?;
            // New prompts first catch up with the rest.
            let fed = if new.is_empty() { &mut active } else { &mut new };
            let chosen = self.step(fed, decoding)?;
            let mut going = Vec::with_capacity(fed.len());
            for (mut answer, id) in fed.drain(..).zip(chosen) {
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
            active.append(&mut going);
        }
        Ok(done.into_iter().flatten().collect())
    }

    /// The next waiting prompts, at most `free` of them, each with what is known of its beginning.
    fn begin<'p>(
        &self,
        prompts: &[Prompt<'p>],
        waiting: &mut &[usize],
        free: usize,
        begun: &mut Beginning<'p>,
    ) -> Result<Vec<Answer>> {
        let common = |a: &[u32], b: &[u32]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
        let (mut new, mut fed) = (Vec::new(), 0);
        while let Some((prompt, others)) = waiting.split_first()
            && new.len() < free
        {
            let Prompt { ids, seed } = prompts[*prompt];
            // The last token is always fed: its output is what is wanted.
            let most = ids.len() - 1;
            let mut known = common(begun.ids, ids).min(most);
            let next = others.first().map_or(0, |other| common(ids, prompts[*other].ids).min(most));
            let grows = next >= known + SHARED;
            if fed > 0 && fed + ids.len() - known > fed_at_once(self.decoder) {
                break;
            }
            if grows {
                let mut cache = self.decoder.beginning(&begun.cache, known)?;
                let packed = Packed::new([&ids[known..next]]);
                self.decoder.continued(&packed, self.lora, &mut [&mut cache])?;
                known = next;
                *begun = Beginning { ids: &ids[..known], cache };
            }
            new.push(Answer {
                prompt: *prompt,
                chance: Chance::resume(seed),
                cache: self.decoder.beginning(&begun.cache, known)?,
                next: ids[known..].to_vec(),
                ids: Vec::new(),
                length: ids.len(),
            });
            fed += ids.len() - known;
            *waiting = others;
        }
        Ok(new)
    }

    /// Feeds what each answer has not seen and chooses its next token.
    fn step(&self, active: &mut [Answer], decoding: &Decoding) -> Result<Vec<u32>> {
        let packed = Packed::new(active.iter().map(|a| a.next.as_slice()));
        let last: Vec<u32> = packed.sequences.iter().map(|s| s.end as u32 - 1).collect();
        let mut caches: Vec<_> = active.iter_mut().map(|a| &mut a.cache).collect();
        let hidden = self.decoder.continued(&packed, self.lora, &mut caches)?;
        let rows = Tensor::from_slice(&last, last.len(), self.decoder.device())?;
        let hidden = hidden.index_select(&rows, 0)?.detach();
        let logits = linear(&hidden, self.decoder.head())?.to_device(&Device::Cpu)?;
        let choose = |(row, answer): (&[f32], &mut Answer)| match decoding.temperature {
            0.0 => likeliest(row),
            _ => drawn(row, decoding, &mut answer.chance),
        };
        let rows = |logits: &[f32]| {
            let rows = logits.par_chunks_exact(self.decoder.config.vocab_size);
            rows.zip(active.par_iter_mut()).map(choose).collect()
        };
        read(&logits, rows)?
    }
}

/// The index of the largest logit, the first of equals.
fn likeliest(logits: &[f32]) -> Result<u32> {
    let (most, damaged) = wide(
        #[inline(always)]
        || (largest(logits), logits.iter().fold(false, |damaged, v| damaged | v.is_nan())),
    );
    ensure!(!damaged, "the model's output is not a number; the weights are damaged");
    Ok(logits.iter().position(|value| *value == most).unwrap_or(0) as u32)
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
    use crate::model::config::{Architecture, ModelConfig, RopeScaling};
    use crate::progress::Silent;

    fn decoder() -> Decoder {
        let config = ModelConfig {
            architecture: Architecture::Llama,
            vocab_size: 50,
            hidden_size: 16,
            intermediate_size: 24,
            num_layers: 2,
            num_heads: 4,
            num_kv_heads: 2,
            head_dim: 4,
            rope_theta: 10_000.0,
            rope_scaling: RopeScaling::None,
            window: None,
            rms_norm_eps: 1e-5,
            max_positions: 512,
            tie_word_embeddings: true,
            bos: Some(1),
            eos: vec![2],
            pad: Some(2),
        };
        Decoder::fresh(config, 5).unwrap()
    }

    /// Prompts of which some begin alike, and some of these again; one is there twice.
    fn alike() -> Vec<Vec<u32>> {
        let part = |seed: u32, n: u32| (0..n).map(move |i| 3 + (seed * 7 + i * i * 5) % 47);
        let joined = |parts: &[(u32, u32)]| parts.iter().flat_map(|(s, n)| part(*s, *n)).collect();
        vec![
            joined(&[(1, 40), (2, 30), (3, 5)]),
            joined(&[(9, 25)]),
            joined(&[(1, 40), (4, 6)]),
            joined(&[(1, 40), (2, 30), (5, 7)]),
            joined(&[(1, 40), (2, 30), (3, 5)]),
            joined(&[(1, 40), (6, 3)]),
        ]
    }

    #[test]
    fn what_prompts_begin_with_is_fed_once() {
        let decoder = decoder();
        let generator = Generator { decoder: &decoder, lora: None, batch: 6 };
        let ids = alike();
        let prompts: Vec<Prompt> = ids.iter().map(|ids| Prompt { ids, seed: 0 }).collect();
        let mut order: Vec<usize> = (0..prompts.len()).collect();
        order.sort_by_key(|i| prompts[*i].ids);
        let mut begun = Beginning { ids: &[], cache: decoder.cache() };
        let mut waiting = order.as_slice();
        let new = generator.begin(&prompts, &mut waiting, 6, &mut begun).unwrap();
        let mut fed: Vec<(usize, usize)> = new.iter().map(|a| (a.prompt, a.next.len())).collect();
        fed.sort();
        // Of the two that are the same one is known but for its last token.
        assert_eq!(fed[1], (1, 25));
        assert_eq!([fed[2].1, fed[5].1], [6, 3]);
        assert_eq!((fed[0].1, fed[3].1, fed[4].1), (1, 7, 1));
        assert!(waiting.is_empty());
    }

    #[test]
    fn answers_are_the_same_with_and_without_a_shared_beginning() {
        let decoder = decoder();
        let ids = alike();
        let alone: Vec<(Vec<u32>, bool)> = ids
            .iter()
            .map(|ids| {
                let generator = Generator { decoder: &decoder, lora: None, batch: 1 };
                generator.generate(std::slice::from_ref(ids), 12, &[2], &Silent).unwrap().remove(0)
            })
            .collect();
        for batch in [1, 2, 6] {
            let generator = Generator { decoder: &decoder, lora: None, batch };
            assert_eq!(generator.generate(&ids, 12, &[2], &Silent).unwrap(), alone, "{batch}");
        }
    }

    #[test]
    fn the_likeliest_is_the_first_of_equals_and_never_not_a_number() {
        let mut logits = vec![-3.0; 40];
        (logits[7], logits[33]) = (1.5, 1.5);
        assert_eq!(likeliest(&logits).unwrap(), 7);
        assert_eq!(likeliest(&[f32::NEG_INFINITY; 20]).unwrap(), 0);
        logits[39] = f32::NAN;
        assert!(likeliest(&logits).unwrap_err().to_string().contains("not a number"));
    }

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
