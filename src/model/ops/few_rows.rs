//! `y = x · Wᵀ`, and with a low-rank delta `y = x · Wᵀ + h · Bᵀ`, for few rows `x` ([n, in]), as
//! decoding asks for: weights are read once, as they are stored, and never written anywhere.
//!
//! A row of `y` depends on nothing but its row of `x`: neither on the rows beside it nor on how
//! the outputs are shared among threads. For every output there is one sum in 16 lanes, over the
//! inputs in a fixed order and then over the rank of the delta; the lanes are summed last.

use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use crate::model::nf4::Nf4;

#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

/// The most rows that gain by it: more no longer fit a core's cache beside the weights.
pub const MOST: usize = 256;
/// The same where more rows are multiplied as bf16: then packing the weight is no longer what takes
/// the time.
const MOST_IN_BF16: usize = 40;
/// The same without vector code for the width.
const MOST_PORTABLY: usize = 8;

/// The most rows of a width that gain by it.
pub fn most(width: usize, in_bf16: bool) -> usize {
    #[cfg(target_arch = "x86_64")]
    if width.is_multiple_of(BLOCK) && avx512::here() {
        return if in_bf16 { MOST_IN_BF16 } else { MOST };
    }
    MOST_PORTABLY
}

/// Weights as they are stored, [out, in].
#[derive(Clone, Copy)]
pub enum Stored<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// Its upper half.
    Bf16(&'a [bf16]),
    /// 4-bit codes.
    Nf4(&'a Nf4),
}

/// What is added to the product: `h · Bᵀ`.
#[derive(Clone, Copy)]
pub struct Delta<'a> {
    /// [n, r].
    pub h: &'a [f32],
    /// [out, r].
    pub b: &'a [f32],
    /// Its rank.
    pub r: usize,
}

/// Inputs that a block of NF4 and the vector code's loops hold.
const BLOCK: usize = 64;

/// Weights a task reads.
const TASK: usize = 1 << 16;

/// `y` ([n, count]) of `x` ([n, width]) and `count` rows that lie `stride` apart in `w`.
pub fn strided(
    x: &[f32],
    (w, stride): (&[f32], usize),
    (width, count): (usize, usize),
    y: &mut [f32],
) {
    let n = x.len() / width;
    assert!(count > 0 && w.len() >= (count - 1) * stride + width && y.len() == n * count);
    #[cfg(target_arch = "x86_64")]
    if width.is_multiple_of(BLOCK) && avx512::here() {
        let inputs = avx512::Inputs::new(x, Stored::F32(w), (n, width));
        // SAFETY: lengths were asserted above, and the processor was asked.
        return unsafe { avx512::strided(&inputs, (w, stride), count, y) };
    }
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(count)) {
        for (y, w) in y.iter_mut().zip(w.chunks(stride)) {
            *y = portable::dot(x, &w[..width]);
        }
    }
}

struct Out(*mut f32);
// SAFETY: every task writes columns of its own.
unsafe impl Sync for Out {}

/// `y` ([n, out]) of `x` ([n, width]).
pub fn product(
    x: &[f32],
    weight: Stored,
    (n, width, out): (usize, usize, usize),
    delta: Option<Delta>,
) -> Vec<f32> {
    assert_eq!(x.len(), n * width, "inputs");
    let (stored, wanted) = match weight {
        Stored::F32(w) => (w.len(), out * width),
        Stored::Bf16(w) => (w.len(), out * width),
        Stored::Nf4(w) => (w.codes.len(), (out * width).div_ceil(2)),
    };
    assert_eq!(stored, wanted, "weights");
    if let Some(Delta { h, b, r }) = delta {
        assert_eq!((h.len(), b.len()), (n * r, out * r), "a delta");
    }
    let mut y = vec![0f32; n * out];
    if y.is_empty() {
        return y;
    }
    let place = Out(y.as_mut_ptr());
    #[cfg(target_arch = "x86_64")]
    let wide = (width.is_multiple_of(BLOCK) && avx512::here())
        .then(|| avx512::Inputs::new(x, weight, (n, width)));
    let task = |rows: Range<usize>| {
        let Out(y) = &place;
        #[cfg(target_arch = "x86_64")]
        if let Some(inputs) = &wide {
            // SAFETY: lengths were asserted above, the processor was asked, and no two tasks
            // have rows in common.
            return unsafe { avx512::outputs(inputs, weight, delta, rows, *y, out) };
        }
        portable::outputs((x, n, width), weight, delta, rows, (*y, out));
    };
    let rows = (TASK / width.max(1)).next_multiple_of(24).max(24);
    if out <= rows {
        task(0..out);
    } else {
        let tasks = out.div_ceil(rows);
        (0..tasks).into_par_iter().for_each(|i| task(i * rows..out.min((i + 1) * rows)));
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    const RANK: usize = 20;

    struct Case {
        x: Vec<f32>,
        f32: Vec<f32>,
        bf16: Vec<bf16>,
        nf4: [Nf4; 2],
        h: Vec<f32>,
        b: Vec<f32>,
        shape: (usize, usize, usize),
    }

    impl Case {
        fn new((n, width, out): (usize, usize, usize)) -> Case {
            let mut chance = Chance::new((n * width + out) as u64, "few rows");
            let mut normal =
                |n: usize| (0..n).map(|_| chance.normal() as f32).collect::<Vec<f32>>();
            let f32 = normal(out * width);
            let nf4 = Nf4::quantize(&f32, out, width);
            Case {
                x: normal(n * width),
                bf16: f32.iter().map(|w| bf16::from_f32(*w)).collect(),
                nf4: [nf4.clone(), nf4.doubled()],
                h: normal(n * RANK),
                b: normal(out * RANK),
                f32,
                shape: (n, width, out),
            }
        }

        /// Every way of storing the weights, and what they are.
        fn weights(&self) -> [(Stored<'_>, Vec<f32>); 4] {
            let (_, width, out) = self.shape;
            let unpacked = |nf4: &Nf4| {
                let mut all = vec![0f32; out * width];
                nf4.dequantize_rows(0..out, &mut all);
                all
            };
            let [plain, double] = &self.nf4;
            [
                (Stored::F32(&self.f32), self.f32.clone()),
                (Stored::Bf16(&self.bf16), self.bf16.iter().map(|w| w.to_f32()).collect()),
                (Stored::Nf4(plain), unpacked(plain)),
                (Stored::Nf4(double), unpacked(double)),
            ]
        }

        fn delta(&self) -> Option<Delta<'_>> {
            Some(Delta { h: &self.h, b: &self.b, r: RANK })
        }

        fn assert_near(&self, y: &[f32], w: &[f32], delta: bool) {
            let (n, width, out) = self.shape;
            let dot = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
            };
            for (i, o) in (0..n).flat_map(|i| (0..out).map(move |o| (i, o))) {
                let mut want = dot(&self.x[i * width..][..width], &w[o * width..][..width]);
                if delta {
                    want += dot(&self.h[i * RANK..][..RANK], &self.b[o * RANK..][..RANK]);
                }
                let got = f64::from(y[i * out + o]);
                assert!((got - want).abs() < 1e-4, "{i}, {o} of {:?}: {got}, {want}", self.shape);
            }
        }
    }

    /// Widths of whole blocks, and widths whose blocks run across rows.
    const SHAPES: [(usize, usize, usize); 9] = [
        (1, 64, 1),
        (1, 576, 37),
        (2, 128, 6),
        (4, 192, 11),
        (6, 64, 9),
        (13, 576, 130),
        (1, 37, 5),
        (3, 100, 7),
        (9, 40, 150),
    ];

    #[test]
    fn agrees_with_the_naive_product_however_weights_are_stored() {
        for shape in SHAPES {
            let case = Case::new(shape);
            for (weight, plain) in case.weights() {
                case.assert_near(&product(&case.x, weight, shape, None), &plain, false);
                case.assert_near(&product(&case.x, weight, shape, case.delta()), &plain, true);
            }
        }
    }

    #[test]
    fn the_portable_way_agrees_too() {
        for shape @ (n, width, out) in SHAPES {
            let case = Case::new(shape);
            for (weight, plain) in case.weights() {
                let mut y = vec![f32::NAN; n * out];
                let place = (y.as_mut_ptr(), out);
                portable::outputs((&case.x, n, width), weight, case.delta(), 0..out, place);
                case.assert_near(&y, &plain, true);
            }
        }
    }

    #[test]
    fn a_row_is_the_same_among_others_and_for_every_thread_count() {
        for shape @ (n, width, out) in [(13, 576, 300), (7, 100, 1400), (64, 64, 2100)] {
            let case = Case::new(shape);
            for (weight, _) in case.weights() {
                let product = |threads| {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                    pool.unwrap().install(|| product(&case.x, weight, shape, None))
                };
                let together = product(1);
                assert_eq!(together, product(3));
                for row in [0, n / 2, n - 1] {
                    let x = &case.x[row * width..][..width];
                    let alone = super::product(x, weight, (1, width, out), None);
                    assert_eq!(alone, together[row * out..][..out]);
                }
            }
        }
    }

    #[test]
    fn rows_that_lie_apart_are_found() {
        for (width, stride, count) in [(64, 192, 5), (64, 64, 9), (6, 20, 3)] {
            let case = Case::new((3, width, count));
            let mut w = vec![f32::NAN; (count - 1) * stride + width];
            for (to, from) in w.chunks_mut(stride).zip(case.f32.chunks(width)) {
                to[..width].copy_from_slice(from);
            }
            let mut y = vec![f32::NAN; 3 * count];
            strided(&case.x, (&w, stride), (width, count), &mut y);
            case.assert_near(&y, &case.f32, false);
        }
    }
}
