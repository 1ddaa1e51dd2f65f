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

use std::collections::HashMap;

use rayon::prelude::*;
use xxhash_rust::xxh3::{Xxh3Builder, xxh3_64};

use super::normal::mix;
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

/// Rows by the bands of their signatures.
#[derive(Debug, Default)]
pub struct Bands {
    // Only looked up, never walked: the hasher's order does not matter.
    rows: HashMap<u64, Vec<u32>, Xxh3Builder>,
}

impl Bands {
    /// Adds a row.
    pub fn insert(&mut self, signature: &Signature, row: u32) {
        for band in numbered(signature) {
            self.rows.entry(band).or_default().push(row);
        }
    }

    /// The rows that share a band with a signature, in order, each once.
    pub fn candidates(&self, signature: &Signature) -> Vec<u32> {
        let hits = numbered(signature).filter_map(|band| self.rows.get(&band));
        let mut found: Vec<u32> = hits.flatten().copied().collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The rows that share a band with another one, found among all rows at once. What only one row
/// has is forgotten: where most rows are nobody's copy this takes a small part of the memory of
/// [`Bands`].
#[derive(Debug, Default)]
pub struct Meetings {
    /// For each band the keys of several rows, each with these rows, in order.
    bands: Vec<Vec<(u32, u32)>>,
}

impl Meetings {
    /// Of rows with signatures, in the order of their numbers.
    pub fn of<'s, S>(signatures: S) -> Meetings
    where
        S: Iterator<Item = &'s Signature> + Clone + Sync,
    {
        let shared = |band: usize| {
            let rows = signatures.clone().zip(0u32..);
            let mut all: Vec<(u32, u32)> = rows.map(|(keys, row)| (keys[band], row)).collect();
            all.sort_unstable();
            let groups = all.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > 1);
            groups.flatten().copied().collect()
        };
        Meetings { bands: (0..BANDS).into_par_iter().map(shared).collect() }
    }

    /// The rows that share a band with a signature, in order, each once; the signature's own row
    /// is one of them where there is any.
    pub fn with(&self, signature: &Signature) -> Vec<u32> {
        let mut found = Vec::new();
        for (rows, key) in self.bands.iter().zip(signature) {
            let from = rows.partition_point(|(other, _)| other < key);
            let same = rows[from..].iter().take_while(|(other, _)| other == key);
            found.extend(same.map(|(_, row)| *row));
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The keys, each with the number of its band.
fn numbered(signature: &Signature) -> impl Iterator<Item = u64> + '_ {
    signature.iter().enumerate().map(|(band, key)| (band as u64) << 32 | u64::from(*key))
}

#[cfg(test)]
mod tests {
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
        let mut bands = Bands::default();
        for row in 0..200u64 {
            bands.insert(&minhash.signature(&set(row * 10_000, row * 10_000 + 300)), row as u32);
        }
        let mut met = 0;
        for row in 0..200u64 {
            // 300 shared of 400 in all: Jaccard 0.6.
            let like = set(row * 10_000 + 75, row * 10_000 + 375);
            let found = bands.candidates(&minhash.signature(&like));
            met += found.contains(&(row as u32)) as u32;
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
    fn those_who_meet_are_those_the_bands_find() {
        let minhash = MinHash::default();
        let sets = (0..100u64).map(|n| set(n / 3 * 1000 + n % 3 * 60, n / 3 * 1000 + 300));
        let signatures: Vec<Signature> = sets.map(|set| minhash.signature(&set)).collect();
        let mut bands = Bands::default();
        for (row, signature) in signatures.iter().enumerate() {
            bands.insert(signature, row as u32);
        }
        let meetings = Meetings::of(signatures.iter());
        let mut met = 0;
        for (row, signature) in signatures.iter().enumerate() {
            let found = meetings.with(signature);
            let others: Vec<u32> = bands.candidates(signature);
            assert!(found == others || found.is_empty() && others == [row as u32]);
            met += usize::from(found.len() > 1);
        }
        assert!(met > 90, "{met}");
        assert!(meetings.with(&minhash.signature(&set(900_000, 900_300))).is_empty());
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
