//! Writes a model as a Hugging Face folder.

use std::collections::BTreeMap;
use std::path::Path;

use ::safetensors::tensor::Dtype;
use anyhow::{Result, bail};
use candle_core::{DType, Tensor};
use half::bf16;
use serde_json::{Value, json};

use super::config::{Architecture, ModelConfig, RopeScaling};
use crate::files;
use crate::files::safetensors::{self, Entry};

/// Writes `config.json` and `model.safetensors` in bf16 or f32; the tokenizer is written by its own
/// room. `weights` are f32 tensors by their names in checkpoints.
pub fn save(
    folder: &Path,
    config: &ModelConfig,
    weights: &[(String, Tensor)],
    precision: DType,
) -> Result<()> {
    let (dtype, name) = match precision {
        DType::BF16 => (Dtype::BF16, "bfloat16"),
        DType::F32 => (Dtype::F32, "float32"),
        other => bail!("models are written in bf16 or f32, not in {}", other.as_str()),
    };
    let by_name: BTreeMap<&str, &Tensor> = weights.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let entries = weights
        .iter()
        .map(|(name, tensor)| Entry { name: name.clone(), dtype, shape: tensor.dims().to_vec() })
        .collect();
    safetensors::write(&folder.join("model.safetensors"), ("format", "pt"), entries, |entry| {
        let values = by_name[entry.name.as_str()].flatten_all()?.to_vec1::<f32>()?;
        Ok(match dtype {
            Dtype::F32 => safetensors::le_bytes(&values),
            _ => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
        })
    })?;
    let class = match config.architecture {
        Architecture::Llama => "LlamaForCausalLM",
        Architecture::Mistral => "MistralForCausalLM",
        Architecture::Qwen2 => "Qwen2ForCausalLM",
        Architecture::Qwen3 => "Qwen3ForCausalLM",
    };
    let mut card = json!({
        "architectures": [class],
        "model_type": config.architecture.as_str(),
        "torch_dtype": name,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "attention_bias": false,
        "mlp_bias": false,
        "rope_theta": config.rope_theta,
        "rms_norm_eps": config.rms_norm_eps,
        "max_position_embeddings": config.max_positions,
        "tie_word_embeddings": config.tie_word_embeddings,
        "bos_token_id": config.bos,
        "eos_token_id": config.eos,
        "pad_token_id": config.pad,
    });
    if config.architecture == Architecture::Mistral {
        card["sliding_window"] = json!(config.window);
    }
    card["rope_scaling"] = match &config.rope_scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear(factor) => json!({"rope_type": "linear", "factor": factor}),
        RopeScaling::Llama3 { factor, low, high, original_context } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low,
            "high_freq_factor": high,
            "original_max_position_embeddings": original_context,
        }),
        RopeScaling::Factors(_) => bail!(
            "this GGUF carries its rope scaling as bare factors, which config.json cannot hold; \
             take the Hugging Face folder of the base"
        ),
    };
    files::write_json(&folder.join("config.json"), &card)
}
