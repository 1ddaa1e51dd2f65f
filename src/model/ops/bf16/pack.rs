//! Rounding, and packing into tiles.
//!
//! A tile is [`DEPTH`] depths of [`PANEL`] columns: for every two depths, the columns' pairs one
//! after the other, that of the even depth in the low half. Tiles of the same depths lie one after
//! the other.

use std::ops::Range;

use anyhow::Result;
use half::bf16;

use super::{DEPTH, Kernel, PANEL, TILE};
use crate::model::ops::lanes::wide;

/// Rounds to the nearest, ties to even.
pub fn round(kernel: Kernel, values: &[f32], out: &mut [bf16]) {
    match kernel {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the machine has these kernels, and both need AVX-512.
        Kernel::Avx512 | Kernel::Amx => unsafe { super::avx512::round(values, out) },
        _ => out.iter_mut().zip(values).for_each(|(out, value)| *out = bf16::from_f32(*value)),
    }
}

/// A right side that is at hand column by column.
pub trait ByColumns: Sync {
    /// Columns of the product.
    fn columns(&self) -> usize;
    /// A column's values at these depths; what is missing at the end is zero. They may be put into
    /// `scratch`.
    fn column<'s>(
        &'s self,
        column: usize,
        depths: Range<usize>,
        scratch: &'s mut Vec<bf16>,
    ) -> Result<&'s [bf16]>;
}

/// A right side that is at hand depth by depth.
pub trait ByDepths: Sync {
    /// Columns of the product.
    fn columns(&self) -> usize;
    /// The values of all columns at a depth, none if all are zero. They may be put into `scratch`.
    fn depth<'s>(&'s self, depth: usize, scratch: &'s mut Vec<bf16>) -> Result<&'s [bf16]>;
}

/// A matrix in memory whose rows are the columns of the product.
pub struct Turned<'a> {
    /// The rows, one after the other.
    pub values: &'a [bf16],
    /// How many.
    pub rows: usize,
    /// Values in each.
    pub width: usize,
}

impl ByColumns for Turned<'_> {
    fn columns(&self) -> usize {
        self.rows
    }

    fn column<'s>(
        &'s self,
        column: usize,
        depths: Range<usize>,
        _: &'s mut Vec<bf16>,
    ) -> Result<&'s [bf16]> {
        let row = &self.values[column * self.width..(column + 1) * self.width];
        Ok(&row[depths.start.min(self.width)..depths.end.min(self.width)])
    }
}

/// A matrix in memory whose rows are the depths of the product.
pub struct Straight<'a> {
    /// The rows, `stride` apart.
    pub values: &'a [bf16],
    /// From row to row.
    pub stride: usize,
    /// How many.
    pub rows: usize,
    /// Values of each that count.
    pub columns: usize,
}

impl ByDepths for Straight<'_> {
    fn columns(&self) -> usize {
        self.columns
    }

    fn depth<'s>(&'s self, depth: usize, _: &'s mut Vec<bf16>) -> Result<&'s [bf16]> {
        Ok(match depth < self.rows {
            true => &self.values[depth * self.stride..][..self.columns],
            false => &[],
        })
    }
}

/// Packs up to two panels of columns.
pub fn pack_columns(
    right: &dyn ByColumns,
    columns: Range<usize>,
    depths: Range<usize>,
    tiles: &mut [u32],
    scratch: &mut Vec<bf16>,
) -> Result<()> {
    for place in 0..2 * PANEL {
        let column = columns.start + place;
        let values = match column < columns.end {
            true => right.column(column, depths.clone(), scratch)?,
            false => &[],
        };
        let lines = tiles.chunks_exact_mut(2 * TILE).flat_map(|pair| {
            let (lines, _) = pair[place / PANEL * TILE..][..TILE].as_chunks_mut::<PANEL>();
            lines
        });
        let (pairs, last) = values.as_chunks::<2>();
        let last = last.first().map(|last| pair(*last, bf16::ZERO));
        let given = pairs.iter().map(|[even, odd]| pair(*even, *odd)).chain(last);
        for (line, value) in lines.zip(given.chain(std::iter::repeat(0))) {
            line[place % PANEL] = value;
        }
    }
    Ok(())
}

/// Packs all columns of a tile's depths.
pub fn pack_depths(
    right: &dyn ByDepths,
    first: usize,
    tiles: &mut [u32],
    scratch: &mut (Vec<bf16>, Vec<bf16>),
) -> Result<()> {
    for line in 0..DEPTH / 2 {
        let depth = first + 2 * line;
        let even = right.depth(depth, &mut scratch.0)?;
        let odd = right.depth(depth + 1, &mut scratch.1)?;
        wide(
            #[inline(always)]
            || {
                for (panel, tile) in tiles.chunks_exact_mut(TILE).enumerate() {
                    let (lines, _) = tile.as_chunks_mut::<PANEL>();
                    let rest = |row: &'_ [bf16]| row.len().min(panel * PANEL);
                    interleave(&even[rest(even)..], &odd[rest(odd)..], &mut lines[line]);
                }
            },
        );
    }
    Ok(())
}

/// A pair: the value of the even depth in the low half.
#[inline(always)]
fn pair(even: bf16, odd: bf16) -> u32 {
    u32::from(odd.to_bits()) << 16 | u32::from(even.to_bits())
}

#[inline(always)]
fn interleave(even: &[bf16], odd: &[bf16], line: &mut [u32; PANEL]) {
    match (even.first_chunk::<PANEL>(), odd.first_chunk::<PANEL>()) {
        (Some(even), Some(odd)) => {
            for (value, (even, odd)) in line.iter_mut().zip(even.iter().zip(odd)) {
                *value = pair(*even, *odd);
            }
        }
        _ => {
            let of = |row: &[bf16], j: usize| row.get(j).copied().unwrap_or(bf16::ZERO);
            for (j, value) in line.iter_mut().enumerate() {
                *value = pair(of(even, j), of(odd, j));
            }
        }
    }
}
