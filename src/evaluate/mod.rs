//! Base, champion and candidate on the same prompts: metrics and paired statistics.

use anyhow::Result;

use crate::progress::Observer;
use crate::tokens::Encoded;

/// A model that can be asked: the base alone or the base with an adapter.
pub trait Subject: Sync {
    /// Answers each prompt greedily: the new token ids of each, without the stop token that ended
    /// it; the flag tells whether it ended with a stop token (rather than at `max_new`).
    fn generate(
        &self,
        prompts: &[Vec<u32>],
        max_new: usize,
        stop: &[u32],
        observer: &dyn Observer,
    ) -> Result<Vec<(Vec<u32>, bool)>>;

    /// For each row, the summed negative log-likelihood (nats) of its trained tokens and their
    /// number.
    fn loss(&self, rows: &[Encoded]) -> Result<Vec<(f64, usize)>>;
}
