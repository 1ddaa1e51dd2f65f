//! NF4 on the card; the layout stands in [`crate::model::nf4`].

use candle_core::{Result, Tensor};

use super::{Module, THREADS, at_tensor, card, launch, module, room, tensor};

const MODULE: Module = module!("nf4");

/// The matrix ([rows, cols], f32) of codes (u8, two a byte) and scales (f32, one a block).
pub(crate) fn dequantize(
    codes: &Tensor,
    absmax: &Tensor,
    (rows, cols): (usize, usize),
) -> Result<Tensor> {
    let (device, n) = (card(codes.device())?, rows * cols);
    let (w, w_at) = room(device, n)?;
    let args = [at_tensor(codes)?, at_tensor(absmax)?, w_at, n.into()];
    launch(device, &MODULE, "nf4_dequantize", (n.div_ceil(8 * THREADS), 1), 0, &args)?;
    Ok(tensor(w, device, (rows, cols)))
}
