//! A frozen linear with a low-rank delta (Hu et al. 2021): `y = x·Wᵀ + s·(x̃·Aᵀ)·Bᵀ` over rows `x`
//! ([n, in]), `x̃` being `x` after dropout.
//!
//! The delta is added to the product in place, and the backward computes `h = x̃·Aᵀ` again, so that
//! nothing but `y` is kept for it: seven linears with deltas are most of what a layer holds while
//! it is trained. The mask of dropout is drawn again as well.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Error, Layout, Result, Shape, Tensor, bail};

use super::bf16::linear as rounded;
use super::dropout::Dropout;
use super::few_rows::{self, Delta, Stored};
use super::linear::{FrozenLinear, FrozenWeight, frozen_linear, linear, rows_of};
use super::matmul::{View, matmul};
use super::{beside, read, values};
use crate::chance::Chance;

/// A dropout that has taken its numbers, and draws its mask from them whenever it is wanted.
#[derive(Debug, Clone)]
pub struct Dropped {
    /// The share of values to drop.
    pub share: f64,
    /// The generator as it was.
    pub chance: Chance,
}

impl Dropped {
    /// Takes the numbers of `n` values.
    pub fn new(dropout: Dropout, n: usize) -> Self {
        let dropped = Dropped { share: dropout.share, chance: dropout.chance.clone() };
        dropout.chance.skip(n);
        dropped
    }

    /// See [`Dropout::mask`].
    pub fn mask(&self, n: usize) -> Vec<f32> {
        Dropout { share: self.share, chance: &mut self.chance.clone() }.mask(n)
    }
}

/// `x·Wᵀ + s·(x̃·Aᵀ)·Bᵀ`: differentiable in all but `W`. `a` is [r, in], `b` [out, r].
pub fn adapted_linear(
    x: &Tensor,
    weight: &Arc<dyn FrozenWeight>,
    (a, b): (&Tensor, &Tensor),
    scale: f64,
    dropped: Option<Dropped>,
) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return super::cuda::linear::adapted(x, weight, (a, b), scale as f32, dropped);
    }
    if !x.device().is_cpu() {
        return reference(x, weight, (a, b), scale, dropped);
    }
    let op = AdaptedLinear { weight: FrozenLinear(weight.clone()), scale: scale as f32, dropped };
    x.contiguous()?.apply_op3(a, b, op)
}

/// The gradients by `x`, `a` and `b`, given that of the output.
pub fn gradients(
    x: &Tensor,
    weight: &Arc<dyn FrozenWeight>,
    (a, b): (&Tensor, &Tensor),
    scale: f64,
    dropped: Option<Dropped>,
    dy: &Tensor,
) -> Result<(Tensor, Tensor, Tensor)> {
    let x = x.contiguous()?;
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        let op = super::cuda::linear::Adapted::new(weight, scale as f32, dropped);
        return op.gradients(&x, a, b, dy, true).and_then(complete);
    }
    let op = AdaptedLinear { weight: FrozenLinear(weight.clone()), scale: scale as f32, dropped };
    op.gradients(&x, a, b, dy, true).and_then(complete)
}

fn complete((dx, da, db): (Option<Tensor>, Tensor, Tensor)) -> Result<(Tensor, Tensor, Tensor)> {
    let Some(dx) = dx else { bail!("an input gradient that was asked for is missing") };
    Ok((dx, da, db))
}

/// The same from the parts.
pub fn reference(
    x: &Tensor,
    weight: &Arc<dyn FrozenWeight>,
    factors: (&Tensor, &Tensor),
    scale: f64,
    dropped: Option<Dropped>,
) -> Result<Tensor> {
    frozen_linear(x, weight)? + delta(x, factors, scale, dropped)?
}

/// The low-rank delta alone: `s·(x̃·Aᵀ)·Bᵀ`.
pub fn delta(
    x: &Tensor,
    (a, b): (&Tensor, &Tensor),
    scale: f64,
    dropped: Option<Dropped>,
) -> Result<Tensor> {
    let seen = match dropped {
        None => x.clone(),
        Some(dropped) => {
            let mask = dropped.mask(x.elem_count());
            (x * Tensor::from_vec(mask, x.shape(), x.device())?)?
        }
    };
    linear(&linear(&seen, a)?, b)? * scale
}

struct AdaptedLinear {
    weight: FrozenLinear,
    scale: f32,
    dropped: Option<Dropped>,
}

impl AdaptedLinear {
    /// `x̃` where it is another than `x`.
    fn seen(x: &[f32], mask: Option<&[f32]>) -> Option<Vec<f32>> {
        mask.map(|mask| x.iter().zip(mask).map(|(x, m)| x * m).collect())
    }

    /// `s·x̃·Aᵀ`: [n, r].
    fn inner(&self, x: &[f32], a: &[f32], (n, width, r): (usize, usize, usize)) -> Vec<f32> {
        let mut h;
        if n <= few_rows::most(width, false) {
            h = few_rows::product(x, Stored::F32(a), (n, width, r), None);
        } else {
            h = vec![0f32; n * r];
            matmul(&mut h, r, (n, width, r), View::rows(x, width), View::rows(a, width).t(), false);
        }
        h.iter_mut().for_each(|h| *h *= self.scale);
        h
    }

    /// With `h = s·x̃·Aᵀ` and `dh = s·dy·B`: `dB = dyᵀ·h`, `dA = dhᵀ·x̃`, `dx = dy·W + m ⊙ dh·A`.
    fn gradients(
        &self,
        x: &Tensor,
        a: &Tensor,
        b: &Tensor,
        dy: &Tensor,
        by_x: bool,
    ) -> Result<(Option<Tensor>, Tensor, Tensor)> {
        let (n, width) = x.dims2()?;
        let (out, r) = b.dims2()?;
        if self.weight.0.in_bf16() {
            let mask = self.dropped.as_ref().map(|dropped| dropped.mask(n * width));
            let mask = mask.as_deref();
            let backward = |x_values: &[f32], a: &[f32], b: &[f32], dy: &[f32]| {
                let delta = rounded::Delta { a, b, r, scale: self.scale, mask };
                rounded::gradients(x_values, dy, n, &*self.weight.0, &delta, by_x)
            };
            let dy = dy.contiguous()?;
            let all = read(x, |x| read(a, |a| read(b, |b| read(&dy, |dy| backward(x, a, b, dy)))))?;
            let rounded::Gradients { dx, da, db } = all???.map_err(Error::wrap)?;
            let dx = dx.map(|dx| beside(x, dx, (n, width))).transpose()?;
            return Ok((dx, beside(a, da, (r, width))?, beside(b, db, (out, r))?));
        }
        let (mut da, mut db) = (vec![0f32; r * width], vec![0f32; out * r]);
        let mut backward = |x_values: &[f32], a_values: &[f32], b_values: &[f32], dy: &[f32]| {
            let mask = self.dropped.as_ref().map(|dropped| dropped.mask(n * width));
            let seen = Self::seen(x_values, mask.as_deref());
            let seen = seen.as_deref().unwrap_or(x_values);
            let h = self.inner(seen, a_values, (n, width, r));
            let dy_rows = View::rows(dy, out);
            matmul(&mut db, r, (out, n, r), dy_rows.t(), View::rows(&h, r), false);
            let mut dh = h;
            matmul(&mut dh, r, (n, out, r), dy_rows, View::rows(b_values, r), false);
            dh.iter_mut().for_each(|dh| *dh *= self.scale);
            let dh = View::rows(&dh, r);
            matmul(&mut da, width, (r, n, width), dh.t(), View::rows(seen, width), false);
            if !by_x {
                return Ok(None);
            }
            let mut dx = self.weight.back(dy, n)?;
            let a_rows = View::rows(a_values, width);
            match mask {
                None => matmul(&mut dx, width, (n, r, width), dh, a_rows, true),
                Some(mask) => {
                    let mut part = vec![0f32; n * width];
                    matmul(&mut part, width, (n, r, width), dh, a_rows, false);
                    let parts = part.iter().zip(&mask);
                    dx.iter_mut().zip(parts).for_each(|(dx, (part, m))| *dx += part * m);
                }
            }
            Ok::<_, candle_core::Error>(Some(dx))
        };
        let dy = dy.contiguous()?;
        let dx = read(x, |x| read(a, |a| read(b, |b| read(&dy, |dy| backward(x, a, b, dy)))))?????;
        Ok((
            dx.map(|dx| beside(x, dx, (n, width))).transpose()?,
            beside(a, da, (r, width))?,
            beside(b, db, (out, r))?,
        ))
    }
}

impl CustomOp3 for AdaptedLinear {
    fn name(&self) -> &'static str {
        "adapted-linear"
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
        let (r, width) = l2.shape().dims2()?;
        let out = l3.dims()[0];
        let n = rows_of(l1, width)?;
        let (x, a, b) = (values(s1, l1)?, values(s2, l2)?, values(s3, l3)?);
        if self.weight.0.in_bf16() && n > few_rows::most(width, true) {
            let mask = self.dropped.as_ref().map(|dropped| dropped.mask(n * width));
            let delta = rounded::Delta { a, b, r, scale: self.scale, mask: mask.as_deref() };
            let y = rounded::forward(x, n, &*self.weight.0, Some(&delta));
            return Ok((CpuStorage::F32(y.map_err(Error::wrap)?), (n, out).into()));
        }
        let seen =
            Self::seen(x, self.dropped.as_ref().map(|dropped| dropped.mask(n * width)).as_deref());
        let h = self.inner(seen.as_deref().unwrap_or(x), a, (n, width, r));
        if let Some(y) = self.weight.few_rows(x, n, Some(Delta { h: &h, b, r }))? {
            return Ok((CpuStorage::F32(y), (n, out).into()));
        }
        let mut y = self.weight.product(x, n)?;
        matmul(&mut y, out, (n, r, out), View::rows(&h, r), View::rows(b, r).t(), true);
        Ok((CpuStorage::F32(y), (n, out).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        b: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, da, db) = self.gradients(x, a, b, grad, x.track_op())?;
        Ok((dx, Some(da), Some(db)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{difference, normal, same_gradients};
    use super::*;
    use crate::model::nf4::Nf4;
    use crate::model::weights::{Frozen, InBf16};

    #[test]
    fn agrees_with_its_parts_and_finite_differences() {
        let mut chance = Chance::new(1, "adapted linear");
        let (out, width, r) = (300, 20, 4);
        let weight = normal(&mut chance, &[out, width]).flatten_all().unwrap().to_vec1().unwrap();
        let nf4 = Frozen::Nf4(Arc::new(Nf4::quantize(&weight, out, width)));
        let weight: Arc<dyn FrozenWeight> = Arc::new(nf4);
        for (n, share) in [(6, None), (6, Some(0.4)), (few_rows::MOST + 1, None)] {
            let inputs = [[n, width], [r, width], [out, r]].map(|s| normal(&mut chance, &s));
            let with = |fused: bool| {
                let weight = weight.clone();
                move |t: &[Tensor]| {
                    let mut chance = Chance::new(4, "dropout");
                    let dropped = share.map(|share| {
                        Dropped::new(Dropout { share, chance: &mut chance }, n * width)
                    });
                    let apply = if fused { adapted_linear } else { reference };
                    apply(&t[0], &weight, (&t[1], &t[2]), 0.5, dropped)
                }
            };
            same_gradients(&inputs, with(true), with(false));
        }
    }

    #[test]
    fn in_bf16_it_agrees_within_the_rounding() {
        let mut chance = Chance::new(2, "adapted linear");
        let (n, out, width, r) = (70, 300, 100, 4);
        let weight = normal(&mut chance, &[out, width]).flatten_all().unwrap().to_vec1().unwrap();
        let nf4 = Frozen::Nf4(Arc::new(Nf4::quantize(&weight, out, width)));
        let inputs = [[n, width], [r, width], [out, r]].map(|s| normal(&mut chance, &s));
        let projection = normal(&mut chance, &[n, out]);
        for share in [None, Some(0.4)] {
            let with = |weight: Arc<dyn FrozenWeight>| {
                let mut chance = Chance::new(4, "dropout");
                let dropped = share
                    .map(|share| Dropped::new(Dropout { share, chance: &mut chance }, n * width));
                let vars = inputs.each_ref().map(|t| candle_core::Var::from_tensor(t).unwrap());
                let [x, a, b] = vars.each_ref().map(|v| v.as_tensor());
                let y = adapted_linear(x, &weight, (a, b), 0.5, dropped).unwrap();
                let loss = (&y * &projection).unwrap().sum_all().unwrap();
                let mut all = loss.backward().unwrap();
                let [x, a, b] = vars.each_ref().map(|v| all.remove(v).unwrap());
                [y, x, a, b]
            };
            let fine = with(Arc::new(nf4.clone()));
            let coarse = with(Arc::new(InBf16(nf4.clone())));
            for (i, (coarse, fine)) in coarse.iter().zip(&fine).enumerate() {
                let apart = difference(coarse, fine);
                assert!(apart > 0.0 && apart < 8e-3, "{i} of {share:?}: {apart}");
            }
        }
    }
}
