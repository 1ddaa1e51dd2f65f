//! An adapter in the forms other programs take: llama.cpp's GGUF LoRA, and a merged model.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};

use super::Adapter;
use crate::files::gguf::{self, Metadata, Planned, Storage};
use crate::model::gguf::{gguf_name, interleaved, metadata, pack, rope_factors, storage_for};
use crate::model::lora::Pair;
use crate::model::save;
use crate::model::weights::{Weights, expected};

impl Adapter {
    /// Writes a GGUF LoRA as llama.cpp's `convert_lora_to_gguf.py` does: `<tensor>.lora_a` ([r, in])
    /// and `<tensor>.lora_b` ([out, r]) in f32, and alpha, which llama.cpp divides by r. Rows of B
    /// lie as GGUF keeps those of the linear.
    pub fn export_gguf(&self, weights: &Weights, path: &Path) -> Result<()> {
        let config = weights.config();
        let mut planned = Vec::new();
        let mut tensors = Vec::new();
        for (name, Pair { a, b }) in &self.lora.pairs {
            let name = format!("{name}.weight");
            let own = named(&name)?;
            let b = interleaved(b.as_tensor(), &name, config)?;
            for (part, tensor) in [("lora_a", a.as_tensor().clone()), ("lora_b", b)] {
                let (name, shape) = (format!("{own}.{part}"), tensor.dims().to_vec());
                planned.push(Planned { name, shape, storage: Storage::F32 });
                tensors.push(tensor);
            }
        }
        let mut metadata = Metadata::default();
        metadata
            .text("general.architecture", config.architecture.in_gguf())
            .text("general.type", "adapter")
            .text("adapter.type", "lora")
            // The scale holds rsLoRA's root already.
            .f32("adapter.lora.alpha", (self.lora.scale * self.card.r as f64) as f32);
        gguf::write(path, &metadata, &planned, |i| pack(&tensors[i], Storage::F32))
    }

    /// Writes the base with the adapter's deltas added to its weights, as a Hugging Face folder
    /// without tokenizer. The whole model is held in memory, first in f32.
    pub fn merge(&self, weights: &Weights, folder: &Path, precision: DType) -> Result<()> {
        let names = expected(weights.config()).into_iter().map(|(name, _)| name);
        let tensors = names.map(|name| self.merged(weights, &name).map(|tensor| (name, tensor)));
        let tensors = tensors.collect::<Result<Vec<_>>>()?;
        save::save(folder, weights.config(), &tensors, precision)
    }

    /// Writes the base with the adapter's deltas added to its weights, as a GGUF for llama.cpp, one
    /// tensor at a time. Matrices are stored as `wanted` where their width allows, vectors in f32.
    /// `tokenizer` is the metadata of the base's tokenizer. Returns how many matrices are stored
    /// otherwise, by how.
    pub fn merge_gguf(
        &self,
        weights: &Weights,
        tokenizer: Metadata,
        wanted: Storage,
        path: &Path,
    ) -> Result<BTreeMap<&'static str, usize>> {
        let config = weights.config();
        let mut planned = Vec::new();
        let mut fallbacks = BTreeMap::new();
        let mut names = Vec::new();
        for (name, shape) in expected(config) {
            // Rounding the embedding and the head costs the most answers: as llama.cpp's quantiser
            // has it, they get more bits.
            let table = name.ends_with("embed_tokens.weight") || name == "lm_head.weight";
            let wanted = if table && wanted == Storage::Q4K { Storage::Q6K } else { wanted };
            let storage = storage_for(&shape, wanted);
            if shape.len() > 1 && storage != wanted {
                *fallbacks.entry(storage.name()).or_default() += 1;
            }
            planned.push(Planned { name: named(&name)?, shape, storage });
            names.push(name);
        }
        let factors = rope_factors(config)?;
        if !factors.is_empty() {
            let (name, shape) = ("rope_freqs.weight".into(), vec![factors.len()]);
            planned.push(Planned { name, shape, storage: Storage::F32 });
        }
        let mut metadata = metadata(config, wanted)?;
        metadata.extend(tokenizer);
        gguf::write(path, &metadata, &planned, |i| {
            let tensor = match names.get(i) {
                Some(name) => interleaved(&self.merged(weights, name)?, name, config)?,
                // The factors follow the weights.
                None => Tensor::new(factors.as_slice(), &Device::Cpu)?,
            };
            pack(&tensor, planned[i].storage)
        })?;
        Ok(fallbacks)
    }

    /// A tensor of the base with its delta, in f32.
    fn merged(&self, weights: &Weights, name: &str) -> Result<Tensor> {
        let tensor = weights.dense(name)?;
        let pair = name.strip_suffix(".weight").and_then(|linear| self.lora.pairs.get(linear));
        let Some(Pair { a, b }) = pair else { return Ok(tensor) };
        let on_host = |t: &Tensor| t.to_device(&Device::Cpu);
        let delta = on_host(b.as_tensor())?.matmul(&on_host(a.as_tensor())?)?;
        Ok((tensor + (delta * self.lora.scale)?)?)
    }
}

fn named(name: &str) -> Result<String> {
    gguf_name(name).with_context(|| format!("GGUF has no name for {name}"))
}
