//! What a base model is made of, read from `config.json` or a GGUF's metadata.
//!
//! Whatever the decoder would compute differently from the model's authors is refused here, by
//! name and before any weight is read.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

use crate::files;
use crate::files::gguf::{Gguf, Storage};

/// A family of decoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Llama 2 and 3, SmolLM2.
    Llama,
    /// Mistral: Llama with attention that may see only the last tokens.
    Mistral,
    /// Qwen 2 and 2.5: biases on queries, keys and values.
    Qwen2,
    /// Qwen 3: queries and keys normed head by head.
    Qwen3,
}

impl Architecture {
    const ALL: [Architecture; 4] =
        [Architecture::Llama, Architecture::Mistral, Architecture::Qwen2, Architecture::Qwen3];

    /// The architecture of this name (`model_type`, or GGUF's `general.architecture`).
    fn named(name: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|a| a.as_str() == name);
        known.with_context(|| {
            format!(
                "the architecture {name:?} is not supported; supported are {}",
                Self::ALL.map(Self::as_str).join(", ")
            )
        })
    }

    /// The name used in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Architecture::Llama => "llama",
            Architecture::Mistral => "mistral",
            Architecture::Qwen2 => "qwen2",
            Architecture::Qwen3 => "qwen3",
        }
    }

    /// The name GGUF has for it: Mistral is a Llama there.
    pub fn in_gguf(self) -> &'static str {
        match self {
            Architecture::Mistral => "llama",
            other => other.as_str(),
        }
    }

    /// Whether queries, keys and values have biases.
    pub fn has_biases(self) -> bool {
        self == Architecture::Qwen2
    }

    /// Whether queries and keys are normed head by head.
    pub fn norms_heads(self) -> bool {
        self == Architecture::Qwen3
    }
}

/// How rotary frequencies are stretched for contexts longer than those trained on first.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// They are not.
    None,
    /// All divided by the same factor.
    Linear(f64),
    /// Llama 3.1's: long waves are divided by `factor`, short ones stay, those between are
    /// interpolated.
    Llama3 {
        /// What the longest waves are divided by.
        factor: f64,
        /// `original_context / low` is the shortest wavelength divided in full.
        low: f64,
        /// `original_context / high` is the longest wavelength left alone.
        high: f64,
        /// The context trained on first, in tokens.
        original_context: f64,
    },
    /// Each divided by its own factor, as a GGUF carries them.
    Factors(Vec<f32>),
}

impl RopeScaling {
    /// The frequencies after scaling. For Llama 3.1's see `_compute_llama3_parameters` of
    /// transformers.
    pub fn scaled(&self, mut frequencies: Vec<f64>) -> Vec<f64> {
        match self {
            RopeScaling::None => {}
            RopeScaling::Linear(factor) => frequencies.iter_mut().for_each(|f| *f /= factor),
            RopeScaling::Factors(factors) => {
                for (frequency, factor) in frequencies.iter_mut().zip(factors) {
                    *frequency /= f64::from(*factor);
                }
            }
            RopeScaling::Llama3 { factor, low, high, original_context } => {
                for frequency in &mut frequencies {
                    let waves = original_context * *frequency / std::f64::consts::TAU;
                    let kept = ((waves - low) / (high - low)).clamp(0.0, 1.0);
                    *frequency = *frequency * kept + *frequency / factor * (1.0 - kept);
                }
            }
        }
        frequencies
    }
}

/// The shape of a base model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The family.
    pub architecture: Architecture,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_layers: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads.
    pub num_kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// What is done to these frequencies.
    pub rope_scaling: RopeScaling,
    /// How many tokens a token sees, itself included; all before it where there is no window.
    pub window: Option<usize>,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f64,
    /// The longest context the model was made for, in tokens.
    pub max_positions: usize,
    /// Whether the output head is the embedding.
    pub tie_word_embeddings: bool,
    /// The token a sequence begins with.
    pub bos: Option<u32>,
    /// The tokens that end an answer.
    pub eos: Vec<u32>,
    /// The token that fills up a batch.
    pub pad: Option<u32>,
}

impl ModelConfig {
    /// From a Hugging Face folder's `config.json` and, where present, `generation_config.json`.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let object = read_object(&path)?
            .with_context(|| format!("{} is missing; is this a model folder?", path.display()))?;
        let mut config =
            Self::from_json(&object).with_context(|| format!("cannot use {}", path.display()))?;
        let path = folder.join("generation_config.json");
        if let Some(object) = read_object(&path)? {
            let ids = token_ids(&object, "eos_token_id")
                .with_context(|| format!("cannot use {}", path.display()))?;
            config.eos.extend(ids);
        }
        config.eos.sort_unstable();
        config.eos.dedup();
        Ok(config)
    }

    fn from_json(json: &Map<String, Value>) -> Result<Self> {
        let kind = json.get("model_type").and_then(Value::as_str);
        let architecture = Architecture::named(kind.context("model_type is missing")?)?;
        refuse_variants(json)?;
        let window = match architecture {
            Architecture::Mistral => size(json, "sliding_window")?,
            _ => None,
        };
        let rope = json.get("rope_parameters").and_then(Value::as_object);
        let theta = rope.and_then(|r| r.get("rope_theta")).or(json.get("rope_theta"));
        let num_heads = required(json, "num_attention_heads")?;
        let hidden_size = required(json, "hidden_size")?;
        let config = ModelConfig {
            architecture,
            vocab_size: required(json, "vocab_size")?,
            hidden_size,
            intermediate_size: required(json, "intermediate_size")?,
            num_layers: required(json, "num_hidden_layers")?,
            num_heads,
            num_kv_heads: size(json, "num_key_value_heads")?.unwrap_or(num_heads),
            head_dim: size(json, "head_dim")?.unwrap_or(hidden_size / num_heads.max(1)),
            rope_theta: number(theta, "rope_theta")?.unwrap_or(10_000.0),
            rope_scaling: rope_scaling(json)?,
            window,
            rms_norm_eps: number(json.get("rms_norm_eps"), "rms_norm_eps")?.unwrap_or(1e-6),
            max_positions: size(json, "max_position_embeddings")?.unwrap_or(2048),
            tie_word_embeddings: flag(json, "tie_word_embeddings")?,
            bos: token_ids(json, "bos_token_id")?.first().copied(),
            eos: token_ids(json, "eos_token_id")?,
            pad: token_ids(json, "pad_token_id")?.first().copied(),
        };
        config.checked()
    }

    /// From a GGUF's metadata.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        Self::from_metadata(gguf).with_context(|| format!("cannot use {}", gguf.path().display()))
    }

    fn from_metadata(gguf: &Gguf) -> Result<Self> {
        let name = gguf.text("general.architecture")?.context("general.architecture is missing")?;
        let architecture = Architecture::named(name)?;
        gguf.ensure_all_read()?;
        let key = |rest: &str| format!("{name}.{rest}");
        let get = |rest: &str| -> Result<Option<usize>> {
            let key = key(rest);
            ensure!(!gguf.is_array(&key), "{key} differs between layers, which is not supported");
            Ok(gguf.unsigned(&key)?.map(usize::try_from).transpose()?)
        };
        let need = |rest: &str| get(rest)?.with_context(|| format!("{} is missing", key(rest)));
        let factors = gguf.tensors().get("rope_freqs.weight");
        let rope_scaling = match (gguf.text(&key("rope.scaling.type"))?, factors) {
            (None | Some("none"), None) => RopeScaling::None,
            (None | Some("none"), Some(info)) => {
                ensure!(info.storage == Storage::F32, "rope_freqs.weight is not in f32");
                let values = gguf.bytes(info).chunks_exact(4);
                RopeScaling::Factors(
                    values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
                )
            }
            (Some("linear"), None) => {
                let factor = gguf.float(&key("rope.scaling.factor"))?;
                RopeScaling::Linear(factor.context("rope.scaling.factor is missing")?)
            }
            (Some(kind), _) => bail!("rope scaling of kind {kind} is not supported"),
        };
        if get("expert_count")?.is_some_and(|n| n > 0) {
            bail!("mixtures of experts are not supported");
        }
        let num_heads = need("attention.head_count")?;
        let hidden_size = need("embedding_length")?;
        let head_dim = get("attention.key_length")?.unwrap_or(hidden_size / num_heads.max(1));
        if let Some(rotated) = get("rope.dimension_count")?.filter(|n| *n != head_dim) {
            bail!("rotary over {rotated} of {head_dim} dimensions is not supported");
        }
        let tokens = || -> Result<usize> {
            let tokens = gguf.texts("tokenizer.ggml.tokens")?;
            Ok(tokens.context("tokenizer.ggml.tokens is missing")?.len())
        };
        let id = |name: &str| -> Result<Option<u32>> {
            Ok(gguf.unsigned(&format!("tokenizer.ggml.{name}"))?.map(u32::try_from).transpose()?)
        };
        let mut eos: Vec<u32> =
            [id("eos_token_id")?, id("eot_token_id")?].into_iter().flatten().collect();
        eos.sort_unstable();
        eos.dedup();
        let config = ModelConfig {
            architecture,
            vocab_size: get("vocab_size")?.map_or_else(tokens, Ok)?,
            hidden_size,
            intermediate_size: need("feed_forward_length")?,
            num_layers: need("block_count")?,
            num_heads,
            num_kv_heads: get("attention.head_count_kv")?.unwrap_or(num_heads),
            head_dim,
            rope_theta: gguf.float(&key("rope.freq_base"))?.unwrap_or(10_000.0),
            rope_scaling,
            window: get("attention.sliding_window")?.filter(|n| *n > 0),
            // Written as f32: 1e-5 is 9.99999974e-6 in the file.
            rms_norm_eps: gguf
                .float(&key("attention.layer_norm_rms_epsilon"))?
                .map_or(1e-6, shortest),
            max_positions: get("context_length")?.unwrap_or(2048),
            tie_word_embeddings: !gguf.tensors().contains_key("output.weight"),
            bos: id("bos_token_id")?,
            eos,
            pad: id("padding_token_id")?,
        };
        config.checked()
    }

    /// Refuses sizes that no decoder can have.
    fn checked(self) -> Result<Self> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_layers),
            ("num_attention_heads", self.num_heads),
            ("num_key_value_heads", self.num_kv_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_positions),
        ];
        for (name, n) in sizes {
            ensure!((1..=1 << 28).contains(&n), "{name} is {n}");
        }
        ensure!(self.num_layers <= 4096, "num_hidden_layers is {}", self.num_layers);
        ensure!(
            self.num_heads.is_multiple_of(self.num_kv_heads),
            "{} query heads cannot share {} key heads",
            self.num_heads,
            self.num_kv_heads
        );
        ensure!(self.head_dim.is_multiple_of(2), "head_dim is {}, an odd number", self.head_dim);
        let positive = |x: f64| x > 0.0 && x.is_finite();
        let scaling_holds = match &self.rope_scaling {
            RopeScaling::None => true,
            RopeScaling::Linear(factor) => positive(*factor),
            RopeScaling::Llama3 { factor, low, high, original_context } => {
                [*factor, *low, *high, *original_context].into_iter().all(positive) && low < high
            }
            RopeScaling::Factors(factors) => {
                factors.len() == self.head_dim / 2 && factors.iter().all(|f| positive((*f).into()))
            }
        };
        ensure!(scaling_holds, "the rope scaling is out of range: {:?}", self.rope_scaling);
        ensure!(self.window != Some(0), "sliding_window is 0");
        ensure!(self.rope_theta > 0.0 && self.rope_theta.is_finite(), "rope_theta is not positive");
        ensure!(
            self.rms_norm_eps >= 0.0 && self.rms_norm_eps < 1.0,
            "rms_norm_eps is out of range"
        );
        Ok(self)
    }
}

/// The scaling of `rope_scaling`, or of `rope_parameters` as newer files call it.
fn rope_scaling(json: &Map<String, Value>) -> Result<RopeScaling> {
    let named = ["rope_scaling", "rope_parameters"].map(|key| json.get(key));
    let Some(scaling) = named.into_iter().flatten().find_map(Value::as_object) else {
        return Ok(RopeScaling::None);
    };
    let need = |key: &str| {
        number(scaling.get(key), key)?.with_context(|| format!("rope scaling lacks {key}"))
    };
    match scaling.get("rope_type").or(scaling.get("type")).and_then(Value::as_str) {
        None | Some("default") => Ok(RopeScaling::None),
        Some("linear") => Ok(RopeScaling::Linear(need("factor")?)),
        Some("llama3") => Ok(RopeScaling::Llama3 {
            factor: need("factor")?,
            low: need("low_freq_factor")?,
            high: need("high_freq_factor")?,
            original_context: need("original_max_position_embeddings")?,
        }),
        Some(kind) => bail!("rope scaling of kind {kind} is not supported"),
    }
}

/// What the decoder does not do: other biases, another activation, windows on some layers only,
/// quantised weights.
fn refuse_variants(json: &Map<String, Value>) -> Result<()> {
    for key in ["attention_bias", "mlp_bias", "rope_interleaved", "use_sliding_window"] {
        ensure!(!flag(json, key)?, "{key} is not supported");
    }
    match json.get("hidden_act").and_then(Value::as_str) {
        None | Some("silu") => {}
        Some(other) => bail!("hidden_act {other} is not supported; only silu is"),
    }
    if number(json.get("partial_rotary_factor"), "partial_rotary_factor")?.is_some_and(|f| f != 1.0)
    {
        bail!("partial_rotary_factor is not supported");
    }
    if let Some(config) = json.get("quantization_config").filter(|value| !value.is_null()) {
        let method = config.get("quant_method").and_then(Value::as_str).unwrap_or("unknown");
        bail!("its weights are already quantised ({method}); take the unquantised model or a GGUF");
    }
    Ok(())
}

fn read_object(path: &Path) -> Result<Option<Map<String, Value>>> {
    match files::read_small(path, files::CARD) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .with_context(|| format!("{} is not a JSON object", path.display())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn size(json: &Map<String, Value>, key: &str) -> Result<Option<usize>> {
    match json.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let n = value.as_u64().and_then(|n| usize::try_from(n).ok());
            n.map(Some).with_context(|| format!("{key} is not a whole number"))
        }
    }
}

fn required(json: &Map<String, Value>, key: &str) -> Result<usize> {
    size(json, key)?.with_context(|| format!("{key} is missing"))
}

fn number(value: Option<&Value>, key: &str) -> Result<Option<f64>> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_f64().map(Some).with_context(|| format!("{key} is not a number")),
    }
}

fn flag(json: &Map<String, Value>, key: &str) -> Result<bool> {
    match json.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(value) => value.as_bool().with_context(|| format!("{key} is not true or false")),
    }
}

/// One id or a list of them; absent and null are no ids.
fn token_ids(json: &Map<String, Value>, key: &str) -> Result<Vec<u32>> {
    let one = |value: &Value| {
        let id = value.as_u64().and_then(|n| u32::try_from(n).ok());
        id.with_context(|| format!("{key} is not a token id"))
    };
    match json.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(values)) => values.iter().map(one).collect(),
        Some(value) => Ok(vec![one(value)?]),
    }
}

/// The decimal number that was rounded to this f32.
fn shortest(x: f64) -> f64 {
    (x as f32).to_string().parse().unwrap_or(x)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use serde_json::json;

    fn smol() -> Value {
        json!({
            "model_type": "llama", "vocab_size": 49152, "hidden_size": 576,
            "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
            "num_key_value_heads": 3, "rope_theta": 100000, "rms_norm_eps": 1e-5,
            "max_position_embeddings": 8192, "tie_word_embeddings": true, "bos_token_id": 1,
            "eos_token_id": 2, "pad_token_id": 2, "hidden_act": "silu", "rope_scaling": null,
            "rope_interleaved": false, "attention_bias": false
        })
    }

    fn read(value: &Value) -> Result<ModelConfig> {
        ModelConfig::from_json(value.as_object().unwrap())
    }

    #[test]
    fn a_config_is_read() {
        let config = read(&smol()).unwrap();
        assert_eq!(config.head_dim, 64);
        assert_eq!(config.rope_theta, 100_000.0);
        assert!(config.tie_word_embeddings);
        assert_eq!((config.bos, config.eos, config.pad), (Some(1), vec![2], Some(2)));
    }

    #[test]
    fn rope_parameters_carry_theta_too() {
        let mut value = smol();
        value.as_object_mut().unwrap().remove("rope_theta");
        value["rope_parameters"] = json!({"rope_type": "default", "rope_theta": 5000.0});
        assert_eq!(read(&value).unwrap().rope_theta, 5000.0);
    }

    #[test]
    fn generation_config_adds_stop_tokens() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, value: Value| {
            fs::write(folder.path().join(name), value.to_string()).unwrap();
        };
        write("config.json", smol());
        write("generation_config.json", json!({"eos_token_id": [2, 0]}));
        assert_eq!(ModelConfig::from_folder(folder.path()).unwrap().eos, [0, 2]);
    }

    #[test]
    fn what_the_decoder_cannot_do_is_refused_by_name() {
        let cases = [
            ("model_type", json!("qwen3_5"), "\"qwen3_5\" is not supported"),
            ("model_type", json!("qwen3_moe"), "llama, mistral, qwen2, qwen3"),
            ("model_type", json!("gpt_oss"), "\"gpt_oss\" is not supported"),
            ("attention_bias", json!(true), "attention_bias"),
            ("hidden_act", json!("gelu"), "gelu"),
            ("use_sliding_window", json!(true), "use_sliding_window"),
            ("rope_scaling", json!({"rope_type": "llama3", "factor": 8.0}), "low_freq_factor"),
            ("rope_scaling", json!({"type": "linear"}), "lacks factor"),
            ("rope_scaling", json!({"type": "linear", "factor": 0.0}), "out of range"),
            ("rope_scaling", json!({"type": "yarn", "factor": 4.0}), "yarn"),
            ("quantization_config", json!({"quant_method": "awq"}), "awq"),
            ("partial_rotary_factor", json!(0.5), "partial_rotary_factor"),
            ("num_key_value_heads", json!(2), "share"),
            ("hidden_size", json!("wide"), "whole number"),
            ("num_hidden_layers", json!(0), "num_hidden_layers is 0"),
            ("num_attention_heads", json!(0), "num_attention_heads"),
            ("vocab_size", json!(u64::MAX), "vocab_size"),
            ("rope_theta", json!(-1.0), "rope_theta"),
        ];
        for (key, value, part) in cases {
            let mut config = smol();
            config[key] = value;
            let message = format!("{:#}", read(&config).unwrap_err());
            assert!(message.contains(part), "{key}: {message}");
        }
    }

    #[test]
    fn a_missing_config_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let message = ModelConfig::from_folder(folder.path()).unwrap_err().to_string();
        assert!(message.contains("config.json is missing"), "{message}");
    }
}
