//! The products of few rows in AVX-512.
//!
//! 64 inputs at a time are four vectors of 16. Where weights are packed, they come out of their
//! words as the even inputs of 32 and then the odd ones, so `x` is laid out in that order first.

#![allow(clippy::needless_range_loop)] // indices are those of registers

use std::arch::x86_64::*;
use std::ops::Range;

use half::bf16;

use super::{BLOCK, Delta, Stored};
use crate::model::dynamic::SIGNED;
use crate::model::nf4::{CODE, GROUP, Scales};

const LANES: usize = 16;
/// Rows of `x` and outputs whose sums are kept in registers.
const ROWS: usize = 6;
const OUTPUTS: usize = 4;
/// Bytes that packed weights are fetched ahead of their use: one row is too short for the
/// processor to see where reading goes.
const AHEAD: usize = 4096;

/// Whether this processor has what is used here.
pub fn here() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl")
}

/// What one load brings, where loads are fastest.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([f32; LANES]);

/// `x` in the order in which weights come out of their words.
pub struct Inputs {
    x: Vec<Line>,
    n: usize,
    width: usize,
}

impl Inputs {
    pub fn new(x: &[f32], weight: Stored, (n, width): (usize, usize)) -> Self {
        let packed = !matches!(weight, Stored::F32(_));
        let mut lines = vec![Line([0.0; LANES]); x.len() / LANES];
        let pairs = x.as_chunks::<{ 2 * LANES }>().0.iter();
        for (part, lines) in pairs.zip(lines.as_chunks_mut::<2>().0) {
            let [Line(a), Line(b)] = lines;
            for i in 0..LANES {
                (a[i], b[i]) = match packed {
                    true => (part[2 * i], part[2 * i + 1]),
                    false => (part[i], part[LANES + i]),
                };
            }
        }
        Inputs { x: lines, n, width }
    }
}

/// A matrix whose rows begin on a block.
trait Rows: Copy {
    /// 64 weights of a row from `at` on, in the order of [`Inputs`].
    unsafe fn block(self, row: usize, at: usize) -> [__m512; 4];
}

#[derive(Clone, Copy)]
struct Floats {
    w: *const f32,
    stride: usize,
}

impl Rows for Floats {
    #[inline(always)]
    unsafe fn block(self, row: usize, at: usize) -> [__m512; 4] {
        unsafe {
            let from = self.w.add(row * self.stride + at);
            [
                _mm512_loadu_ps(from),
                _mm512_loadu_ps(from.add(LANES)),
                _mm512_loadu_ps(from.add(2 * LANES)),
                _mm512_loadu_ps(from.add(3 * LANES)),
            ]
        }
    }
}

#[derive(Clone, Copy)]
struct Halves {
    w: *const bf16,
    width: usize,
}

impl Rows for Halves {
    #[inline(always)]
    unsafe fn block(self, row: usize, at: usize) -> [__m512; 4] {
        unsafe {
            let from = self.w.add(row * self.width + at).cast::<i32>();
            _mm_prefetch::<_MM_HINT_T0>(from.cast::<i8>().wrapping_add(AHEAD));
            _mm_prefetch::<_MM_HINT_T0>(from.cast::<i8>().wrapping_add(AHEAD + 64));
            let (a, b) = (_mm512_loadu_si512(from.cast()), _mm512_loadu_si512(from.add(16).cast()));
            let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
            [
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(a)),
                _mm512_castsi512_ps(_mm512_and_si512(a, upper)),
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(b)),
                _mm512_castsi512_ps(_mm512_and_si512(b, upper)),
            ]
        }
    }
}

#[derive(Clone, Copy)]
struct Codes<S> {
    w: *const u8,
    width: usize,
    book: __m512,
    scale: S,
}

impl<S: Fn(usize) -> f32 + Copy> Rows for Codes<S> {
    #[inline(always)]
    unsafe fn block(self, row: usize, at: usize) -> [__m512; 4] {
        unsafe {
            let start = row * self.width + at;
            let book = _mm512_mul_ps(self.book, _mm512_set1_ps((self.scale)(start / BLOCK)));
            // The index of a permutation is the low four bits of a lane, whatever is above.
            let from = self.w.add(start / 2).cast::<__m128i>();
            _mm_prefetch::<_MM_HINT_T0>(from.cast::<i8>().wrapping_add(AHEAD));
            let a = _mm512_cvtepu8_epi32(_mm_loadu_si128(from));
            let b = _mm512_cvtepu8_epi32(_mm_loadu_si128(from.add(1)));
            [
                _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(a), book),
                _mm512_permutexvar_ps(a, book),
                _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(b), book),
                _mm512_permutexvar_ps(b, book),
            ]
        }
    }
}

/// The given outputs of all rows, `stride` apart at `y`.
///
/// # Safety
///
/// The processor has AVX-512; the width is a multiple of 64; lengths are as
/// [`super::product`] asserts.
pub unsafe fn outputs(
    inputs: &Inputs,
    weight: Stored,
    delta: Option<Delta>,
    outputs: Range<usize>,
    y: *mut f32,
    stride: usize,
) {
    let width = inputs.width;
    let job = Job { inputs, delta, y, stride };
    unsafe {
        match weight {
            Stored::F32(w) => match inputs.n {
                0..=ROWS => job.direct(Floats { w: w.as_ptr(), stride: width }, outputs),
                _ => job.all(Floats { w: w.as_ptr(), stride: width }, outputs),
            },
            Stored::Bf16(w) => job.run(Halves { w: w.as_ptr(), width }, outputs),
            Stored::Nf4(nf4) => {
                let (w, book) = (nf4.codes.as_ptr(), _mm512_loadu_ps(CODE.as_ptr()));
                match &nf4.scales {
                    Scales::Plain(scales) => {
                        let scales: &[f32] = scales;
                        job.run(Codes { w, width, book, scale: |i| scales[i] }, outputs);
                    }
                    Scales::Double { codes, absmax, offset } => {
                        let (codes, absmax): (&[u8], &[f32]) = (codes, absmax);
                        let (values, offset) = (&SIGNED.values, *offset);
                        let scale = |i| values[usize::from(codes[i])] * absmax[i / GROUP] + offset;
                        job.run(Codes { w, width, book, scale }, outputs);
                    }
                }
            }
        }
    }
}

/// As [`super::strided`].
///
/// # Safety
///
/// As for [`outputs`]; all rows lie in `w`.
pub unsafe fn strided(inputs: &Inputs, (w, stride): (&[f32], usize), count: usize, y: &mut [f32]) {
    let job = Job { inputs, delta: None, y: y.as_mut_ptr(), stride: count };
    unsafe { job.all(Floats { w: w.as_ptr(), stride }, 0..count) };
}

#[derive(Clone, Copy)]
struct Job<'a> {
    inputs: &'a Inputs,
    delta: Option<Delta<'a>>,
    y: *mut f32,
    stride: usize,
}

impl Job<'_> {
    /// Packed weights: straight into the sums where they are used few times, else unpacked once.
    #[inline(always)]
    unsafe fn run<W: Rows>(self, w: W, outputs: Range<usize>) {
        unsafe {
            if self.inputs.n <= ROWS {
                return self.direct(w, outputs);
            }
            self.unpacked(w, outputs);
        }
    }

    #[target_feature(enable = "avx512f,avx512vl")]
    unsafe fn unpacked<W: Rows>(self, w: W, outputs: Range<usize>) {
        let width = self.inputs.width;
        let mut tile = vec![Line([0.0; LANES]); OUTPUTS * width / LANES];
        for first in outputs.clone().step_by(OUTPUTS) {
            let rows = OUTPUTS.min(outputs.end - first);
            for row in 0..rows {
                for at in (0..width).step_by(BLOCK) {
                    unsafe {
                        let to = tile.as_mut_ptr().cast::<f32>().add(row * width + at);
                        let block = w.block(first + row, at);
                        for i in 0..4 {
                            _mm512_storeu_ps(to.add(i * LANES), block[i]);
                        }
                    }
                }
            }
            // The tile stands where its rows stand in the whole.
            let base = tile.as_ptr().cast::<f32>().wrapping_sub(first * width);
            unsafe { self.tile(Floats { w: base, stride: width }, first, rows) };
        }
    }

    #[target_feature(enable = "avx512f,avx512vl")]
    unsafe fn all(self, w: Floats, outputs: Range<usize>) {
        for first in outputs.clone().step_by(OUTPUTS) {
            unsafe { self.tile(w, first, OUTPUTS.min(outputs.end - first)) };
        }
    }

    #[inline(always)]
    unsafe fn tile(self, w: Floats, first: usize, rows: usize) {
        unsafe {
            if rows == OUTPUTS {
                self.groups::<OUTPUTS>(w, first);
            } else {
                for output in first..first + rows {
                    self.groups::<1>(w, output);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn groups<const C: usize>(self, w: Floats, first: usize) {
        let n = self.inputs.n;
        for row in (0..n).step_by(ROWS) {
            unsafe {
                match n - row {
                    1 => self.sums::<1, C>(w, row, first),
                    2 => self.sums::<2, C>(w, row, first),
                    3 => self.sums::<3, C>(w, row, first),
                    4 => self.sums::<4, C>(w, row, first),
                    5 => self.sums::<5, C>(w, row, first),
                    _ => self.sums::<ROWS, C>(w, row, first),
                }
            }
        }
    }

    /// `R` rows by `C` outputs from plain weights.
    #[inline(always)]
    unsafe fn sums<const R: usize, const C: usize>(self, w: Floats, row: usize, first: usize) {
        unsafe {
            let (width, stride) = (self.inputs.width, w.stride);
            let x = self.inputs.x.as_ptr().cast::<f32>().add(row * width);
            let w_first = w.w.wrapping_add(first * stride);
            let mut sums = [[_mm512_setzero_ps(); R]; C];
            for at in (0..width).step_by(LANES) {
                let mut x_at = [_mm512_setzero_ps(); R];
                for r in 0..R {
                    x_at[r] = _mm512_loadu_ps(x.add(r * width + at));
                }
                for c in 0..C {
                    let w_at = _mm512_loadu_ps(w_first.add(c * stride + at));
                    for r in 0..R {
                        sums[c][r] = _mm512_fmadd_ps(w_at, x_at[r], sums[c][r]);
                    }
                }
            }
            self.finish(sums, row, first);
        }
    }

    #[target_feature(enable = "avx512f,avx512vl")]
    unsafe fn direct<W: Rows>(self, w: W, outputs: Range<usize>) {
        unsafe {
            match self.inputs.n {
                1 => self.streamed::<1, W>(w, outputs),
                2 => self.streamed::<2, W>(w, outputs),
                3 => self.streamed::<3, W>(w, outputs),
                4 => self.streamed::<4, W>(w, outputs),
                5 => self.streamed::<5, W>(w, outputs),
                _ => self.streamed::<ROWS, W>(w, outputs),
            }
        }
    }

    #[inline(always)]
    unsafe fn streamed<const R: usize, W: Rows>(self, w: W, outputs: Range<usize>) {
        let mut first = outputs.start;
        unsafe {
            while first + OUTPUTS <= outputs.end {
                self.stream::<R, OUTPUTS, W>(w, first);
                first += OUTPUTS;
            }
            for output in first..outputs.end {
                self.stream::<R, 1, W>(w, output);
            }
        }
    }

    /// `R` rows by `C` outputs, weights unpacked in registers.
    #[inline(always)]
    unsafe fn stream<const R: usize, const C: usize, W: Rows>(self, w: W, first: usize) {
        unsafe {
            let width = self.inputs.width;
            let x = self.inputs.x.as_ptr().cast::<f32>();
            let mut sums = [[_mm512_setzero_ps(); R]; C];
            for at in (0..width).step_by(BLOCK) {
                for c in 0..C {
                    let block = w.block(first + c, at);
                    for r in 0..R {
                        for i in 0..4 {
                            let x = _mm512_loadu_ps(x.add(r * width + at + i * LANES));
                            sums[c][r] = _mm512_fmadd_ps(block[i], x, sums[c][r]);
                        }
                    }
                }
            }
            self.finish(sums, 0, first);
        }
    }

    /// Adds the delta, and the lanes.
    #[inline(always)]
    unsafe fn finish<const R: usize, const C: usize>(
        self,
        mut sums: [[__m512; R]; C],
        row: usize,
        first: usize,
    ) {
        unsafe {
            if let Some(Delta { h, b, r: rank }) = self.delta {
                for at in (0..rank).step_by(LANES) {
                    let mask = (u32::MAX >> (32 - LANES.min(rank - at))) as __mmask16;
                    for c in 0..C {
                        let b = b.as_ptr().add((first + c) * rank + at);
                        let b = _mm512_maskz_loadu_ps(mask, b);
                        for r in 0..R {
                            let h = h.as_ptr().add((row + r) * rank + at);
                            let h = _mm512_maskz_loadu_ps(mask, h);
                            sums[c][r] = _mm512_fmadd_ps(b, h, sums[c][r]);
                        }
                    }
                }
            }
            for r in 0..R {
                for c in (0..C).step_by(4) {
                    let mut parts = [_mm512_setzero_ps(); 4];
                    for i in c..C.min(c + 4) {
                        parts[i - c] = sums[i][r];
                    }
                    let four: [f32; 4] = std::mem::transmute(totals(parts));
                    let y = self.y.add((row + r) * self.stride + first + c);
                    y.copy_from_nonoverlapping(four.as_ptr(), 4.min(C - c));
                }
            }
        }
    }
}

/// The sums of the lanes of four vectors.
#[inline(always)]
unsafe fn totals([a, b, c, d]: [__m512; 4]) -> __m128 {
    unsafe {
        let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        let (ab, cd) = (_mm512_castps_pd(ab), _mm512_castps_pd(cd));
        let (low, high) = (_mm512_unpacklo_pd(ab, cd), _mm512_unpackhi_pd(ab, cd));
        let four = _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
        let four = _mm512_castps_pd(four);
        let (low, high) = (_mm512_castpd512_pd256(four), _mm512_extractf64x4_pd::<1>(four));
        let two = _mm256_add_ps(_mm256_castpd_ps(low), _mm256_castpd_ps(high));
        _mm_add_ps(_mm256_castps256_ps128(two), _mm256_extractf128_ps::<1>(two))
    }
}
