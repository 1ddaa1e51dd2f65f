//! NF4, the 4-bit NormalFloat of QLoRA (Dettmers et al. 2023), laid out as bitsandbytes does.
//!
//! The flattened tensor is cut into blocks of 64 that run across rows. A block keeps
//! `absmax = max |w|` and, for each weight, the index of the code nearest to `w · (1/absmax)`:
//!
//! ```text
//! w ≈ CODE[index] · absmax        two indices a byte, the first in the high nibble
//! ```
//!
//! The scales themselves can be quantised once more: [`Scales`].

use std::ops::Range;
use std::sync::LazyLock;

use half::bf16;
use rayon::prelude::*;

use super::ops;
use super::slab::Slab;

#[cfg(target_arch = "x86_64")]
mod avx512;
mod scales;

use scales::LEAST;
pub use scales::{GROUP, Scales};

/// Weights that share one scale.
pub const BLOCK: usize = 64;

/// The code book: quantiles of a normal distribution, scaled to [-1, 1], with an exact zero.
#[allow(clippy::excessive_precision)]
pub const CODE: [f32; 16] = [
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
];

/// Halfway between neighbouring codes; a weight exactly there takes the lower code. These are
/// bitsandbytes' own bounds: some differ in the last bit from the midpoint computed today, and
/// the same weights must get the same codes.
#[allow(clippy::excessive_precision)]
const BETWEEN: [f32; 15] = [
    -0.8480964004993439,
    -0.6106329262256622,
    -0.4599952697753906,
    -0.33967943489551544,
    -0.23460740596055984,
    -0.13791173323988914,
    -0.045525018125772476,
    0.03979014977812767,
    0.1202552504837513,
    0.2035212516784668,
    0.2920137718319893,
    0.3893125355243683,
    0.5016634166240692,
    0.6427869200706482,
    0.8614784181118011,
];

/// Both codes of every byte.
static PAIRS: LazyLock<[[f32; 2]; 256]> =
    LazyLock::new(|| std::array::from_fn(|byte| [CODE[byte >> 4], CODE[byte & 15]]));

/// Work below this many weights is not worth handing to other threads.
const PARALLEL: usize = 1 << 16;

/// A matrix in NF4.
#[derive(Debug, Clone, PartialEq)]
pub struct Nf4 {
    /// Two codes a byte; beside a last odd one stands the code of zero.
    pub codes: Slab<u8>,
    /// The scale of every block.
    pub scales: Scales,
    /// Output features.
    pub rows: usize,
    /// Input features.
    pub cols: usize,
}

/// [-1, 1] in steps so narrow that each holds at most one bound: the code below it, and it.
static STEPS: LazyLock<[(u8, f32); STEP_COUNT]> = LazyLock::new(|| {
    std::array::from_fn(|step| {
        let end = (step + 1) as f32 / (STEP_COUNT / 2) as f32 - 1.0;
        let below = BETWEEN.iter().filter(|between| **between < end).count();
        let start = step as f32 / (STEP_COUNT / 2) as f32 - 1.0;
        match below.checked_sub(1).map(|last| BETWEEN[last]) {
            Some(bound) if bound >= start => (below as u8 - 1, bound),
            _ => (below as u8, f32::INFINITY),
        }
    })
});
const STEP_COUNT: usize = 64;

/// The code of zero.
const ZERO: u8 = 7;

/// The code nearest to a weight in [-1, 1].
fn index(steps: &[(u8, f32); STEP_COUNT], scaled: f32) -> u8 {
    let step = ((scaled + 1.0) * (STEP_COUNT / 2) as f32) as usize;
    let (code, bound) = steps[step.min(STEP_COUNT - 1)];
    code + u8::from(scaled > bound)
}

impl Nf4 {
    /// Quantises `rows × cols` weights; panics if `weights` has another length.
    pub fn quantize(weights: &[f32], rows: usize, cols: usize) -> Nf4 {
        assert_eq!(weights.len(), rows * cols, "a matrix of {rows} × {cols}");
        let blocks = weights.len().div_ceil(BLOCK);
        let steps = &*STEPS;
        let mut codes = vec![0u8; weights.len().div_ceil(2)];
        let mut absmax = vec![0f32; blocks];
        codes
            .par_chunks_mut(BLOCK / 2)
            .zip(absmax.par_iter_mut())
            .zip(weights.par_chunks(BLOCK))
            .with_min_len(PARALLEL / BLOCK)
            .for_each(|((codes, absmax), block)| {
                *absmax = block.iter().fold(0f32, |most, w| most.max(w.abs()));
                let scale = 1.0 / absmax.max(LEAST);
                for (byte, pair) in codes.iter_mut().zip(block.chunks(2)) {
                    let low = pair.get(1).map_or(ZERO, |w| index(steps, w * scale));
                    *byte = index(steps, pair[0] * scale) << 4 | low;
                }
            });
        Nf4 { codes: codes.into(), scales: Scales::Plain(absmax.into()), rows, cols }
    }

    /// The same codes, their scales quantised once more.
    pub fn doubled(self) -> Nf4 {
        match &self.scales {
            Scales::Plain(scales) => Nf4 { scales: Scales::doubled(scales), ..self },
            Scales::Double { .. } => self,
        }
    }

    /// Writes the weights of some rows into `out`; panics if its length is not theirs.
    pub fn dequantize_rows(&self, rows: Range<usize>, out: &mut [f32]) {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        assert_eq!(out.len(), rows.len() * self.cols, "room for rows {rows:?}");
        let start = rows.start * self.cols;
        // Up to the next block boundary, so that every further piece starts on one.
        let head = ((BLOCK - start % BLOCK) % BLOCK).min(out.len());
        let (first, rest) = out.split_at_mut(head);
        self.piece(start, first);
        if rest.len() < PARALLEL {
            return self.piece(start + head, rest);
        }
        let size = PARALLEL / 4;
        rest.par_chunks_mut(size).enumerate().for_each(|(i, piece)| {
            self.piece(start + head + i * size, piece);
        });
    }

    /// The weights from `start` in the flattened tensor.
    fn piece(&self, start: usize, out: &mut [f32]) {
        let all: &[u8] = &self.codes;
        let mut at = start;
        let mut out = out;
        while !out.is_empty() {
            let n = (BLOCK - at % BLOCK).min(out.len());
            let (block, rest) = out.split_at_mut(n);
            out = rest;
            let scale = self.scales.of(at / BLOCK);
            #[cfg(target_arch = "x86_64")]
            if let (Some(codes), Some(block)) = (self.block(at), block.as_mut_array::<BLOCK>())
                && avx512::is_here()
            {
                // SAFETY: the machine has it.
                unsafe { avx512::plain(codes, scale, block) };
                at += n;
                continue;
            }
            if at.is_multiple_of(2) {
                let codes = &all[at / 2..(at + n).div_ceil(2)];
                let mut pairs = block.chunks_exact_mut(2);
                for (pair, byte) in pairs.by_ref().zip(codes) {
                    let [high, low] = PAIRS[usize::from(*byte)];
                    pair[0] = high * scale;
                    pair[1] = low * scale;
                }
                if let ([last], Some(byte)) = (pairs.into_remainder(), codes.last()) {
                    *last = PAIRS[usize::from(*byte)][0] * scale;
                }
            } else {
                for (i, w) in block.iter_mut().enumerate() {
                    let byte = all[(at + i) / 2];
                    *w = PAIRS[usize::from(byte)][(at + i) % 2] * scale;
                }
            }
            at += n;
        }
    }

    /// The codes of the whole block that begins at `at` in the flattened tensor.
    fn block(&self, at: usize) -> Option<&[u8; BLOCK / 2]> {
        at.is_multiple_of(BLOCK).then(|| self.codes.get(at / 2..)?.first_chunk()).flatten()
    }

    /// Writes some columns of a row, each rounded to bf16.
    pub fn rounded(&self, row: usize, columns: Range<usize>, out: &mut [bf16]) {
        assert!(row < self.rows && columns.end <= self.cols && out.len() == columns.len());
        let mut at = row * self.cols + columns.start;
        let mut out = out;
        while !out.is_empty() {
            let n = (BLOCK - at % BLOCK).min(out.len());
            let (block, rest) = out.split_at_mut(n);
            out = rest;
            match (self.block(at), block.as_mut_array::<BLOCK>()) {
                #[cfg(target_arch = "x86_64")]
                (Some(codes), Some(block)) if avx512::is_here() => {
                    // SAFETY: the machine has it.
                    unsafe { avx512::rounded(codes, self.scales.of(at / BLOCK), block) };
                }
                _ => {
                    let mut weights = [0f32; BLOCK];
                    self.piece(at, &mut weights[..n]);
                    ops::bf16::round(ops::bf16::Kernel::best(), &weights[..n], block);
                }
            }
            at += n;
        }
    }

    /// The memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.codes.bytes() + self.scales.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    fn weights(n: usize, seed: u64) -> Vec<f32> {
        let mut chance = Chance::new(seed, "nf4");
        (0..n).map(|_| (chance.normal() * 0.02) as f32).collect()
    }

    /// Straight from the definition: the nearest of sixteen, the lower one in a tie.
    fn naive(weights: &[f32]) -> (Vec<u8>, Vec<f32>) {
        let mut indices = Vec::new();
        let mut scales = Vec::new();
        for block in weights.chunks(BLOCK) {
            let absmax = block.iter().map(|w| w.abs()).fold(0.0, f32::max);
            scales.push(absmax);
            for w in block {
                let x = f64::from(w * (1.0 / absmax));
                let distance = |i: &usize| (x - f64::from(CODE[*i])).abs();
                let best = (0..16).min_by(|a, b| distance(a).total_cmp(&distance(b)));
                indices.push(best.unwrap() as u8);
            }
        }
        (indices, scales)
    }

    fn nibble(q: &Nf4, i: usize) -> u8 {
        if i.is_multiple_of(2) { q.codes[i / 2] >> 4 } else { q.codes[i / 2] & 15 }
    }

    #[test]
    fn agrees_with_the_naive_reference() {
        for (rows, cols) in [(3, 64), (7, 37), (1, 1), (5, 576), (300, 256)] {
            let w = weights(rows * cols, rows as u64);
            let q = Nf4::quantize(&w, rows, cols);
            let (indices, scales) = naive(&w);
            assert_eq!(q.scales, Scales::Plain(scales.clone().into()));
            for (i, index) in indices.iter().enumerate() {
                assert_eq!(nibble(&q, i), *index, "weight {i} of {rows} × {cols}");
            }
            let mut all = vec![f32::NAN; rows * cols];
            q.dequantize_rows(0..rows, &mut all);
            for (i, value) in all.iter().enumerate() {
                assert_eq!(*value, CODE[usize::from(indices[i])] * scales[i / BLOCK]);
            }
            for r in 0..rows.min(8) {
                let mut row = vec![f32::NAN; cols];
                q.dequantize_rows(r..r + 1, &mut row);
                assert_eq!(row, all[r * cols..(r + 1) * cols], "row {r} alone");
            }
        }
    }

    #[test]
    fn rounded_weights_are_the_weights_rounded() {
        for (rows, cols) in [(3, 64), (7, 37), (5, 576), (9, 1)] {
            let q = Nf4::quantize(&weights(rows * cols, 3), rows, cols);
            let mut all = vec![0.0; rows * cols];
            q.dequantize_rows(0..rows, &mut all);
            for row in 0..rows {
                for columns in [0..cols, 0..cols.min(5), cols / 3..cols] {
                    let mut out = vec![bf16::NAN; columns.len()];
                    q.rounded(row, columns.clone(), &mut out);
                    let want = all[row * cols..(row + 1) * cols][columns].iter();
                    assert!(out.iter().zip(want).all(|(out, w)| *out == bf16::from_f32(*w)));
                }
            }
        }
    }

    #[test]
    fn bounds_lie_halfway_between_codes() {
        for (pair, bound) in CODE.windows(2).zip(BETWEEN) {
            let middle = (f64::from(pair[0]) + f64::from(pair[1])) / 2.0;
            let last_bit = f64::from(bound.abs()) * f64::from(f32::EPSILON);
            assert!((middle - f64::from(bound)).abs() <= last_bit, "{bound} against {middle}");
            assert_eq!(index(&STEPS, bound) + 1, index(&STEPS, bound.next_up()));
        }
    }

    #[test]
    fn steps_give_the_code_that_counting_bounds_gives() {
        let counted = |x: f32| BETWEEN.iter().filter(|between| x > **between).count() as u8;
        let even = (-70_000..=70_000).map(|i| i as f32 / 65_536.0);
        let edges = BETWEEN.into_iter().chain((0..=64).map(|i| i as f32 / 32.0 - 1.0));
        let near = edges.flat_map(|x| [x.next_down().next_down(), x.next_down(), x, x.next_up()]);
        for x in even.chain(near).chain([f32::NAN, f32::INFINITY, -f32::INFINITY, -0.0]) {
            assert_eq!(index(&STEPS, x), counted(x), "{x}");
        }
    }

    #[test]
    fn golden_bytes() {
        // A ramp from -1 to 1 whose codes follow from the bounds above by hand, scaled by 2.
        let ramp: Vec<f32> = (0..64).map(|i| (i as f32 / 31.5 - 1.0) * 2.0).collect();
        let q = Nf4::quantize(&ramp, 1, 64);
        assert_eq!(q.scales, Scales::Plain(vec![2.0].into()));
        let indices: Vec<u8> = (0..64).map(|i| nibble(&q, i)).collect();
        let counts: Vec<usize> =
            (0..16).map(|code| indices.iter().filter(|i| **i == code).count()).collect();
        assert_eq!(counts, [5, 8, 5, 3, 4, 3, 3, 2, 3, 2, 3, 3, 4, 4, 7, 5]);
        assert!(indices.is_sorted());
        assert_eq!(q.codes[..4], [0x00, 0x00, 0x01, 0x11]);
    }

    #[test]
    fn doubled_scales_scale_the_same_codes() {
        let (rows, cols) = (37, 611);
        let plain = Nf4::quantize(&weights(rows * cols, 1), rows, cols);
        let double = plain.clone().doubled();
        assert_eq!(double.codes, plain.codes);
        let blocks = (rows * cols).div_ceil(BLOCK);
        assert_eq!(plain.bytes() - double.bytes(), 3 * blocks - 4 * blocks.div_ceil(GROUP) - 4);
        let mut out = vec![f32::NAN; rows * cols];
        double.dequantize_rows(0..rows, &mut out);
        for (i, value) in out.iter().enumerate() {
            assert_eq!(*value, CODE[usize::from(nibble(&plain, i))] * double.scales.of(i / BLOCK));
        }
        assert_eq!(double.clone().doubled(), double);
    }

    #[test]
    fn zeros_stay_zero_among_others() {
        let mut w = weights(640, 2);
        w[128..192].fill(0.0);
        let mut out = [1.0; 640];
        Nf4::quantize(&w, 10, 64).doubled().dequantize_rows(0..10, &mut out);
        assert!(out[128..192].iter().all(|w| *w == 0.0));
    }

    #[test]
    fn zeros_stay_zero() {
        let q = Nf4::quantize(&[0.0; 65], 5, 13);
        let mut out = [1.0; 65];
        q.dequantize_rows(0..5, &mut out);
        assert!(out.iter().all(|w| *w == 0.0));
        assert_eq!(q.codes[..], [0x77; 33]);
        assert_eq!(q.bytes(), 33 + 8);
    }
}
