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
    /// Blocks along the rows, and the table of tiles (0: one sequence).
    tiles: (usize, Arg),
    /// Whether the tensor cores take it.
    bf16: bool,
    /// Rows, and keys before the first.
    n: usize,
    past: usize,
}

impl<'a> Rows<'a> {
    /// Whole sequences, packed.
    fn packed(shape: &'a Attention, device: &'a CudaDevice, n: usize) -> Result<Self> {
        let bf16 = precision() == Precision::Half && [64, 128].contains(&shape.dim);
        let tile = if bf16 { BF16_TILE } else { TILE };
        let tiles = made(&shape.tiles[usize::from(bf16)], || {
            let mut table: Vec<u32> = Vec::new();
            for s in shape.sequences.iter() {
                for first in s.clone().step_by(tile) {
                    let rows = tile.min(s.end - first);
                    table.extend([first, rows, s.start, s.end].map(|n| n as u32));
                }
            }
            let device = Device::Cuda(device.clone());
            Tensor::from_slice(&table, (table.len() / 4, 4), &device)
        })?;
        let tiles = (tiles.dim(0)?, at_tensor(tiles)?);
        Ok(Rows { tiles, bf16, ..Self::continued(shape, device, n, 0)? })
    }

    /// `n` rows of one sequence after `past` others.
    fn continued(
        shape: &'a Attention,
        device: &'a CudaDevice,
        n: usize,
        past: usize,
    ) -> Result<Self> {
        let (cos, sin) = made(&shape.rotary.on_card, || {
            let device = Device::Cuda(device.clone());
            let copy = |values: &[f32]| Tensor::from_slice(values, values.len(), &device);
            Ok((copy(&shape.rotary.cos)?, copy(&shape.rotary.sin)?))
        })?;
        let angles = [at_tensor(cos)?, at_tensor(sin)?];
        let tiles = (n.div_ceil(TILE), Arg::At(0));
        Ok(Rows { shape, device, angles, tiles, bf16: false, n, past })
    }

    /// Rotates rows of `heads` heads at `x` into `y`; backwards with `sign` −1.
    fn turn(&self, x: Arg, y: Arg, heads: usize, sign: f32) -> Result<()> {
        let (width, half) = (heads * self.shape.dim, self.shape.dim / 2);
        let args = [
            x,
            y,
            self.angles[0],
            self.angles[1],
            self.tiles.1,
            self.n.into(),
            self.past.into(),
            width.into(),
            half.into(),
            Arg::Float(sign),
        ];
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
        let args = [q, k, v, out, norms, self.tiles.1, self.n.into(), self.past.into()];
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
    /// What was seen, with room for `more` rows as wide as `like`.
    fn grown(past: Option<Past>, more: usize, like: &Tensor) -> Result<Past> {
        let len = past.as_ref().map_or(0, |p| p.len);
        if let Some(past) = &past
            && len + more <= past.keys.dim(0)?
        {
            return Ok(past.clone());
        }
        let wider = |old: Option<&Tensor>| -> Result<Tensor> {
            let rows = (2 * (len + more)).max(64);
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
    let (q, k, v) = (q.contiguous()?, k.contiguous()?, v.detach());
    let device = card(q.device())?;
    let (q_width, kv_width) = (shape.heads * shape.dim, shape.kv_heads * shape.dim);
    let (out, out_at) = room(device, q.elem_count())?;
    for (sequence, past) in shape.sequences.iter().zip(pasts) {
        let mut seen = Past::grown(past.take(), sequence.len(), &k)?;
        let rows = Rows::continued(shape, device, sequence.len(), seen.len)?;
        let from = sequence.start;
        let (_turned, queries) = rows.turned(at_tensor(&q)?.skip(from * q_width), shape.heads)?;
        let keys = at_tensor(&seen.keys)?;
        let new = at_tensor(&k)?.skip(from * kv_width);
        rows.turn(new, keys.skip(seen.len * kv_width), shape.kv_heads, 1.0)?;
        let values = v.narrow(0, from, sequence.len())?.contiguous()?;
        seen.values.slice_set(&values, 0, seen.len)?;
        let inputs = [queries, keys, at_tensor(&seen.values)?];
        rows.forward(inputs, out_at.skip(from * q_width), Arg::At(0))?;
        seen.len += sequence.len();
        *past = Some(seen);
    }
    Ok(tensor(out, device, q.shape()))
}
