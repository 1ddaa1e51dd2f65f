//! Weights in a GGUF: names, rotary row order, blocks, and what tells a model's shape.
//!
//! GGUF keeps the query and key rows of Llama and Mistral (not of Qwen) interleaved for its own
//! rotary. Within a head of width `d`, row `2i + j` there is row `j·d/2 + i` in Hugging Face's
//! order (`j` is 0 or 1), the order everything here uses. Rows are whole numbers of blocks, so the
//! bytes are moved as they are.

use std::borrow::Cow;
use std::ops::Range;

use anyhow::{Result, ensure};
use candle_core::quantized::k_quants::{
    BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4_1, BlockQ4K, BlockQ5_0, BlockQ5_1, BlockQ5K, BlockQ6K,
    BlockQ8_0,
};
use candle_core::quantized::{GgmlDType, GgmlType, QStorage, QTensor};
use candle_core::{Device, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;

use super::config::{Architecture, ModelConfig, RopeScaling};
use super::ops::attention::frequencies;
use crate::files::gguf::{Gguf, Metadata, Storage, TensorInfo};

/// The GGUF name of a tensor with this Hugging Face name.
pub fn gguf_name(name: &str) -> Option<String> {
    match name {
        "model.embed_tokens.weight" => return Some("token_embd.weight".into()),
        "model.norm.weight" => return Some("output_norm.weight".into()),
        "lm_head.weight" => return Some("output.weight".into()),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (part, kind) = rest.rsplit_once('.')?;
    let part = match part {
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" => "ffn_norm",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        _ => return None,
    };
    Some(format!("blk.{layer}.{part}.{kind}"))
}

/// Where GGUF keeps the row that is `row` in Hugging Face's order.
pub fn interleaved_row(row: usize, head_dim: usize) -> usize {
    let (head, within) = (row / head_dim, row % head_dim);
    let half = head_dim / 2;
    head * head_dim + 2 * (within % half) + within / half
}

/// Whether GGUF keeps this tensor's rows interleaved.
fn is_interleaved(name: &str, architecture: Architecture) -> bool {
    let family = matches!(architecture, Architecture::Llama | Architecture::Mistral);
    family
        && (name.ends_with(".self_attn.q_proj.weight")
            || name.ends_with(".self_attn.k_proj.weight"))
}

/// A matrix with its rows as GGUF keeps those of the tensor `name` (its Hugging Face name).
pub fn interleaved(tensor: &Tensor, name: &str, config: &ModelConfig) -> Result<Tensor> {
    if !is_interleaved(name, config.architecture) {
        return Ok(tensor.clone());
    }
    let rows = tensor.dim(0)?;
    let mut from = vec![0u32; rows];
    for row in 0..rows {
        from[interleaved_row(row, config.head_dim)] = row as u32;
    }
    Ok(tensor.index_select(&Tensor::from_vec(from, rows, tensor.device())?, 0)?)
}

/// A tensor in its own blocks, rows in Hugging Face's order; `name` is the Hugging Face name.
pub fn blocks(gguf: &Gguf, info: &TensorInfo, name: &str, config: &ModelConfig) -> Result<QTensor> {
    let bytes = ordered(gguf, info, name, config)?;
    let storage = QStorage::from_data(bytes, &Device::Cpu, dtype(info.storage))?;
    gguf.release(info);
    Ok(QTensor::new(storage, info.shape.as_slice())?)
}

/// A tensor's numbers, rows in Hugging Face's order; the file's bytes are let go of piece by
/// piece as they are read.
pub fn values(
    gguf: &Gguf,
    info: &TensorInfo,
    name: &str,
    config: &ModelConfig,
) -> Result<Vec<f32>> {
    let bytes = ordered(gguf, info, name, config)?;
    let mut out = vec![0f32; info.shape.iter().product()];
    // A vector is a matrix of one row here.
    let cols = *info.shape.last().unwrap_or(&1);
    let (width, rows) = (bytes.len() / (out.len() / cols), ((4 << 20) / cols).max(1));
    for (out, bytes) in out.chunks_mut(rows * cols).zip(bytes.chunks(rows * width)) {
        unpack_rows(dtype(info.storage), bytes, cols, out)?;
        gguf.release(info);
    }
    Ok(out)
}

/// A tensor's bytes, rows in Hugging Face's order.
fn ordered<'a>(
    gguf: &'a Gguf,
    info: &TensorInfo,
    name: &str,
    config: &ModelConfig,
) -> Result<Cow<'a, [u8]>> {
    let bytes = gguf.bytes(info);
    if !is_interleaved(name, config.architecture) {
        return Ok(Cow::Borrowed(bytes));
    }
    let rows = info.shape[0];
    ensure!(rows.is_multiple_of(config.head_dim), "{name}: {rows} rows are not whole heads");
    let width = bytes.len() / rows;
    let mut ordered = Vec::with_capacity(bytes.len());
    for row in 0..rows {
        let from = interleaved_row(row, config.head_dim) * width;
        ordered.extend_from_slice(&bytes[from..from + width]);
    }
    Ok(Cow::Owned(ordered))
}

/// A tensor's numbers in blocks of `storage`, whose length its rows must be a multiple of.
pub fn pack(tensor: &Tensor, storage: Storage) -> Result<Vec<u8>> {
    let columns = tensor.dims().last().copied().unwrap_or(1);
    let values = tensor.flatten_all()?.to_vec1::<f32>()?;
    let piece = (65_536 / columns).max(1) * columns;
    let pieces = values.par_chunks(piece).map(|values| {
        let rows = Tensor::from_slice(values, (values.len() / columns, columns), &Device::Cpu)?;
        let packed = match storage {
            // Only beside importances does candle look for the best scales; these are all alike.
            Storage::Q4K => QTensor::quantize_imatrix(&rows, &vec![1.0; columns], GgmlDType::Q4K),
            _ => QTensor::quantize(&rows, dtype(storage)),
        };
        Ok(packed?.data()?.into_owned())
    });
    Ok(pieces.collect::<Result<Vec<_>>>()?.concat())
}

/// How a tensor of these dimensions is stored in a file of type `wanted`: vectors in f32, rows that
/// do not fill the blocks in the next larger ones that they fill, as llama.cpp's quantiser does.
pub fn storage_for(shape: &[usize], wanted: Storage) -> Storage {
    let [_, columns] = shape[..] else { return Storage::F32 };
    let fallbacks = match wanted {
        Storage::Q4K => [wanted, Storage::Q5_0, Storage::F16],
        Storage::Q6K => [wanted, Storage::Q8_0, Storage::F16],
        _ => [wanted, Storage::F16, Storage::F16],
    };
    let fits = |storage: &Storage| columns.is_multiple_of(storage.block().0);
    fallbacks.into_iter().find(fits).unwrap_or(Storage::F32)
}

/// What llama.cpp must know of a model's shape, and of how most of it is stored.
pub fn metadata(config: &ModelConfig, storage: Storage) -> Result<Metadata> {
    let name = config.architecture.in_gguf();
    let mut metadata = Metadata::default();
    metadata.text("general.architecture", name).text("general.type", "model");
    // Of llama.cpp's `llama_ftype`; it guesses where there is none.
    let kind = match storage {
        Storage::F32 => Some(0),
        Storage::F16 => Some(1),
        Storage::Q8_0 => Some(7),
        Storage::Q4K => Some(14),
        _ => None,
    };
    if let Some(kind) = kind {
        metadata.u32("general.file_type", kind).u32("general.quantization_version", 2);
    }
    let sizes = [
        ("vocab_size", config.vocab_size),
        ("context_length", config.max_positions),
        ("embedding_length", config.hidden_size),
        ("block_count", config.num_layers),
        ("feed_forward_length", config.intermediate_size),
        ("rope.dimension_count", config.head_dim),
        ("attention.head_count", config.num_heads),
        ("attention.head_count_kv", config.num_kv_heads),
        ("attention.key_length", config.head_dim),
        ("attention.value_length", config.head_dim),
    ];
    for (key, size) in
        sizes.into_iter().chain(config.window.map(|n| ("attention.sliding_window", n)))
    {
        metadata.u32(&format!("{name}.{key}"), u32::try_from(size)?);
    }
    metadata.f32(&format!("{name}.rope.freq_base"), config.rope_theta as f32);
    let epsilon = config.rms_norm_eps as f32;
    metadata.f32(&format!("{name}.attention.layer_norm_rms_epsilon"), epsilon);
    if let RopeScaling::Linear(factor) = config.rope_scaling {
        metadata.text(&format!("{name}.rope.scaling.type"), "linear");
        metadata.f32(&format!("{name}.rope.scaling.factor"), factor as f32);
    }
    Ok(metadata)
}

/// What `rope_freqs.weight` divides each frequency by; none where one factor or no scaling does.
pub fn rope_factors(config: &ModelConfig) -> Result<Vec<f32>> {
    let factors = match &config.rope_scaling {
        RopeScaling::None | RopeScaling::Linear(_) => return Ok(Vec::new()),
        RopeScaling::Factors(factors) => factors.clone(),
        scaling @ RopeScaling::Llama3 { .. } => {
            let plain = frequencies(config.head_dim, config.rope_theta);
            let scaled = scaling.scaled(plain.clone());
            plain.iter().zip(&scaled).map(|(plain, scaled)| (plain / scaled) as f32).collect()
        }
    };
    ensure!(
        config.architecture.in_gguf() == "llama",
        "llama.cpp reads rope factors (Llama 3.1's scaling) for Llama alone, not for {}; write the \
         merged Hugging Face folder instead",
        config.architecture.as_str()
    );
    Ok(factors)
}

fn dtype(storage: Storage) -> GgmlDType {
    match storage {
        Storage::F32 => GgmlDType::F32,
        Storage::F16 => GgmlDType::F16,
        Storage::BF16 => GgmlDType::BF16,
        Storage::Q4_0 => GgmlDType::Q4_0,
        Storage::Q4_1 => GgmlDType::Q4_1,
        Storage::Q5_0 => GgmlDType::Q5_0,
        Storage::Q5_1 => GgmlDType::Q5_1,
        Storage::Q8_0 => GgmlDType::Q8_0,
        Storage::Q2K => GgmlDType::Q2K,
        Storage::Q3K => GgmlDType::Q3K,
        Storage::Q4K => GgmlDType::Q4K,
        Storage::Q5K => GgmlDType::Q5K,
        Storage::Q6K => GgmlDType::Q6K,
    }
}

/// Writes the weights of some rows of a matrix on the CPU into `out`.
pub fn dequantize_rows(tensor: &QTensor, rows: Range<usize>, out: &mut [f32]) -> Result<()> {
    let (all, cols) = tensor.shape().dims2()?;
    ensure!(rows.start <= rows.end && rows.end <= all, "rows {rows:?} of {all}");
    ensure!(out.len() == rows.len() * cols, "room for {} of rows {rows:?}", out.len());
    let data = tensor.data()?;
    let width = data.len() / all;
    unpack_rows(tensor.dtype(), &data[rows.start * width..rows.end * width], cols, out)
}

/// Whole rows of `cols` numbers each.
fn unpack_rows(dtype: GgmlDType, bytes: &[u8], cols: usize, out: &mut [f32]) -> Result<()> {
    let unpack = match dtype {
        GgmlDType::F32 => unpack::<f32>,
        GgmlDType::F16 => unpack::<f16>,
        GgmlDType::BF16 => unpack::<bf16>,
        GgmlDType::Q4_0 => unpack::<BlockQ4_0>,
        GgmlDType::Q4_1 => unpack::<BlockQ4_1>,
        GgmlDType::Q5_0 => unpack::<BlockQ5_0>,
        GgmlDType::Q5_1 => unpack::<BlockQ5_1>,
        GgmlDType::Q8_0 => unpack::<BlockQ8_0>,
        GgmlDType::Q2K => unpack::<BlockQ2K>,
        GgmlDType::Q3K => unpack::<BlockQ3K>,
        GgmlDType::Q4K => unpack::<BlockQ4K>,
        GgmlDType::Q5K => unpack::<BlockQ5K>,
        GgmlDType::Q6K => unpack::<BlockQ6K>,
        other => anyhow::bail!("blocks of {other:?} are not read"),
    };
    if out.is_empty() {
        return Ok(());
    }
    // Some 16,000 weights a piece: worth handing to another thread, small enough to share out.
    let piece = (16_384 / cols).max(1);
    let width = bytes.len() / (out.len() / cols);
    out.par_chunks_mut(piece * cols)
        .zip(bytes.par_chunks(piece * width))
        .try_for_each(|(out, bytes)| unpack(bytes, out))
}

fn unpack<T: GgmlType>(bytes: &[u8], out: &mut [f32]) -> Result<()> {
    // SAFETY: block types are plain C structs of half floats and bytes, for which every bit
    // pattern is valid; `align_to` gives only what is aligned.
    let (before, blocks, after) = unsafe { bytes.align_to::<T>() };
    ensure!(before.is_empty() && after.is_empty(), "blocks that are not aligned in memory");
    ensure!(blocks.len() * T::BLCK_SIZE == out.len(), "blocks that do not fill their rows");
    T::to_float(blocks, out);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    #[test]
    fn names_map_both_sides() {
        let cases = [
            ("model.embed_tokens.weight", "token_embd.weight"),
            ("lm_head.weight", "output.weight"),
            ("model.layers.12.self_attn.o_proj.weight", "blk.12.attn_output.weight"),
            ("model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight"),
            ("model.layers.3.post_attention_layernorm.weight", "blk.3.ffn_norm.weight"),
        ];
        for (ours, theirs) in cases {
            assert_eq!(gguf_name(ours).as_deref(), Some(theirs));
        }
        assert_eq!(gguf_name("model.layers.0.mystery.weight"), None);
    }

    #[test]
    fn rows_interleave_within_each_head() {
        // Two heads of width 6: Hugging Face's 0 1 2 | 3 4 5 lies as 0 3 1 4 2 5.
        let places: Vec<_> = (0..12).map(|row| interleaved_row(row, 6)).collect();
        assert_eq!(places, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
    }

    #[test]
    fn rows_of_every_block_type_unpack_as_candle_does() {
        let mut chance = Chance::new(1, "blocks");
        let (rows, cols) = (70, 512);
        let values: Vec<f32> = (0..rows * cols).map(|_| chance.normal() as f32).collect();
        let tensor = Tensor::from_vec(values, (rows, cols), &Device::Cpu).unwrap();
        for dtype in [
            GgmlDType::F32,
            GgmlDType::F16,
            GgmlDType::BF16,
            GgmlDType::Q4_0,
            GgmlDType::Q4_1,
            GgmlDType::Q5_0,
            GgmlDType::Q5_1,
            GgmlDType::Q8_0,
            GgmlDType::Q2K,
            GgmlDType::Q3K,
            GgmlDType::Q4K,
            GgmlDType::Q5K,
            GgmlDType::Q6K,
        ] {
            let blocks = QTensor::quantize(&tensor, dtype).unwrap();
            let whole = blocks.dequantize(&Device::Cpu).unwrap().to_vec2::<f32>().unwrap();
            for range in [0..rows, 3..4, 5..60, 9..9] {
                let mut out = vec![f32::NAN; range.len() * cols];
                dequantize_rows(&blocks, range.clone(), &mut out).unwrap();
                assert_eq!(out, whole[range.clone()].concat(), "{dtype:?} {range:?}");
            }
            assert!(dequantize_rows(&blocks, 0..rows + 1, &mut []).is_err());
        }
    }

    #[test]
    fn packed_rows_lose_what_their_type_must() {
        let mut chance = Chance::new(2, "blocks");
        let (rows, cols) = (80, 1024);
        let values: Vec<f32> = (0..rows * cols).map(|_| chance.normal() as f32).collect();
        let tensor = Tensor::from_vec(values.clone(), (rows, cols), &Device::Cpu).unwrap();
        let norm = |values: &[f32]| values.iter().map(|x| x * x).sum::<f32>().sqrt();
        let lost = |storage| {
            let bytes = pack(&tensor, storage).unwrap();
            let blocks = QStorage::from_data(bytes.into(), &Device::Cpu, dtype(storage)).unwrap();
            let blocks = QTensor::new(blocks, (rows, cols)).unwrap();
            let mut back = vec![0.0; rows * cols];
            dequantize_rows(&blocks, 0..rows, &mut back).unwrap();
            let off: Vec<f32> = back.iter().zip(&values).map(|(a, b)| a - b).collect();
            norm(&off) / norm(&values)
        };
        // What ggml's own quantisers lose on normal weights, and a little.
        for (storage, most) in [
            (Storage::F32, 0.0),
            (Storage::F16, 2.5e-4),
            (Storage::Q8_0, 0.006),
            (Storage::Q5_0, 0.05),
            (Storage::Q4K, 0.08),
        ] {
            let lost = lost(storage);
            assert!(lost <= most && lost >= most / 2.0, "{storage:?}: {lost}");
        }
    }

    #[test]
    fn narrow_rows_fall_back_to_smaller_blocks() {
        let cases = [
            (&[9][..], Storage::Q4K, Storage::F32),
            (&[2, 512], Storage::Q4K, Storage::Q4K),
            (&[2, 576], Storage::Q4K, Storage::Q5_0),
            (&[2, 576], Storage::Q6K, Storage::Q8_0),
            (&[2, 20], Storage::Q4K, Storage::F16),
            (&[2, 20], Storage::Q8_0, Storage::F16),
            (&[2, 20], Storage::F32, Storage::F32),
        ];
        for (shape, wanted, got) in cases {
            assert_eq!(storage_for(shape, wanted), got, "{shape:?} {wanted:?}");
        }
    }
}
