//! MinHash signatures and the bands that find rows with overlapping shingles (Broder 1997;
//! Leskovec, Rajaraman and Ullman, *Mining of Massive Datasets*, chapter 3).
//!
//! 128 permutations in 32 bands of 4: two rows of Jaccard 0.6 meet in some band with probability
//! 1 − (1 − 0.6⁴)³² = 0.988, rows of 0.2 with 0.05. What meets is a candidate only; the caller
//! verifies it on the shingles themselves.

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::print::Sketch;
use crate::chance::Chance;

/// Permutations in a signature.
pub const PERMUTATIONS: usize = 128;
/// Bands the signature is cut into.
pub const BANDS: usize = 32;
const ROWS: usize = PERMUTATIONS / BANDS;

/// The smallest hash of a set under each permutation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature([u32; PERMUTATIONS]);

/// The permutations: multiply, add, keep the upper half.
#[derive(Debug, Clone)]
pub struct MinHash {
    factors: [u64; PERMUTATIONS],
    offsets: [u64; PERMUTATIONS],
}

impl Default for MinHash {
    fn default() -> Self {
        // Fixed for good: signatures must agree between runs and machines.
        let mut chance = Chance::new(0, "minhash permutations");
        let mut draw = |odd: u64| std::array::from_fn(|_| chance.bits() | odd);
        MinHash { factors: draw(1), offsets: draw(0) }
    }
}

impl MinHash {
    /// The signature of a set of hashes.
    pub fn signature(&self, hashes: &[u64]) -> Signature {
        let mut least = [u32::MAX; PERMUTATIONS];
        for hash in hashes {
            let permutations = self.factors.iter().zip(&self.offsets);
            for (least, (factor, offset)) in least.iter_mut().zip(permutations) {
                let mixed = hash.wrapping_mul(*factor).wrapping_add(*offset);
                *least = (*least).min((mixed >> 32) as u32);
            }
        }
        Signature(least)
    }
}

impl Signature {
    /// One key for each band; the band's number is part of it.
    pub fn bands(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.chunks_exact(ROWS).enumerate().map(|(band, rows)| {
            let mut bytes = [0u8; 4 * ROWS + 1];
            for (place, row) in bytes.chunks_exact_mut(4).zip(rows) {
                place.copy_from_slice(&row.to_le_bytes());
            }
            bytes[4 * ROWS] = band as u8;
            xxh3_64(&bytes)
        })
    }

    /// The share of permutations on which both agree: an estimate of the Jaccard similarity.
    #[cfg(test)]
    fn estimate(&self, other: &Signature) -> f64 {
        let agree = self.0.iter().zip(&other.0).filter(|(a, b)| a == b).count();
        agree as f64 / PERMUTATIONS as f64
    }
}

/// Rows that share a band of their signatures, each band's key a bucket; keys that only one row
/// has are forgotten.
#[derive(Debug, Default)]
pub struct Buckets {
    /// Row and bucket, sorted.
    of: Vec<(u32, u32)>,
    /// The rows of each bucket that were kept, in order.
    kept: Vec<Vec<u32>>,
}

impl Buckets {
    /// The buckets of these rows; none of them is kept yet. Rows without shingles are in none.
    pub fn of(sketches: &[&Sketch]) -> Buckets {
        let rows = || sketches.iter().enumerate().filter(|(_, s)| s.shingles > 0);
        let mut buckets = Buckets::default();
        for band in 0..BANDS {
            let mut keys: Vec<(u32, u32)> =
                rows().map(|(row, sketch)| (sketch.bands[band], row as u32)).collect();
            keys.par_sort_unstable();
            for rows in keys.chunk_by(|a, b| a.0 == b.0).filter(|rows| rows.len() > 1) {
                let bucket = buckets.kept.len() as u32;
                buckets.kept.push(Vec::new());
                buckets.of.extend(rows.iter().map(|(_, row)| (*row, bucket)));
            }
        }
        buckets.of.par_sort_unstable();
        buckets
    }

    fn buckets(&self, row: u32) -> impl Iterator<Item = usize> + '_ {
        let from = self.of.partition_point(|(r, _)| *r < row);
        self.of[from..].iter().take_while(move |(r, _)| *r == row).map(|(_, b)| *b as usize)
    }

    /// From now on the row is a candidate.
    pub fn keep(&mut self, row: u32) {
        let from = self.of.partition_point(|(r, _)| *r < row);
        for (_, bucket) in self.of[from..].iter().take_while(|(r, _)| *r == row) {
            self.kept[*bucket as usize].push(row);
        }
    }

    /// The rows kept so far that share a band with a row, in order, each once.
    pub fn candidates(&self, row: u32) -> Vec<u32> {
        let mut found: Vec<u32> =
            self.buckets(row).flat_map(|bucket| &self.kept[bucket]).copied().collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::chat;
    use super::*;

    fn set(from: u64, to: u64) -> Vec<u64> {
        (from..to).map(|n| xxh3_64(&n.to_le_bytes())).collect()
    }

    #[test]
    fn the_estimate_is_the_jaccard_similarity() {
        let minhash = MinHash::default();
        for (shift, jaccard) in [(0, 1.0), (250, 0.6), (600, 0.25), (1000, 0.0)] {
            let a = minhash.signature(&set(0, 1000));
            let b = minhash.signature(&set(shift, 1000 + shift));
            let error = (a.estimate(&b) - jaccard).abs();
            assert!(error < 0.12, "{shift}: {} against {jaccard}", a.estimate(&b));
        }
    }

    #[test]
    fn bands_find_the_similar_and_leave_the_rest() {
        let minhash = MinHash::default();
        let sketch = |hashes: &[u64]| {
            let mut sketch = Sketch::of(&chat("s", "one", "two"), u64::MAX);
            sketch.shingles = hashes.len() as u32;
            for (band, key) in sketch.bands.iter_mut().zip(minhash.signature(hashes).bands()) {
                *band = key as u32;
            }
            sketch
        };
        let mut sketches: Vec<Sketch> =
            (0..200).map(|row| sketch(&set(row * 10_000, row * 10_000 + 300))).collect();
        // 300 shared of 400 in all: Jaccard 0.6.
        sketches.extend((0..200).map(|row| sketch(&set(row * 10_000 + 75, row * 10_000 + 375))));
        let mut buckets = Buckets::of(&sketches.iter().collect::<Vec<_>>());
        (0..200).for_each(|row| buckets.keep(row));
        let mut met = 0;
        for row in 0..200u32 {
            let found = buckets.candidates(200 + row);
            met += found.contains(&row) as u32;
            assert!(found.len() <= 2, "{found:?}");
        }
        assert!(met >= 194, "{met} of 200");
    }

    #[test]
    fn signatures_never_change() {
        let first = MinHash::default().signature(&set(0, 5)).0;
        assert_eq!(first[..4], [494_140_514, 803_213_131, 1_628_993, 1_206_258_738]);
    }
}
