//! Every weight of a fresh model: how the embedded base is made.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::DType;

use super::plan::Plan;
use super::qlora::called;
use super::record::TrainingRecord;
use super::run::{Trainee, Training, train};
use super::settings::Settings;
use super::tokenised::Encoder;
use crate::config::Config;
use crate::dataset::Example;
use crate::model::config::{Architecture, ModelConfig, RopeScaling};
use crate::model::weights::Weights;
use crate::model::{Decoder, save};
use crate::progress::Observer;
use crate::tokens::Codec;

/// The shape of a new model; the vocabulary comes from its tokenizer.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Longest context, in tokens.
    pub max_positions: usize,
}

/// Trains a fresh Llama-architecture model with a tied head on `rows` and writes it as a Hugging
/// Face folder. `folder` holds the tokenizer already. With `from` the weights of that model, of the
/// same shape, are trained on.
pub fn full(
    shape: &Shape,
    from: Option<&Path>,
    config: &Config,
    rows: &[&Example],
    folder: &Path,
    observer: &dyn Observer,
) -> Result<TrainingRecord> {
    let codec = Codec::open(folder, None).context("the new model needs a tokenizer first")?;
    let settings = Settings::new(config);
    let model = ModelConfig {
        architecture: Architecture::Llama,
        vocab_size: codec.vocab_size(),
        hidden_size: shape.hidden_size,
        intermediate_size: shape.intermediate_size,
        num_layers: shape.layers,
        num_heads: shape.heads,
        num_kv_heads: shape.kv_heads,
        head_dim: shape.hidden_size / shape.heads.max(1),
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::None,
        window: None,
        rms_norm_eps: 1e-5,
        max_positions: shape.max_positions,
        tie_word_embeddings: true,
        bos: None,
        eos: codec.stop_ids().to_vec(),
        pad: Some(codec.pad_id()),
    };
    let longest = config.size("MAX_SEQ_LENGTH").min(shape.max_positions);
    let threads = config.size("DATASET_MAP_NUM_PROC");
    let encoder = Encoder { codec: &codec, longest, threads, cache: None, observer };
    let (names, encoded): (Vec<String>, Vec<_>) = encoder
        .encode(rows)?
        .into_iter()
        .map(|(example, row)| (called(rows[example]), row))
        .unzip();
    let decoder = Decoder::fresh(model, settings.seed)?;
    if let Some(from) = from {
        let weights = Weights::open(from)?;
        for (name, var) in decoder.variables() {
            let tensor = weights.dense(name)?;
            ensure!(
                tensor.dims() == var.dims(),
                "`{name}` of {} is {:?}, the new model wants {:?}",
                from.display(),
                tensor.dims(),
                var.dims()
            );
            var.set(&tensor)?;
        }
    }
    let plan = Plan::new(&encoded, &decoder, decoder.parameters(), decoder.bytes(), &settings);
    plan.lines().iter().for_each(|line| observer.say(line));
    let trainee = Trainee { decoder: &decoder, lora: None };
    let (rows, names) = (encoded.as_slice(), names.as_slice());
    let training =
        Training { trainee, rows, names, tune: &[], settings: &settings, kept: None, last: None };
    let record = train(&training, observer)?;
    let weights: Vec<_> =
        decoder.variables().iter().map(|(n, v)| (n.clone(), v.as_tensor().clone())).collect();
    save::save(folder, &decoder.config, &weights, DType::BF16)?;
    Ok(record)
}
