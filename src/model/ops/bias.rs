//! A frozen bias: `y = x + b` for every row. Its gradient with respect to `x` is that of `y`; none
//! of `b` is ever computed or held.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::{read, values};

/// Adds `bias` ([width]) to the rows of `x` ([n, width]), differentiable in `x`.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() {
        x.contiguous()?.apply_op1(AddBias(bias.clone()))
    } else {
        x.broadcast_add(bias)
    }
}

struct AddBias(Tensor);

impl CustomOp1 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut y = values(storage, layout)?.to_vec();
        read(&self.0, |bias| {
            for row in y.chunks_exact_mut(bias.len()) {
                row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
        })?;
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, _x: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(grad.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{normal, same_gradients};
    use super::*;
    use crate::chance::Chance;

    #[test]
    fn agrees_with_the_reference_and_finite_differences() {
        let mut chance = Chance::new(1, "bias");
        let bias = normal(&mut chance, &[7]);
        let inputs = [normal(&mut chance, &[5, 7])];
        same_gradients(&inputs, |t| add_bias(&t[0], &bias), |t| t[0].broadcast_add(&bias));
    }
}
