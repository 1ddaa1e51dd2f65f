//! The arithmetic of a training run, before it begins.

use std::time::Instant;

use crate::model::Decoder;
use crate::model::ops::matmul::{View, matmul};
use crate::tokens::Encoded;

use super::batches::{largest_batch, steps_per_epoch, steps_wanted};
use super::memory::Memory;
use super::settings::Settings;

/// What training will do.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Rows with something to train.
    pub examples: usize,
    /// Rows without.
    pub without_targets: usize,
    /// Tokens of one pass, and how many of them are trained.
    pub tokens: (u64, u64),
    /// Steps.
    pub steps: usize,
    /// Weights of the model, and how many numbers are trained.
    pub parameters: (usize, usize),
    /// What it takes.
    pub memory: Memory,
    /// Floating-point operations in all.
    pub operations: f64,
}

impl Plan {
    /// Counts; `weights` is what the frozen base holds in memory, in bytes.
    pub fn new(
        rows: &[Encoded],
        decoder: &Decoder,
        trainable: usize,
        weights: u64,
        settings: &Settings,
    ) -> Self {
        let useful: Vec<&Encoded> = rows.iter().filter(|r| r.targets() > 0).collect();
        let count = |f: fn(&Encoded) -> usize| useful.iter().map(|r| f(r) as u64).sum::<u64>();
        let tokens = (count(|r| r.ids.len()), count(Encoded::targets));
        let per_epoch = steps_per_epoch(useful.len(), settings);
        let steps = steps_wanted(useful.len(), settings);
        let passes = if per_epoch == 0 { 0.0 } else { steps as f64 / per_epoch as f64 };
        let parameters = decoder.parameters();
        // Forward and input gradient take 2 operations a weight and token each; weights that are
        // trained take 2 more (Kaplan et al. 2020, section 2.1).
        let per_token = 4.0 * parameters as f64 + 2.0 * trainable as f64;
        let lengths: Vec<usize> = useful.iter().map(|r| r.ids.len()).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let batch = largest_batch(&lengths, settings);
        let memory = Memory::new(decoder, (batch, longest), trainable, weights, settings);
        Plan {
            examples: useful.len(),
            without_targets: rows.len() - useful.len(),
            tokens,
            steps,
            parameters: (parameters, trainable),
            memory,
            operations: per_token * tokens.0 as f64 * passes,
        }
    }

    /// Estimated seconds, from a short measurement of this machine's matrix products.
    pub fn seconds(&self) -> f64 {
        let n = 384;
        let (a, mut out) = (vec![0.5f32; n * n], vec![0f32; n * n]);
        let mut best = f64::INFINITY;
        for _ in 0..4 {
            let begun = Instant::now();
            matmul(&mut out, n, (n, n, n), View::rows(&a, n), View::rows(&a, n), false);
            best = best.min(begun.elapsed().as_secs_f64());
        }
        // Half the peak is what a step of small matrices reaches.
        self.operations / (2.0 * (n * n * n) as f64 / best) * 2.0
    }

    /// What a person reads before it begins.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!(
                "training: {} examples, {} tokens, {} of them trained; {} steps",
                self.examples, self.tokens.0, self.tokens.1, self.steps
            ),
            format!(
                "model: {} weights, {} trained; about {} of work",
                self.parameters.0,
                self.parameters.1,
                spoken(self.seconds())
            ),
            self.memory.line(),
        ];
        if self.without_targets > 0 {
            lines.push(format!(
                "{} examples have no trained token and are skipped",
                self.without_targets
            ));
        }
        lines
    }
}

fn spoken(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} seconds"),
        s if s < 5400.0 => format!("{:.0} minutes", s / 60.0),
        s => format!("{:.1} hours", s / 3600.0),
    }
}
