//! Seeded randomness whose stream is ours: it must never change under a library upgrade, since
//! splits, shuffles and initial weights are part of what a replay reproduces.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What the state moves by with each number.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A small, fast generator (SplitMix64; Steele, Lea and Flood 2014).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// A stream for one purpose: the same seed and label give the same stream, different labels
    /// give unrelated ones.
    pub fn new(seed: u64, label: &str) -> Self {
        Chance { state: xxh3_64_with_seed(label.as_bytes(), seed) }
    }

    /// Resumes a stream from [`Chance::state`].
    pub fn resume(state: u64) -> Self {
        Chance { state }
    }

    /// The whole state, for checkpoints.
    pub fn state(&self) -> u64 {
        self.state
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Passes over `n` numbers.
    pub fn skip(&mut self, n: usize) {
        self.state = self.state.wrapping_add(STEP.wrapping_mul(n as u64));
    }

    /// A whole number in `0..n`; `n` must not be zero.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "a choice among nothing");
        ((self.bits() as u128 * n as u128) >> 64) as usize
    }

    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A standard normal number (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.unit()));
        radius * libm::cos(std::f64::consts::TAU * self.unit())
    }

    /// Shuffles in place (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}
