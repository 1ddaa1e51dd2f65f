//! SwiGLU on the card; the equations stand in [`crate::model::ops::swiglu`].

use candle_core::backend::BackendStorage;
use candle_core::{CudaDevice, CudaStorage, Layout, Result, Tensor};

use super::{Module, THREADS, at, at_tensor, card, launch, module, room, storage, tensor};

const MODULE: Module = module!("swiglu");

/// Hands the kernels to the driver.
pub(crate) fn load(device: &CudaDevice) -> Result<()> {
    device.get_or_load_custom_func("swiglu_forward", MODULE.name, MODULE.ptx).map(|_| ())
}

/// `silu(gate) ⊙ up`.
pub(crate) fn forward(
    (gate, gate_layout): (&CudaStorage, &Layout),
    (up, up_layout): (&CudaStorage, &Layout),
) -> Result<CudaStorage> {
    let (device, n) = (gate.device(), gate_layout.shape().elem_count());
    let (y, y_at) = room(device, n)?;
    let args = [at(gate, gate_layout)?, at(up, up_layout)?, y_at, n.into()];
    launch(device, &MODULE, "swiglu_forward", (n.div_ceil(THREADS), 1), 0, &args)?;
    Ok(storage(y, device))
}

/// The gradients of `gate` and `up`.
pub(crate) fn backward(gate: &Tensor, up: &Tensor, grad: &Tensor) -> Result<(Tensor, Tensor)> {
    let (gate, up, grad) = (gate.contiguous()?, up.contiguous()?, grad.contiguous()?);
    let (device, n) = (card(gate.device())?, gate.elem_count());
    let (dgate, dgate_at) = room(device, n)?;
    let (dup, dup_at) = room(device, n)?;
    let inputs = [at_tensor(&gate)?, at_tensor(&up)?, at_tensor(&grad)?];
    let args = [inputs[0], inputs[1], inputs[2], dgate_at, dup_at, n.into()];
    launch(device, &MODULE, "swiglu_backward", (n.div_ceil(THREADS), 1), 0, &args)?;
    Ok((tensor(dgate, device, gate.shape()), tensor(dup, device, up.shape())))
}
