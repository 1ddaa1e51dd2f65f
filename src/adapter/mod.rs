//! An adapter: LoRA factors and their card, in PEFT's format on disk.
//!
//! Format: `adapter_config.json` and `adapter_model.safetensors` as PEFT writes them
//! (<https://huggingface.co/docs/peft/developer_guides/checkpoint>): factors under
//! `base_model.model.<linear>.lora_A.weight` ([r, in]) and `….lora_B.weight` ([out, r]).

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use crate::chance::Chance;
use crate::files;
use crate::files::safetensors::{self, Entry};
use crate::model::Lora;
use crate::model::lora::{Pair, fits};
use crate::model::shards::Shards;

mod export;
mod lineage;

pub use lineage::Lineage;

/// The file with the card.
pub const CARD: &str = "adapter_config.json";
/// The file with the factors.
pub const FACTORS: &str = "adapter_model.safetensors";

const PREFIX: &str = "base_model.model.";

/// `adapter_config.json`: the fields PEFT needs to load the adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Always `LORA`.
    pub peft_type: String,
    /// Always `CAUSAL_LM`.
    pub task_type: String,
    /// What the adapter was trained on: a name, never a path of this machine.
    pub base_model_name_or_path: Option<String>,
    /// Rank.
    pub r: usize,
    /// The delta is scaled by `lora_alpha / r` (or `/ √r` with `use_rslora`).
    pub lora_alpha: f64,
    /// Dropout while training.
    pub lora_dropout: f64,
    /// The linears it acts on, by the last part of their names.
    pub target_modules: Vec<String>,
    /// Rank-stabilised scaling (Kalajdzievski 2023).
    #[serde(default)]
    pub use_rslora: bool,
    /// Always `none`.
    pub bias: String,
    /// Always false: factors are [r, in] and [out, r].
    pub fan_in_fan_out: bool,
    /// True: PEFT loads it for use, not for further training.
    pub inference_mode: bool,
    /// Weight-decomposed adapters are another method; refused on load.
    #[serde(default)]
    pub use_dora: bool,
    /// Modules trained in full beside the factors; refused on load.
    #[serde(default)]
    pub modules_to_save: Option<Vec<String>>,
}

impl Card {
    fn scale(&self) -> f64 {
        let r = self.r as f64;
        self.lora_alpha / if self.use_rslora { libm::sqrt(r) } else { r }
    }
}

/// A field of PEFT's `LoraConfig` under which the same factors compute something else: ranks and
/// scales of single linears, another layout, or a start that changed the base as well.
fn unreadable(card: &serde_json::Value) -> Option<&'static str> {
    use serde_json::Value;
    const PLAIN_WHEN_EMPTY: [&str; 9] = [
        "rank_pattern",
        "alpha_pattern",
        "layer_replication",
        "fan_in_fan_out",
        "lora_bias",
        "use_qalora",
        "target_parameters",
        "trainable_token_indices",
        "alora_invocation_tokens",
    ];
    let empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    let set = |field: &&str| card.get(*field).is_some_and(|value| !empty(value));
    let start = card.get("init_lora_weights").and_then(Value::as_str).unwrap_or_default();
    let moved = ["pissa", "olora", "corda", "loftq"].iter().any(|s| start.starts_with(s));
    PLAIN_WHEN_EMPTY.into_iter().find(set).or(moved.then_some("init_lora_weights"))
}

/// An adapter with its card.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// Rank, scaling and targets.
    pub card: Card,
    /// The factors.
    pub lora: Lora,
}

/// What a fresh adapter is made of.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Rank.
    pub r: usize,
    /// See [`Card::lora_alpha`].
    pub alpha: f64,
    /// See [`Card::use_rslora`].
    pub rslora: bool,
    /// See [`Card::lora_dropout`].
    pub dropout: f64,
    /// `all-linear`, or names of linears (`q_proj`).
    pub targets: Vec<String>,
    /// The base's name.
    pub base: String,
}

impl Adapter {
    /// A fresh adapter as PEFT initialises it: A uniform in ±1/√in (Kaiming with a = √5), B zero.
    pub fn fresh(shape: &Shape, linears: &[(String, usize, usize)], seed: u64) -> Result<Self> {
        let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_string();
        let all = shape.targets.iter().any(|t| t == "all-linear");
        for target in &shape.targets {
            ensure!(
                target == "all-linear" || linears.iter().any(|(name, ..)| &last(name) == target),
                "LORA_TARGET_MODULES names `{target}`, which matches no linear of the base; it has {}",
                crate::model::decoder::LINEARS.join(", ")
            );
        }
        let mut pairs = BTreeMap::new();
        for (name, out, width) in linears {
            if !all && !shape.targets.contains(&last(name)) {
                continue;
            }
            let mut chance = Chance::new(seed, name);
            let bound = 1.0 / libm::sqrt(*width as f64);
            let values: Vec<f32> = (0..shape.r * width)
                .map(|_| ((chance.unit() * 2.0 - 1.0) * bound) as f32)
                .collect();
            let a = Tensor::from_vec(values, (shape.r, *width), &Device::Cpu)?;
            let b = Tensor::zeros((*out, shape.r), DType::F32, &Device::Cpu)?;
            let pair = Pair { a: Var::from_tensor(&a)?, b: Var::from_tensor(&b)? };
            pairs.insert(name.clone(), pair);
        }
        let mut targets: Vec<String> = pairs.keys().map(|n| last(n)).collect();
        targets.sort();
        targets.dedup();
        let card = Card {
            peft_type: "LORA".into(),
            task_type: "CAUSAL_LM".into(),
            base_model_name_or_path: Some(shape.base.clone()),
            r: shape.r,
            lora_alpha: shape.alpha,
            lora_dropout: shape.dropout,
            target_modules: targets,
            use_rslora: shape.rslora,
            bias: "none".into(),
            fan_in_fan_out: false,
            inference_mode: true,
            use_dora: false,
            modules_to_save: None,
        };
        let lora = Lora { scale: card.scale(), dropout: shape.dropout, pairs };
        Ok(Adapter { card, lora })
    }

    /// Writes card and factors into `folder`.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let factors: BTreeMap<String, Var> = self
            .lora
            .pairs
            .iter()
            .flat_map(|(name, Pair { a, b })| {
                [("lora_A", a), ("lora_B", b)]
                    .map(|(part, var)| (format!("{PREFIX}{name}.{part}.weight"), var.clone()))
            })
            .collect();
        let entries = factors.iter().map(|(key, var)| Entry::f32(key, var.dims())).collect();
        safetensors::write(&folder.join(FACTORS), ("format", "pt"), entries, |entry| {
            let values = factors[&entry.name].flatten_all()?.to_vec1::<f32>()?;
            Ok(safetensors::le_bytes(&values))
        })?;
        files::write_json(&folder.join(CARD), &self.card)
    }

    /// Reads a PEFT adapter and checks it against the base's linears.
    pub fn load(folder: &Path, linears: &[(String, usize, usize)]) -> Result<Self> {
        let path = folder.join(CARD);
        let bytes = files::read_small(&path, files::CARD)
            .with_context(|| format!("cannot read the adapter's card {}", path.display()))?;
        let whole: serde_json::Value = serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is not JSON", path.display()))?;
        let card = Card::deserialize(&whole)
            .with_context(|| format!("{} is not a LoRA card of PEFT", path.display()))?;
        ensure!(
            card.peft_type == "LORA",
            "{}: peft_type is {}, not LORA",
            path.display(),
            card.peft_type
        );
        ensure!(
            !card.use_dora,
            "{}: DoRA adapters are not supported; merge it first",
            path.display()
        );
        ensure!(
            card.modules_to_save.as_ref().is_none_or(Vec::is_empty) && card.bias == "none",
            "{}: trains more than the factors (bias or modules_to_save), which would be lost",
            path.display()
        );
        ensure!(card.r > 0, "{}: r is 0", path.display());
        if let Some(field) = unreadable(&whole) {
            bail!(
                "{}: `{field}` changes what the factors mean, in a way that is not read; convert \
                 it to a plain LoRA first",
                path.display()
            );
        }
        let path = folder.join(FACTORS);
        let factors = Shards::of_file(&path)?;
        /// A factor's name in the file, and its shape.
        type Factor<'a> = (&'a str, &'a [usize]);
        let mut halves: BTreeMap<&str, [Option<Factor>; 2]> = BTreeMap::new();
        for (key, shape) in factors.shapes() {
            let parsed = key.strip_prefix(PREFIX).and_then(|rest| {
                let a = rest.strip_suffix(".lora_A.weight").map(|name| (name, 0));
                a.or_else(|| rest.strip_suffix(".lora_B.weight").map(|name| (name, 1)))
            });
            let Some((name, which)) = parsed else {
                bail!("{}: nothing reads the tensor `{key}`", path.display());
            };
            halves.entry(name).or_default()[which] = Some((key, shape));
        }
        ensure!(!halves.is_empty(), "{} holds no factors", path.display());
        let mut pairs = BTreeMap::new();
        for (name, half) in halves {
            let [Some((a, a_shape)), Some((b, b_shape))] = half else {
                bail!("{}: `{name}` has only one of its two factors", path.display());
            };
            // Before a number is read, so that what is read has the size of the base's linears.
            fits(name, a_shape, b_shape, linears)
                .with_context(|| format!("{} does not fit the base", path.display()))?;
            let read = |key: &str, shape: &[usize]| -> Result<Var> {
                let values = factors.read(key).context("a factor that has just been seen")??;
                Ok(Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu)?)?)
            };
            pairs.insert(name.to_string(), Pair { a: read(a, a_shape)?, b: read(b, b_shape)? });
        }
        let lora = Lora { scale: card.scale(), dropout: card.lora_dropout, pairs };
        Ok(Adapter { card, lora })
    }

    /// A digest of what the adapter computes: card and factors.
    pub fn digest(folder: &Path) -> Result<String> {
        let card = files::digest_file(&folder.join(CARD))?;
        let factors = files::digest_file(&folder.join(FACTORS))?;
        Ok(files::digest(format!("{card}{factors}").as_bytes()))
    }

    /// Whether both hold the same numbers.
    pub fn equals(&self, other: &Adapter) -> Result<bool> {
        let flat = |a: &Adapter| -> Result<Vec<(String, Vec<f32>)>> {
            let all = a.lora.variables().into_iter();
            all.map(|(n, v)| Ok((n, v.as_tensor().flatten_all()?.to_vec1()?))).collect()
        };
        Ok(self.card == other.card && flat(self)? == flat(other)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn linears() -> Vec<(String, usize, usize)> {
        vec![
            ("model.layers.0.self_attn.q_proj".into(), 6, 4),
            ("model.layers.0.mlp.down_proj".into(), 4, 8),
        ]
    }

    fn shape(targets: &[&str]) -> Shape {
        Shape {
            r: 2,
            alpha: 4.0,
            rslora: false,
            dropout: 0.0,
            targets: targets.iter().map(|t| t.to_string()).collect(),
            base: "tiny".into(),
        }
    }

    #[test]
    fn comes_back_from_disk_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let adapter = Adapter::fresh(&shape(&["all-linear"]), &linears(), 5).unwrap();
        adapter.save(folder.path()).unwrap();
        let again = Adapter::load(folder.path(), &linears()).unwrap();
        assert!(adapter.equals(&again).unwrap());
        assert_eq!(again.lora.scale, 2.0);
        let other = Adapter::fresh(&shape(&["all-linear"]), &linears(), 6).unwrap();
        assert!(!other.equals(&again).unwrap());
    }

    #[test]
    fn a_target_that_matches_nothing_is_refused_by_name() {
        let error = Adapter::fresh(&shape(&["q_prj"]), &linears(), 5).unwrap_err().to_string();
        assert!(error.contains("q_prj"), "{error}");
    }

    #[test]
    fn a_card_under_which_the_factors_mean_something_else_is_refused_by_field() {
        let folder = tempfile::tempdir().unwrap();
        Adapter::fresh(&shape(&["q_proj"]), &linears(), 5).unwrap().save(folder.path()).unwrap();
        let path = folder.path().join(CARD);
        let plain: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let with = |field: &str, value: serde_json::Value| {
            let mut card = plain.clone();
            card[field] = value;
            std::fs::write(&path, card.to_string()).unwrap();
            Adapter::load(folder.path(), &linears()).map(drop).map_err(|e| format!("{e:#}"))
        };
        for (field, odd, usual) in [
            ("rank_pattern", json!({"q_proj": 4}), json!({})),
            ("alpha_pattern", json!({"q_proj": 4}), json!(null)),
            ("layer_replication", json!([[0, 1]]), json!(null)),
            ("fan_in_fan_out", json!(true), json!(false)),
            ("lora_bias", json!(true), json!(false)),
            ("init_lora_weights", json!("pissa_niter_4"), json!("gaussian")),
        ] {
            let message = with(field, odd).unwrap_err();
            assert!(message.contains(&format!("`{field}`")), "{message}");
            with(field, usual).unwrap();
        }
    }

    #[test]
    fn factors_the_base_cannot_use_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        Adapter::fresh(&shape(&["q_proj"]), &linears(), 5).unwrap().save(folder.path()).unwrap();
        let other = vec![("model.layers.0.self_attn.q_proj".to_string(), 6, 5)];
        assert!(Adapter::load(folder.path(), &other).is_err());
        let other = vec![("model.layers.0.self_attn.k_proj".to_string(), 6, 4)];
        let error = format!("{:#}", Adapter::load(folder.path(), &other).unwrap_err());
        assert!(error.contains("q_proj"), "{error}");
    }
}
