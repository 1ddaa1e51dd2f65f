//! One layer of the decoder: its linears, and its two halves without their residuals.

use std::sync::Arc;

use anyhow::{Context, Result};
use candle_core::{Tensor, Var};

use crate::chance::Chance;
use crate::model::lora::{Lora, Pair};
use crate::model::ops::adapted_linear::{self, Dropped, adapted_linear, delta};
use crate::model::ops::attention::{Attention, Past, attend, attention};
use crate::model::ops::bias::add_bias;
use crate::model::ops::dropout::Dropout;
use crate::model::ops::linear::{self, FrozenWeight, frozen_linear, linear};
use crate::model::ops::rms_norm::rms_norm;

pub(super) enum Weight {
    Frozen(Arc<dyn FrozenWeight>),
    Trainable(Var),
}

pub(super) struct Linear {
    pub name: String,
    pub weight: Weight,
    pub bias: Option<Tensor>,
}

/// What one forward pass carries through the layers.
pub(super) struct Pass<'a> {
    pub lora: Option<&'a Lora>,
    pub chance: Option<&'a mut Chance>,
    /// Whether the factors are to get gradients from candle: then it holds every activation.
    pub tracked: bool,
    pub shape: Attention,
}

impl Pass<'_> {
    fn pair(&self, name: &str) -> Option<(&Lora, &Pair)> {
        self.lora.and_then(|lora| Some((lora, lora.pairs.get(name)?)))
    }

    /// The dropout of the next linear, whose input holds `n` values.
    pub fn dropped(&mut self, name: &str, n: usize) -> Option<Dropped> {
        let share = self.pair(name)?.0.dropout;
        let chance = self.chance.as_deref_mut()?;
        (share > 0.0).then(|| Dropped::new(Dropout { share, chance }, n))
    }
}

/// Gradients of factors, each with the variable it belongs to.
pub(super) type Factors = Vec<(Var, Tensor)>;

impl Linear {
    pub fn forward(&self, x: &Tensor, pass: &mut Pass) -> candle_core::Result<Tensor> {
        let y = self.product(x, pass)?;
        match &self.bias {
            Some(bias) => add_bias(&y, bias),
            None => Ok(y),
        }
    }

    fn product(&self, x: &Tensor, pass: &mut Pass) -> candle_core::Result<Tensor> {
        let tracked = pass.tracked;
        let own = |v: &Var| if tracked { v.as_tensor().clone() } else { v.detach() };
        let Some((lora, Pair { a, b })) = pass.pair(&self.name) else {
            return match &self.weight {
                Weight::Frozen(weight) => frozen_linear(x, weight),
                Weight::Trainable(weight) => linear(x, &own(weight)),
            };
        };
        let scale = lora.scale;
        let [a, b] = [a, b].map(own);
        let dropped = pass.dropped(&self.name, x.elem_count());
        match &self.weight {
            Weight::Frozen(weight) => adapted_linear(x, weight, (&a, &b), scale, dropped),
            Weight::Trainable(weight) => {
                linear(x, &own(weight))? + delta(x, (&a, &b), scale, dropped)?
            }
        }
    }

    /// The gradient by `x`, given that of the output, with those of the factors gathered in
    /// `factors`. `dropped` is what the forward was given.
    pub fn gradients(
        &self,
        x: &Tensor,
        dy: &Tensor,
        lora: &Lora,
        dropped: Option<Dropped>,
        factors: &mut Factors,
    ) -> Result<Tensor> {
        let pair = lora.pairs.get(&self.name);
        let (dx, da, db) = match (&self.weight, pair) {
            (Weight::Frozen(weight), None) => return Ok(linear::frozen_gradient(dy, weight)?),
            (Weight::Frozen(weight), Some(Pair { a, b })) => adapted_linear::gradients(
                x,
                weight,
                (a.as_tensor(), b.as_tensor()),
                lora.scale,
                dropped,
                dy,
            )?,
            (Weight::Trainable(weight), pair) => {
                // An adapter on a model whose weights are variables: candle differentiates.
                let x = Var::from_tensor(x)?;
                let mut y = linear(x.as_tensor(), &weight.detach())?;
                if let Some(Pair { a, b }) = pair {
                    let factors = (a.as_tensor(), b.as_tensor());
                    y = (y + delta(x.as_tensor(), factors, lora.scale, dropped)?)?;
                }
                let mut all = (y * dy)?.sum_all()?.backward()?;
                let cut = "the graph is cut within a linear";
                let dx = all.remove(x.as_tensor()).context(cut)?;
                let Some(Pair { a, b }) = pair else { return Ok(dx) };
                let mut of = |v: &Var| all.remove(v.as_tensor()).context(cut);
                (dx, of(a)?, of(b)?)
            }
        };
        if let Some(Pair { a, b }) = pair {
            factors.extend([(a.clone(), da), (b.clone(), db)]);
        }
        Ok(dx)
    }
}

pub(super) struct Block {
    pub input_norm: Tensor,
    pub q: Linear,
    pub k: Linear,
    pub v: Linear,
    pub o: Linear,
    /// What queries and keys are normed with, head by head.
    pub head_norms: Option<(Tensor, Tensor)>,
    pub post_norm: Tensor,
    pub gate: Linear,
    pub up: Linear,
    pub down: Linear,
}

impl Block {
    pub fn linears(&self) -> [&Linear; 7] {
        [&self.q, &self.k, &self.v, &self.o, &self.gate, &self.up, &self.down]
    }

    /// Columns of `down`: the width inside the second half.
    pub fn down_width(&self) -> usize {
        match &self.down.weight {
            Weight::Frozen(weight) => weight.in_features(),
            Weight::Trainable(weight) => weight.dims()[1],
        }
    }

    /// What the first half adds to `x` ([n, hidden]).
    pub fn attend(
        &self,
        x: &Tensor,
        pass: &mut Pass,
        epsilon: f64,
        pasts: Option<&mut [&mut Past]>,
    ) -> Result<Tensor> {
        let normed = rms_norm(x, &self.input_norm, epsilon)?;
        let mut q = self.q.forward(&normed, pass)?;
        let mut k = self.k.forward(&normed, pass)?;
        if let Some((q_norm, k_norm)) = &self.head_norms {
            let heads = |x: &Tensor| x.reshape(((), pass.shape.dim));
            q = rms_norm(&heads(&q)?, q_norm, epsilon)?.reshape(q.shape())?;
            k = rms_norm(&heads(&k)?, k_norm, epsilon)?.reshape(k.shape())?;
        }
        let v = self.v.forward(&normed, pass)?;
        drop(normed);
        let mixed = match pasts {
            None => attention(&q, &k, &v, &pass.shape)?,
            Some(pasts) => attend(&q, &k, &v, &pass.shape, pasts)?,
        };
        drop((q, k, v));
        Ok(self.o.forward(&mixed, pass)?)
    }

    /// The two factors of the second half, before SwiGLU, of some rows of the residual stream.
    pub fn gate_up(&self, x: &Tensor, pass: &mut Pass, epsilon: f64) -> Result<(Tensor, Tensor)> {
        let normed = rms_norm(x, &self.post_norm, epsilon)?;
        Ok((self.gate.forward(&normed, pass)?, self.up.forward(&normed, pass)?))
    }
}
