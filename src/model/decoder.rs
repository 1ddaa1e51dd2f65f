//! The one decoder: a pre-norm transformer with rotary grouped-query attention and SwiGLU
//! (Llama; Touvron et al. 2023). The same forward serves training, log-probabilities and, with a
//! cache, generation. Sequences are packed one after the other, without padding.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor, Var};

use super::config::ModelConfig;
use super::lora::Lora;
use super::nf4::{self, Nf4, Scales};
use super::ops::Precision;
use super::ops::attention::{Attention, Past, Rotary, frequencies};
use super::ops::cross_entropy::{cross_entropy, losses};
use super::ops::residual::add;
use super::ops::rms_norm::rms_norm;
use super::ops::swiglu::swiglu;
use super::prepared::Prepared;
use super::weights::{Frozen, InBf16, Quantization, Weights};
use crate::chance::Chance;

mod block;
mod gradients;

use block::{Block, Linear, Pass, Weight};
pub use gradients::Keep;

/// Token sequences laid one after the other; no sequence sees another.
#[derive(Debug, Clone, Default)]
pub struct Packed {
    /// The ids of all sequences.
    pub ids: Vec<u32>,
    /// Where each sequence lies.
    pub sequences: Arc<Vec<Range<usize>>>,
}

impl Packed {
    /// Packs sequences in order.
    pub fn new<'a>(rows: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let (mut ids, mut sequences) = (Vec::new(), Vec::new());
        for row in rows {
            sequences.push(ids.len()..ids.len() + row.len());
            ids.extend_from_slice(row);
        }
        Packed { ids, sequences: Arc::new(sequences) }
    }
}

/// Keys and values of every layer of one sequence.
pub struct Cache(Vec<Past>);

/// The model.
pub struct Decoder {
    /// Its shape.
    pub config: ModelConfig,
    embedding: Tensor,
    blocks: Vec<Block>,
    norm: Tensor,
    head: Option<Tensor>,
    rotary: Arc<Rotary>,
    device: Device,
    variables: Vec<(String, Var)>,
}

/// Rows that the feed-forward half of a layer takes at a time: what it holds in between does not
/// grow with the sequence.
pub const TILE: usize = 1024;

fn tiles(n: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(TILE).map(move |from| from..n.min(from + TILE))
}

/// Rows of tiles as one tensor.
fn joined(mut parts: Vec<Tensor>) -> Result<Tensor> {
    match parts.len() {
        1 => parts.pop().context("one part"),
        _ => Ok(Tensor::cat(&parts, 0)?),
    }
}

/// The seven linears of a block, by their names in checkpoints.
pub const LINEARS: [&str; 7] =
    ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// Those with a bias, where the architecture has biases.
const BIASED: [&str; 3] = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];

fn linear_shapes(c: &ModelConfig) -> [(&'static str, usize, usize); 7] {
    let (hidden, inner) = (c.hidden_size, c.intermediate_size);
    let (q, kv) = (c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim);
    [
        ("self_attn.q_proj", q, hidden),
        ("self_attn.k_proj", kv, hidden),
        ("self_attn.v_proj", kv, hidden),
        ("self_attn.o_proj", hidden, q),
        ("mlp.gate_proj", inner, hidden),
        ("mlp.up_proj", inner, hidden),
        ("mlp.down_proj", hidden, inner),
    ]
}

/// Name, output and input width of every linear an adapter can act on in a model of this shape.
pub fn linears(config: &ModelConfig) -> Vec<(String, usize, usize)> {
    let each = |layer| {
        let named = move |(name, out, width)| (format!("model.layers.{layer}.{name}"), out, width);
        linear_shapes(config).map(named)
    };
    (0..config.num_layers).flat_map(each).collect()
}

/// Where the decoder's tensors come from.
trait Source {
    fn linear(&mut self, name: &str, shape: (usize, usize)) -> Result<Weight>;
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor>;
}

/// A tensor where the base computes: where products read bf16, tables are kept in it.
fn placed(tensor: Tensor, device: &Device, precision: Precision) -> Result<Tensor> {
    match tensor.rank() == 2 && precision == Precision::Half {
        true => Ok(tensor.to_dtype(DType::BF16)?.to_device(device)?),
        false => Ok(tensor.to_device(device)?),
    }
}

/// The precision of a random base: on a card the process's.
fn of_device(_device: &Device) -> Precision {
    #[cfg(feature = "cuda")]
    if _device.is_cuda() {
        return super::ops::cuda::matmul::precision();
    }
    Precision::Full
}

/// A frozen base from files.
struct Files<'a> {
    weights: &'a Weights,
    quantization: Quantization,
    prepared: Option<&'a Prepared>,
    device: &'a Device,
    precision: Precision,
}

impl Source for Files<'_> {
    fn linear(&mut self, name: &str, shape: (usize, usize)) -> Result<Weight> {
        let weight = match self.prepared {
            Some(prepared) => Frozen::Nf4(Arc::new(prepared.linear(name)?)),
            None => self.weights.linear(&format!("{name}.weight"), self.quantization)?,
        };
        let got = (weight.out_features(), weight.in_features());
        ensure!(got == shape, "`{name}.weight` is {got:?}; the configuration wants {shape:?}");
        let weight = weight.to_device(self.device)?;
        Ok(Weight::Frozen(match self.device.is_cpu() && self.precision == Precision::Half {
            true => Arc::new(InBf16(weight)),
            false => Arc::new(weight),
        }))
    }

    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self.weights.dense(name)?;
        ensure!(
            tensor.dims() == shape,
            "`{name}` is {:?}; the configuration wants {shape:?}",
            tensor.dims()
        );
        placed(tensor, self.device, self.precision)
    }
}

/// A frozen base without files, to measure a shape: uniform NF4 codes and tables, deviation about
/// 0.02, norms at one.
struct Random<'a> {
    chance: Chance,
    device: &'a Device,
}

impl Source for Random<'_> {
    fn linear(&mut self, _: &str, (rows, cols): (usize, usize)) -> Result<Weight> {
        let mut codes = vec![0u8; (rows * cols).div_ceil(2)];
        for part in codes.chunks_mut(8) {
            part.copy_from_slice(&self.chance.bits().to_le_bytes()[..part.len()]);
        }
        let scales = Scales::Plain(vec![0.036; (rows * cols).div_ceil(nf4::BLOCK)].into());
        let nf4 = Nf4 { codes: codes.into(), scales, rows, cols };
        let weight = Frozen::Nf4(Arc::new(nf4));
        Ok(Weight::Frozen(Arc::new(weight.to_device(self.device)?)))
    }

    fn tensor(&mut self, _: &str, shape: &[usize]) -> Result<Tensor> {
        let mut value =
            || if shape.len() == 1 { 1.0 } else { self.chance.unit() as f32 * 0.07 - 0.035 };
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| value()).collect();
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu)?;
        placed(tensor, self.device, of_device(self.device))
    }
}

/// A new model, every tensor trainable: normal numbers of deviation 0.02, the two projections
/// into the residual stream scaled down by √(2·layers) (Radford et al. 2019), norms at one.
struct Fresh {
    chance: Chance,
    layers: usize,
    variables: Vec<(String, Var)>,
    device: Device,
}

impl Fresh {
    fn variable(&mut self, name: &str, shape: &[usize], deviation: f64) -> Result<Var> {
        let n = shape.iter().product();
        let values: Vec<f32> = match deviation {
            0.0 => vec![1.0; n],
            d => (0..n).map(|_| (self.chance.normal() * d) as f32).collect(),
        };
        let var = Var::from_tensor(&Tensor::from_vec(values, shape, &self.device)?)?;
        self.variables.push((name.into(), var.clone()));
        Ok(var)
    }
}

impl Source for Fresh {
    fn linear(&mut self, name: &str, (out, width): (usize, usize)) -> Result<Weight> {
        let into_residual = name.ends_with("o_proj") || name.ends_with("down_proj");
        let scale = if into_residual { libm::sqrt(2.0 * self.layers as f64) } else { 1.0 };
        let var = self.variable(&format!("{name}.weight"), &[out, width], 0.02 / scale)?;
        Ok(Weight::Trainable(var))
    }

    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let deviation = if shape.len() == 1 { 0.0 } else { 0.02 };
        Ok(self.variable(name, shape, deviation)?.as_tensor().clone())
    }
}

impl Decoder {
    /// Loads a frozen base.
    pub fn load(weights: &Weights, quantization: Quantization, device: &Device) -> Result<Self> {
        Self::load_prepared(weights, quantization, device, Precision::Full, None)
    }

    /// Loads a frozen base, its linears from the cache where they are there. On a card products
    /// read what `ops::cuda::matmul::set_precision` says, which must be `precision`.
    pub fn load_prepared(
        weights: &Weights,
        quantization: Quantization,
        device: &Device,
        precision: Precision,
        prepared: Option<&Prepared>,
    ) -> Result<Self> {
        let mut files = Files { weights, quantization, prepared, device, precision };
        Self::build(weights.config().clone(), &mut files, device)
    }

    /// A frozen base of this shape with random NF4 weights: for measurements, it knows nothing.
    pub fn random(config: ModelConfig, seed: u64, device: &Device) -> Result<Self> {
        let mut random = Random { chance: Chance::new(seed, "random base"), device };
        Self::build(config, &mut random, device)
    }

    /// A new model with random weights, all of them trainable.
    pub fn fresh(config: ModelConfig, seed: u64) -> Result<Self> {
        let (layers, device) = (config.num_layers, Device::Cpu);
        let chance = Chance::new(seed, "weights");
        let mut fresh = Fresh { chance, layers, variables: Vec::new(), device: device.clone() };
        let mut decoder = Self::build(config, &mut fresh, &device)?;
        decoder.variables = fresh.variables;
        Ok(decoder)
    }

    fn build(config: ModelConfig, source: &mut dyn Source, device: &Device) -> Result<Self> {
        let c = &config;
        let hidden = c.hidden_size;
        let embedding = source.tensor("model.embed_tokens.weight", &[c.vocab_size, hidden])?;
        let mut blocks = Vec::with_capacity(c.num_layers);
        for layer in 0..c.num_layers {
            let prefix = format!("model.layers.{layer}");
            let mut norm =
                |name: &str| source.tensor(&format!("{prefix}.{name}.weight"), &[hidden]);
            let input_norm = norm("input_layernorm")?;
            let post_norm = norm("post_attention_layernorm")?;
            let mut linears = linear_shapes(c).into_iter().map(|(name, out, width)| {
                let biased = c.architecture.has_biases() && BIASED.contains(&name);
                let name = format!("{prefix}.{name}");
                let weight = source.linear(&name, (out, width))?;
                let bias = biased.then(|| source.tensor(&format!("{name}.bias"), &[out]));
                anyhow::Ok(Linear { name, weight, bias: bias.transpose()? })
            });
            let mut next = || linears.next().context("a block has seven linears")?;
            let (q, k, v, o) = (next()?, next()?, next()?, next()?);
            let (gate, up, down) = (next()?, next()?, next()?);
            let mut head_norm = |part: &str| {
                source.tensor(&format!("{prefix}.self_attn.{part}_norm.weight"), &[c.head_dim])
            };
            let head_norms = match c.architecture.norms_heads() {
                true => Some((head_norm("q")?, head_norm("k")?)),
                false => None,
            };
            blocks.push(Block { input_norm, q, k, v, o, head_norms, post_norm, gate, up, down });
        }
        let norm = source.tensor("model.norm.weight", &[hidden])?;
        let head = match c.tie_word_embeddings {
            true => None,
            false => Some(source.tensor("lm_head.weight", &[c.vocab_size, hidden])?),
        };
        let frequencies = c.rope_scaling.scaled(frequencies(c.head_dim, c.rope_theta));
        // No sequence is longer (see MAX_SEQ_LENGTH), whatever the model claims.
        let positions = c.max_positions.min(1 << 20);
        let rotary = Arc::new(Rotary::new(&frequencies, positions));
        let device = device.clone();
        Ok(Decoder { embedding, blocks, norm, head, rotary, device, variables: Vec::new(), config })
    }

    /// Every weight of a [`Decoder::fresh`] model by its name in checkpoints; none for a frozen
    /// base.
    pub fn variables(&self) -> &[(String, Var)] {
        &self.variables
    }

    /// Name, output and input width of every linear an adapter can act on.
    pub fn linears(&self) -> Vec<(String, usize, usize)> {
        linears(&self.config)
    }

    /// How many weights the model has.
    pub fn parameters(&self) -> usize {
        let c = &self.config;
        let block: usize = linear_shapes(c).iter().map(|(_, o, i)| o * i).sum();
        let tables = if self.head.is_some() { 2 } else { 1 };
        (block + 2 * c.hidden_size) * c.num_layers
            + c.hidden_size
            + tables * c.vocab_size * c.hidden_size
    }

    /// What the weights take in memory, in bytes.
    pub fn bytes(&self) -> u64 {
        let linears: usize = self
            .blocks
            .iter()
            .flat_map(Block::linears)
            .map(|l| match &l.weight {
                Weight::Frozen(weight) => weight.bytes(),
                Weight::Trainable(weight) => 4 * weight.elem_count(),
            })
            .sum();
        let table = |t: &Tensor| t.elem_count() * t.dtype().size_in_bytes();
        (linears + table(&self.embedding) + self.head.as_ref().map_or(0, table)) as u64
    }

    /// What products with the weights read.
    pub fn precision(&self) -> Precision {
        match self.embedding.dtype() {
            DType::BF16 => Precision::Half,
            _ => Precision::Full,
        }
    }

    /// The device the model computes on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The longest sequence the model can take.
    pub fn max_positions(&self) -> usize {
        self.rotary.positions()
    }

    /// The output head: [vocabulary, hidden].
    pub fn head(&self) -> &Tensor {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// A cache for a sequence that has not begun.
    pub fn cache(&self) -> Cache {
        Cache(self.blocks.iter().map(|_| Past::default()).collect())
    }

    /// A copy of what the first `len` tokens of a sequence left in its cache.
    pub fn beginning(&self, cache: &Cache, len: usize) -> Result<Cache> {
        let width = self.config.num_kv_heads * self.config.head_dim;
        let begin = |past: &Past| past.beginning(len, width);
        Ok(Cache(cache.0.iter().map(begin).collect::<candle_core::Result<_>>()?))
    }

    /// The last hidden state (normed) of every packed token: [n, hidden], without gradients.
    pub fn forward(&self, packed: &Packed, lora: Option<&Lora>) -> Result<Tensor> {
        self.run(packed, (lora, None, false), None)
    }

    /// The same, differentiable by everything that is trained: all activations are held until the
    /// gradients are there. An adapter alone is trained with [`Decoder::gradients`], which holds
    /// less. `chance` decides dropout.
    pub fn hidden(
        &self,
        packed: &Packed,
        lora: Option<&Lora>,
        chance: Option<&mut Chance>,
    ) -> Result<Tensor> {
        self.run(packed, (lora, chance, true), None)
    }

    /// Like [`Decoder::forward`], for tokens that continue what is cached; one cache a sequence.
    pub fn continued(
        &self,
        packed: &Packed,
        lora: Option<&Lora>,
        caches: &mut [&mut Cache],
    ) -> Result<Tensor> {
        self.run(packed, (lora, None, false), Some(caches))
    }

    fn run(
        &self,
        packed: &Packed,
        (lora, chance, tracked): (Option<&Lora>, Option<&mut Chance>, bool),
        mut caches: Option<&mut [&mut Cache]>,
    ) -> Result<Tensor> {
        let (mut x, shape) = self.begin(packed)?;
        let mut pass = Pass { lora, chance, tracked, shape };
        for layer in 0..self.blocks.len() {
            x = self.layer(layer, &x, &mut pass, caches.as_deref_mut())?;
        }
        Ok(rms_norm(&x, &self.norm, self.config.rms_norm_eps)?)
    }

    /// The embedded tokens ([n, hidden]), and the shape of attention over them.
    fn begin(&self, packed: &Packed) -> Result<(Tensor, Attention)> {
        let longest = packed.sequences.iter().map(|s| s.len()).max().unwrap_or(0);
        ensure!(
            longest <= self.max_positions(),
            "a sequence of {longest} tokens exceeds the model's context of {}",
            self.max_positions()
        );
        if let Some(id) = packed.ids.iter().find(|id| **id as usize >= self.config.vocab_size) {
            anyhow::bail!(
                "token id {id} lies outside the vocabulary of {}",
                self.config.vocab_size
            );
        }
        let shape = Attention {
            heads: self.config.num_heads,
            kv_heads: self.config.num_kv_heads,
            dim: self.config.head_dim,
            window: self.config.window,
            rotary: self.rotary.clone(),
            sequences: packed.sequences.clone(),
            tiles: Arc::default(),
        };
        let ids = Tensor::from_slice(&packed.ids, packed.ids.len(), &self.device)?;
        let x = self.embedding.index_select(&ids, 0)?.to_dtype(DType::F32)?;
        Ok((x, shape))
    }

    /// One layer: attention and feed-forward, each added to the residual stream `x` ([n, hidden]).
    fn layer(
        &self,
        layer: usize,
        x: &Tensor,
        pass: &mut Pass,
        caches: Option<&mut [&mut Cache]>,
    ) -> Result<Tensor> {
        let (block, epsilon) = (&self.blocks[layer], self.config.rms_norm_eps);
        let mut pasts: Option<Vec<&mut Past>> =
            caches.map(|caches| caches.iter_mut().map(|cache| &mut cache.0[layer]).collect());
        let x = add(x, &block.attend(x, pass, epsilon, pasts.as_deref_mut())?)?;
        let mut parts = Vec::new();
        for rows in tiles(x.dim(0)?) {
            let part = x.narrow(0, rows.start, rows.len())?;
            let (gate, up) = block.gate_up(&part, pass, epsilon)?;
            parts.push(add(&part, &block.down.forward(&swiglu(&gate, &up)?, pass)?)?);
        }
        joined(parts)
    }

    /// The summed cross-entropy (nats) of the targets at the given rows of `hidden`.
    pub fn loss(&self, hidden: &Tensor, rows: &[u32], targets: &[u32]) -> Result<Tensor> {
        let rows = Tensor::from_slice(rows, rows.len(), &self.device)?;
        Ok(cross_entropy(&hidden.index_select(&rows, 0)?, self.head(), targets)?)
    }

    /// The negative log-likelihood (nats) of each target, without gradients.
    pub fn losses(&self, hidden: &Tensor, rows: &[u32], targets: &[u32]) -> Result<Vec<f64>> {
        let rows = Tensor::from_slice(rows, rows.len(), &self.device)?;
        losses(&hidden.index_select(&rows, 0)?, self.head(), targets)
            .context("computing log-probabilities")
    }
}
