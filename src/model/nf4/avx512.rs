//! Blocks of codes as weights, by AVX-512.

use std::arch::x86_64::*;

use half::bf16;

use super::{BLOCK, CODE};

/// Whether this machine has it, its bf16 extension included.
pub fn is_here() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
}

/// Sixteen weights of eight bytes of codes. The lookup reads the low four bits of each index.
#[target_feature(enable = "avx512f")]
unsafe fn sixteen(codes: *const u8, book: __m512, scale: __m512) -> __m512 {
    // SAFETY: the caller's: eight bytes are there.
    unsafe {
        let bytes = _mm_loadl_epi64(codes.cast());
        let twice = _mm512_cvtepu8_epi32(_mm_unpacklo_epi8(bytes, bytes));
        // The first of two lies in the high nibble.
        let high_first = _mm512_set1_epi64(4);
        let indices = _mm512_srlv_epi32(twice, high_first);
        _mm512_mul_ps(_mm512_permutexvar_ps(indices, book), scale)
    }
}

/// The weights of a block as bf16.
///
/// # Safety
///
/// The machine must have it.
#[target_feature(enable = "avx512f,avx512bf16")]
pub unsafe fn rounded(codes: &[u8; BLOCK / 2], scale: f32, out: &mut [bf16; BLOCK]) {
    // SAFETY: the arrays hold what is read and written.
    unsafe {
        let (book, scale) = (_mm512_loadu_ps(CODE.as_ptr()), _mm512_set1_ps(scale));
        for half in 0..2 {
            let codes = codes.as_ptr().add(half * 16);
            let low = sixteen(codes, book, scale);
            let high = sixteen(codes.add(8), book, scale);
            let both: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
            _mm512_storeu_si512(out.as_mut_ptr().add(half * 32).cast(), both);
        }
    }
}

/// The weights of a block.
///
/// # Safety
///
/// The machine must have it.
#[target_feature(enable = "avx512f")]
pub unsafe fn plain(codes: &[u8; BLOCK / 2], scale: f32, out: &mut [f32; BLOCK]) {
    // SAFETY: the arrays hold what is read and written.
    unsafe {
        let (book, scale) = (_mm512_loadu_ps(CODE.as_ptr()), _mm512_set1_ps(scale));
        for quarter in 0..4 {
            let weights = sixteen(codes.as_ptr().add(quarter * 8), book, scale);
            _mm512_storeu_ps(out.as_mut_ptr().add(quarter * 16), weights);
        }
    }
}
