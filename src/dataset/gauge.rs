//! How long rows are in tokens.
//!
//! To tokenise takes longer than everything else a dataset goes through. Small sets are counted
//! exactly; of large ones only rows that may lie beyond a limit are, and the others are estimated
//! from what a sample of them has.

use std::sync::Arc;

use anyhow::{Context, Result};
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::paging::text_bytes;
use super::{Example, Held};
use crate::trace::{Message, Trace};

/// Sets of at most this many bytes of text are counted exactly.
pub const EXACT: u64 = 32 << 20;

/// Rows that are counted to estimate the others.
const SAMPLE: usize = 64;

/// Rows that a quick way to count has to prove itself on.
const PROOF: usize = 16;

/// What a chat template adds to a message, about, in bytes of text.
const TURN: u64 = 24;

/// How many times more tokens a byte than any row of the sample, or fewer than any, a row is
/// trusted to have at most.
const MARGIN: f64 = 1.25;

/// How much longer than estimated a part of a row may be, most often.
const UNEVEN: f64 = 1.1;

/// Counts tokens with the tokenizer and template that rows will be trained with. A function that
/// counts an example is one.
pub trait TokenCount: Sync {
    /// The tokens of an example.
    fn count(&self, example: &Example) -> Result<usize>;

    /// The tokens that a piece of a session, as [`pieces`] cuts it, adds to whatever goes before
    /// it; none where that depends on what goes before.
    ///
    /// [`pieces`]: crate::trace::pieces
    fn adds(&self, _piece: &[Message]) -> Result<Option<usize>> {
        Ok(None)
    }

    /// Some of the rows that will be counted, to find out whether a quick way to count them holds.
    fn prove(&self, _sample: &[Arc<Example>]) {}
}

impl<F: Fn(&Example) -> Result<usize> + Sync> TokenCount for F {
    fn count(&self, example: &Example) -> Result<usize> {
        self(example)
    }
}

/// Tells lengths in tokens.
pub struct Gauge<'a> {
    count: &'a dyn TokenCount,
    rate: Option<Rate>,
}

/// Tokens a byte.
struct Rate {
    least: f64,
    mean: f64,
    most: f64,
}

/// What a row's length is estimated from.
fn size(row: &Held) -> u64 {
    row.bytes + TURN * row.messages
}

impl<'a> Gauge<'a> {
    /// A gauge for these rows.
    pub fn new(rows: &[Held], count: &'a dyn TokenCount) -> Result<Gauge<'a>> {
        // By hash, so that the sample hardly changes when rows come or go.
        let mut ranked: Vec<(u64, &Held)> =
            rows.iter().map(|row| (xxh3_64(row.id.as_bytes()), row)).collect();
        let nth = SAMPLE.min(ranked.len());
        if nth < ranked.len() {
            ranked.select_nth_unstable_by_key(nth, |(hash, row)| (*hash, &row.id));
        }
        let unknown = ranked[..nth].iter().filter(|(_, row)| row.tokens().is_none());
        let proof = unknown.take(PROOF).map(|(_, row)| row.read());
        count.prove(&proof.collect::<Result<Vec<_>>>()?);
        if rows.iter().map(|row| row.bytes).sum::<u64>() <= EXACT {
            return Ok(Gauge { count, rate: None });
        }
        let counted: Vec<Result<(u64, usize)>> =
            ranked[..nth].par_iter().map(|(_, row)| Ok((size(row), row.counted(count)?))).collect();
        let counted = counted.into_iter().collect::<Result<Vec<_>>>()?;
        let (bytes, tokens) = counted.iter().fold((0, 0), |(b, t), (x, y)| (b + x, t + y));
        let rates: Vec<f64> =
            counted.iter().map(|(bytes, n)| *n as f64 / (*bytes).max(1) as f64).collect();
        let rate = Rate {
            least: rates.iter().copied().fold(f64::MAX, f64::min),
            mean: tokens as f64 / bytes.max(1) as f64,
            most: rates.iter().copied().fold(0.0, f64::max),
        };
        Ok(Gauge { count, rate: Some(rate) })
    }

    /// Whether lengths are estimated where no limit is near.
    pub fn estimates(&self) -> bool {
        self.rate.is_some()
    }

    /// Whether a row has at most `limit` tokens.
    pub fn fits(&self, row: &Held, limit: usize) -> Result<bool> {
        match self.tells(row, limit) {
            Some(fits) => Ok(fits),
            None => Ok(self.exact(row)? <= limit),
        }
    }

    /// The same where it need not be counted for that.
    pub fn tells(&self, row: &Held, limit: usize) -> Option<bool> {
        if let Some(tokens) = row.tokens() {
            return Some(tokens <= limit);
        }
        let rate = self.rate.as_ref()?;
        let (size, limit) = (size(row) as f64, limit as f64);
        if size * rate.most * MARGIN <= limit {
            return Some(true);
        }
        (size * rate.least / MARGIN > limit).then_some(false)
    }

    /// How long a part of a row is, rather too long than too short; nothing where lengths are
    /// counted.
    pub fn estimate(&self, part: &Trace) -> Option<usize> {
        let size = text_bytes(part) + TURN * part.messages.len() as u64;
        self.rate.as_ref().map(|rate| (size as f64 * rate.mean * UNEVEN) as usize)
    }

    /// A row's tokens, estimated unless they were counted.
    pub fn length(&self, row: &Held) -> Result<usize> {
        match (&self.rate, row.tokens()) {
            (_, Some(tokens)) => Ok(tokens),
            (Some(rate), None) => Ok((size(row) as f64 * rate.mean).round() as usize),
            (None, None) => self.exact(row),
        }
    }

    fn exact(&self, row: &Held) -> Result<usize> {
        row.counted(self.count).with_context(|| format!("{}: cannot count its tokens", row.place()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::paging;
    use super::super::testing::{chat, prose};
    use super::*;

    #[test]
    fn small_sets_are_counted_and_large_ones_where_a_limit_is_near() {
        let counted = AtomicUsize::new(0);
        // A token is two bytes.
        let count = |e: &Example| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(paging::text_bytes(&e.trace) as usize / 2 + 24)
        };
        let text = prose(1, 2000);
        let held = |n: usize, size: usize| Held::from(chat(&format!("s{n}"), &text[..size], "ok"));
        let small: Vec<Held> = (0..10).map(|n| held(n, 1000)).collect();
        let gauge = Gauge::new(&small, &count).unwrap();
        assert!(!gauge.estimates());
        assert_eq!((gauge.length(&small[0]).unwrap(), counted.load(Ordering::Relaxed)), (525, 1));

        let mut many: Vec<Held> = (0..4000).map(|n| held(n, 10_000)).collect();
        many.extend((4000..4010).map(|n| held(n, 12_000)));
        let gauge = Gauge::new(&many, &count).unwrap();
        assert!(gauge.estimates());
        counted.store(0, Ordering::Relaxed);
        assert!(many.iter().all(|row| gauge.fits(row, 10_000).unwrap()));
        assert_eq!(counted.load(Ordering::Relaxed), 0);
        let fitting = many.iter().filter(|row| gauge.fits(row, 5_500).unwrap()).count();
        assert_eq!(fitting, 4000);
        counted.store(0, Ordering::Relaxed);
        assert!(!many.iter().any(|row| gauge.fits(row, 3_000).unwrap()));
        assert_eq!(counted.load(Ordering::Relaxed), 0);
        let all: usize = many.iter().map(|row| gauge.length(row).unwrap()).sum();
        let exact: usize = many.iter().map(|row| row.counted(&count).unwrap()).sum();
        assert!(all.abs_diff(exact) * 200 < exact, "{all} against {exact}");
    }
}
