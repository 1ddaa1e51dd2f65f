//! Products of bf16 operands whose sums are kept in f32: what training and evaluation compute
//! with on the CPU under the key `BF16`.
//!
//! The left side is rounded once ([`Rows`]); the right side ([`Right`]) is packed into tiles, by
//! groups of [`GROUP`] columns where these are at hand, so that a quantised weight goes from its
//! codes to the multiplier without ever existing as a whole. Which instructions multiply is
//! found out at run time ([`Kernel`]); borders depend on shapes alone, so that every thread count
//! gives the same bytes.

use std::cell::{Cell, RefCell};

use anyhow::Result;
use half::bf16;
use half::vec::HalfBitsVecExt;
use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod kernel;
pub mod linear;
mod pack;

pub use kernel::Kernel;
pub use pack::{ByColumns, ByDepths, Straight, Turned, round};
use pack::{pack_columns, pack_depths};

/// Columns of a panel.
pub const PANEL: usize = 16;
/// Columns packed and multiplied at a time: two panels.
pub const GROUP: usize = 2 * PANEL;
/// What depths are padded to with zeros: the depth of a tile.
pub const DEPTH: usize = 32;
/// Pairs of a tile.
const TILE: usize = DEPTH / 2 * PANEL;
/// Rows are padded to this many with zeros: the height of a tile.
const HEIGHT: usize = 16;
/// The most that a group is deep: two panels of it stay in a core's cache.
const DEEPEST: usize = 4096;

/// A depth with its padding.
pub fn padded(depth: usize) -> usize {
    depth.next_multiple_of(DEPTH)
}

/// Rounds all to the nearest, ties to even.
pub fn round_all(values: &[f32]) -> Vec<bf16> {
    let mut all = vec![bf16::ZERO; values.len()];
    round(Kernel::best(), values, &mut all);
    all
}

/// The left side: rows of bf16, padded with zeros in both directions.
pub struct Rows {
    values: Vec<bf16>,
    count: usize,
    /// From row to row.
    stride: usize,
    /// How much of each row holds values or their padding.
    depth: usize,
}

impl Rows {
    /// Rounds `count` rows of `width` values, and leaves room to [`Rows::append`] as many as
    /// `room` to each.
    pub fn new(count: usize, values: &[f32], width: usize, room: usize) -> Rows {
        let stride = padded(width) + padded(room);
        let zeros = vec![0u16; count.next_multiple_of(HEIGHT) * stride];
        let mut rows = Rows { values: zeros.reinterpret_into(), count, stride, depth: 0 };
        rows.append(values, width);
        rows
    }

    /// Rounds the columns of a matrix of `width`, each as a row.
    pub fn columns(values: &[f32], width: usize) -> Rows {
        let depth = values.len() / width.max(1);
        let turned: Vec<f32> =
            (0..width).flat_map(|c| values.iter().skip(c).step_by(width)).copied().collect();
        Rows::new(width, &turned, depth, 0)
    }

    /// Rounds as many further rows and puts each behind what the row holds.
    pub fn append(&mut self, values: &[f32], width: usize) {
        let (kernel, at) = (Kernel::best(), self.depth);
        assert!(at + padded(width) <= self.stride && values.len() == self.count * width);
        self.depth += padded(width);
        let chunks = self.values.par_chunks_mut(self.stride).zip(values.par_chunks(width.max(1)));
        chunks.with_min_len((1 << 14) / self.stride.max(1)).for_each(|(row, values)| {
            round(kernel, values, &mut row[at..at + width]);
        });
    }

    /// The rows as a matrix on the right, each of its depths one of them.
    pub fn as_depths(&self, width: usize) -> Straight<'_> {
        Straight { values: &self.values, stride: self.stride, rows: self.count, columns: width }
    }
}

/// The right side of a product.
#[derive(Clone, Copy)]
pub enum Right<'a> {
    /// At hand column by column.
    Columns(&'a dyn ByColumns),
    /// At hand depth by depth.
    Depths(&'a dyn ByDepths),
}

impl Right<'_> {
    fn columns(self) -> usize {
        match self {
            Right::Columns(right) => right.columns(),
            Right::Depths(right) => right.columns(),
        }
    }
}

thread_local! {
    /// The tiles of a whole right side, kept for the next.
    static WHOLE: Cell<Vec<u32>> = const { Cell::new(Vec::new()) };
    /// The tiles of a group, and what packing them needs.
    static TILES: RefCell<(Vec<u32>, Vec<bf16>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

struct Out(*mut f32);
// SAFETY: every task writes a block of its own.
unsafe impl Sync for Out {}

/// `Σ_k left[i, k] · right[k, j]`, row by row.
pub fn product(left: &Rows, right: Right) -> Result<Vec<f32>> {
    product_by(Kernel::best(), left, right)
}

fn product_by(kernel: Kernel, left: &Rows, right: Right) -> Result<Vec<f32>> {
    let n = left.count * right.columns();
    let mut out = Vec::with_capacity(n);
    // SAFETY: there is room for all of them, and with nothing to add to each is written unread.
    unsafe {
        run(kernel, Out(out.as_mut_ptr()), right.columns(), left, right, false)?;
        out.set_len(n);
    }
    Ok(out)
}

/// Adds [`product`] to `out`.
pub fn add_product(out: &mut [f32], left: &Rows, right: Right) -> Result<()> {
    assert_eq!(out.len(), left.count * right.columns(), "the sums of another product");
    // SAFETY: the length has just been checked.
    unsafe { run(Kernel::best(), Out(out.as_mut_ptr()), right.columns(), left, right, true) }
}

/// # Safety
///
/// `out` must have room for the product, its rows `stride` apart, and with `add` hold numbers.
unsafe fn run(
    kernel: Kernel,
    out: Out,
    stride: usize,
    left: &Rows,
    right: Right,
    add: bool,
) -> Result<()> {
    let (rows, columns) = (left.count, right.columns());
    if rows == 0 || columns == 0 {
        return Ok(());
    }
    assert!(left.depth > 0, "a product without a depth");
    let groups = columns.div_ceil(GROUP);
    // Few groups are shared out by rows as well.
    let some = if groups >= 8 { rows } else { 256 };
    let chunks = rows.div_ceil(some);
    for from in (0..left.depth).step_by(DEEPEST) {
        let depths = from..left.depth.min(from + DEEPEST);
        let multiply = |index: usize, tiles: &[u32], step: usize| {
            let out = &out;
            let (group, chunk) = (index / chunks, index % chunks);
            let first = chunk * some;
            let block = kernel::Block {
                rows: &left.values[first * left.stride + from..],
                count: some.min(rows - first),
                stride: left.stride,
                tiles,
                step,
                depth: depths.len(),
                width: GROUP.min(columns - group * GROUP),
            };
            // SAFETY: the caller's, and the blocks of `out` do not overlap.
            unsafe {
                let out = out.0.add(first * stride + group * GROUP);
                kernel.multiply(&block, out, stride, add || from > 0);
            }
        };
        let tasks = (0..groups * chunks).into_par_iter();
        match right {
            Right::Columns(right) => tasks.try_for_each(|index| {
                TILES.with_borrow_mut(|(tiles, scratch)| {
                    let size = GROUP * depths.len() / 2;
                    tiles.resize(tiles.len().max(size), 0);
                    let first = index / chunks * GROUP;
                    let these = first..columns.min(first + GROUP);
                    pack_columns(right, these, depths.clone(), &mut tiles[..size], scratch)?;
                    multiply(index, &tiles[..size], 2 * TILE);
                    anyhow::Ok(())
                })
            })?,
            Right::Depths(right) => {
                // All of it first: a depth's columns lie together.
                let step = groups * 2 * TILE;
                let size = depths.len() / DEPTH * step;
                let mut kept = WHOLE.take();
                kept.resize(kept.len().max(size), 0);
                let tiles = &mut kept[..size];
                tiles
                    .par_chunks_mut(step)
                    .enumerate()
                    .try_for_each_init(Default::default, |scratch, (i, tiles)| {
                        pack_depths(right, from + i * DEPTH, tiles, scratch)
                    })?;
                let tiles = &*tiles;
                tasks.for_each(|index| multiply(index, &tiles[index / chunks * 2 * TILE..], step));
                WHOLE.set(kept);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    fn normal(chance: &mut Chance, n: usize) -> Vec<f32> {
        (0..n).map(|_| chance.normal() as f32).collect()
    }

    #[test]
    fn every_kernel_agrees_with_three_loops_for_every_thread_count() {
        let mut chance = Chance::new(1, "bf16");
        for (m, k, n) in [(1, 7, 5), (45, 33, 200), (300, 64, 16), (64, 96, 64), (17, 9000, 40)] {
            let a = normal(&mut chance, m * k);
            let b: Vec<bf16> = normal(&mut chance, k * n).into_iter().map(bf16::from_f32).collect();
            let rounded: Vec<f64> = a.iter().map(|v| bf16::from_f32(*v).to_f64()).collect();
            for by_columns in [true, false] {
                let (turned, straight) = (
                    Turned { values: &b, rows: n, width: k },
                    Straight { values: &b, stride: n, rows: k, columns: n },
                );
                let right = match by_columns {
                    true => Right::Columns(&turned),
                    false => Right::Depths(&straight),
                };
                let of = |x: usize, j: usize| if by_columns { b[j * k + x] } else { b[x * n + j] };
                for kernel in Kernel::all() {
                    let product = |threads| {
                        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                        let left = Rows::new(m, &a, k, 0);
                        let run = || product_by(kernel, &left, right);
                        pool.build().unwrap().install(run).unwrap()
                    };
                    let out = product(1);
                    assert_eq!(out, product(3), "{kernel:?}");
                    let stride = n + 3;
                    let mut added = vec![1.0; m * stride];
                    let left = Rows::new(m, &a, k, 0);
                    // SAFETY: the rows have their room, three more numbers each.
                    unsafe { run(kernel, Out(added.as_mut_ptr()), stride, &left, right, true) }
                        .unwrap();
                    for i in 0..m {
                        for j in 0..n {
                            let sum = |x| rounded[i * k + x] * of(x, j).to_f64();
                            let want: f64 = (0..k).map(sum).sum();
                            let near = 1e-6 * (k as f64) + 1e-5;
                            let got = [out[i * n + j], added[i * stride + j] - 1.0];
                            assert!(
                                got.iter().all(|got| (f64::from(*got) - want).abs() < near),
                                "{kernel:?} {m} {k} {n}: {got:?} {want}"
                            );
                        }
                        assert_eq!(added[i * stride + n..(i + 1) * stride], [1.0; 3]);
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_appended_lies_behind_its_row() {
        let mut rows = Rows::new(2, &[1.0, 2.0, 3.0, 4.0], 2, 1);
        rows.append(&[5.0, 6.0], 1);
        assert_eq!((rows.depth, rows.stride), (2 * DEPTH, 2 * DEPTH));
        let at = |row: usize, k: usize| rows.values[row * rows.stride + k].to_f32();
        assert_eq!([at(0, 0), at(0, 1), at(0, 2), at(0, DEPTH)], [1.0, 2.0, 0.0, 5.0]);
        assert_eq!([at(1, 0), at(1, 1), at(1, DEPTH), at(1, DEPTH + 1)], [3.0, 4.0, 6.0, 0.0]);
        let turned = Rows::columns(&[1.0, 2.0, 3.0, 4.0], 2);
        let at = |row: usize, k: usize| turned.values[row * turned.stride + k].to_f32();
        assert_eq!([at(0, 0), at(0, 1), at(1, 0), at(1, 1)], [1.0, 3.0, 2.0, 4.0]);
    }
}
