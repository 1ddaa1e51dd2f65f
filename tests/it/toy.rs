//! A model so small that a test trains it in a moment, and rows for it.

use proto::chance::Chance;
use proto::model::config::{Architecture, ModelConfig, RopeScaling};
use proto::tokens::Encoded;

/// Two layers and 40 tokens.
pub fn toy(tied: bool) -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Llama,
        vocab_size: 40,
        hidden_size: 24,
        intermediate_size: 40,
        num_layers: 2,
        num_heads: 4,
        num_kv_heads: 2,
        head_dim: 6,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::None,
        window: None,
        rms_norm_eps: 1e-5,
        max_positions: 128,
        tie_word_embeddings: tied,
        bos: None,
        eos: vec![1],
        pad: None,
    }
}

/// Rows of 6 to 15 tokens, the second half of each trained; other labels, other rows.
pub fn rows(n: usize, label: &str) -> Vec<Encoded> {
    let mut chance = Chance::new(9, label);
    let row = |chance: &mut Chance| {
        let length = 6 + chance.below(10);
        let ids: Vec<u32> = (0..length).map(|_| 2 + chance.below(38) as u32).collect();
        let trained = (0..length).map(|i| i >= length / 2).collect();
        Encoded { ids, trained, turns: Vec::new() }
    };
    (0..n).map(|_| row(&mut chance)).collect()
}
