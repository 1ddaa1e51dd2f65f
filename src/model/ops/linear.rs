//! Linear layers `y = x · Wᵀ` over rows `x` ([n, in]) with weights `W` ([out, in]).
//!
//! [`linear`] differentiates both; [`frozen_linear`] keeps its weight inside the operation, in
//! whatever form it is stored, and gives the input gradient only: no gradient of a frozen weight
//! is ever computed or held.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, DType, Device, Layout, Result, Shape, Tensor, bail,
};
use half::bf16;
use rayon::prelude::*;

use super::bf16::{Right, Rows, Turned, linear as rounded};
use super::few_rows::{self, Delta, Stored};
use super::matmul::{View, matmul};
use super::{beside, fused, read, read_table, values};
use crate::model::nf4::Nf4;

/// A frozen weight matrix that can show its rows as f32.
pub trait FrozenWeight: Send + Sync {
    /// Rows: the layer's output width.
    fn out_features(&self) -> usize;
    /// Columns: the layer's input width.
    fn in_features(&self) -> usize;
    /// Writes the given rows, one after the other.
    fn dequantize_rows(&self, rows: Range<usize>, out: &mut [f32]) -> anyhow::Result<()>;
    /// Whether products with it read bf16, on the CPU.
    fn in_bf16(&self) -> bool {
        false
    }
    /// Writes some columns of a row as bf16.
    fn rounded(&self, row: usize, columns: Range<usize>, out: &mut [bf16]) -> anyhow::Result<()> {
        let mut whole = vec![0f32; self.in_features()];
        self.dequantize_rows(row..row + 1, &mut whole)?;
        super::bf16::round(super::bf16::Kernel::best(), &whole[columns], out);
        Ok(())
    }
    /// The memory it takes, in bytes.
    fn bytes(&self) -> usize;
    /// The whole matrix where it is kept as f32 anyway.
    fn dense(&self) -> Option<&Tensor> {
        None
    }
    /// The matrix where it is kept in NF4 in host memory.
    fn nf4(&self) -> Option<&Nf4> {
        None
    }
    /// The whole matrix as `dtype` on the device that holds it: how a card multiplies with it.
    fn dequantize(&self, dtype: DType) -> anyhow::Result<Tensor> {
        let mut all = vec![0f32; self.out_features() * self.in_features()];
        self.dequantize_rows(0..self.out_features(), &mut all)?;
        let shape = (self.out_features(), self.in_features());
        Ok(Tensor::from_vec(all, shape, &Device::Cpu)?.to_dtype(dtype)?)
    }
}

/// `x · Wᵀ`, differentiable in both.
pub fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    // Tables of a frozen base: whoever multiplies with them wants no gradient.
    if weight.dtype() == DType::BF16 {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            return super::cuda::linear::product(x, weight, true);
        }
        let (n, _) = x.dims2()?;
        if n <= few_rows::most(x.dim(1)?, true) {
            return x.contiguous()?.apply_op2(weight, Linear);
        }
        let (rows, width) = weight.dims2()?;
        let product = |x: &[f32], values: &[bf16]| {
            let table = Turned { values, rows, width };
            super::bf16::product(&Rows::new(n, x, width, 0), Right::Columns(&table))
        };
        let y = read(x, |x| read_table(weight, |table| product(x, table)))??;
        return beside(x, y.map_err(candle_core::Error::wrap)?, (n, rows));
    }
    if x.device().is_cpu() {
        x.contiguous()?.apply_op2(weight, Linear)
    } else {
        x.matmul(&weight.t()?)
    }
}

/// `x · Wᵀ` with a frozen `W`, differentiable in `x`.
pub fn frozen_linear(x: &Tensor, weight: &Arc<dyn FrozenWeight>) -> Result<Tensor> {
    if fused(x.device()) {
        return x.contiguous()?.apply_op1(FrozenLinear(weight.clone()));
    }
    let dense = weight.dequantize(DType::F32).map_err(candle_core::Error::wrap)?;
    x.matmul(&dense.to_device(x.device())?.t()?)
}

/// `dy · W`: the gradient by the input of [`frozen_linear`], given that of its output.
pub fn frozen_gradient(dy: &Tensor, weight: &Arc<dyn FrozenWeight>) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if dy.device().is_cuda() {
        return super::cuda::linear::backward(dy, &**weight);
    }
    let frozen = FrozenLinear(weight.clone());
    let dx = read(dy, |values| frozen.back(values, dy.dim(0)?))??;
    beside(dy, dx, (dy.dim(0)?, weight.in_features()))
}

pub(super) fn rows_of(layout: &Layout, width: usize) -> Result<usize> {
    match layout.dims() {
        [n, w] if *w == width => Ok(*n),
        dims => bail!("a linear layer of width {width} was given {dims:?}"),
    }
}

struct Linear;

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (out, width) = l2.shape().dims2()?;
        let n = rows_of(l1, width)?;
        let x = values(s1, l1)?;
        if n <= few_rows::most(width, matches!(s2, CpuStorage::BF16(_))) {
            let weight = match (s2, l2.contiguous_offsets()) {
                (CpuStorage::BF16(w), Some((from, to))) => Stored::Bf16(&w[from..to]),
                _ => Stored::F32(values(s2, l2)?),
            };
            let y = few_rows::product(x, weight, (n, width, out), None);
            return Ok((CpuStorage::F32(y), (n, out).into()));
        }
        let w = values(s2, l2)?;
        let mut y = vec![0f32; n * out];
        let (x, w) = (View::rows(x, width), View::rows(w, width).t());
        matmul(&mut y, out, (n, width, out), x, w, false);
        Ok((CpuStorage::F32(y), (n, out).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (out, width) = weight.dims2()?;
        let n = x.dim(0)?;
        let dy = grad.contiguous()?;
        let dx = x.track_op().then(|| {
            let mut dx = vec![0f32; n * width];
            read(&dy, |dy| {
                read(weight, |w| {
                    let (dy, w) = (View::rows(dy, out), View::rows(w, width));
                    matmul(&mut dx, width, (n, out, width), dy, w, false);
                })
            })??;
            beside(x, dx, (n, width))
        });
        let dw = weight.track_op().then(|| {
            let mut dw = vec![0f32; out * width];
            read(&dy, |dy| {
                read(x, |x| {
                    let (dy, x) = (View::rows(dy, out).t(), View::rows(x, width));
                    matmul(&mut dw, width, (out, n, width), dy, x, false);
                })
            })??;
            beside(weight, dw, (out, width))
        });
        Ok((dx.transpose()?, dw.transpose()?))
    }
}

/// Rows of the weight that are dequantised at a time.
const TILE: usize = 256;

pub(super) struct FrozenLinear(pub(super) Arc<dyn FrozenWeight>);

impl FrozenLinear {
    /// Calls `f` with consecutive tiles of the weight: first row, rows, values.
    fn tiles(&self, mut f: impl FnMut(usize, usize, &[f32])) -> Result<()> {
        let (out, width) = (self.0.out_features(), self.0.in_features());
        if let Some(dense) = self.0.dense() {
            return read(dense, |dense| f(0, out, dense));
        }
        let mut tile = vec![0f32; TILE.min(out) * width];
        for first in (0..out).step_by(TILE) {
            let rows = TILE.min(out - first);
            tile[..rows * width]
                .par_chunks_mut(16 * width)
                .enumerate()
                .try_for_each(|(i, part)| {
                    let from = first + i * 16;
                    self.0.dequantize_rows(from..from + part.len() / width, part)
                })
                .map_err(candle_core::Error::wrap)?;
            f(first, rows, &tile[..rows * width]);
        }
        Ok(())
    }

    /// `x · Wᵀ` of `n` rows, and a delta, where that is better done without unpacking the weight.
    pub(super) fn few_rows(
        &self,
        x: &[f32],
        n: usize,
        delta: Option<Delta>,
    ) -> Result<Option<Vec<f32>>> {
        let shape = (n, self.0.in_features(), self.0.out_features());
        let of = |weight: Stored| Some(few_rows::product(x, weight, shape, delta));
        let most = few_rows::most(self.0.in_features(), self.0.in_bf16());
        match (self.0.nf4(), self.0.dense()) {
            _ if n > most => Ok(None),
            (Some(nf4), _) => Ok(of(Stored::Nf4(nf4))),
            (None, Some(dense)) => read(dense, |dense| of(Stored::F32(dense))),
            (None, None) => Ok(None),
        }
    }

    /// `x · Wᵀ` of `n` rows.
    pub(super) fn product(&self, x: &[f32], n: usize) -> Result<Vec<f32>> {
        if let Some(y) = self.few_rows(x, n, None)? {
            return Ok(y);
        }
        if self.0.in_bf16() {
            return rounded::forward(x, n, &*self.0, None).map_err(candle_core::Error::wrap);
        }
        let (out, width) = (self.0.out_features(), self.0.in_features());
        let mut y = vec![0f32; n * out];
        self.tiles(|first, rows, tile| {
            let (x, w) = (View::rows(x, width), View::rows(tile, width).t());
            matmul(&mut y[first..], out, (n, width, rows), x, w, false);
        })?;
        Ok(y)
    }

    /// `dy · W` of `n` rows.
    pub(super) fn back(&self, dy: &[f32], n: usize) -> Result<Vec<f32>> {
        if self.0.in_bf16() {
            return rounded::input_gradient(dy, n, &*self.0).map_err(candle_core::Error::wrap);
        }
        let (out, width) = (self.0.out_features(), self.0.in_features());
        let mut dx = vec![0f32; n * width];
        self.tiles(|first, rows, tile| {
            let dy = View { values: &dy[first..], rows: out, columns: 1 };
            matmul(&mut dx, width, (n, rows, width), dy, View::rows(tile, width), true);
        })?;
        Ok(dx)
    }
}

impl CustomOp1 for FrozenLinear {
    fn name(&self) -> &'static str {
        "frozen-linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let n = rows_of(layout, self.0.in_features())?;
        let y = self.product(values(storage, layout)?, n)?;
        Ok((CpuStorage::F32(y), (n, self.0.out_features()).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        storage: &candle_core::CudaStorage,
        layout: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        let shape = (rows_of(layout, self.0.in_features())?, self.0.out_features());
        Ok((super::cuda::linear::forward((storage, layout), &*self.0)?, shape.into()))
    }

    fn bwd(&self, _x: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(frozen_gradient(grad, &self.0)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{difference, normal, same_gradients};
    use super::*;
    use crate::chance::Chance;

    struct Plain {
        rows: Vec<f32>,
        width: usize,
        dense: Option<Tensor>,
    }

    impl FrozenWeight for Plain {
        fn out_features(&self) -> usize {
            self.rows.len() / self.width
        }
        fn in_features(&self) -> usize {
            self.width
        }
        fn dequantize_rows(&self, rows: Range<usize>, out: &mut [f32]) -> anyhow::Result<()> {
            out.copy_from_slice(&self.rows[rows.start * self.width..rows.end * self.width]);
            Ok(())
        }
        fn bytes(&self) -> usize {
            4 * self.rows.len()
        }
        fn dense(&self) -> Option<&Tensor> {
            self.dense.as_ref()
        }
    }

    #[test]
    fn linear_agrees_with_candle_and_finite_differences() {
        let mut chance = Chance::new(1, "linear");
        for n in [6, few_rows::MOST + 1] {
            let inputs = [normal(&mut chance, &[n, 10]), normal(&mut chance, &[7, 10])];
            same_gradients(&inputs, |t| linear(&t[0], &t[1]), |t| t[0].matmul(&t[1].t()?));
        }
    }

    #[test]
    fn tables_may_be_kept_in_bf16() {
        let mut chance = Chance::new(3, "linear");
        let (x, table) = (normal(&mut chance, &[3, 64]), normal(&mut chance, &[9, 64]));
        let half = table.to_dtype(DType::BF16).unwrap();
        let want = x.matmul(&half.to_dtype(DType::F32).unwrap().t().unwrap()).unwrap();
        assert!(difference(&linear(&x, &half).unwrap(), &want) < 1e-6);
    }

    #[test]
    fn a_frozen_linear_gives_the_input_gradient_tile_by_tile() {
        let mut chance = Chance::new(2, "linear");
        let (out, width) = (TILE + 37, 12);
        let weight = normal(&mut chance, &[out, width]);
        let rows = weight.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for dense in [Some(weight.clone()), None] {
            let frozen: Arc<dyn FrozenWeight> =
                Arc::new(Plain { rows: rows.clone(), width, dense });
            let x = normal(&mut chance, &[5, width]);
            same_gradients(&[x], |t| frozen_linear(&t[0], &frozen), |t| t[0].matmul(&weight.t()?));
        }
    }
}
