//! An adapter in the forms other programs take: llama.cpp's GGUF LoRA, and a merged model.

use std::io::Cursor;
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};

use super::Adapter;
use crate::files;
use crate::model::gguf::{gguf_name, interleaved};
use crate::model::lora::Pair;
use crate::model::save;
use crate::model::weights::{Weights, expected};

impl Adapter {
    /// Writes a GGUF LoRA as llama.cpp's `convert_lora_to_gguf.py` does: `<tensor>.lora_a` ([r, in])
    /// and `<tensor>.lora_b` ([out, r]) in f32, and alpha, which llama.cpp divides by r. Rows of B
    /// lie as GGUF keeps those of the linear.
    pub fn export_gguf(&self, weights: &Weights, path: &Path) -> Result<()> {
        let config = weights.config();
        let mut tensors = Vec::new();
        for (name, Pair { a, b }) in &self.lora.pairs {
            let name = format!("{name}.weight");
            let own = gguf_name(&name).with_context(|| format!("GGUF has no name for {name}"))?;
            let b = interleaved(b.as_tensor(), &name, config)?;
            for (part, tensor) in [("lora_a", a.as_tensor().clone()), ("lora_b", b)] {
                let tensor = QTensor::quantize(&tensor.to_device(&Device::Cpu)?, GgmlDType::F32)?;
                tensors.push((format!("{own}.{part}"), tensor));
            }
        }
        let text = |text: &str| Value::String(text.into());
        // The scale holds rsLoRA's root already.
        let alpha = (self.lora.scale * self.card.r as f64) as f32;
        let metadata = [
            ("general.architecture", text(config.architecture.in_gguf())),
            ("general.type", text("adapter")),
            ("adapter.type", text("lora")),
            ("adapter.lora.alpha", Value::F32(alpha)),
        ];
        let metadata: Vec<_> = metadata.iter().map(|(key, value)| (*key, value)).collect();
        let tensors: Vec<_> = tensors.iter().map(|(name, t)| (name.as_str(), t)).collect();
        let mut bytes = Cursor::new(Vec::new());
        gguf_file::write(&mut bytes, &metadata, &tensors)?;
        files::write_bytes(path, bytes.get_ref())
    }

    /// Writes the base with the adapter's deltas added to its weights, as a Hugging Face folder
    /// without tokenizer. The whole model is held in memory, first in f32.
    pub fn merge(&self, weights: &Weights, folder: &Path, precision: DType) -> Result<()> {
        let mut tensors = Vec::new();
        for (name, _) in expected(weights.config()) {
            let mut tensor = weights.dense(&name)?;
            let pair = name.strip_suffix(".weight").and_then(|linear| self.lora.pairs.get(linear));
            if let Some(Pair { a, b }) = pair {
                let on_host = |t: &Tensor| t.to_device(&Device::Cpu);
                let delta = on_host(b.as_tensor())?.matmul(&on_host(a.as_tensor())?)?;
                tensor = (tensor + (delta * self.lora.scale)?)?;
            }
            tensors.push((name, tensor));
        }
        save::save(folder, weights.config(), &tensors, precision)
    }
}
