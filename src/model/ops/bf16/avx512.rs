//! AVX-512 with its bf16 extension.

use std::arch::x86_64::*;

use half::bf16;

use super::kernel::Block;
use super::{DEPTH, PANEL, TILE};

/// Whether this machine has it.
pub fn is_here() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bf16")
}

/// Rows multiplied at a time: with two panels 24 of 32 registers hold sums.
const ROWS: usize = 12;

/// See [`Kernel::multiply`](super::Kernel::multiply).
///
/// # Safety
///
/// As there; the operands' bounds were checked.
pub unsafe fn multiply(block: &Block, out: *mut f32, stride: usize, add: bool) {
    for first in (0..block.count).step_by(ROWS) {
        // SAFETY: the rows lie within the block.
        unsafe {
            let rows = block.rows.as_ptr().add(first * block.stride);
            let out = out.add(first * stride);
            let run = match (block.count - first).min(ROWS) {
                12 => rows_by_group::<12>,
                11 => rows_by_group::<11>,
                10 => rows_by_group::<10>,
                9 => rows_by_group::<9>,
                8 => rows_by_group::<8>,
                7 => rows_by_group::<7>,
                6 => rows_by_group::<6>,
                5 => rows_by_group::<5>,
                4 => rows_by_group::<4>,
                3 => rows_by_group::<3>,
                2 => rows_by_group::<2>,
                _ => rows_by_group::<1>,
            };
            run(rows, block, out, stride, add);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn rows_by_group<const N: usize>(
    rows: *const bf16,
    block: &Block,
    out: *mut f32,
    stride: usize,
    add: bool,
) {
    // SAFETY: `N` rows of `depth` values and both panels' tiles are there; masks keep to `width`.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); 2]; N];
        for (t, tiles) in block.tiles.chunks(block.step).take(block.depth / DEPTH).enumerate() {
            let rows = rows.add(t * DEPTH);
            for line in 0..DEPTH / 2 {
                let b = tiles.as_ptr().add(line * PANEL);
                let of = |at: *const u32| -> __m512bh {
                    std::mem::transmute(_mm512_loadu_si512(at.cast()))
                };
                let (b0, b1) = (of(b), of(b.add(TILE)));
                for (i, sums) in sums.iter_mut().enumerate() {
                    let a = rows.add(i * block.stride + 2 * line).cast::<i32>().read_unaligned();
                    let a: __m512bh = std::mem::transmute(_mm512_set1_epi32(a));
                    sums[0] = _mm512_dpbf16_ps(sums[0], a, b0);
                    sums[1] = _mm512_dpbf16_ps(sums[1], a, b1);
                }
            }
        }
        let mask = |from: usize| ((1u32 << block.width.saturating_sub(from).min(PANEL)) - 1) as u16;
        for (i, sums) in sums.iter().enumerate() {
            for (p, sum) in sums.iter().enumerate() {
                let (out, mask) = (out.add(i * stride + p * PANEL), mask(p * PANEL));
                let sum = match add {
                    true => _mm512_add_ps(_mm512_maskz_loadu_ps(mask, out), *sum),
                    false => *sum,
                };
                _mm512_mask_storeu_ps(out, mask, sum);
            }
        }
    }
}

/// Rounds to the nearest, ties to even.
///
/// # Safety
///
/// The machine must have it.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub unsafe fn round(values: &[f32], out: &mut [bf16]) {
    assert_eq!(values.len(), out.len());
    let whole = values.len() / 32 * 32;
    // SAFETY: both have `whole` values.
    unsafe {
        for at in (0..whole).step_by(32) {
            let low = _mm512_loadu_ps(values.as_ptr().add(at));
            let high = _mm512_loadu_ps(values.as_ptr().add(at + 16));
            let both: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
            _mm512_storeu_si512(out.as_mut_ptr().add(at).cast(), both);
        }
        let rest = values.len() - whole;
        if rest > 0 {
            let mask = |n: usize| ((1u32 << n.min(16)) - 1) as u16;
            let from = values.as_ptr().add(whole);
            let low = _mm512_maskz_loadu_ps(mask(rest), from);
            let high = match rest > 16 {
                true => _mm512_maskz_loadu_ps(mask(rest - 16), from.add(16)),
                false => _mm512_setzero_ps(),
            };
            let both: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
            _mm512_mask_storeu_epi16(out.as_mut_ptr().add(whole).cast(), (1u32 << rest) - 1, both);
        }
    }
}
