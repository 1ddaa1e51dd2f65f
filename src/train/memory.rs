//! How much memory a training takes, before it begins.
//!
//! All figures are of the largest micro-batch: `n` tokens in a model of `h` hidden, `i` inner, `q`
//! query and `v` key widths. What one layer holds for its backward are its input, the stream
//! between its halves, its first norm and what that half adds (4 h), queries and mixed values
//! (2 q), keys and values (2 v), both factors of the second half (2 i). Beside that, while it is
//! differentiated, at most: the gradients and rotated copies of the first half, or the second's
//! for a tile of rows; and before that the head's logits.

use anyhow::Result;

use super::resident;
use super::settings::Settings;
use crate::model::config::ModelConfig;
use crate::model::decoder::TILE;
use crate::model::generate::fed_at_once;
use crate::model::ops::cross_entropy::LOGITS;
#[cfg(feature = "cuda")]
use crate::model::ops::cuda;
use crate::model::ops::{Precision, attention};
use crate::model::{Decoder, Keep};

/// Bytes of an f32.
const F32: u64 = 4;
/// What the threads' stacks and all that is small take beside everything that is counted.
pub const SLACK: u64 = 24 << 20;

/// Logits that the head of a base on the CPU holds at a time, of so many rows.
fn chunk(decoder: &Decoder, rows: usize) -> usize {
    let most = match decoder.precision() {
        Precision::Full => LOGITS,
        Precision::Half => 2 * LOGITS,
    };
    most.max(decoder.config.vocab_size).min(rows * decoder.config.vocab_size)
}

/// What the allocator of a CPU keeps of what comes and goes: at most a fifth of it was seen with
/// activations from 120 to 430 MiB, and some 30 MiB more where there are few.
fn kept_by_allocator(coming_and_going: u64) -> u64 {
    (32 << 20) + coming_and_going / 4
}

/// What the first half of a layer holds for each token, in numbers.
fn first_half(c: &ModelConfig) -> usize {
    let (h, q, v) = (c.hidden_size, c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim);
    let mut numbers = 4 * h + 2 * q + 2 * v;
    if c.architecture.norms_heads() {
        numbers += q + v;
    }
    if c.architecture.has_biases() {
        numbers += q + 2 * v;
    }
    numbers
}

/// What it takes beside the weights to give so many answers at once, in bytes: to prompts of at
/// most `longest` tokens, with at most `new` tokens each; and to measure the loss of a row as long.
pub fn answering(decoder: &Decoder, answers: usize, longest: usize, new: usize) -> u64 {
    let c = &decoder.config;
    let (h, i) = (c.hidden_size, c.intermediate_size);
    let (q, v) = (c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim);
    // A layer's first half holds its input, queries, keys and values, what is rotated of them and
    // the mixed values twice; its second the stream, twice where tiles are joined, and a tile.
    let layer = |tokens: usize| {
        let tile = tokens.min(TILE) * (3 * i + 3 * h);
        (tokens * (h + 4 * q + 3 * v)).max(tokens * 3 * h + tile)
    };
    // A block of queries against all keys, on each thread.
    let scores = rayon::current_num_threads() * attention::BLOCK * (longest + new);
    // Two caches more hold what prompts begin with in common, and take its place. They grow by
    // some rows.
    let cached = (answers + 2) * (longest + new + 64) * c.num_layers * 2 * v;
    let fed = (answers * longest).min(fed_at_once(decoder)).max(longest).max(answers);
    let mut asked = cached + layer(fed) + 2 * answers * c.vocab_size;
    if decoder.device().is_cpu() {
        asked += kept_by_allocator(asked as u64) as usize;
    }
    let (logits, dequantised) = match decoder.device().is_cuda() {
        true => ((longest * c.vocab_size).min(1 << 26), h * i),
        false => (3 * chunk(decoder, longest), 0),
    };
    let row = layer(longest) + longest * 3 * h + logits;
    F32 * (scores + dequantised + asked.max(row)) as u64
}

/// What is free where the base computes, in bytes, where that is known.
pub fn free_bytes(on_card: bool) -> Result<Option<u64>> {
    #[cfg(feature = "cuda")]
    if on_card {
        return Ok(Some(cuda::free_bytes()?));
    }
    debug_assert!(!on_card, "a card without the feature for it");
    Ok(resident::available())
}

/// What a training needs, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// What is there before it: on the CPU the whole process, on a card the weights.
    pub before: u64,
    /// Moments and gradients of everything that is trained.
    pub states: u64,
    /// What layers hold for their backward.
    pub held: u64,
    /// What is needed in between.
    pub working: u64,
    /// Caches and logits of evaluation, when all the above but the weights is gone.
    pub evaluation: u64,
}

impl Memory {
    /// Counts for micro-batches of at most `tokens` tokens whose longest row has `longest`.
    /// `weights` is what the base holds, in bytes.
    pub fn new(
        decoder: &Decoder,
        (tokens, longest): (usize, usize),
        trainable: usize,
        weights: u64,
        settings: &Settings,
    ) -> Self {
        let c = &decoder.config;
        let of_trained = trainable as u64;
        let on_card = decoder.device().is_cuda();
        let (h, i) = (c.hidden_size, c.intermediate_size);
        let (q, v) = (c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim);
        let first_half = first_half(c);
        let tile = tokens.min(TILE);
        let everything = trainable >= decoder.parameters();
        let (held, first_half) = match settings.keep {
            // candle's graph holds what every operation was given.
            _ if everything => (c.num_layers * tokens * (8 * h + 5 * i), 0),
            Keep::Activations => (c.num_layers * tokens * (first_half + 2 * i), 0),
            Keep::Inputs => (c.num_layers * tokens * h, first_half),
            Keep::InputsOnHost if on_card => (0, first_half),
            Keep::InputsOnHost => (c.num_layers * tokens * h, first_half),
        };
        let of_first = tokens * (first_half + 4 * h + 6 * q + 6 * v);
        let of_second = tokens * (first_half + 2 * h) + tile * (5 * i + 3 * h);
        let rounded = decoder.precision() == Precision::Half;
        let logits = match (on_card, rounded) {
            (true, _) => (tokens * c.vocab_size).min(1 << 26),
            // A chunk's logits and their gradient's parts, in bf16 a rounded copy beside them.
            (false, rounded) => {
                let chunk = chunk(decoder, tokens);
                chunk + chunk / 2 + if rounded { chunk / 4 } else { 0 }
            }
        };
        let of_head = tokens * 4 * h + logits;
        let mut working = F32 * of_first.max(of_second).max(of_head) as u64;
        let mut held = F32 * held as u64;
        let mut states = (2 * F32 + 2 * if settings.eight_bits { 1 } else { F32 }) * of_trained;
        if rounded && !on_card {
            // Both sides of a product, packed.
            working += 2 * (h * i + tokens * h.max(q) + tile * i) as u64;
        }
        if on_card {
            // A linear dequantised for its product, and its input rounded to bf16.
            let input = (tokens * h).max(tile * i);
            working += match rounded {
                true => 2 * (h * i + input) as u64,
                false => F32 * (h * i) as u64,
            };
            if !everything {
                // Layer by layer what is held gives way to the factors' gradients.
                states -= F32 * of_trained;
                held = held.max(F32 * of_trained);
            }
        }
        if everything {
            working += F32 * (h * (i + c.vocab_size)) as u64;
        }
        let (answers, new) = settings.evaluation;
        let evaluation = answering(decoder, answers, longest, new);
        if !on_card {
            working += kept_by_allocator(held + working);
        }
        let process = if on_card { None } else { resident::now() };
        Memory {
            before: process.unwrap_or(weights + F32 * of_trained),
            states,
            held,
            working: working + SLACK,
            evaluation,
        }
    }

    /// The most while training.
    pub fn training(&self) -> u64 {
        self.before + self.states + self.held + self.working
    }

    /// The most at any time.
    pub fn peak(&self) -> u64 {
        self.training().max(self.before + self.evaluation + SLACK)
    }

    /// What must be free now.
    pub fn more(&self) -> u64 {
        self.peak() - self.before
    }

    /// For a person.
    pub fn line(&self) -> String {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        format!(
            "memory: {} MiB at most, of which {} before training, {} optimiser, {} activations, \
             {} workspace; then {} for evaluation",
            mib(self.peak()),
            mib(self.before),
            mib(self.states),
            mib(self.held),
            mib(self.working),
            mib(self.evaluation)
        )
    }
}
