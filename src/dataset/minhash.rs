//! MinHash signatures and the bands that find rows with overlapping shingles (Broder 1997;
//! Leskovec, Rajaraman and Ullman, *Mining of Massive Datasets*, chapter 3).
//!
//! Instead of the smallest hash under each of many permutations, a signature keeps the smallest
//! in each of as many bins, for which one hash of each member suffices; bins that stay empty are
//! filled in further rounds (Dahlgaard, Knudsen and Thorup 2017, *Fast Similarity Sketching*). It
//! estimates the Jaccard similarity as well, for sets of any size.
//!
//! 128 bins in 32 bands of 4: two rows of Jaccard 0.6 meet in some band with probability
//! 1 − (1 − 0.6⁴)³² = 0.988, rows of 0.2 with 0.05. What meets is a candidate only; the caller
//! verifies it on the shingles themselves.

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::normal::mix;
use super::print::Sketch;
use crate::chance::Chance;

/// Bins of a sketch.
pub const BINS: usize = 128;
/// Bands the bins are cut into.
pub const BANDS: usize = 32;
const ROWS: usize = BINS / BANDS;

/// One key for each band: two sets that agree on all bins of a band have the same there.
pub type Signature = [u32; BANDS];

/// Makes signatures.
#[derive(Debug, Clone)]
pub struct MinHash {
    /// What makes the hashes of one round independent of those of another. After as many rounds
    /// as there are bins, each further one fills the bin of its number.
    salts: [u64; 2 * BINS],
}

impl Default for MinHash {
    fn default() -> Self {
        // Fixed for good: signatures must agree between runs and machines.
        let mut chance = Chance::new(0, "minhash rounds");
        MinHash { salts: std::array::from_fn(|_| chance.bits()) }
    }
}

impl MinHash {
    /// The signature of a set of hashes; members may repeat.
    pub fn signature(&self, hashes: &[u64]) -> Signature {
        keys(&self.bins(hashes))
    }

    /// The least member of each bin, that of an earlier round before that of a later one.
    fn bins(&self, hashes: &[u64]) -> [u64; BINS] {
        let mut least = [u64::MAX; BINS];
        for (round, salt) in self.salts.iter().enumerate() {
            for hash in hashes {
                let mixed = mix(hash ^ salt);
                let bin = match round.checked_sub(BINS) {
                    Some(bin) => bin,
                    None => (mixed >> 32) as usize % BINS,
                };
                let value = (round as u64) << 32 | (mixed & 0xffff_ffff);
                least[bin] = least[bin].min(value);
            }
            if !least.contains(&u64::MAX) {
                break;
            }
        }
        least
    }
}

fn keys(bins: &[u64; BINS]) -> Signature {
    let mut keys = [0; BANDS];
    for (key, rows) in keys.iter_mut().zip(bins.chunks_exact(ROWS)) {
        let mut bytes = [0u8; 8 * ROWS];
        for (place, row) in bytes.chunks_exact_mut(8).zip(rows) {
            place.copy_from_slice(&row.to_le_bytes());
        }
        *key = xxh3_64(&bytes) as u32;
    }
    keys
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
            let (a, b) = (minhash.bins(&set(0, 1000)), minhash.bins(&set(shift, 1000 + shift)));
            let agree = a.iter().zip(&b).filter(|(a, b)| a == b).count();
            let estimate = agree as f64 / BINS as f64;
            assert!((estimate - jaccard).abs() < 0.12, "{shift}: {estimate} against {jaccard}");
        }
    }

    #[test]
    fn bands_find_the_similar_and_leave_the_rest() {
        let minhash = MinHash::default();
        let sketch = |hashes: &[u64]| {
            let mut sketch = Sketch::of(&chat("s", "one", "two"), u64::MAX);
            sketch.shingles = hashes.len() as u32;
            sketch.bands = minhash.signature(hashes);
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
    fn small_sets_are_compared_as_well_as_large_ones() {
        let minhash = MinHash::default();
        let mut met = 0;
        for from in (0..200).map(|n| n * 1000) {
            // 24 shared of 40 in all: Jaccard 0.6.
            let a = minhash.signature(&set(from, from + 32));
            let b = minhash.signature(&set(from + 8, from + 40));
            met += u32::from(a.iter().zip(&b).any(|(a, b)| a == b));
        }
        assert!(met >= 194, "{met} of 200");
    }

    #[test]
    fn repeated_members_change_nothing() {
        let (minhash, once) = (MinHash::default(), set(0, 50));
        let twice: Vec<u64> = once.iter().chain(&once[7..30]).copied().collect();
        assert_eq!(minhash.signature(&once), minhash.signature(&twice));
    }

    #[test]
    fn signatures_never_change() {
        let first = MinHash::default().signature(&set(0, 5));
        assert_eq!(first[..4], [1_860_184_238, 1_465_711_181, 3_345_215_260, 2_811_277_561]);
    }
}
