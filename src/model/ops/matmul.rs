//! Matrix products in blocks whose borders depend on shapes alone, so that every thread count
//! gives the same bytes.

use gemm::Parallelism;
use rayon::prelude::*;

/// A matrix in memory: element (i, j) lies at `i * rows + j * columns` from the start.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The values.
    pub values: &'a [f32],
    /// The step from one row to the next.
    pub rows: usize,
    /// The step from one column to the next.
    pub columns: usize,
}

impl<'a> View<'a> {
    /// Rows of `width` values each, one after the other.
    pub fn rows(values: &'a [f32], width: usize) -> Self {
        View { values, rows: width, columns: 1 }
    }

    /// The transpose.
    pub fn t(self) -> Self {
        View { values: self.values, rows: self.columns, columns: self.rows }
    }
}

/// Output rows and columns one task computes.
const ROWS: usize = 128;
const COLUMNS: usize = 192;

struct Out(*mut f32);
// SAFETY: every task writes a block of its own.
unsafe impl Sync for Out {}

/// `out[i, j] (+)= Σ_k a[i, k] · b[k, j]` for `i < m`, `j < n`, `k < depth`; the rows of `out`
/// are `stride` apart. With `add` the product is added to what `out` holds.
#[allow(clippy::too_many_arguments)] // the arguments of a matrix product
pub fn matmul(
    out: &mut [f32],
    stride: usize,
    (m, depth, n): (usize, usize, usize),
    a: View,
    b: View,
    add: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(out.len() >= (m - 1) * stride + n && n <= stride, "output too small");
    if depth == 0 {
        return;
    }
    let reaches =
        |v: View, r: usize, c: usize| v.values.len() > (r - 1) * v.rows + (c - 1) * v.columns;
    assert!(reaches(a, m, depth) && reaches(b, depth, n), "operand too small");
    let blocks_down = m.div_ceil(ROWS);
    let blocks_across = n.div_ceil(COLUMNS);
    let out = Out(out.as_mut_ptr());
    let block = |index: usize| {
        let out = &out;
        let (row, column) = (index / blocks_across * ROWS, index % blocks_across * COLUMNS);
        let (height, width) = (ROWS.min(m - row), COLUMNS.min(n - column));
        // SAFETY: the bounds were asserted above, and the blocks of `out` do not overlap.
        unsafe {
            gemm::gemm(
                height,
                width,
                depth,
                out.0.add(row * stride + column),
                1,
                stride as isize,
                add,
                a.values.as_ptr().add(row * a.rows),
                a.columns as isize,
                a.rows as isize,
                b.values.as_ptr().add(column * b.columns),
                b.columns as isize,
                b.rows as isize,
                1.0f32,
                1.0f32,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    };
    let blocks = blocks_down * blocks_across;
    if blocks == 1 || m * n * depth < 1 << 16 {
        (0..blocks).for_each(block);
    } else {
        (0..blocks).into_par_iter().for_each(block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    #[test]
    fn agrees_with_three_loops_in_every_orientation_and_for_every_thread_count() {
        let mut chance = Chance::new(1, "matmul");
        for (m, k, n) in [(1, 7, 5), (130, 33, 200), (257, 64, 3), (5, 1, 400)] {
            let a: Vec<f32> = (0..m * k).map(|_| chance.normal() as f32).collect();
            let b: Vec<f32> = (0..k * n).map(|_| chance.normal() as f32).collect();
            let product = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut out = vec![1.0; m * n];
                pool.install(|| {
                    matmul(&mut out, n, (m, k, n), View::rows(&a, k), View::rows(&b, n), true)
                });
                out
            };
            let out = product(1);
            assert_eq!(out, product(3));
            let mut other = vec![0.0; n * m];
            matmul(&mut other, m, (n, k, m), View::rows(&b, n).t(), View::rows(&a, k).t(), false);
            for i in 0..m {
                for j in 0..n {
                    let want: f64 = (0..k).map(|x| a[i * k + x] as f64 * b[x * n + j] as f64).sum();
                    assert!((out[i * n + j] as f64 - 1.0 - want).abs() < 1e-3);
                    assert!((other[j * m + i] as f64 - want).abs() < 1e-3);
                }
            }
        }
    }
}
