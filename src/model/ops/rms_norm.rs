//! Root-mean-square normalisation (Zhang and Sennrich 2019):
//! `y_i = w_i · x_i / sqrt(mean(x²) + ε)` over each row.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::lanes::{sum, wide};
use super::{beside, fused, read, values};

/// Normalises the rows of `x` ([n, width]) and scales by `weight` ([width]).
pub fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor> {
    if fused(x.device()) {
        x.contiguous()?.apply_op2(weight, RmsNorm { epsilon: epsilon as f32 })
    } else {
        reference(x, weight, epsilon)
    }
}

/// The gradient by `x`, given that of the output.
pub fn gradient(x: &Tensor, weight: &Tensor, epsilon: f64, dy: &Tensor) -> Result<Tensor> {
    let (x, dy) = (x.contiguous()?, dy.contiguous()?);
    let (dx, _) = RmsNorm { epsilon: epsilon as f32 }.bwd(&x, &weight.detach(), &x, &dy)?;
    match dx {
        Some(dx) => Ok(dx),
        None => bail!("a norm without a gradient"),
    }
}

/// The same from candle's differentiable operations.
pub fn reference(x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor> {
    let mean = x.sqr()?.mean_keepdim(candle_core::D::Minus1)?;
    x.broadcast_div(&(mean + epsilon)?.sqrt()?)?.broadcast_mul(weight)
}

struct RmsNorm {
    epsilon: f32,
}

impl RmsNorm {
    #[inline(always)]
    fn inverse(&self, row: &[f32]) -> f32 {
        let mean = sum(row.len(), |i| row[i] * row[i]) / row.len() as f32;
        1.0 / (mean + self.epsilon).sqrt()
    }
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (values(s1, l1)?, values(s2, l2)?);
        let mut y = vec![0f32; x.len()];
        y.par_chunks_mut(w.len()).zip(x.par_chunks(w.len())).with_min_len(32).for_each(|(y, x)| {
            wide(
                #[inline(always)]
                || {
                    let inverse = self.inverse(x);
                    for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
                        *y = x * inverse * w;
                    }
                },
            );
        });
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
        let y = super::cuda::rms_norm::forward((s1, l1), (s2, l2), self.epsilon)?;
        Ok((y, l1.shape().clone()))
    }

    /// With `g = dy ⊙ w` and `r = 1/rms`: `dx = r·g − x·r³·mean(g·x)`, `dw = Σ_rows dy ⊙ x·r`.
    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            return super::cuda::rms_norm::backward(x, weight, grad, self.epsilon);
        }
        let width = weight.elem_count();
        let (dx, dw) = read(x, |xs| {
            read(weight, |w| {
                read(grad, |dy| {
                    let mut dx = vec![0f32; xs.len()];
                    dx.par_chunks_mut(width)
                        .zip(xs.par_chunks(width).zip(dy.par_chunks(width)))
                        .with_min_len(32)
                        .for_each(|(dx, (x, dy))| {
                            let (x, dy, w) = (&x[..width], &dy[..width], &w[..width]);
                            wide(
                                #[inline(always)]
                                || {
                                    let r = self.inverse(x);
                                    let dot = sum(width, |i| dy[i] * w[i] * x[i]);
                                    let shared = r * r * r * dot / width as f32;
                                    for (i, dx) in dx.iter_mut().enumerate() {
                                        *dx = r * dy[i] * w[i] - x[i] * shared;
                                    }
                                },
                            );
                        });
                    let dw = weight.track_op().then(|| {
                        let mut dw = vec![0f32; width];
                        for (x, dy) in xs.chunks(width).zip(dy.chunks(width)) {
                            let r = self.inverse(x);
                            for i in 0..width {
                                dw[i] += dy[i] * x[i] * r;
                            }
                        }
                        dw
                    });
                    (dx, dw)
                })
            })
        })???;
        let dw = dw.map(|dw| beside(weight, dw, weight.shape())).transpose()?;
        Ok((Some(beside(x, dx, x.shape())?), dw))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{normal, same_gradients};
    use super::*;
    use crate::chance::Chance;

    #[test]
    fn agrees_with_the_reference_and_finite_differences() {
        let mut chance = Chance::new(1, "rms");
        let inputs = [normal(&mut chance, &[5, 12]), normal(&mut chance, &[12])];
        same_gradients(
            &inputs,
            |t| rms_norm(&t[0], &t[1], 1e-5),
            |t| reference(&t[0], &t[1], 1e-5),
        );
    }
}
