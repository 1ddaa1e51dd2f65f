//! Frozen linears on the card, with and without a low-rank delta; the equations stand in
//! [`crate::model::ops::linear`] and
//! [`crate::model::ops::adapted_linear`].
//!
//! The whole weight exists dequantised while cuBLAS multiplies with it, and no longer.

use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, CustomOp3, DType, Layout, Result, Shape, Tensor, bail,
};

use super::dropout::Mask;
use super::matmul::{Matrix, Precision, matmul, precision};
use super::{Arg, at, at_tensor, card, room, storage, tensor};
use crate::model::ops::adapted_linear::Dropped;
use crate::model::ops::linear::FrozenWeight;

/// The weight as products read it, [out, in].
fn dense(weight: &dyn FrozenWeight) -> Result<Tensor> {
    let half = precision() == Precision::Half;
    weight.dequantize(if half { DType::BF16 } else { DType::F32 }).map_err(candle_core::Error::wrap)
}

/// `out (+)= x·W` or, turned, `x·Wᵀ`, for `n` rows at `x`; `x` is rounded as the weight is.
fn multiply(
    device: &CudaDevice,
    out: Arg,
    x: Arg,
    n: usize,
    weight: &Tensor,
    turned: bool,
) -> Result<()> {
    let (rows, cols) = weight.dims2()?;
    let (k, width) = if turned { (cols, rows) } else { (rows, cols) };
    let matrix = |at| Matrix { at, dtype: weight.dtype(), turned: false };
    let w = Matrix { turned, ..matrix(at_tensor(weight)?) };
    if weight.dtype() == DType::F32 {
        return matmul(device, out, (n, k, width), matrix(x), w, 1.0, false);
    }
    let rounded = super::nf4::rounded(device, x, n * k)?;
    matmul(device, out, (n, k, width), matrix(at_tensor(&rounded)?), w, 1.0, false)
}

/// `x·W` or, turned, `x·Wᵀ`, of a table `W` in f32 or bf16, without gradients.
pub(crate) fn product(x: &Tensor, weight: &Tensor, turned: bool) -> Result<Tensor> {
    let (device, x) = (card(x.device())?, x.contiguous()?);
    let (rows, cols) = weight.dims2()?;
    let (n, width) = (x.dim(0)?, if turned { rows } else { cols });
    let (y, y_at) = room(device, n * width)?;
    multiply(device, y_at, at_tensor(&x)?, n, weight, turned)?;
    Ok(tensor(y, device, (n, width)))
}

/// `x·Wᵀ`.
pub(crate) fn forward(
    (x, layout): (&CudaStorage, &Layout),
    weight: &dyn FrozenWeight,
) -> Result<CudaStorage> {
    let (device, n) = (x.device(), layout.dims()[0]);
    let (y, y_at) = room(device, n * weight.out_features())?;
    multiply(device, y_at, at(x, layout)?, n, &dense(weight)?, true)?;
    Ok(storage(y, device))
}

/// `dx = dy·W`.
pub(crate) fn backward(grad: &Tensor, weight: &dyn FrozenWeight) -> Result<Tensor> {
    let (device, grad, n) = (card(grad.device())?, grad.contiguous()?, grad.dim(0)?);
    let (dx, dx_at) = room(device, n * weight.in_features())?;
    multiply(device, dx_at, at_tensor(&grad)?, n, &dense(weight)?, false)?;
    Ok(tensor(dx, device, (n, weight.in_features())))
}

/// `y = x·Wᵀ + s·(x̃·Aᵀ)·Bᵀ`, the delta added in place: nothing but `y` is kept for the backward.
pub(crate) fn adapted(
    x: &Tensor,
    weight: &Arc<dyn FrozenWeight>,
    (a, b): (&Tensor, &Tensor),
    scale: f32,
    dropped: Option<Dropped>,
) -> Result<Tensor> {
    x.contiguous()?.apply_op3(a, b, Adapted::new(weight, scale, dropped))
}

pub(crate) struct Adapted {
    weight: Arc<dyn FrozenWeight>,
    scale: f32,
    mask: Option<Mask>,
}

impl Adapted {
    pub fn new(weight: &Arc<dyn FrozenWeight>, scale: f32, dropped: Option<Dropped>) -> Self {
        Adapted { weight: weight.clone(), scale, mask: dropped.map(Mask::new) }
    }

    /// `h = x̃·Aᵀ`, and `x̃` where dropout makes it another than `x`.
    fn inner(&self, device: &CudaDevice, x: Arg, n: usize, a: Matrix, r: usize) -> Result<Inner> {
        let width = self.weight.in_features();
        let mut seen = (None, x);
        if let Some(mask) = &self.mask {
            let (dropped, at) = room(device, n * width)?;
            mask.apply(device, x, at, n * width, false)?;
            seen = (Some(dropped), at);
        }
        let (h, h_at) = room(device, n * r)?;
        matmul(device, h_at, (n, width, r), Matrix::new(seen.1), a.t(), 1.0, false)?;
        let (seen_at, h_at) = (Matrix::new(seen.1), Matrix::new(h_at));
        Ok(Inner { seen_at, h_at, _kept: (seen.0, h) })
    }

    /// With `h = x̃·Aᵀ` and `dh = s·dy·B`: `dB = s·dyᵀ·h`, `dA = dhᵀ·x̃`, `dx = dy·W + m ⊙ dh·A`.
    pub fn gradients(
        &self,
        x: &Tensor,
        a: &Tensor,
        b: &Tensor,
        grad: &Tensor,
        by_x: bool,
    ) -> Result<(Option<Tensor>, Tensor, Tensor)> {
        let (device, grad) = (card(x.device())?, grad.contiguous()?);
        let (n, width) = x.dims2()?;
        let (out, r) = b.dims2()?;
        let matrix = |t: &Tensor| Ok::<_, candle_core::Error>(Matrix::new(at_tensor(t)?));
        let (a_at, b_at, dy) = (matrix(a)?, matrix(b)?, matrix(&grad)?);
        let inner = self.inner(device, at_tensor(x)?, n, a_at, r)?;
        let (_dh, dh_at) = room(device, n * r)?;
        matmul(device, dh_at, (n, out, r), dy, b_at, self.scale, false)?;
        let (db, db_at) = room(device, out * r)?;
        matmul(device, db_at, (out, n, r), dy.t(), inner.h_at, self.scale, false)?;
        let (da, da_at) = room(device, r * width)?;
        matmul(device, da_at, (r, n, width), Matrix::new(dh_at).t(), inner.seen_at, 1.0, false)?;
        let dx = by_x.then(|| {
            let (dx, dx_at) = room(device, n * width)?;
            multiply(device, dx_at, at_tensor(&grad)?, n, &dense(&*self.weight)?, false)?;
            let Some(mask) = &self.mask else {
                matmul(device, dx_at, (n, r, width), Matrix::new(dh_at), a_at, 1.0, true)?;
                return Ok(tensor(dx, device, x.shape()));
            };
            let (_part, part_at) = room(device, n * width)?;
            matmul(device, part_at, (n, r, width), Matrix::new(dh_at), a_at, 1.0, false)?;
            mask.apply(device, part_at, dx_at, n * width, true)?;
            Ok::<_, candle_core::Error>(tensor(dx, device, x.shape()))
        });
        Ok((dx.transpose()?, tensor(da, device, (r, width)), tensor(db, device, (out, r))))
    }
}

/// What a delta makes of its input, alive until it is dropped.
struct Inner {
    seen_at: Matrix,
    h_at: Matrix,
    _kept: (Option<CudaSlice<f32>>, CudaSlice<f32>),
}

impl CustomOp3 for Adapted {
    fn name(&self) -> &'static str {
        "adapted-linear"
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
        bail!("a linear for a card was given tensors in host memory")
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
        let (device, n, r) = (s1.device(), l1.dims()[0], l2.dims()[0]);
        let out = self.weight.out_features();
        let (x, a, b) = (at(s1, l1)?, Matrix::new(at(s2, l2)?), Matrix::new(at(s3, l3)?));
        let (y, y_at) = room(device, n * out)?;
        multiply(device, y_at, x, n, &dense(&*self.weight)?, true)?;
        let inner = self.inner(device, x, n, a, r)?;
        matmul(device, y_at, (n, r, out), inner.h_at, b.t(), self.scale, true)?;
        Ok((storage(y, device), (n, out).into()))
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
