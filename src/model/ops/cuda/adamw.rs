//! AdamW's arithmetic on the card; the equations stand in the optimiser.

use candle_core::{DType, Device, Result, Tensor, Var, bail};

use super::{Arg, Module, at_tensor, card, launch, module};

const MODULE: Module = module!("adamw");

/// Blocks that share a variable at most, and values that are worth one.
const BLOCKS: usize = 64;
const WORTH: usize = 4096;

/// One update's numbers.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// What gradients are multiplied by first.
    pub clip: f32,
    /// Decay of the first and second moment.
    pub betas: (f32, f32),
    /// One over the root of the second moment's bias correction.
    pub root: f32,
    /// The learning rate over the first moment's bias correction, and what matrices are
    /// multiplied by: 1 less their decay.
    pub plain: (f32, f32),
    /// The same for an adapter's B.
    pub of_b: (f32, f32),
    /// Added to the denominator.
    pub epsilon: f32,
}

/// Both moments and the gathered gradient of all variables, one after the other.
pub struct Moments {
    device: Device,
    /// Of each variable: address, offset in the flat tensors, length, and two bits: whether it
    /// decays, whether it is an adapter's B.
    variables: Tensor,
    /// Blocks a variable, and variables.
    grid: (usize, usize),
    first: Tensor,
    second: Tensor,
    gradient: Tensor,
}

impl Moments {
    /// Zeros. Each variable comes with whether it is an adapter's B, and stays where it is:
    /// `Var::set` copies into it.
    pub fn new<'a>(vars: impl Iterator<Item = (&'a Var, bool)>, device: &Device) -> Result<Self> {
        let (mut table, mut all, mut widest) = (Vec::new(), 0, 0);
        for (var, is_b) in vars {
            let Arg::At(address) = at_tensor(var)? else { bail!("a variable without an address") };
            let n = var.elem_count();
            let bits = i64::from(var.rank() > 1) | i64::from(is_b) << 1;
            table.extend([address as i64, all as i64, n as i64, bits]);
            all += n;
            widest = widest.max(n);
        }
        let count = table.len() / 4;
        let zeros = || Tensor::zeros(all, DType::F32, device);
        Ok(Moments {
            device: device.clone(),
            variables: Tensor::from_vec(table, (count, 4), device)?,
            grid: (widest.div_ceil(WORTH).min(BLOCKS), count),
            first: zeros()?,
            second: zeros()?,
            gradient: zeros()?,
        })
    }

    /// How many numbers each moment holds.
    pub fn len(&self) -> usize {
        self.first.elem_count()
    }

    /// Whether there is nothing to train.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first moment, or the second.
    pub fn read(&self, first: bool) -> Result<Vec<f32>> {
        if first { &self.first } else { &self.second }.to_vec1()
    }

    /// Sets the first moment, or the second.
    pub fn write(&mut self, first: bool, values: &[f32]) -> Result<()> {
        if values.len() != self.len() {
            bail!("{} numbers for {} moments", values.len(), self.len());
        }
        let place = if first { &mut self.first } else { &mut self.second };
        *place = Tensor::from_slice(values, values.len(), &self.device)?;
        Ok(())
    }

    fn launch(&self, function: &str, args: &[Arg]) -> Result<()> {
        let args = [&[at_tensor(&self.variables)?], args].concat();
        launch(card(&self.device)?, &MODULE, function, self.grid, 0, &args)
    }

    /// Adds a micro-batch's gradients, one a variable.
    pub fn gather(&self, gradients: &[Tensor]) -> Result<()> {
        let mut addresses = Vec::with_capacity(gradients.len());
        for gradient in gradients {
            let Arg::At(address) = at_tensor(gradient)? else { bail!("a gradient without one") };
            addresses.push(address as i64);
        }
        let addresses = Tensor::from_vec(addresses, gradients.len(), &self.device)?;
        self.launch("gather", &[at_tensor(&addresses)?, at_tensor(&self.gradient)?])
    }

    /// Σ g² over everything gathered; one read from the card.
    pub fn squares(&self) -> Result<f64> {
        let parts = Tensor::zeros(self.grid.0 * self.grid.1, DType::F64, &self.device)?;
        self.launch("squares", &[at_tensor(&self.gradient)?, at_tensor(&parts)?])?;
        Ok(parts.to_vec1::<f64>()?.iter().sum())
    }

    /// Updates the variables and forgets the gradient.
    pub fn update(&self, update: Update) -> Result<()> {
        let numbers = [
            update.clip,
            update.betas.0,
            update.betas.1,
            update.root,
            update.plain.0,
            update.plain.1,
            update.of_b.0,
            update.of_b.1,
            update.epsilon,
        ];
        let states = [&self.first, &self.second, &self.gradient];
        let mut args = states.map(at_tensor).into_iter().collect::<Result<Vec<_>>>()?;
        args.extend(numbers.map(Arg::Float));
        self.launch("update", &args)
    }
}
