//! A base model on disk, and its frozen weights as they are kept in memory.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, bail, ensure};
use candle_core::quantized::QTensor;
use candle_core::{DType, Device, Tensor};
use half::bf16;

use super::config::ModelConfig;
use super::dynamic::SIGNED;
use super::gguf;
use super::nf4::{Nf4, Scales};
use super::ops::linear::FrozenWeight;
use super::shards::Shards;
use crate::config::Config;
use crate::files;
use crate::files::gguf::{Gguf, Storage, TensorInfo};

/// How frozen linears are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantization {
    /// 4-bit NormalFloat in blocks of 64.
    Nf4,
    /// The same, the blocks' scales quantised to 8 bits.
    Nf4Double,
    /// The file's own blocks; safetensors have none and stay unquantised.
    Native,
    /// Unquantised.
    F32,
}

impl Quantization {
    /// As `QUANTIZATION` and `NF4_DOUBLE_QUANT` say.
    pub fn configured(config: &Config) -> Result<Self> {
        match config.text("QUANTIZATION") {
            "nf4" if config.flag("NF4_DOUBLE_QUANT") => Ok(Quantization::Nf4Double),
            "nf4" => Ok(Quantization::Nf4),
            "native" => Ok(Quantization::Native),
            "f32" => Ok(Quantization::F32),
            other => bail!("quantization {other:?} is not one of nf4, native, f32"),
        }
    }

    /// Its name in digests.
    pub fn as_str(self) -> &'static str {
        match self {
            Quantization::Nf4 => "nf4",
            Quantization::Nf4Double => "nf4 double",
            Quantization::Native => "native",
            Quantization::F32 => "f32",
        }
    }
}

/// One frozen matrix, `[out_features, in_features]`.
#[derive(Debug, Clone)]
pub enum Frozen {
    /// Unquantised f32.
    Dense(Tensor),
    /// 4-bit NormalFloat.
    Nf4(Arc<Nf4>),
    /// A GGUF's own blocks.
    Blocks(Arc<QTensor>),
    /// 4-bit NormalFloat on a card.
    CardNf4(CardNf4),
}

/// An [`Nf4`] in a card's memory.
#[derive(Debug, Clone)]
pub struct CardNf4 {
    /// Two codes a byte, u8.
    pub codes: Tensor,
    /// The scale of every block.
    pub scales: CardScales,
    /// Output and input features.
    pub shape: (usize, usize),
}

/// A card's [`Scales`].
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum CardScales {
    /// f32, one a block.
    Plain(Tensor),
    /// Codes (u8), their f32 and the map of codes (256 f32) to be looked up in.
    Double { codes: Tensor, absmax: Tensor, offset: f32, map: Tensor },
}

impl CardNf4 {
    fn new(nf4: &Nf4, device: &Device) -> candle_core::Result<Self> {
        let floats = |slice: &[f32]| Tensor::from_slice(slice, slice.len(), device);
        let bytes = |slice: &[u8]| Tensor::from_slice(slice, slice.len(), device);
        let scales = match &nf4.scales {
            Scales::Plain(scales) => CardScales::Plain(floats(scales)?),
            Scales::Double { codes, absmax, offset } => CardScales::Double {
                codes: bytes(codes)?,
                absmax: floats(absmax)?,
                offset: *offset,
                map: floats(&SIGNED.values)?,
            },
        };
        Ok(CardNf4 { codes: bytes(&nf4.codes)?, scales, shape: (nf4.rows, nf4.cols) })
    }

    fn bytes(&self) -> usize {
        let size = |t: &Tensor| t.elem_count() * t.dtype().size_in_bytes();
        let scales = match &self.scales {
            CardScales::Plain(scales) => size(scales),
            CardScales::Double { codes, absmax, map, .. } => size(codes) + size(absmax) + size(map),
        };
        size(&self.codes) + scales
    }
}

impl Frozen {
    fn shape(&self) -> (usize, usize) {
        let dims = match self {
            Frozen::Dense(tensor) => tensor.dims(),
            Frozen::Nf4(nf4) => return (nf4.rows, nf4.cols),
            Frozen::Blocks(tensor) => tensor.shape().dims(),
            Frozen::CardNf4(card) => return card.shape,
        };
        // Made only from matrices: see `Weights::linear`.
        (dims[0], dims[1])
    }

    /// Rows.
    pub fn out_features(&self) -> usize {
        self.shape().0
    }

    /// Columns.
    pub fn in_features(&self) -> usize {
        self.shape().1
    }

    /// Writes the weights of some rows into `out`, which must have room for exactly those.
    pub fn dequantize_rows(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        let (all, cols) = self.shape();
        ensure!(rows.start <= rows.end && rows.end <= all, "rows {rows:?} of {all}");
        ensure!(out.len() == rows.len() * cols, "room for {} numbers, rows {rows:?}", out.len());
        match self {
            Frozen::Nf4(nf4) => nf4.dequantize_rows(rows, out),
            Frozen::Blocks(tensor) => gguf::dequantize_rows(tensor, rows, out)?,
            Frozen::CardNf4(_) => bail!("a weight that is not in host memory"),
            Frozen::Dense(tensor) => {
                let (storage, layout) = tensor.storage_and_layout();
                let candle_core::Storage::Cpu(storage) = &*storage else {
                    bail!("a weight that is not in host memory");
                };
                let (from, _) = layout.contiguous_offsets().context("a weight laid out oddly")?;
                let all = storage.as_slice::<f32>()?;
                out.copy_from_slice(&all[from + rows.start * cols..from + rows.end * cols]);
            }
        }
        Ok(())
    }

    /// Where the base computes. A card holds NF4 as it is and a GGUF's blocks in f32.
    pub fn to_device(self, device: &Device) -> Result<Frozen> {
        if device.is_cpu() {
            return Ok(self);
        }
        Ok(match &self {
            Frozen::Nf4(nf4) => Frozen::CardNf4(CardNf4::new(nf4, device)?),
            _ => Frozen::Dense(self.dequantize()?.to_device(device)?),
        })
    }

    /// The whole matrix in f32.
    pub fn dequantize(&self) -> Result<Tensor> {
        match self {
            Frozen::Dense(tensor) => return Ok(tensor.clone()),
            #[cfg(feature = "cuda")]
            Frozen::CardNf4(card) => {
                return Ok(super::ops::cuda::nf4::dequantize(card, DType::F32)?);
            }
            _ => (),
        }
        let (rows, cols) = self.shape();
        let mut out = vec![0f32; rows * cols];
        self.dequantize_rows(0..rows, &mut out)?;
        Ok(Tensor::from_vec(out, (rows, cols), &Device::Cpu)?)
    }

    /// The memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Frozen::Dense(tensor) => tensor.elem_count() * size_of::<f32>(),
            Frozen::Nf4(nf4) => nf4.bytes(),
            Frozen::Blocks(tensor) => tensor.storage_size_in_bytes(),
            Frozen::CardNf4(card) => card.bytes(),
        }
    }
}

impl FrozenWeight for Frozen {
    fn out_features(&self) -> usize {
        self.shape().0
    }

    fn in_features(&self) -> usize {
        self.shape().1
    }

    fn dequantize_rows(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        Frozen::dequantize_rows(self, rows, out)
    }

    fn bytes(&self) -> usize {
        Frozen::bytes(self)
    }

    fn dense(&self) -> Option<&Tensor> {
        match self {
            Frozen::Dense(tensor) => Some(tensor),
            _ => None,
        }
    }

    fn nf4(&self) -> Option<&Nf4> {
        match self {
            Frozen::Nf4(nf4) => Some(nf4),
            _ => None,
        }
    }

    fn dequantize(&self, dtype: DType) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if let Frozen::CardNf4(card) = self {
            return Ok(super::ops::cuda::nf4::dequantize(card, dtype)?);
        }
        Ok(Frozen::dequantize(self)?.to_dtype(dtype)?)
    }
}

/// A frozen matrix whose products on the CPU read bf16.
pub struct InBf16(pub Frozen);

impl FrozenWeight for InBf16 {
    fn out_features(&self) -> usize {
        self.0.out_features()
    }

    fn in_features(&self) -> usize {
        self.0.in_features()
    }

    fn dequantize_rows(&self, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
        self.0.dequantize_rows(rows, out)
    }

    fn in_bf16(&self) -> bool {
        true
    }

    fn dense(&self) -> Option<&Tensor> {
        FrozenWeight::dense(&self.0)
    }

    fn nf4(&self) -> Option<&Nf4> {
        FrozenWeight::nf4(&self.0)
    }

    fn rounded(&self, row: usize, columns: Range<usize>, out: &mut [bf16]) -> Result<()> {
        match &self.0 {
            Frozen::Nf4(nf4) => {
                nf4.rounded(row, columns, out);
                Ok(())
            }
            other => FrozenWeight::rounded(other, row, columns, out),
        }
    }

    fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

enum Source {
    Shards(Shards),
    Gguf(Gguf),
}

/// A base model's files, opened and checked; weights are read when asked for.
pub struct Weights {
    path: PathBuf,
    config: ModelConfig,
    source: Source,
    digest: OnceLock<String>,
}

impl Weights {
    /// Opens a Hugging Face folder or a GGUF file, and checks that every tensor of the
    /// architecture is there, in the right shape, and that no other is.
    pub fn open(path: &Path) -> Result<Weights> {
        let (config, source) = match files::gguf::find(path)? {
            Some(file) => {
                let gguf = Gguf::open(&file)?;
                (ModelConfig::from_gguf(&gguf)?, Source::Gguf(gguf))
            }
            None => (ModelConfig::from_folder(path)?, Source::Shards(Shards::open(path)?)),
        };
        let weights = Weights { path: path.to_path_buf(), config, source, digest: OnceLock::new() };
        weights.check().with_context(|| format!("cannot use {} as a base", path.display()))?;
        Ok(weights)
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The path it was opened from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn check(&self) -> Result<()> {
        let mut found: BTreeMap<&str, &[usize]> = match &self.source {
            Source::Shards(shards) => shards.shapes().collect(),
            Source::Gguf(gguf) => {
                gguf.tensors().iter().map(|(name, info)| (name.as_str(), &info.shape[..])).collect()
            }
        };
        for (name, shape) in expected(&self.config) {
            let own = match &self.source {
                Source::Shards(_) => name,
                Source::Gguf(_) => gguf::gguf_name(&name).unwrap_or(name),
            };
            let has = found.remove(own.as_str()).with_context(|| {
                format!("the tensor {own} is missing; the model is incomplete, fetch it again")
            })?;
            ensure!(
                has == shape,
                "the tensor {own} has shape {has:?}, the configuration says {shape:?}; weights \
                 and configuration belong to different models"
            );
        }
        for name in found.into_keys() {
            let harmless = name.ends_with(".rotary_emb.inv_freq")
                || name == "rope_freqs.weight"
                || (self.config.tie_word_embeddings && name == "lm_head.weight");
            ensure!(
                harmless,
                "the tensor {name} has no place in the {} architecture, so the model would \
                 compute something else here",
                self.config.architecture.as_str()
            );
        }
        Ok(())
    }

    /// A tied head is the embedding.
    fn resolve<'a>(&self, name: &'a str) -> &'a str {
        match name {
            "lm_head.weight" if self.config.tie_word_embeddings => "model.embed_tokens.weight",
            other => other,
        }
    }

    fn shape(&self, name: &str) -> Result<Vec<usize>> {
        let shape = expected(&self.config).into_iter().find(|(other, _)| other == name);
        let (_, shape) =
            shape.with_context(|| format!("{} has no tensor named {name}", self.path.display()))?;
        Ok(shape)
    }

    fn info<'a>(&self, gguf: &'a Gguf, name: &str) -> Result<&'a TensorInfo> {
        let own = gguf::gguf_name(name).unwrap_or_else(|| name.to_string());
        let info = gguf.tensors().get(&own);
        info.with_context(|| format!("{} lacks {own}", gguf.path().display()))
    }

    fn values(&self, name: &str) -> Result<Vec<f32>> {
        let values = match &self.source {
            Source::Shards(shards) => shards
                .read(name)
                .with_context(|| format!("{} lacks {name}", self.path.display()))??,
            Source::Gguf(gguf) => gguf::values(gguf, self.info(gguf, name)?, name, &self.config)?,
        };
        ensure!(
            values.iter().all(|x| x.is_finite()),
            "{}: the tensor {name} contains infinite or undefined numbers; fetch the model again",
            self.path.display()
        );
        Ok(values)
    }

    /// A tensor by its Hugging Face name, in f32.
    pub fn dense(&self, name: &str) -> Result<Tensor> {
        let name = self.resolve(name);
        Ok(Tensor::from_vec(self.values(name)?, self.shape(name)?, &Device::Cpu)?)
    }

    /// A matrix by its Hugging Face name, kept as asked.
    pub fn linear(&self, name: &str, quantization: Quantization) -> Result<Frozen> {
        let name = self.resolve(name);
        let shape = self.shape(name)?;
        let [rows, cols] = shape[..] else {
            bail!("{name} is not a matrix");
        };
        Ok(match (quantization, &self.source) {
            (Quantization::Nf4 | Quantization::Nf4Double, _) => {
                let nf4 = Nf4::quantize(&self.values(name)?, rows, cols);
                let double = quantization == Quantization::Nf4Double;
                Frozen::Nf4(Arc::new(if double { nf4.doubled() } else { nf4 }))
            }
            (Quantization::Native, Source::Gguf(gguf)) => match self.info(gguf, name)? {
                info if info.storage == Storage::F32 => Frozen::Dense(self.dense(name)?),
                info => Frozen::Blocks(Arc::new(gguf::blocks(gguf, info, name, &self.config)?)),
            },
            _ => Frozen::Dense(self.dense(name)?),
        })
    }

    /// A SHA-256 over everything the weights come from; it does not depend on where they lie.
    pub fn digest(&self) -> Result<String> {
        self.digest_with(&files::digest_file)
    }

    /// [`Weights::digest`], the digests of single files taken from someone who may know them.
    pub fn digest_with(&self, of_file: &dyn Fn(&Path) -> Result<String>) -> Result<String> {
        if let Some(digest) = self.digest.get() {
            return Ok(digest.clone());
        }
        let digest = match &self.source {
            Source::Gguf(gguf) => of_file(gguf.path())?,
            Source::Shards(shards) => {
                let mut paths: Vec<PathBuf> = shards.paths().map(Path::to_path_buf).collect();
                for name in ["config.json", "generation_config.json"] {
                    let path = self.path.join(name);
                    if fs::exists(&path)? {
                        paths.push(path);
                    }
                }
                let mut lines = Vec::new();
                for path in paths {
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    lines.push(format!("{name} {}\n", of_file(&path)?));
                }
                lines.sort_unstable();
                files::digest(lines.concat().as_bytes())
            }
        };
        Ok(self.digest.get_or_init(|| digest).clone())
    }
}

/// Every tensor of a model of this shape, by Hugging Face name.
pub fn expected(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    let hidden = config.hidden_size;
    let (q, kv) = (config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim);
    let mut all = vec![
        ("model.embed_tokens.weight".to_string(), vec![config.vocab_size, hidden]),
        ("model.norm.weight".to_string(), vec![hidden]),
    ];
    if !config.tie_word_embeddings {
        all.push(("lm_head.weight".to_string(), vec![config.vocab_size, hidden]));
    }
    for layer in 0..config.num_layers {
        let parts = [
            ("input_layernorm", vec![hidden]),
            ("self_attn.q_proj", vec![q, hidden]),
            ("self_attn.k_proj", vec![kv, hidden]),
            ("self_attn.v_proj", vec![kv, hidden]),
            ("self_attn.o_proj", vec![hidden, q]),
            ("post_attention_layernorm", vec![hidden]),
            ("mlp.gate_proj", vec![config.intermediate_size, hidden]),
            ("mlp.up_proj", vec![config.intermediate_size, hidden]),
            ("mlp.down_proj", vec![hidden, config.intermediate_size]),
        ];
        if config.architecture.has_biases() {
            let biases = [("q", q), ("k", kv), ("v", kv)];
            let named =
                |(part, n)| (format!("model.layers.{layer}.self_attn.{part}_proj.bias"), vec![n]);
            all.extend(biases.map(named));
        }
        if config.architecture.norms_heads() {
            let named = |part| {
                let name = format!("model.layers.{layer}.self_attn.{part}_norm.weight");
                (name, vec![config.head_dim])
            };
            all.extend(["q", "k"].map(named));
        }
        all.extend(
            parts.map(|(part, shape)| (format!("model.layers.{layer}.{part}.weight"), shape)),
        );
    }
    all
}
