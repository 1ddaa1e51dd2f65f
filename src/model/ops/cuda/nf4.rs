//! NF4 on the card; the layout stands in [`crate::model::nf4`].

use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, DType, Result, Storage, Tensor};
use half::bf16;

use super::{Arg, Module, THREADS, at_tensor, card, launch, module, room, tensor};
use crate::model::weights::{CardNf4, CardScales};

const MODULE: Module = module!("nf4");

/// The matrix ([rows, cols], f32 or bf16).
pub(crate) fn dequantize(nf4: &CardNf4, dtype: DType) -> Result<Tensor> {
    let ((rows, cols), device) = (nf4.shape, card(nf4.codes.device())?);
    let n = rows * cols;
    let mut args = vec![at_tensor(&nf4.codes)?];
    let kind = match &nf4.scales {
        CardScales::Plain(scales) => {
            args.push(at_tensor(scales)?);
            "nf4"
        }
        CardScales::Double { codes, absmax, offset, map } => {
            args.extend([at_tensor(codes)?, at_tensor(absmax)?, at_tensor(map)?]);
            args.push(Arg::Float(*offset));
            "nf4_double"
        }
    };
    let grid = (n.div_ceil(8 * THREADS), 1);
    if dtype == DType::BF16 {
        let w = half(device, (rows, cols))?;
        args.extend([at_tensor(&w)?, n.into()]);
        launch(device, &MODULE, &format!("{kind}_bf16"), grid, 0, &args)?;
        return Ok(w);
    }
    let (w, w_at) = room(device, n)?;
    args.extend([w_at, n.into()]);
    launch(device, &MODULE, &format!("{kind}_f32"), grid, 0, &args)?;
    Ok(tensor(w, device, (rows, cols)))
}

/// `n` f32 values in bf16.
pub(crate) fn rounded(device: &CudaDevice, x: Arg, n: usize) -> Result<Tensor> {
    let y = half(device, (1, n))?;
    let args = [x, at_tensor(&y)?, n.into()];
    launch(device, &MODULE, "round_bf16", (n.div_ceil(8 * THREADS), 1), 0, &args)?;
    Ok(y)
}

/// A matrix of bf16 that a kernel is about to write.
fn half(device: &CudaDevice, shape: (usize, usize)) -> Result<Tensor> {
    // SAFETY: the kernels above write every value before any is read.
    let slice = unsafe { device.alloc::<bf16>(shape.0 * shape.1) }?;
    let storage = CudaStorage::wrap_cuda_slice(slice, device.clone());
    Ok(Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false))
}
