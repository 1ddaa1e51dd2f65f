//! The gradients of an adapter's factors, layer by layer.
//!
//! candle holds every activation of a graph until its gradients are there. Here the first half of
//! each layer is a graph of its own and the second is differentiated by hand, in tiles of rows, so
//! that of a layer only what its backward needs is held, no longer than it is needed, and, with
//! gradient checkpointing (Chen et al. 2016), only its input: the rest is computed again when its
//! gradient is due, for a quarter to a third more work. The projection `down` is never computed
//! again: its gradient does not need its output. Whatever is held, the gradients are the same to
//! the last bit.

use std::ops::Range;

use anyhow::{Context, Result};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};

use super::block::{Block, Factors, Pass};
use super::{Decoder, Packed, joined, tiles};
use crate::chance::Chance;
use crate::model::Lora;
use crate::model::ops::attention::Attention;
#[cfg(feature = "cuda")]
use crate::model::ops::cuda::parked::{Parked, park};
use crate::model::ops::residual::{add, entry};
use crate::model::ops::rms_norm::{self, rms_norm};
use crate::model::ops::swiglu::{self, swiglu};

/// What is held of a layer until its gradients are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// All that its backward needs.
    Activations,
    /// Its input.
    Inputs,
    /// Its input, of a layer on a card in the host's memory.
    InputsOnHost,
}

/// Some rows of the second half.
struct Tile {
    rows: Range<usize>,
    /// The generator before its dropout.
    chance: Option<Chance>,
    gate_up: Option<(Tensor, Tensor)>,
}

/// A layer between forward and backward.
struct Halves {
    /// The input, as a variable of the first half's graph; nothing asks for the first layer's.
    x: Tensor,
    /// What the first half adds, with its graph.
    attended: Tensor,
    /// The residual stream between the halves.
    middle: Tensor,
    tiles: Vec<Tile>,
}

/// What every layer of one pass shares.
struct Through<'a> {
    lora: &'a Lora,
    shape: Attention,
    epsilon: f64,
}

impl Through<'_> {
    fn pass<'p>(&'p self, chance: Option<&'p mut Chance>, tracked: bool) -> Pass<'p> {
        Pass { lora: Some(self.lora), chance, tracked, shape: self.shape.clone() }
    }

    /// The first half with its graph, and the second as far as `keep` wants it.
    fn open(
        &self,
        block: &Block,
        x: &Tensor,
        chance: &mut Option<Chance>,
        first: bool,
    ) -> Result<Halves> {
        let x = if first { x.detach() } else { Var::from_tensor(x)?.into_inner() };
        let attended =
            block.attend(&x, &mut self.pass(chance.as_mut(), true), self.epsilon, None)?;
        let middle = add(&x.detach(), &attended.detach())?;
        Ok(Halves { x, attended, middle, tiles: Vec::new() })
    }

    /// The output of the second half, with its tiles held in `halves`.
    fn feed(
        &self,
        block: &Block,
        halves: &mut Halves,
        chance: &mut Option<Chance>,
    ) -> Result<Tensor> {
        let mut parts = Vec::new();
        for rows in tiles(halves.middle.dim(0)?) {
            let before = chance.clone();
            let mut pass = self.pass(chance.as_mut(), false);
            let part = halves.middle.narrow(0, rows.start, rows.len())?;
            let (gate, up) = block.gate_up(&part, &mut pass, self.epsilon)?;
            parts.push(add(&part, &block.down.forward(&swiglu(&gate, &up)?, &mut pass)?)?);
            halves.tiles.push(Tile { rows, chance: before, gate_up: Some((gate, up)) });
        }
        joined(parts)
    }

    /// The tiles of a second half of which nothing is held.
    fn lay_out(&self, block: &Block, halves: &mut Halves, chance: &mut Option<Chance>) {
        let (hidden, inner) = (block.post_norm.elem_count(), block.down_width());
        for rows in tiles(halves.middle.dims()[0]) {
            let before = chance.clone();
            let mut pass = self.pass(chance.as_mut(), false);
            pass.dropped(&block.gate.name, rows.len() * hidden);
            pass.dropped(&block.up.name, rows.len() * hidden);
            pass.dropped(&block.down.name, rows.len() * inner);
            halves.tiles.push(Tile { rows, chance: before, gate_up: None });
        }
    }

    /// The gradient by the layer's input, none for the first layer's, given that by its output.
    fn close(
        &self,
        block: &Block,
        halves: Halves,
        dy: Tensor,
        factors: &mut Factors,
    ) -> Result<Option<Tensor>> {
        let Halves { x, attended, middle, tiles } = halves;
        let mut parts = Vec::new();
        for tile in tiles {
            let of = |t: &Tensor| t.narrow(0, tile.rows.start, tile.rows.len());
            let part = self.close_tile(block, &of(&middle)?, &of(&dy)?, tile, factors)?;
            parts.push(part);
        }
        drop((middle, dy));
        let d_middle = joined(parts)?;
        let mut own = entry(&attended, &d_middle)?.backward()?;
        drop(attended);
        let dx = own.remove(&x);
        for linear in [&block.q, &block.k, &block.v, &block.o] {
            for var in self.lora.pairs.get(&linear.name).iter().flat_map(|p| [&p.a, &p.b]) {
                let gradient = own.remove(var.as_tensor());
                factors.extend(gradient.map(|gradient| (var.clone(), gradient)));
            }
        }
        Ok(dx.map(|dx| add(&dx, &d_middle)).transpose()?)
    }

    fn close_tile(
        &self,
        block: &Block,
        middle: &Tensor,
        dy: &Tensor,
        mut tile: Tile,
        factors: &mut Factors,
    ) -> Result<Tensor> {
        let mut again = tile.chance.clone();
        let mut pass = self.pass(tile.chance.as_mut(), false);
        let normed = rms_norm(middle, &block.post_norm, self.epsilon)?;
        let (gate, up) = match tile.gate_up {
            Some(both) => {
                pass.dropped(&block.gate.name, normed.elem_count());
                pass.dropped(&block.up.name, normed.elem_count());
                both
            }
            None => {
                (block.gate.forward(&normed, &mut pass)?, block.up.forward(&normed, &mut pass)?)
            }
        };
        let act = swiglu(&gate, &up)?;
        let dropped = pass.dropped(&block.down.name, act.elem_count());
        let d_act = block.down.gradients(&act, dy, self.lora, dropped, factors)?;
        drop(act);
        let (d_gate, d_up) = swiglu::gradients(&gate, &up, &d_act)?;
        drop((gate, up, d_act));
        let mut pass = self.pass(again.as_mut(), false);
        let mut d_normed = None;
        for (linear, dy) in [(&block.gate, d_gate), (&block.up, d_up)] {
            let dropped = pass.dropped(&linear.name, normed.elem_count());
            let part = linear.gradients(&normed, &dy, self.lora, dropped, factors)?;
            d_normed = Some(match d_normed.take() {
                Some(sum) => add(&part, &sum)?,
                None => part,
            });
        }
        let d_normed: Tensor = d_normed.context("two linears")?;
        let d_middle = rms_norm::gradient(middle, &block.post_norm, self.epsilon, &d_normed)?;
        Ok(add(dy, &d_middle)?)
    }
}

impl Decoder {
    /// The summed loss of a batch (see [`Decoder::loss`]), and the gradients of `loss / share` by
    /// the factors of `lora`. `chance` decides dropout.
    pub fn gradients(
        &self,
        packed: &Packed,
        (places, targets): (&[u32], &[u32]),
        share: f64,
        lora: &Lora,
        chance: Option<&mut Chance>,
        keep: Keep,
    ) -> Result<(f32, GradStore)> {
        let all = || self.differentiate(packed, (places, targets), share, lora, chance, keep);
        match self.device.is_cpu() {
            // On a thread of the pool, which others of it then help; from outside, every product
            // would have to wake them.
            true => rayon::scope(|_| all()),
            false => all(),
        }
    }

    fn differentiate(
        &self,
        packed: &Packed,
        (places, targets): (&[u32], &[u32]),
        share: f64,
        lora: &Lora,
        chance: Option<&mut Chance>,
        keep: Keep,
    ) -> Result<(f32, GradStore)> {
        let (mut x, shape) = self.begin(packed)?;
        let through = Through { lora, shape, epsilon: self.config.rms_norm_eps };
        let mut now = chance.as_deref().cloned();
        let mut kept = Vec::with_capacity(self.blocks.len());
        for (layer, block) in self.blocks.iter().enumerate() {
            if keep == Keep::Activations {
                let mut halves = through.open(block, &x, &mut now, layer == 0)?;
                x = through.feed(block, &mut halves, &mut now)?;
                kept.push(Kept::Halves(halves));
                continue;
            }
            let before = now.clone();
            let y = self.layer(layer, &x, &mut through.pass(now.as_mut(), false), None)?;
            let input = match keep {
                #[cfg(feature = "cuda")]
                Keep::InputsOnHost if x.device().is_cuda() => Input::Parked(park(&x)?),
                _ => Input::Here(x),
            };
            kept.push(Kept::Input(input, before));
            x = y;
        }
        if let (Some(chance), Some(now)) = (chance, now) {
            *chance = now;
        }
        let last = Var::from_tensor(&x)?;
        drop(x);
        let hidden = rms_norm(last.as_tensor(), &self.norm, self.config.rms_norm_eps)?;
        let loss = self.loss(&hidden, places, targets)?;
        let value = loss.to_scalar::<f32>()?;
        let mut gradients = (loss / share)?.backward()?;
        let cut = "the graph is cut before the head";
        let mut gradient = Some(gradients.remove(last.as_tensor()).context(cut)?);
        for (layer, block) in self.blocks.iter().enumerate().rev() {
            let halves = match kept.pop().context("one for each layer")? {
                Kept::Halves(halves) => halves,
                Kept::Input(input, mut before) => {
                    let input = input.back(&self.device)?;
                    let mut halves = through.open(block, &input, &mut before, layer == 0)?;
                    through.lay_out(block, &mut halves, &mut before);
                    halves
                }
            };
            let mut factors = Factors::new();
            let dy = gradient.take().context("the graph is cut within a layer")?;
            gradient = through.close(block, halves, dy, &mut factors)?;
            for (var, part) in factors {
                let sum = match gradients.remove(var.as_tensor()) {
                    Some(sum) => (sum + part)?,
                    None => part,
                };
                gradients.insert(var.as_tensor(), sum);
            }
        }
        Ok((value, gradients))
    }
}

enum Kept {
    Halves(Halves),
    /// The input, and the generator before the layer's dropout.
    Input(Input, Option<Chance>),
}

enum Input {
    Here(Tensor),
    /// In the host's memory.
    #[cfg(feature = "cuda")]
    Parked(Parked),
}

impl Input {
    /// The input, on the device it came from.
    fn back(self, _device: &Device) -> Result<Tensor> {
        match self {
            Input::Here(x) => Ok(x),
            #[cfg(feature = "cuda")]
            Input::Parked(parked) => Ok(parked.back(_device)?),
        }
    }
}
