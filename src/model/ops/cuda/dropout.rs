//! Dropout on the card; the equation stands in [`crate::model::ops::dropout`].

use candle_core::{CudaDevice, Result};

use super::{Arg, Module, THREADS, launch, module};
use crate::model::ops::adapted_linear::Dropped;
use crate::model::ops::dropout::Dropout;

const MODULE: Module = module!("dropout");

/// A mask that need not be kept: it is drawn again from the state where it is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mask {
    state: u64,
    share: f64,
    kept: f32,
}

impl Mask {
    /// The mask of a dropout.
    pub fn new(dropped: Dropped) -> Self {
        let Dropped { share, mut chance } = dropped;
        let state = chance.state();
        Mask { state, share, kept: Dropout { share, chance: &mut chance }.kept() }
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
