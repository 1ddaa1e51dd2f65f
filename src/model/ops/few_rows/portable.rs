//! The products of few rows on any processor and for any width.

use std::ops::Range;

use super::{Delta, Stored};
use crate::model::ops::lanes::wide;

const LANES: usize = 16;
/// Outputs whose weights are unpacked at a time.
const TILE: usize = 8;

/// The given outputs of all rows.
pub fn outputs(
    (x, n, width): (&[f32], usize, usize),
    weight: Stored,
    delta: Option<Delta>,
    outputs: Range<usize>,
    (y, stride): (*mut f32, usize),
) {
    let mut tile = vec![0f32; TILE * width];
    for first in outputs.clone().step_by(TILE) {
        let rows = first..outputs.end.min(first + TILE);
        let at = rows.start * width..rows.end * width;
        let tile = match weight {
            Stored::F32(w) => &w[at],
            Stored::Bf16(w) => {
                tile.iter_mut().zip(&w[at]).for_each(|(to, from)| *to = from.to_f32());
                &tile
            }
            Stored::Nf4(w) => {
                w.dequantize_rows(rows.clone(), &mut tile[..rows.len() * width]);
                &tile
            }
        };
        for row in 0..n {
            for (c, output) in rows.clone().enumerate() {
                let mut sums = [0f32; LANES];
                add(&mut sums, &x[row * width..][..width], &tile[c * width..][..width]);
                if let Some(Delta { h, b, r }) = delta {
                    add(&mut sums, &h[row * r..][..r], &b[output * r..][..r]);
                }
                // SAFETY: within [n, stride], and no other task has these outputs.
                unsafe { *y.add(row * stride + output) = sums.iter().sum() };
            }
        }
    }
}

/// The product of two rows.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    add(&mut sums, a, b);
    sums.iter().sum()
}

fn add(sums: &mut [f32; LANES], a: &[f32], b: &[f32]) {
    wide(
        #[inline(always)]
        || {
            let (a_parts, a_rest) = a.as_chunks::<LANES>();
            let (b_parts, b_rest) = b.as_chunks::<LANES>();
            let mut lanes = *sums;
            for (a, b) in a_parts.iter().zip(b_parts) {
                for i in 0..LANES {
                    lanes[i] += a[i] * b[i];
                }
            }
            for (i, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
                lanes[i] += a * b;
            }
            *sums = lanes;
        },
    )
}
