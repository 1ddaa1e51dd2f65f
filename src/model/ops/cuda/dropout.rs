//! Dropout on the card; the equation stands in [`crate::model::ops::dropout`].

use candle_core::{CudaDevice, Result};

use super::{Arg, Module, THREADS, launch, module};
use crate::chance::Chance;
use crate::model::ops::dropout::Dropout;

const MODULE: Module = module!("dropout");

/// The step of [`Chance`]'s state.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// A mask that need not be kept: it is drawn again from the state where it is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mask {
    state: u64,
    share: f64,
    kept: f32,
}

impl Mask {
    /// Takes `n` numbers.
    pub fn new(dropout: Dropout, n: usize) -> Self {
        let (share, kept) = (dropout.share, dropout.kept());
        let state = dropout.chance.state();
        *dropout.chance = Chance::resume(state.wrapping_add(GAMMA.wrapping_mul(n as u64)));
        Mask { state, share, kept }
    }

    /// `y = x ⊙ m` over `n` values, added to `y` where `add`.
    pub fn apply(&self, device: &CudaDevice, x: Arg, y: Arg, n: usize, add: bool) -> Result<()> {
        // Eight bytes are eight bytes: the state and the share travel as an address does.
        let args = [
            x,
            y,
            n.into(),
            Arg::At(self.state),
            Arg::At(self.share.to_bits()),
            Arg::Float(self.kept),
            Arg::Int(add.into()),
        ];
        launch(device, &MODULE, "dropout", (n.div_ceil(THREADS), 1), 0, &args)
    }
}
