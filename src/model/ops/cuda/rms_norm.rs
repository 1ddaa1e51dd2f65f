//! RMSNorm on the card; the equations stand in [`crate::model::ops::rms_norm`].

use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Layout, Result, Tensor};

use super::{Arg, Module, at, at_tensor, card, launch, module, room, storage, tensor};

const MODULE: Module = module!("rms_norm");

/// The normalised rows.
pub(crate) fn forward(
    (x, x_layout): (&CudaStorage, &Layout),
    (w, w_layout): (&CudaStorage, &Layout),
    epsilon: f32,
) -> Result<CudaStorage> {
    let (device, width) = (x.device(), w_layout.shape().elem_count());
    let n = x_layout.shape().elem_count();
    let (y, y_at) = room(device, n)?;
    let args = [at(x, x_layout)?, at(w, w_layout)?, y_at, width.into(), Arg::Float(epsilon)];
    launch(device, &MODULE, "rms_norm_forward", (n / width, 1), 0, &args)?;
    Ok(storage(y, device))
}

/// The gradients of rows and, where it is trained, of the weight.
pub(crate) fn backward(
    x: &Tensor,
    weight: &Tensor,
    grad: &Tensor,
    epsilon: f32,
) -> Result<(Option<Tensor>, Option<Tensor>)> {
    let (x, grad) = (x.contiguous()?, grad.contiguous()?);
    let (device, width) = (card(x.device())?, weight.elem_count());
    let (dx, dx_at) = room(device, x.elem_count())?;
    let inputs = [at_tensor(&x)?, at_tensor(weight)?, at_tensor(&grad)?];
    let args = [inputs[0], inputs[1], inputs[2], dx_at, width.into(), Arg::Float(epsilon)];
    launch(device, &MODULE, "rms_norm_backward", (x.elem_count() / width, 1), 0, &args)?;
    let dw = weight.track_op().then(|| {
        let r = (x.sqr()?.mean_keepdim(1)? + epsilon as f64)?.sqrt()?.recip()?;
        (&grad * &x)?.broadcast_mul(&r)?.sum(0)
    });
    Ok((Some(tensor(dx, device, x.shape())), dw.transpose()?))
}
