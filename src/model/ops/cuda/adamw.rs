//! AdamW's arithmetic on the card; the equations stand in the optimiser.

use candle_core::{DType, Device, Result, Tensor, Var};

use super::{Arg, Module, THREADS, at_tensor, card, launch, module};

const MODULE: Module = module!("adamw");

/// Values whose squares one block adds up.
const PART: usize = 4096;

/// One update's numbers, the same for every variable but `keep`.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// What gradients are multiplied by first.
    pub clip: f32,
    /// Decay of the first and second moment.
    pub betas: (f32, f32),
    /// The learning rate over the first moment's bias correction.
    pub rate: f32,
    /// One over the root of the second moment's.
    pub root: f32,
    /// What weights are multiplied by: 1 less their decay.
    pub keep: f32,
    /// Added to the denominator.
    pub epsilon: f32,
}

/// The states of one variable.
pub struct Moments {
    first: Tensor,
    second: Tensor,
    gradient: Tensor,
}

impl Moments {
    /// Zeros.
    pub fn new(var: &Var) -> Result<Self> {
        let zeros = || Tensor::zeros(var.shape(), DType::F32, var.device());
        Ok(Moments { first: zeros()?, second: zeros()?, gradient: zeros()? })
    }

    fn grid(&self) -> (usize, usize) {
        (self.gradient.elem_count().div_ceil(THREADS), 1)
    }

    /// Adds a micro-batch's gradient to what is gathered.
    pub fn gather(&self, gradient: &Tensor) -> Result<()> {
        let gradient = gradient.contiguous()?;
        let n = gradient.elem_count().into();
        let args = [at_tensor(&self.gradient)?, at_tensor(&gradient)?, n];
        launch(card(gradient.device())?, &MODULE, "gather", self.grid(), 0, &args)
    }

    /// Updates the variable and forgets the gradient.
    pub fn update(&self, var: &Var, update: Update) -> Result<()> {
        let args = [
            at_tensor(var)?,
            at_tensor(&self.first)?,
            at_tensor(&self.second)?,
            at_tensor(&self.gradient)?,
            self.gradient.elem_count().into(),
            Arg::Float(update.clip),
            Arg::Float(update.betas.0),
            Arg::Float(update.betas.1),
            Arg::Float(update.rate),
            Arg::Float(update.root),
            Arg::Float(update.keep),
            Arg::Float(update.epsilon),
        ];
        launch(card(var.device())?, &MODULE, "update", self.grid(), 0, &args)
    }
}

/// Σ g² over everything gathered; one read from the card.
pub fn squares<'a>(all: impl Iterator<Item = &'a Moments>, device: &Device) -> Result<f64> {
    let all: Vec<_> = all.collect();
    let blocks = |m: &Moments| m.gradient.elem_count().div_ceil(PART);
    let parts = Tensor::zeros(all.iter().map(|m| blocks(m)).sum::<usize>(), DType::F64, device)?;
    let mut first = 0;
    for moments in all {
        let n = moments.gradient.elem_count().into();
        let args = [at_tensor(&moments.gradient)?, at_tensor(&parts)?, first.into(), n];
        launch(card(device)?, &MODULE, "squares", (blocks(moments), 1), 0, &args)?;
        first += blocks(moments);
    }
    Ok(parts.to_vec1::<f64>()?.iter().sum())
}
