//! AdamW's arithmetic on the card; the equations stand in the optimiser.

use candle_core::{DType, Device, Result, Tensor, Var, bail};
use safetensors::tensor::Dtype;

use super::{Arg, Module, at_tensor, card, launch, module};
use crate::files::safetensors::{Entry, le_bytes};
use crate::model::dynamic::{DynamicMap, SIGNED, UNSIGNED};

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

/// How a variable's states are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// In f32.
    Full,
    /// In 8 bits a number.
    Eight,
}

/// Numbers that share a scale.
const BLOCK: usize = 256;

/// One moment of all variables: numbers of those in f32, then codes and scales of the others.
struct Moment {
    full: Tensor,
    codes: Tensor,
    scales: Tensor,
}

/// Both moments and the gathered gradient of all variables, one after the other.
pub struct Moments {
    device: Device,
    /// Of each variable: address, offset in the gradient, length, three bits (whether it decays,
    /// whether it is an adapter's B, whether its states have 8 bits) and where its states begin.
    variables: Tensor,
    /// Blocks a variable, and variables.
    grid: (usize, usize),
    first: Moment,
    second: Moment,
    gradient: Tensor,
    /// Both dynamic maps, the first moment's first.
    maps: Tensor,
}

impl Moments {
    /// Zeros. Each variable comes with whether it is an adapter's B and how its states are kept,
    /// and stays where it is: `Var::set` copies into it.
    pub fn new<'a>(
        vars: impl Iterator<Item = (&'a Var, bool, Kept)>,
        device: &Device,
    ) -> Result<Self> {
        let (mut table, mut all, mut widest) = (Vec::new(), 0, 0);
        let (mut full, mut eight) = (0, 0);
        for (var, is_b, kept) in vars {
            let Arg::At(address) = at_tensor(var)? else { bail!("a variable without an address") };
            let n = var.elem_count();
            let in_eight = kept == Kept::Eight;
            let state = if in_eight { &mut eight } else { &mut full };
            let bits = i64::from(var.rank() > 1) | i64::from(is_b) << 1 | i64::from(in_eight) << 2;
            table.extend([address as i64, all as i64, n as i64, bits, *state as i64]);
            // No block of codes belongs to two variables.
            *state += if in_eight { n.next_multiple_of(BLOCK) } else { n };
            all += n;
            widest = widest.max(n);
        }
        let count = table.len() / 5;
        let zeros = |n: usize| Tensor::zeros(n, DType::F32, device);
        let moment = |map: &DynamicMap| -> Result<Moment> {
            Ok(Moment {
                full: zeros(full)?,
                codes: match eight {
                    // candle cannot fill nothing.
                    0 => Tensor::zeros(0, DType::U8, device)?,
                    n => Tensor::full(map.code(0.0), n, device)?,
                },
                scales: zeros(eight / BLOCK)?,
            })
        };
        let maps = [SIGNED.table(), UNSIGNED.table()].concat();
        Ok(Moments {
            device: device.clone(),
            variables: Tensor::from_vec(table, (count, 5), device)?,
            grid: (widest.div_ceil(WORTH).min(BLOCKS), count),
            first: moment(&SIGNED)?,
            second: moment(&UNSIGNED)?,
            gradient: zeros(all)?,
            maps: Tensor::from_vec(maps, 4 * BLOCK, device)?,
        })
    }

    /// What a checkpoint holds of one moment, under names that begin with `name`.
    pub fn entries(&self, name: &str) -> Vec<Entry> {
        let Moment { full, codes, scales } = &self.first;
        let mut entries = vec![Entry::f32(name, full.dims())];
        if codes.elem_count() > 0 {
            let name = format!("{name}.codes");
            entries.push(Entry { name, dtype: Dtype::U8, shape: codes.dims().to_vec() });
        }
        if scales.elem_count() > 0 {
            entries.push(Entry::f32(format!("{name}.scales"), scales.dims()));
        }
        entries
    }

    fn place(&mut self, first: bool, end: &str) -> &mut Tensor {
        let moment = if first { &mut self.first } else { &mut self.second };
        match end {
            "codes" => &mut moment.codes,
            "scales" => &mut moment.scales,
            _ => &mut moment.full,
        }
    }

    /// The bytes of the entry of the first or second moment whose name ends with `end`.
    pub fn bytes(&self, first: bool, end: &str) -> Result<Vec<u8>> {
        let moment = if first { &self.first } else { &self.second };
        Ok(match end {
            "codes" => moment.codes.to_vec1()?,
            "scales" => le_bytes(&moment.scales.to_vec1::<f32>()?),
            _ => le_bytes(&moment.full.to_vec1::<f32>()?),
        })
    }

    /// Sets that entry.
    pub fn set(&mut self, first: bool, end: &str, bytes: &[u8]) -> Result<()> {
        let device = self.device.clone();
        let place = self.place(first, end);
        let new = match end {
            "codes" => Tensor::from_slice(bytes, bytes.len(), &device)?,
            _ => {
                let values: Vec<f32> =
                    bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                Tensor::from_slice(&values, values.len(), &device)?
            }
        };
        if new.dims() != place.dims() {
            bail!("{} values for {}", new.elem_count(), place.elem_count());
        }
        *place = new;
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
        let numbers = numbers.map(Arg::Float);
        let (first, second) = (&self.first, &self.second);
        if first.full.elem_count() > 0 {
            let states = [&first.full, &second.full, &self.gradient];
            let states = states.map(at_tensor).into_iter().collect::<Result<Vec<_>>>()?;
            self.launch("update", &[&states[..], &numbers].concat())?;
        }
        if first.codes.elem_count() > 0 {
            let moments = [first, second].map(|m| [&m.codes, &m.scales]).concat();
            let states = [&[&self.maps], &moments[..], &[&self.gradient]].concat();
            let states = states.into_iter().map(at_tensor).collect::<Result<Vec<_>>>()?;
            self.launch("update_8bit", &[&states[..], &numbers].concat())?;
        }
        Ok(())
    }
}
