//! The scales of NF4's blocks: as they are, or quantised once more (QLoRA's double quantisation,
//! Dettmers et al. 2023, section 3), as bitsandbytes does with `compress_statistics`:
//!
//! ```text
//! offset = mean of all scales
//! scale ≈ SIGNED[code] · absmax + offset        a code of 8 bits a scale, an absmax each 256 of them
//! ```
//!
//! which takes 0.127 bits a weight instead of 0.5.

use crate::model::dynamic::SIGNED;
use crate::model::slab::Slab;

/// Scales that share one absmax.
pub const GROUP: usize = 256;

/// Stands in for an absmax of zero, so that zeros scale to zero and not to NaN (bitsandbytes').
pub(super) const LEAST: f32 = 1e-38;

/// The scales of all blocks of a matrix.
#[derive(Debug, Clone, PartialEq)]
pub enum Scales {
    /// One f32 a block.
    Plain(Slab<f32>),
    /// Quantised once more.
    Double {
        /// One code a block, an index into [`SIGNED`].
        codes: Slab<u8>,
        /// One for each [`GROUP`] of codes.
        absmax: Slab<f32>,
        /// The mean of the scales.
        offset: f32,
    },
}

impl Scales {
    /// Quantises plain scales once more.
    pub fn doubled(scales: &[f32]) -> Scales {
        // In f64 and in order: the same mean for any number of threads.
        let sum: f64 = scales.iter().map(|s| f64::from(*s)).sum();
        let offset = (sum / scales.len() as f64) as f32;
        let mut codes = Vec::with_capacity(scales.len());
        let mut absmax = Vec::with_capacity(scales.len().div_ceil(GROUP));
        for group in scales.chunks(GROUP) {
            let most = group.iter().fold(0f32, |most, s| most.max((s - offset).abs()));
            let scale = 1.0 / most.max(LEAST);
            absmax.push(most);
            codes.extend(group.iter().map(|s| {
                let scaled = (s - offset) * scale;
                SIGNED.code(scaled)
            }));
        }
        Scales::Double { codes: codes.into(), absmax: absmax.into(), offset }
    }

    /// The scale of a block.
    pub fn of(&self, block: usize) -> f32 {
        match self {
            Scales::Plain(scales) => scales[block],
            Scales::Double { codes, absmax, offset } => {
                SIGNED.values[usize::from(codes[block])] * absmax[block / GROUP] + offset
            }
        }
    }

    /// The memory they take, in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Scales::Plain(scales) => scales.bytes(),
            Scales::Double { codes, absmax, offset } => {
                codes.bytes() + absmax.bytes() + size_of_val(offset)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;
    use crate::files::digest;

    #[test]
    fn codes_are_those_of_bitsandbytes() {
        // From its `quantize_blockwise` as its GPU kernel and its reference have it. Its library
        // for CPUs looks codes up in a coarser table and gives one in 600 to the neighbour.
        let scales: Vec<f32> = (0..300).map(|i| ((i * 37) % 101 + 1) as f32 / 128.0).collect();
        let Scales::Double { codes, absmax, offset } = Scales::doubled(&scales) else {
            panic!("not quantised");
        };
        assert_eq!((offset, &absmax[..]), (0.397_604_17, &[0.391_458_33, 0.383_645_83][..]));
        assert_eq!(codes[..12], [0, 52, 218, 14, 79, 232, 28, 193, 246, 42, 208, 4]);
        assert_eq!(codes[256..264], [226, 20, 170, 240, 35, 201, 255, 49]);
        let theirs = "000b6788ee17143fef8040a36df5852571ebd2bd3a024273a676080bd12c1e92";
        assert_eq!(digest(&codes), theirs);
    }

    #[test]
    fn agrees_with_the_naive_reference() {
        let mut chance = Chance::new(4, "scales");
        for n in [1, 2, 255, 256, 257, 5000] {
            let scales: Vec<f32> = (0..n).map(|_| chance.unit() as f32 * 0.1).collect();
            let doubled = Scales::doubled(&scales);
            let Scales::Double { codes, absmax, offset } = &doubled else { panic!("{doubled:?}") };
            for (i, scale) in scales.iter().enumerate() {
                let group = &scales[i / GROUP * GROUP..(i / GROUP * GROUP + GROUP).min(n)];
                let most = group.iter().map(|s| (s - offset).abs()).fold(0.0, f32::max);
                assert_eq!(absmax[i / GROUP], most);
                let x = (scale - offset) * (1.0 / most.max(LEAST));
                let away = |code: &usize| f64::from(x - SIGNED.values[*code]).abs();
                let nearest = (0..256).min_by(|a, b| away(a).total_cmp(&away(b))).unwrap();
                assert!(away(&codes[i].into()) <= away(&nearest) + 1e-8, "scale {i} of {n}");
                // A step of the map is at most 0.0141 wide.
                let off = (doubled.of(i) - scale).abs();
                assert!(off <= 0.0071 * most + f32::EPSILON, "scale {i} of {n}: {off}");
            }
            assert_eq!(doubled.bytes(), n + 4 * n.div_ceil(GROUP) + 4);
        }
    }
}
