//! Dropout (Srivastava et al. 2014): `x̃ = x ⊙ m / (1 − p)`, each `m_i` being 0 with chance `p`.
//!
//! The mask is a pure function of the generator's state, so a card draws the same one.

use crate::chance::Chance;

/// The share of values to drop, and the chance that decides which.
pub struct Dropout<'a> {
    /// `p`.
    pub share: f64,
    /// One number is taken for each value.
    pub chance: &'a mut Chance,
}

impl Dropout<'_> {
    /// What the dropped values and the others are multiplied by, for `n` values.
    pub fn mask(&mut self, n: usize) -> Vec<f32> {
        let (share, kept) = (self.share, self.kept());
        (0..n).map(|_| if self.chance.unit() < share { 0.0 } else { kept }).collect()
    }

    /// `1 / (1 − p)`.
    pub fn kept(&self) -> f32 {
        (1.0 / (1.0 - self.share)) as f32
    }
}
