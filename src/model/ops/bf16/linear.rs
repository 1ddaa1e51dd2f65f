//! A linear layer of bf16 operands, with or without a low-rank delta, and its gradients.
//!
//! The delta costs no pass of its own: `[x | h]·[W | B]ᵀ` is `x·Wᵀ + h·Bᵀ`, and `[dy | dh]·[W; A]`
//! is `dy·W + dh·A`.

use std::ops::Range;

use anyhow::Result;
use half::bf16;

use super::{
    ByColumns, ByDepths, Right, Rows, Straight, Turned, add_product, padded, product, round_all,
};
use crate::model::ops::linear::FrozenWeight;

/// A low-rank delta `s·(x̃·Aᵀ)·Bᵀ`.
pub struct Delta<'a> {
    /// [r, in].
    pub a: &'a [f32],
    /// [out, r].
    pub b: &'a [f32],
    /// The rank.
    pub r: usize,
    /// `s`.
    pub scale: f32,
    /// What `x̃` is `x` times, where it is another.
    pub mask: Option<&'a [f32]>,
}

/// What [`gradients`] gives.
pub struct Gradients {
    /// By `x`: [n, in].
    pub dx: Option<Vec<f32>>,
    /// By `a`: [r, in].
    pub da: Vec<f32>,
    /// By `b`: [out, r].
    pub db: Vec<f32>,
}

/// `[W | B]`: rows of a weight as columns, each followed by its row of `b` ([out, r]).
struct Output<'a> {
    weight: &'a dyn FrozenWeight,
    b: &'a [bf16],
    r: usize,
}

impl ByColumns for Output<'_> {
    fn columns(&self) -> usize {
        self.weight.out_features()
    }

    fn column<'s>(
        &'s self,
        column: usize,
        depths: Range<usize>,
        scratch: &'s mut Vec<bf16>,
    ) -> Result<&'s [bf16]> {
        let width = self.weight.in_features();
        let part = depths.start.min(width)..depths.end.min(width);
        scratch.clear();
        scratch.resize(part.len(), bf16::ZERO);
        self.weight.rounded(column, part, scratch)?;
        // Behind the weight's padding.
        let border = padded(width);
        if depths.end > border && self.r > 0 {
            scratch.resize(border.max(depths.start) - depths.start, bf16::ZERO);
            let from = depths.start.max(border) - border;
            let b = &self.b[column * self.r..(column + 1) * self.r];
            scratch.extend_from_slice(&b[from.min(self.r)..self.r.min(depths.end - border)]);
        }
        Ok(scratch)
    }
}

/// `[W; A]`: rows of a weight as depths, followed by those of `a` ([r, in]).
struct Input<'a> {
    weight: &'a dyn FrozenWeight,
    a: &'a [bf16],
}

impl ByDepths for Input<'_> {
    fn columns(&self) -> usize {
        self.weight.in_features()
    }

    fn depth<'s>(&'s self, depth: usize, scratch: &'s mut Vec<bf16>) -> Result<&'s [bf16]> {
        let (out, width) = (self.weight.out_features(), self.weight.in_features());
        if depth >= out {
            let below = depth.checked_sub(padded(out));
            let row = below.and_then(|below| self.a.chunks_exact(width).nth(below));
            return Ok(row.unwrap_or(&[]));
        }
        scratch.resize(width, bf16::ZERO);
        self.weight.rounded(depth, 0..width, scratch)?;
        Ok(scratch)
    }
}

/// `x·Wᵀ` of `n` rows, with the delta.
pub fn forward(
    x: &[f32],
    n: usize,
    weight: &dyn FrozenWeight,
    delta: Option<&Delta>,
) -> Result<Vec<f32>> {
    let width = weight.in_features();
    let Some(delta) = delta else {
        let right = Output { weight, b: &[], r: 0 };
        return product(&Rows::new(n, x, width, 0), Right::Columns(&right));
    };
    let mut left = Rows::new(n, x, width, delta.r);
    let seen = delta.seen(x).map(|seen| Rows::new(n, &seen, width, 0));
    let h = delta.inner(seen.as_ref().unwrap_or(&left), width)?;
    left.append(&h, delta.r);
    let right = Output { weight, b: &round_all(delta.b), r: delta.r };
    product(&left, Right::Columns(&right))
}

impl Delta<'_> {
    fn seen(&self, x: &[f32]) -> Option<Vec<f32>> {
        self.mask.map(|mask| x.iter().zip(mask).map(|(x, m)| x * m).collect())
    }

    /// `s·x̃·Aᵀ`: [n, r].
    fn inner(&self, seen: &Rows, width: usize) -> Result<Vec<f32>> {
        let a = Turned { values: &round_all(self.a), rows: self.r, width };
        let mut h = product(seen, Right::Columns(&a))?;
        h.iter_mut().for_each(|h| *h *= self.scale);
        Ok(h)
    }
}

/// `dy·W` of `n` rows.
pub fn input_gradient(dy: &[f32], n: usize, weight: &dyn FrozenWeight) -> Result<Vec<f32>> {
    let right = Input { weight, a: &[] };
    product(&Rows::new(n, dy, weight.out_features(), 0), Right::Depths(&right))
}

/// With `h = s·x̃·Aᵀ` and `dh = s·dy·B`: `dB = dyᵀ·h`, `dA = dhᵀ·x̃`, `dx = dy·W + m ⊙ dh·A`.
pub fn gradients(
    x: &[f32],
    dy: &[f32],
    n: usize,
    weight: &dyn FrozenWeight,
    delta: &Delta,
    by_x: bool,
) -> Result<Gradients> {
    let (out, width, r) = (weight.out_features(), weight.in_features(), delta.r);
    let seen = delta.seen(x);
    let seen = Rows::new(n, seen.as_deref().unwrap_or(x), width, 0);
    let mut left = Rows::new(n, dy, out, r);
    let h = delta.inner(&seen, width)?;
    // dBᵀ = hᵀ·dy, whose right side is there already.
    let turned = product(&Rows::columns(&h, r), Right::Depths(&left.as_depths(out)))?;
    let db = (0..out).flat_map(|o| turned.iter().skip(o).step_by(out)).copied().collect();
    drop(h);
    let b = Straight { values: &round_all(delta.b), stride: r, rows: out, columns: r };
    let mut dh = product(&left, Right::Depths(&b))?;
    dh.iter_mut().for_each(|dh| *dh *= delta.scale);
    let da = product(&Rows::columns(&dh, r), Right::Depths(&seen.as_depths(width)))?;
    drop(seen);
    let dx = by_x.then(|| {
        let a = round_all(delta.a);
        let Some(mask) = delta.mask else {
            left.append(&dh, r);
            return product(&left, Right::Depths(&Input { weight, a: &a }));
        };
        let lower = Straight { values: &a, stride: width, rows: r, columns: width };
        let mut dx = product(&Rows::new(n, &dh, r, 0), Right::Depths(&lower))?;
        dx.iter_mut().zip(mask).for_each(|(dx, m)| *dx *= m);
        add_product(&mut dx, &left, Right::Depths(&Input { weight, a: &[] }))?;
        Ok(dx)
    });
    Ok(Gradients { dx: dx.transpose()?, da, db })
}
