//! The gate of the feed-forward block (Shazeer 2020): `y = silu(g) ⊙ u`, `silu(g) = g·σ(g)`.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::lanes::{exp, wide};
use super::{beside, fused, read, values};

/// `silu(gate) ⊙ up`, element by element.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if fused(gate.device()) {
        gate.contiguous()?.apply_op2(&up.contiguous()?, SwiGlu)
    } else {
        reference(gate, up)
    }
}

/// The gradients by `gate` and `up`, given that of the output.
pub fn gradients(gate: &Tensor, up: &Tensor, dy: &Tensor) -> Result<(Tensor, Tensor)> {
    match SwiGlu.bwd(gate, up, dy, &dy.contiguous()?)? {
        (Some(d_gate), Some(d_up)) => Ok((d_gate, d_up)),
        _ => bail!("a gate without gradients"),
    }
}

/// The same from candle's differentiable operations.
pub fn reference(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    candle_nn::ops::silu(gate)? * up
}

const CHUNK: usize = 4096;

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

struct SwiGlu;

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (gate, up) = (values(s1, l1)?, values(s2, l2)?);
        let mut y = vec![0f32; gate.len()];
        y.par_chunks_mut(CHUNK).zip(gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK))).for_each(
            |(y, (gate, up))| {
                wide(
                    #[inline(always)]
                    || {
                        for ((y, g), u) in y.iter_mut().zip(gate).zip(up) {
                            *y = g * sigmoid(*g) * u;
                        }
                    },
                );
            },
        );
        Ok((CpuStorage::F32(y), l1.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &candle_core::CudaStorage,
        l1: &Layout,
        s2: &candle_core::CudaStorage,
        l2: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        Ok((super::cuda::swiglu::forward((s1, l1), (s2, l2))?, l1.shape().clone()))
    }

    /// `dg = dy·u·σ(g)·(1 + g·(1 − σ(g)))`, `du = dy·silu(g)`.
    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        #[cfg(feature = "cuda")]
        if gate.device().is_cuda() {
            let (dg, du) = super::cuda::swiglu::backward(gate, up, grad)?;
            return Ok((Some(dg), Some(du)));
        }
        let (dg, du) = read(gate, |g| {
            read(up, |u| {
                read(grad, |dy| {
                    let (mut dg, mut du) = (vec![0f32; g.len()], vec![0f32; g.len()]);
                    let out = dg.par_chunks_mut(CHUNK).zip(du.par_chunks_mut(CHUNK));
                    let inputs = g.par_chunks(CHUNK).zip(u.par_chunks(CHUNK));
                    out.zip(inputs.zip(dy.par_chunks(CHUNK))).for_each(
                        |((dg, du), ((g, u), dy))| {
                            let n = g.len();
                            let (u, dy, dg, du) = (&u[..n], &dy[..n], &mut dg[..n], &mut du[..n]);
                            wide(
                                #[inline(always)]
                                || {
                                    for i in 0..n {
                                        let s = sigmoid(g[i]);
                                        dg[i] = dy[i] * u[i] * s * (1.0 + g[i] * (1.0 - s));
                                        du[i] = dy[i] * g[i] * s;
                                    }
                                },
                            );
                        },
                    );
                    (dg, du)
                })
            })
        })???;
        Ok((Some(beside(gate, dg, gate.shape())?), Some(beside(up, du, up.shape())?)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{normal, same_gradients};
    use super::*;
    use crate::chance::Chance;

    #[test]
    fn agrees_with_the_reference_and_finite_differences() {
        let mut chance = Chance::new(1, "swiglu");
        let inputs = [normal(&mut chance, &[4, 9]), normal(&mut chance, &[4, 9])];
        same_gradients(&inputs, |t| swiglu(&t[0], &t[1]), |t| reference(&t[0], &t[1]));
    }
}
