//! The residual stream's sum, and the way a gradient computed by hand enters a graph.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{read, values};

const CHUNK: usize = 16_384;

/// `a + b` of the same shape.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    match a.device().is_cpu() {
        true => a.contiguous()?.apply_op2(&b.contiguous()?, Add),
        false => a + b,
    }
}

struct Add;

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut sum = values(s1, l1)?.to_vec();
        let parts = sum.par_chunks_mut(CHUNK).zip(values(s2, l2)?.par_chunks(CHUNK));
        parts.for_each(|(sum, b)| sum.iter_mut().zip(b).for_each(|(sum, b)| *sum += b));
        Ok((CpuStorage::F32(sum), l1.shape().clone()))
    }

    fn bwd(
        &self,
        _a: &Tensor,
        _b: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(grad.clone()), Some(grad.clone())))
    }
}

/// A zero whose gradient by `y` is `gradient`, of the same shape: `backward` of it goes on from
/// there.
pub fn entry(y: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    match y.device().is_cpu() {
        true => y.apply_op1(Entry(gradient.detach())),
        // The gradient of Σ y·g by y is g.
        false => (y * gradient)?.sum_all(),
    }
}

struct Entry(Tensor);

impl CustomOp1 for Entry {
    fn name(&self) -> &'static str {
        "entry"
    }

    fn cpu_fwd(&self, _: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        if layout.shape() != self.0.shape() {
            candle_core::bail!("a gradient of {:?} for {:?}", self.0.dims(), layout.dims());
        }
        Ok((CpuStorage::F32(vec![0.0]), ().into()))
    }

    fn bwd(&self, _y: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let one = read(grad, |grad| grad == [1.0])?;
        Ok(Some(if one { self.0.clone() } else { self.0.broadcast_mul(grad)? }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{difference, normal, same_gradients};
    use super::*;
    use crate::chance::Chance;

    #[test]
    fn a_sum_agrees_with_candle_and_finite_differences() {
        let mut chance = Chance::new(1, "residual");
        let inputs = [normal(&mut chance, &[3, 40]), normal(&mut chance, &[3, 40])];
        same_gradients(&inputs, |t| add(&t[0], &t[1]), |t| &t[0] + &t[1]);
    }

    #[test]
    fn a_gradient_enters_as_it_is() {
        let mut chance = Chance::new(2, "residual");
        let (x, g) = (normal(&mut chance, &[3, 40]), normal(&mut chance, &[3, 40]));
        let x = candle_core::Var::from_tensor(&x).unwrap();
        let y = x.as_tensor().sqr().unwrap();
        for (scale, want) in [(1.0, g.clone()), (0.5, (&g * 0.5).unwrap())] {
            let entered = (entry(&y, &g).unwrap() * scale).unwrap();
            let dx = entered.backward().unwrap().remove(&x).unwrap();
            let want = (want * 2.0 * x.as_tensor()).unwrap();
            assert!(difference(&dx, &want) < 1e-6);
        }
        assert!(entry(&y, &normal(&mut chance, &[3, 39])).is_err());
    }
}
