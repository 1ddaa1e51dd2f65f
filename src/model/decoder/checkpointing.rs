//! Gradient checkpointing (Chen et al. 2016): of every layer only its input is kept, and the layer
//! is computed again when its gradient is due. Memory then grows with one layer's activations
//! instead of all of them, for about a third more work; the gradients are the same to the last bit.

use anyhow::{Context, Result};
use candle_core::Var;
use candle_core::backprop::GradStore;

use super::{Decoder, Packed, Pass};
use crate::chance::Chance;
use crate::model::Lora;
use crate::model::ops::rms_norm::rms_norm;

impl Decoder {
    /// The summed loss of a batch (see [`Decoder::loss`]), and the gradients of `loss / share` by
    /// the factors of `lora`.
    pub fn checkpointed(
        &self,
        packed: &Packed,
        (places, targets): (&[u32], &[u32]),
        share: f64,
        lora: &Lora,
        chance: Option<&mut Chance>,
    ) -> Result<(f32, GradStore)> {
        let (mut x, mut pass) = self.begin(packed, Some(lora), chance)?;
        let mut kept = Vec::with_capacity(self.blocks.len());
        for layer in 0..self.blocks.len() {
            // Dropout must fall on the same values when the layer is computed again.
            kept.push((x.clone(), pass.chance.as_deref().cloned()));
            x = self.layer(layer, &x, &mut pass, None)?.detach();
        }
        let last = Var::from_tensor(&x)?;
        let hidden = rms_norm(last.as_tensor(), &self.norm, self.config.rms_norm_eps)?;
        let loss = self.loss(&hidden, places, targets)?;
        let value = loss.to_scalar::<f32>()?;
        let mut gradients = (loss / share)?.backward()?;
        let cut = "the graph is cut within a layer";
        let mut gradient = gradients.remove(last.as_tensor()).context(cut)?;
        let variables = lora.variables();
        for (layer, (input, mut chance)) in kept.into_iter().enumerate().rev() {
            let input = Var::from_tensor(&input)?;
            let shape = pass.shape.clone();
            let mut again = Pass { lora: Some(lora), chance: chance.as_mut(), shape };
            let output = self.layer(layer, input.as_tensor(), &mut again, None)?;
            // The gradient of Σ y·g by y is g.
            let mut own = (output * gradient)?.sum_all()?.backward()?;
            gradient = own.remove(input.as_tensor()).context(cut)?;
            for (_, variable) in &variables {
                if let Some(gradient) = own.remove(variable.as_tensor()) {
                    gradients.insert(variable.as_tensor(), gradient);
                }
            }
        }
        Ok((value, gradients))
    }
}
