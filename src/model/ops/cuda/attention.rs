//! Rotary causal attention on the card; the equations stand in [`crate::model::ops::attention`].

use std::sync::{Mutex, OnceLock};

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, CustomOp3, DType, Device, Layout, Result, Shape, Tensor,
    bail,
};

use super::matmul::{Precision, precision};
use super::{
    Arg, Module, THREADS, at, at_tensor, card, launch, launch_blocks, module, room, storage, tensor,
};
use crate::model::ops::attention::Attention;

const MODULE: Module = module!("attention");
const BF16: Module = module!("attention_bf16");

/// Queries and keys in a tile, in f32 and in bf16.
const TILE: usize = 32;
const BF16_TILE: usize = 64;
const BF16_THREADS: usize = 128;
/// The widest head the kernels take.
pub(crate) const WIDEST: usize = 128;

fn made<T>(cell: &OnceLock<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    if cell.get().is_none() {
        let _ = cell.set(make()?);
    }
    match cell.get() {
        Some(value) => Ok(value),
        None => bail!("a value that was just made is gone"),
    }
}

/// What every launch over some rows needs to know.
struct Rows<'a> {
    shape: &'a Attention,
    device: &'a CudaDevice,
    /// Cosines and sines.
    angles: [Arg; 2],
    /// Tiles, and the table of them.
    tiles: (usize, Arg),
    /// Keys and values of each tile, where each has its own.
    bases: Arg,
    /// Whether the tensor cores take it.
    bf16: bool,
    n: usize,
}

impl<'a> Rows<'a> {
    /// Rows of `shape.sequences`, `before` being how many each has in its cache.
    fn new(
        shape: &'a Attention,
        device: &'a CudaDevice,
        n: usize,
        bf16: bool,
        before: impl Fn(usize) -> usize,
    ) -> Result<Self> {
        let on_card = Device::Cuda(device.clone());
        let tile = if bf16 { BF16_TILE } else { TILE };
        let tiles = made(&shape.tiles[usize::from(bf16)], || {
            let mut table: Vec<u32> = Vec::new();
            for (nth, s) in shape.sequences.iter().enumerate() {
                for first in s.clone().step_by(tile) {
                    let start = (s.start as i32 - before(nth) as i32) as u32;
                    let rows = tile.min(s.end - first) as u32;
                    table.extend([first as u32, rows, start, s.end as u32]);
                }
            }
            Tensor::from_slice(&table, (table.len() / 4, 4), &on_card)
        })?;
        let (cos, sin) = made(&shape.rotary.on_card, || {
            let copy = |values: &[f32]| Tensor::from_slice(values, values.len(), &on_card);
            Ok((copy(&shape.rotary.cos)?, copy(&shape.rotary.sin)?))
        })?;
        let angles = [at_tensor(cos)?, at_tensor(sin)?];
        let tiles = (tiles.dim(0)?, at_tensor(tiles)?);
        Ok(Rows { shape, device, angles, tiles, bases: Arg::At(0), bf16, n })
    }

    /// Whole sequences, packed.
    fn packed(shape: &'a Attention, device: &'a CudaDevice, n: usize) -> Result<Self> {
        let bf16 = precision() == Precision::Half && [64, 128].contains(&shape.dim);
        Self::new(shape, device, n, bf16, |_| 0)
    }

    /// Rotates rows of `heads` heads at `x` into `y`; backwards with `sign` −1.
    fn turn(&self, x: Arg, y: Arg, heads: usize, sign: f32) -> Result<()> {
        let (width, half) = (heads * self.shape.dim, self.shape.dim / 2);
        let [cos, sin] = self.angles;
        let args = [x, y, cos, sin, self.tiles.1, width.into(), half.into(), Arg::Float(sign)];
        launch(self.device, &MODULE, "rotate", (self.tiles.0, heads), 0, &args)
    }

    /// A rotated copy.
    fn turned(&self, x: Arg, heads: usize) -> Result<(CudaSlice<f32>, Arg)> {
        let (y, y_at) = room(self.device, self.n * heads * self.shape.dim)?;
        self.turn(x, y_at, heads, 1.0)?;
        Ok((y, y_at))
    }

    /// Launches `attention_NAME`, or `bf16_NAME`, on a block a tile and head.
    fn run(&self, name: &str, heads: usize, args: &[Arg]) -> Result<()> {
        let (grid, dim) = ((self.tiles.0, heads), self.shape.dim);
        let widths: [Arg; 3] =
            [self.shape.heads.into(), self.shape.kv_heads.into(), self.shape.dim.into()];
        if self.bf16 {
            let rows = match name {
                "forward" => 3 * BF16_TILE,
                "queries" => 4 * BF16_TILE,
                _ => 3 * BF16_TILE,
            };
            let (function, shared) = (format!("bf16_{name}_{dim}"), 2 * rows * (dim + 8));
            let args = [args, &widths[..2]].concat();
            return launch_blocks(
                self.device,
                &BF16,
                &function,
                (grid, BF16_THREADS),
                shared,
                &args,
            );
        }
        let (tiles, squares) = match name {
            "forward" => (2, 1),
            "queries" => (4, 1),
            _ => (4, 2),
        };
        let shared = 4 * TILE * (tiles * (dim + 1) + squares * (TILE + 1));
        let args = [args, &widths].concat();
        launch(self.device, &MODULE, &format!("attention_{name}"), grid, shared, &args)
    }

    /// Attention of rotated queries and keys into `out`, and log Σ exp of each row into `norms`.
    fn forward(&self, [q, k, v]: [Arg; 3], out: Arg, norms: Arg) -> Result<()> {
        let mut args = vec![q, k, v, out, norms, self.tiles.1];
        if !self.bf16 {
            args.push(self.bases);
        }
        args.push(self.n.into());
        self.run("forward", self.shape.heads, &args)
    }
}

/// Attention of packed rows; no T × T matrix, and the backward recomputes the probabilities.
pub(crate) fn attention(q: &Tensor, k: &Tensor, v: &Tensor, shape: &Attention) -> Result<Tensor> {
    let op = OnCard { shape: shape.clone(), norms: Mutex::default() };
    q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, op)
}

struct OnCard {
    shape: Attention,
    /// For each head and row, log Σ exp of its scores: what the backward needs of the forward.
    norms: Mutex<Option<Tensor>>,
}

impl CustomOp3 for OnCard {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        bail!("attention for a card was given tensors in host memory")
    }

    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
        s3: &CudaStorage,
        l3: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (device, shape, n) = (s1.device(), &self.shape, l1.dims()[0]);
        let rows = Rows::packed(shape, device, n)?;
        let (_q, q) = rows.turned(at(s1, l1)?, shape.heads)?;
        let (_k, k) = rows.turned(at(s2, l2)?, shape.kv_heads)?;
        let (out, out_at) = room(device, n * shape.heads * shape.dim)?;
        let (norms, norms_at) = room(device, n * shape.heads)?;
        rows.forward([q, k, at(s3, l3)?], out_at, norms_at)?;
        if let Ok(mut kept) = self.norms.lock() {
            *kept = Some(tensor(norms, device, (shape.heads, n)));
        }
        Ok((storage(out, device), l1.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let kept = self.norms.lock().ok().and_then(|kept| kept.clone());
        let Some(norms) = kept else { bail!("attention's backward before its forward") };
        let (device, shape, n) = (card(q.device())?, &self.shape, q.dim(0)?);
        let (heads, kv_heads, dim) = (shape.heads, shape.kv_heads, shape.dim);
        let rows = Rows::packed(shape, device, n)?;
        let grad = grad.contiguous()?;
        let (_q, q_at) = rows.turned(at_tensor(q)?, heads)?;
        let (_k, k_at) = rows.turned(at_tensor(k)?, kv_heads)?;
        let (v_at, grad_at, norms_at) = (at_tensor(v)?, at_tensor(&grad)?, at_tensor(&norms)?);
        let (_dots, dots_at) = room(device, n * heads)?;
        let args = [at_tensor(out)?, grad_at, dots_at, n.into(), heads.into(), dim.into()];
        let grid = ((n * heads).div_ceil(THREADS / 32), 1);
        launch(device, &MODULE, "attention_dots", grid, 0, &args)?;
        let (dq, dq_at) = room(device, n * heads * dim)?;
        let (dk, dk_at) = room(device, n * kv_heads * dim)?;
        let (dv, dv_at) = room(device, n * kv_heads * dim)?;
        let inputs = [q_at, k_at, v_at, grad_at, norms_at, dots_at];
        let last = [rows.tiles.1, n.into()];
        rows.run("queries", heads, &[&inputs[..], &[dq_at], &last].concat())?;
        rows.run("keys", kv_heads, &[&inputs[..], &[dk_at, dv_at], &last].concat())?;
        rows.turn(dq_at, dq_at, heads, -1.0)?;
        rows.turn(dk_at, dk_at, kv_heads, -1.0)?;
        Ok((
            Some(tensor(dq, device, q.shape())),
            Some(tensor(dk, device, k.shape())),
            Some(tensor(dv, device, v.shape())),
        ))
    }
}

/// Rotated keys and values of one layer of one sequence, with room to grow.
#[derive(Debug, Clone)]
pub(crate) struct Past {
    keys: Tensor,
    values: Tensor,
    len: usize,
}

impl Past {
    /// A copy of what the first `len` tokens left.
    pub(crate) fn beginning(&self, len: usize) -> Result<Past> {
        let len = len.min(self.len);
        let begin = |rows: &Tensor| rows.narrow(0, 0, len)?.force_contiguous();
        Ok(Past { keys: begin(&self.keys)?, values: begin(&self.values)?, len })
    }

    /// What was seen, with room for `more` rows as wide as `like`.
    fn grown(past: Option<Past>, more: usize, like: &Tensor) -> Result<Past> {
        let len = past.as_ref().map_or(0, |p| p.len);
        if let Some(past) = &past
            && len + more <= past.keys.dim(0)?
        {
            return Ok(past.clone());
        }
        let wider = |old: Option<&Tensor>| -> Result<Tensor> {
            // An eighth more: room for an answer, and growing stays rare.
            let rows = (len + more + (len + more) / 8).max(64);
            let new = Tensor::zeros((rows, like.dim(1)?), DType::F32, like.device())?;
            if let Some(old) = old {
                new.slice_set(old, 0, 0)?;
            }
            Ok(new)
        };
        let old = past.as_ref();
        let (keys, values) = (wider(old.map(|p| &p.keys))?, wider(old.map(|p| &p.values))?);
        Ok(Past { keys, values, len })
    }
}

/// Attention of new rows over what each sequence has seen before them, which they then join.
pub(crate) fn attend<'a>(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    shape: &Attention,
    pasts: impl Iterator<Item = &'a mut Option<Past>>,
) -> Result<Tensor> {
    let (q, k, v) = (q.contiguous()?, k.contiguous()?, v.contiguous()?);
    let (device, n, kv_width) = (card(q.device())?, q.dim(0)?, shape.kv_heads * shape.dim);
    let (mut before, mut bases) = (Vec::new(), Vec::new());
    for (sequence, past) in shape.sequences.iter().zip(pasts) {
        let mut seen = Past::grown(past.take(), sequence.len(), &k)?;
        // Where row 0 of the packed rows would lie, were they all in this cache.
        let offset = 4 * kv_width as i64 * (seen.len as i64 - sequence.start as i64);
        for _ in sequence.clone().step_by(TILE) {
            for cache in [&seen.keys, &seen.values] {
                let Arg::At(address) = at_tensor(cache)? else { bail!("a cache without address") };
                bases.push(address as i64 + offset);
            }
        }
        before.push(seen.len);
        seen.len += sequence.len();
        *past = Some(seen);
    }
    let count = bases.len();
    let bases = Tensor::from_vec(bases, count, q.device())?;
    let mut rows = Rows::new(shape, device, n, false, |nth| before[nth])?;
    rows.bases = at_tensor(&bases)?;
    let (_turned, queries) = rows.turned(at_tensor(&q)?, shape.heads)?;
    let ([cos, sin], half) = (rows.angles, shape.dim / 2);
    let (k, v) = (at_tensor(&k)?, at_tensor(&v)?);
    let args = [k, v, cos, sin, rows.tiles.1, rows.bases, kv_width.into(), half.into()];
    launch(device, &MODULE, "append", (rows.tiles.0, shape.kv_heads), 0, &args)?;
    let (out, out_at) = room(device, q.elem_count())?;
    rows.forward([queries, k, v], out_at, Arg::At(0))?;
    Ok(tensor(out, device, q.shape()))
}
