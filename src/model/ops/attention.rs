//! Rotary positions (Su et al. 2021, half-split as in Llama) and causal grouped-query attention
//! (Ainslie et al. 2023) over sequences packed one after the other:
//! `o_t = Σ_{j≤t} softmax_j(q̃_t·k̃_j / √d) v_j`, within each sequence, `x̃` being the rotated `x`.
//!
//! Queries are taken in blocks, so that no T × T matrix exists; the backward recomputes the
//! probabilities of a block instead of keeping them.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::lanes::{exponentials, sum, wide};
use super::matmul::{View, matmul};
use super::{beside, read, values};

mod cached;

pub use cached::{Past, attend};

/// Queries handled at a time.
pub const BLOCK: usize = 64;

/// Cosines and sines for every position, shared by all layers.
#[derive(Debug)]
pub struct Rotary {
    half: usize,
    pub(super) cos: Vec<f32>,
    pub(super) sin: Vec<f32>,
    /// Both on the card, once they are wanted there.
    #[cfg(feature = "cuda")]
    pub(super) on_card: OnceLock<(Tensor, Tensor)>,
}

impl Rotary {
    /// Tables for positions below `positions`: angle `p · f_i`, one frequency for each pair of a
    /// head's values. See [`frequencies`].
    pub fn new(frequencies: &[f64], positions: usize) -> Self {
        let half = frequencies.len();
        let angles = (0..positions).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f));
        let (cos, sin) = angles.map(|a| (libm::cos(a) as f32, libm::sin(a) as f32)).unzip();
        Rotary {
            half,
            cos,
            sin,
            #[cfg(feature = "cuda")]
            on_card: OnceLock::new(),
        }
    }

    /// How many positions the tables cover.
    pub fn positions(&self) -> usize {
        self.cos.len() / self.half.max(1)
    }

    /// Rotates every head of a row at `position`; backwards for gradients.
    fn turn(&self, row: &mut [f32], position: usize, backwards: bool) {
        let at = position * self.half..(position + 1) * self.half;
        let (cos, sin) = (&self.cos[at.clone()], &self.sin[at]);
        let sign = if backwards { -1.0 } else { 1.0 };
        for head in row.chunks_exact_mut(2 * self.half) {
            let (low, high) = head.split_at_mut(self.half);
            for i in 0..self.half {
                let (a, b, s) = (low[i], high[i], sign * sin[i]);
                low[i] = a * cos[i] - b * s;
                high[i] = b * cos[i] + a * s;
            }
        }
    }
}

/// Rotary frequencies `base^(−2i/dim)` for `i` below `dim / 2`, before any scaling.
pub fn frequencies(dim: usize, base: f64) -> Vec<f64> {
    (0..dim / 2).map(|i| libm::pow(base, -2.0 * i as f64 / dim as f64)).collect()
}

/// The shape of attention and where sequences begin.
#[derive(Debug, Clone)]
pub struct Attention {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub dim: usize,
    /// How many tokens a token sees, itself included (Beltagy et al. 2020); all where absent.
    pub window: Option<usize>,
    /// Rotary tables.
    pub rotary: Arc<Rotary>,
    /// The rows of each packed sequence; positions restart in each.
    pub sequences: Arc<Vec<Range<usize>>>,
    /// The same cut into tiles of either size for a card, once they are wanted there.
    pub tiles: Arc<[OnceLock<Tensor>; 2]>,
}

/// One head's keys and values, and the queries that look at them.
struct Head<'a> {
    queries: View<'a>,
    keys: View<'a>,
    values: View<'a>,
    /// How many keys precede the first query.
    past: usize,
    dim: usize,
    window: usize,
}

impl Head<'_> {
    /// Softmax probabilities of queries `from..to`, row by row, `past + to` wide.
    fn probabilities(&self, from: usize, to: usize) -> Vec<f32> {
        let width = self.past + to;
        let mut p = vec![0f32; (to - from) * width];
        let queries = self.queries.skip_rows(from);
        matmul(&mut p, width, (to - from, self.dim, width), queries, self.keys.t(), false);
        let scale = 1.0 / (self.dim as f32).sqrt();
        for (i, row) in p.chunks_exact_mut(width).enumerate() {
            let (seen, hidden) = row.split_at_mut(self.past + from + i + 1);
            let (left, seen) = seen.split_at_mut(seen.len().saturating_sub(self.window));
            left.fill(0.0);
            let whole = 1.0 / exponentials(seen, scale);
            seen.iter_mut().for_each(|v| *v *= whole);
            hidden.fill(0.0);
        }
        p
    }

    /// Writes the attention output of `n` queries; rows of `out` are `stride` apart.
    fn forward(&self, n: usize, out: &mut [f32], stride: usize) {
        for from in (0..n).step_by(BLOCK) {
            let to = (from + BLOCK).min(n);
            let p = self.probabilities(from, to);
            let width = self.past + to;
            let shape = (to - from, width, self.dim);
            matmul(
                &mut out[from * stride..],
                stride,
                shape,
                View::rows(&p, width),
                self.values,
                false,
            );
        }
    }
}

impl<'a> View<'a> {
    fn skip_rows(self, row: usize) -> View<'a> {
        View { values: &self.values[row * self.rows..], ..self }
    }
}

impl Attention {
    fn rotated(&self, x: &[f32], width: usize) -> Vec<f32> {
        let mut turned = x.to_vec();
        self.turn_all(&mut turned, width, false);
        turned
    }

    fn turn_all(&self, rows: &mut [f32], width: usize, backwards: bool) {
        for sequence in self.sequences.iter() {
            let part = &mut rows[sequence.start * width..sequence.end * width];
            part.par_chunks_mut(width)
                .with_min_len(16)
                .enumerate()
                .for_each(|(position, row)| self.rotary.turn(row, position, backwards));
        }
    }

    /// Every (sequence, key head): the unit of parallel work, in a fixed order.
    fn tasks(&self) -> Vec<(Range<usize>, usize)> {
        let heads = 0..self.kv_heads;
        self.sequences.iter().flat_map(|s| heads.clone().map(move |h| (s.clone(), h))).collect()
    }

    fn head<'a>(
        &self,
        (q, k, v): (&'a [f32], &'a [f32], &'a [f32]),
        sequence: &Range<usize>,
        kv: usize,
        nth: usize,
    ) -> Head<'a> {
        let (q_width, kv_width) = (self.heads * self.dim, self.kv_heads * self.dim);
        let group = self.heads / self.kv_heads;
        let part = |x: &'a [f32], width: usize, head: usize| View {
            values: &x[sequence.start * width + head * self.dim..],
            rows: width,
            columns: 1,
        };
        Head {
            queries: part(q, q_width, kv * group + nth),
            keys: part(k, kv_width, kv),
            values: part(v, kv_width, kv),
            past: 0,
            dim: self.dim,
            window: self.window.unwrap_or(usize::MAX),
        }
    }

    /// Copies task results ([len, columns] each) into rows of `width` at `column`.
    fn scatter(out: &mut [f32], width: usize, rows: &Range<usize>, column: usize, part: &[f32]) {
        let columns = part.len() / rows.len();
        for (row, values) in rows.clone().zip(part.chunks_exact(columns)) {
            out[row * width + column..][..columns].copy_from_slice(values);
        }
    }
}

/// Attention of packed rows: `q` [n, heads·dim], `k` and `v` [n, kv_heads·dim], all unrotated.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, shape: &Attention) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if q.device().is_cuda() && shape.window.is_none() && shape.dim <= super::cuda::attention::WIDEST
    {
        return super::cuda::attention::attention(q, k, v, shape);
    }
    if q.device().is_cpu() {
        q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, shape.clone())
    } else {
        reference(q, k, v, shape)
    }
}

/// The same from candle's differentiable operations, one sequence after the other.
pub fn reference(q: &Tensor, k: &Tensor, v: &Tensor, shape: &Attention) -> Result<Tensor> {
    let Attention { heads, kv_heads, dim, window, rotary, sequences, .. } = shape;
    let device = q.device();
    let mut parts = Vec::new();
    for sequence in sequences.iter() {
        let n = sequence.len();
        let table = |t: &[f32]| Tensor::from_slice(&t[..n * rotary.half], (n, rotary.half), device);
        let (cos, sin) = (table(&rotary.cos)?, table(&rotary.sin)?);
        let split = |x: &Tensor, heads: usize| -> Result<Tensor> {
            x.narrow(0, sequence.start, n)?.reshape((n, heads, *dim))?.transpose(0, 1)?.contiguous()
        };
        let turn = |x: Tensor| -> Result<Tensor> {
            let low = x.narrow(2, 0, rotary.half)?;
            let high = x.narrow(2, rotary.half, rotary.half)?;
            let first = (low.broadcast_mul(&cos)? - high.broadcast_mul(&sin)?)?;
            let second = (high.broadcast_mul(&cos)? + low.broadcast_mul(&sin)?)?;
            Tensor::cat(&[first, second], 2)
        };
        let spread = |x: Tensor| -> Result<Tensor> {
            let group = heads / kv_heads;
            x.unsqueeze(1)?.broadcast_as((*kv_heads, group, n, *dim))?.reshape((*heads, n, *dim))
        };
        let (q, k) = (turn(split(q, *heads)?)?, spread(turn(split(k, *kv_heads)?)?)?);
        let v = spread(split(v, *kv_heads)?)?;
        let sees = |i: usize, j: usize| j <= i && i - j < window.unwrap_or(usize::MAX);
        let hidden = |at| if sees(at / n, at % n) { 0.0 } else { f32::NEG_INFINITY };
        let hidden: Vec<f32> = (0..n * n).map(hidden).collect();
        let mask = Tensor::from_vec(hidden, (n, n), device)?.to_dtype(DType::F32)?;
        let scores = (q.matmul(&k.t()?)? / (*dim as f64).sqrt())?.broadcast_add(&mask)?;
        let p = candle_nn::ops::softmax(&scores, 2)?;
        parts.push(p.matmul(&v)?.transpose(0, 1)?.reshape((n, heads * dim))?);
    }
    Tensor::cat(&parts, 0)
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (q_width, kv_width) = (self.heads * self.dim, self.kv_heads * self.dim);
        let q = self.rotated(values(s1, l1)?, q_width);
        let k = self.rotated(values(s2, l2)?, kv_width);
        let v = values(s3, l3)?;
        let group = self.heads / self.kv_heads;
        let tasks = self.tasks();
        let parts: Vec<Vec<f32>> = tasks
            .par_iter()
            .map(|(sequence, kv)| {
                let mut part = vec![0f32; sequence.len() * group * self.dim];
                for nth in 0..group {
                    let head = self.head((&q, &k, v), sequence, *kv, nth);
                    head.forward(sequence.len(), &mut part[nth * self.dim..], group * self.dim);
                }
                part
            })
            .collect();
        let mut out = vec![0f32; q.len()];
        for ((sequence, kv), part) in tasks.iter().zip(&parts) {
            Self::scatter(&mut out, q_width, sequence, kv * group * self.dim, part);
        }
        Ok((CpuStorage::F32(out), l1.shape().clone()))
    }

    /// With `P` the probabilities of a block: `dV += Pᵀ dO`, `dS = P ⊙ (dO Vᵀ − rowsum(dO ⊙ O))`,
    /// `dQ = dS K / √d`, `dK += dSᵀ Q / √d`; then both are rotated back.
    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (q_width, kv_width) = (self.heads * self.dim, self.kv_heads * self.dim);
        let (dim, group) = (self.dim, self.heads / self.kv_heads);
        let turned_q = read(q, |q| self.rotated(q, q_width))?;
        let turned_k = read(k, |k| self.rotated(k, kv_width))?;
        let tasks = self.tasks();
        let scale = 1.0 / (dim as f32).sqrt();
        let task = |sequence: &Range<usize>, kv: usize, v: &[f32], out: &[f32], dout: &[f32]| {
            let n = sequence.len();
            let mut dq = vec![0f32; n * group * dim];
            let (mut dk, mut dv) = (vec![0f32; n * dim], vec![0f32; n * dim]);
            for nth in 0..group {
                let head = self.head((&turned_q, &turned_k, v), sequence, kv, nth);
                let start = sequence.start * q_width + (kv * group + nth) * dim;
                for from in (0..n).step_by(BLOCK) {
                    let to = (from + BLOCK).min(n);
                    let (height, width) = (to - from, to);
                    let p = head.probabilities(from, to);
                    let dout_block =
                        View { values: &dout[start + from * q_width..], rows: q_width, columns: 1 };
                    let p_view = View::rows(&p, width);
                    matmul(&mut dv, dim, (width, height, dim), p_view.t(), dout_block, true);
                    let mut ds = vec![0f32; height * width];
                    let shape = (height, dim, width);
                    matmul(&mut ds, width, shape, dout_block, head.values.t(), false);
                    for i in 0..height {
                        let at = start + (from + i) * q_width;
                        let at = at..at + dim;
                        let (out, dout) = (&out[at.clone()], &dout[at]);
                        let line = i * width..(i + 1) * width;
                        let (ds, p) = (&mut ds[line.clone()], &p[line]);
                        wide(
                            #[inline(always)]
                            || {
                                let dot = sum(dim, |i| out[i] * dout[i]);
                                for (ds, p) in ds.iter_mut().zip(p) {
                                    *ds = p * (*ds - dot) * scale;
                                }
                            },
                        );
                    }
                    let ds = View::rows(&ds, width);
                    let stride = group * dim;
                    let target = &mut dq[from * stride + nth * dim..];
                    matmul(target, stride, (height, width, dim), ds, head.keys, false);
                    let queries = head.queries.skip_rows(from);
                    matmul(&mut dk, dim, (width, height, dim), ds.t(), queries, true);
                }
            }
            (dq, dk, dv)
        };
        let parts: Vec<_> = read(v, |v| {
            read(res, |out| {
                read(grad, |dout| {
                    let run = |(s, kv): &(Range<usize>, usize)| task(s, *kv, v, out, dout);
                    tasks.par_iter().map(run).collect()
                })
            })
        })???;
        let n = q.dim(0)?;
        let mut dq = vec![0f32; n * q_width];
        let (mut dk, mut dv) = (vec![0f32; n * kv_width], vec![0f32; n * kv_width]);
        for ((sequence, kv), (q_part, k_part, v_part)) in tasks.iter().zip(&parts) {
            Self::scatter(&mut dq, q_width, sequence, kv * group * dim, q_part);
            Self::scatter(&mut dk, kv_width, sequence, kv * dim, k_part);
            Self::scatter(&mut dv, kv_width, sequence, kv * dim, v_part);
        }
        self.turn_all(&mut dq, q_width, true);
        self.turn_all(&mut dk, kv_width, true);
        Ok((
            Some(beside(q, dq, q.shape())?),
            Some(beside(k, dk, k.shape())?),
            Some(beside(v, dv, v.shape())?),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{normal, same_gradients};
    use super::*;
    use crate::chance::Chance;

    pub(super) fn shape(lengths: &[usize], window: Option<usize>, dim: usize) -> Attention {
        let mut at = 0;
        let sequences = lengths.iter().map(|n| {
            at += n;
            at - n..at
        });
        Attention {
            heads: 4,
            kv_heads: 2,
            dim,
            window,
            rotary: Arc::new(Rotary::new(&frequencies(dim, 10_000.0), 256)),
            sequences: Arc::new(sequences.collect()),
            tiles: Arc::default(),
        }
    }

    #[test]
    fn agrees_with_the_reference_and_finite_differences() {
        let mut chance = Chance::new(1, "attention");
        let whole = [vec![7], vec![3, 1, 5], vec![BLOCK + 9, 4]].map(|lengths| (lengths, None));
        let windows =
            [(vec![7, 2], Some(3)), (vec![BLOCK + 9, 4], Some(BLOCK / 2)), (vec![5], Some(2))];
        for (lengths, window) in whole.into_iter().chain(windows) {
            let n = lengths.iter().sum();
            let inputs = [
                normal(&mut chance, &[n, 24]),
                normal(&mut chance, &[n, 12]),
                normal(&mut chance, &[n, 12]),
            ];
            let shape = shape(&lengths, window, 6);
            same_gradients(
                &inputs,
                |t| attention(&t[0], &t[1], &t[2], &shape),
                |t| reference(&t[0], &t[1], &t[2], &shape),
            );
        }
    }
}
