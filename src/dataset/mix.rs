//! Mixes generated, hand-written and replayed rows into training, by tokens.
//!
//! Real rows set the measure and are all taken. With R of their tokens and shares rₖ for the
//! other kinds the whole has T tokens, T = R + Σ min(poolₖ, rₖT): a pool that is too small gives
//! all it has and the others keep their share of what is really there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::{Result, bail};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3Builder, xxh3_128};

use super::gauge::Gauge;
use super::leakage::{Leakage, measure};
use super::ledger::Ledger;
use super::similarity::Limits;
use super::split::{Parts, SplitReport};
use super::{Account, Held, Kind, Stage, TokenCount};
use crate::chance::Chance;
use crate::config::Config;
use crate::progress::{Counter, Observer};

/// What to do when a pool is too small for its ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortfall {
    /// Take what there is.
    Downsample,
    /// Repeat the pool's rows.
    Repeat,
    /// Stop with an error.
    Refuse,
}

/// How to mix.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The share of training tokens of each kind but real.
    pub ratios: BTreeMap<Kind, f64>,
    /// What to do when a pool is too small.
    pub shortfall: Shortfall,
    /// Draws the rows where a pool is larger than needed.
    pub seed: u64,
    /// From when on rows count as copies when leakage is measured.
    pub limits: Limits,
    /// The largest share of validation rows that may leak.
    pub max_leak: f64,
}

/// The kinds with a ratio, and its key.
const RATIOS: [(Kind, &str); 4] = [
    (Kind::Synthetic, "SYNTHETIC_RATIO"),
    (Kind::Adversarial, "ADVERSARIAL_RATIO"),
    (Kind::Counterexample, "COUNTEREXAMPLE_RATIO"),
    (Kind::Replay, "REPLAY_RATIO"),
];

impl Options {
    /// From the `…_RATIO` keys, `SHORTFALL`, `SEED`, `MAX_LEAK` and the limits of deduplication.
    pub fn from_config(config: &Config) -> Result<Options> {
        let ratios: BTreeMap<Kind, f64> =
            RATIOS.iter().map(|(kind, key)| (*kind, config.float(key))).collect();
        let sum: f64 = ratios.values().sum();
        if sum > 0.95 {
            let keys: Vec<_> = RATIOS.iter().map(|(_, key)| *key).collect();
            bail!(
                "{}: {} add up to {sum}; leave at least a twentieth to real rows",
                config.provenance(keys[0]),
                keys.join(" + ")
            );
        }
        Ok(Options {
            ratios,
            shortfall: match config.text("SHORTFALL") {
                "repeat" => Shortfall::Repeat,
                "refuse" => Shortfall::Refuse,
                _ => Shortfall::Downsample,
            },
            seed: config.int("SEED") as u64,
            limits: Limits::from_config(config)?,
            max_leak: config.float("MAX_LEAK"),
        })
    }

    /// Of how many of `real` rows examples of a kind need to be made, `each` from one, so that
    /// there are about twice as many as its ratio takes.
    pub fn parents(&self, kind: Kind, real: usize, each: u64) -> usize {
        let share = self.ratios.get(&kind).copied().unwrap_or(0.0);
        let rest = 1.0 - self.ratios.values().sum::<f64>();
        (2.0 * real as f64 * share / rest / each.max(1) as f64).ceil() as usize
    }
}

/// What a kind was to contribute and what it did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// The kind.
    pub kind: Kind,
    /// The share of training tokens that was asked for; none for real rows, which take the rest.
    pub wanted: Option<f64>,
    /// The share it has.
    pub got: f64,
    /// Rows there were.
    pub available_rows: u64,
    /// Their tokens.
    pub available_tokens: u64,
    /// Rows taken, repeats included.
    pub rows: u64,
    /// Their tokens.
    pub tokens: u64,
    /// Rows taken more than once, each time after the first.
    pub repeats: u64,
}

/// The finished dataset. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Dataset {
    /// Rows to train on, ordered by id; a repeated row stands several times.
    pub train: Arc<Vec<Held>>,
    /// Real rows for early stopping and sweeps, ordered by id.
    pub tune: Arc<Vec<Held>>,
    /// Real rows for the verdict, ordered by id.
    pub val: Arc<Vec<Held>>,
    /// What happened so far, in order.
    pub stages: Arc<Vec<Stage>>,
    /// What is known beside the rows.
    pub account: Arc<Account>,
    /// What the split did; none when the parts were given as files.
    pub split: Option<Arc<SplitReport>>,
    /// What the ledger is to say from now on; none when no ledger is kept.
    pub ledger: Option<Arc<Ledger>>,
    /// Ratios wanted and got; none when the parts were given as files.
    pub ratios: Arc<Vec<Ratio>>,
    /// The length of every row in tokens.
    pub lengths: Arc<Lengths>,
    /// The measured likeness of val to the rest.
    pub leakage: Arc<Leakage>,
}

impl Dataset {
    /// The rows of a part by its name.
    pub fn part(&self, part: super::Part) -> &Arc<Vec<Held>> {
        match part {
            super::Part::Train => &self.train,
            super::Part::Tune => &self.tune,
            super::Part::Val => &self.val,
        }
    }
}

impl std::fmt::Display for Dataset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (train, tune, val) = (self.train.len(), self.tune.len(), self.val.len());
        write!(f, "Dataset({train} train, {tune} tune, {val} val)")
    }
}

/// The lengths of rows in tokens, by a hash of their ids.
#[derive(Debug, Clone, Default)]
pub struct Lengths {
    // Only looked up, never walked: the hasher's order does not matter.
    tokens: HashMap<u128, u32, Xxh3Builder>,
    /// Whether rows that no limit was near are estimated.
    pub estimated: bool,
}

impl Lengths {
    /// Counts the tokens of every row.
    pub fn of(
        parts: &[&[Held]],
        count: &dyn TokenCount,
        observer: &dyn Observer,
    ) -> Result<Lengths> {
        let rows: Vec<Held> = parts.iter().flat_map(|part| part.iter().cloned()).collect();
        let gauge = Gauge::new(&rows, count)?;
        observer.begin("count tokens", Some(rows.len() as u64), "rows");
        let counter = Counter::new(observer);
        let counted: Vec<Result<(u128, u32)>> = rows
            .par_iter()
            .map(|row| {
                counter.tick()?;
                Ok((xxh3_128(row.id.as_bytes()), gauge.length(row)?.min(u32::MAX as usize) as u32))
            })
            .collect();
        observer.end();
        Ok(Lengths {
            tokens: counted.into_iter().collect::<Result<_>>()?,
            estimated: gauge.estimates(),
        })
    }

    /// The length of a row.
    pub fn get(&self, id: &str) -> Option<u64> {
        self.tokens.get(&xxh3_128(id.as_bytes())).map(|n| u64::from(*n))
    }
}

/// Mixes the training part to its ratios and measures what leaks into validation.
pub fn mix(
    parts: &Parts,
    options: &Options,
    count: &dyn TokenCount,
    observer: &dyn Observer,
) -> Result<Dataset> {
    let lengths = Lengths::of(&[&parts.train, &parts.tune, &parts.val], count, observer)?;
    let tokens = |e: &Held| lengths.get(&e.id).unwrap_or(0);
    let mut pools: BTreeMap<Kind, Vec<Held>> = BTreeMap::new();
    for example in parts.train.iter() {
        pools.entry(example.kind).or_default().push(example.clone());
    }
    let available = |kind: Kind| {
        let pool = pools.get(&kind).map_or(&[][..], |p| p.as_slice());
        (pool.len() as u64, pool.iter().map(tokens).sum::<u64>())
    };
    let total = whole(available(Kind::Real).1, options, |kind| available(kind).1)?;

    let mut train = Vec::new();
    let mut ratios = Vec::new();
    let mut dropped = BTreeMap::new();
    let mut repeated = 0;
    for kind in Kind::ALL {
        let pool = pools.get(&kind).map_or(&[][..], |p| p.as_slice());
        let taken = match options.ratios.get(&kind) {
            None if kind == Kind::Real => pool.to_vec(),
            ratio => {
                let wanted = total * ratio.copied().unwrap_or(0.0);
                let mut chance = Chance::new(options.seed, &format!("mix {}", kind.as_str()));
                take(pool, wanted, options.shortfall, &mut chance, &tokens)
            }
        };
        let distinct = taken.iter().map(|e| &e.id).collect::<std::collections::BTreeSet<_>>();
        let repeats = (taken.len() - distinct.len()) as u64;
        let left = (pool.len() - distinct.len()) as u64;
        if left > 0 {
            dropped.insert(format!("over_ratio_{}", kind.as_str()), left);
        }
        repeated += repeats;
        let (available_rows, available_tokens) = available(kind);
        ratios.push(Ratio {
            kind,
            wanted: options.ratios.get(&kind).copied(),
            got: 0.0,
            available_rows,
            available_tokens,
            rows: taken.len() as u64,
            tokens: taken.iter().map(tokens).sum(),
            repeats,
        });
        train.extend(taken);
    }
    let all: u64 = ratios.iter().map(|r| r.tokens).sum();
    for ratio in &mut ratios {
        let share = if all == 0 { 0.0 } else { ratio.tokens as f64 / all as f64 };
        ratio.got = (share * 1e6).round() / 1e6;
    }
    train.sort_by(|a, b| a.id.cmp(&b.id));

    let before = parts.train.len() + parts.tune.len() + parts.val.len();
    let mut stage = Stage::passed("mix", before, dropped);
    stage.added = repeated;
    stage.output += repeated;
    let mut stages = parts.stages.as_ref().clone();
    stages.push(stage);
    observer.check()?;
    let leakage = measure(&[&train, &parts.tune], &parts.val, &options.limits, options.max_leak)?;
    Ok(Dataset {
        train: Arc::new(train),
        tune: parts.tune.clone(),
        val: parts.val.clone(),
        stages: Arc::new(stages),
        account: parts.account.clone(),
        split: Some(parts.report.clone()),
        ledger: parts.report.ledger.as_ref().map(|_| parts.ledger.clone()),
        ratios: Arc::new(ratios),
        lengths: Arc::new(lengths),
        leakage: Arc::new(leakage),
    })
}

/// How many tokens training will have.
fn whole(real: u64, options: &Options, pool: impl Fn(Kind) -> u64) -> Result<f64> {
    let mut open: Vec<(Kind, f64, u64)> = options
        .ratios
        .iter()
        .filter(|(_, ratio)| **ratio > 0.0)
        .map(|(kind, ratio)| (*kind, *ratio, pool(*kind)))
        .collect();
    let mut fixed = real;
    loop {
        let shares: f64 = open.iter().map(|(_, ratio, _)| ratio).sum();
        let total = fixed as f64 / (1.0 - shares);
        // The pool that runs out first is short whatever the others do.
        let short = open
            .iter()
            .enumerate()
            .filter(|(_, (_, ratio, pool))| (*pool as f64) < ratio * total)
            .min_by(|(_, a), (_, b)| (a.2 as f64 / a.1).total_cmp(&(b.2 as f64 / b.1)));
        let Some((at, (kind, ratio, pool))) = short else { return Ok(total) };
        let (kind, ratio, pool) = (*kind, *ratio, *pool);
        // Hand-written and replay rows are optional: without any there is nothing to be short of.
        let optional = matches!(kind, Kind::Counterexample | Kind::Replay) && pool == 0;
        if options.shortfall == Shortfall::Refuse && !optional {
            let key = RATIOS.iter().find(|(k, _)| *k == kind).map_or("", |(_, key)| *key);
            bail!(
                "the {} rows have {pool} tokens where {key}={ratio} wants {:.0}; add rows, lower \
                 {key}, or set SHORTFALL to downsample or repeat",
                kind.as_str(),
                ratio * total
            );
        }
        if options.shortfall == Shortfall::Repeat && pool > 0 {
            open[at].2 = u64::MAX;
        } else {
            fixed += pool;
            open.remove(at);
        }
    }
}

/// Rows of a pool worth about `wanted` tokens, drawn by chance; all of them where that is less.
fn take(
    pool: &[Held],
    wanted: f64,
    shortfall: Shortfall,
    chance: &mut Chance,
    tokens: &impl Fn(&Held) -> u64,
) -> Vec<Held> {
    let mut taken = Vec::new();
    let mut sum = 0.0;
    loop {
        let mut round = pool.to_vec();
        chance.shuffle(&mut round);
        let before = taken.len();
        for example in round {
            let length = tokens(&example) as f64;
            // A row is taken when it brings the sum closer to what is wanted.
            if length > 0.0 && sum + length / 2.0 <= wanted {
                sum += length;
                taken.push(example);
            }
        }
        let all = taken.len() - before == pool.len();
        if shortfall != Shortfall::Repeat || !all || pool.is_empty() {
            return taken;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Example;
    use super::super::testing::{chat, prose, read};
    use super::*;
    use crate::progress::Silent;

    fn options(ratios: &[(Kind, f64)], shortfall: Shortfall) -> Options {
        let limits = Limits::default();
        let ratios = ratios.iter().copied().collect();
        Options { ratios, shortfall, seed: 1, limits, max_leak: 0.0 }
    }

    /// Rows of the given kinds and numbers, each of ten tokens.
    fn parts(kinds: &[(Kind, u64)]) -> Parts {
        let make = |kind: Kind, n: u64| {
            let row =
                chat(&format!("{}{n}", kind.as_str()), &prose(n + 1000 * kind as u64, 20), "ok");
            Held::from(Example::new(kind, row.trace))
        };
        let mut train: Vec<_> =
            kinds.iter().flat_map(|(k, n)| (0..*n).map(move |i| make(*k, i))).collect();
        train.sort_by(|a, b| a.id.cmp(&b.id));
        let stages = Arc::new(vec![Stage::made("made", train.len())]);
        Parts { train: Arc::new(train), stages, ..Parts::default() }
    }

    fn run(parts: &Parts, options: &Options) -> Result<Dataset> {
        mix(parts, options, &|_: &Example| Ok(10), &Silent)
    }

    fn got(dataset: &Dataset, kind: Kind) -> &Ratio {
        dataset.ratios.iter().find(|r| r.kind == kind).unwrap()
    }

    #[test]
    fn larger_pools_are_sampled_to_their_share() {
        let parts = parts(&[(Kind::Real, 70), (Kind::Synthetic, 90), (Kind::Adversarial, 90)]);
        let ratios = [(Kind::Synthetic, 0.2), (Kind::Adversarial, 0.1), (Kind::Replay, 0.3)];
        let dataset = run(&parts, &options(&ratios, Shortfall::Downsample)).unwrap();
        // No replay row: 70 real rows are 0.7 of the whole.
        assert_eq!(dataset.train.len(), 100);
        assert_eq!(got(&dataset, Kind::Synthetic).got, 0.2);
        assert_eq!(got(&dataset, Kind::Adversarial).rows, 10);
        let stage = dataset.stages.last().unwrap();
        assert_eq!(stage.dropped["over_ratio_synthetic"], 70);
        assert!(stage.adds_up());
        let again = run(&parts, &options(&ratios, Shortfall::Downsample)).unwrap();
        assert_eq!(read(&dataset.train), read(&again.train));
        let mut other = options(&ratios, Shortfall::Downsample);
        other.seed = 2;
        let other = run(&parts, &other).unwrap();
        assert_ne!(read(&dataset.train), read(&other.train));
    }

    #[test]
    fn a_small_pool_is_taken_whole_and_the_others_keep_their_share() {
        let parts = parts(&[(Kind::Real, 85), (Kind::Synthetic, 5), (Kind::Replay, 90)]);
        let ratios = [(Kind::Synthetic, 0.5), (Kind::Replay, 0.1)];
        let dataset = run(&parts, &options(&ratios, Shortfall::Downsample)).unwrap();
        assert_eq!(got(&dataset, Kind::Synthetic).rows, 5);
        assert_eq!(got(&dataset, Kind::Replay).rows, 10);
        assert_eq!(got(&dataset, Kind::Replay).got, 0.1);
    }

    #[test]
    fn a_small_pool_is_repeated_or_refused_as_asked() {
        let parts = parts(&[(Kind::Real, 60), (Kind::Synthetic, 15)]);
        let ratios = [(Kind::Synthetic, 0.4), (Kind::Counterexample, 0.1)];
        let dataset = run(&parts, &options(&ratios, Shortfall::Repeat)).unwrap();
        let synthetic = got(&dataset, Kind::Synthetic);
        assert_eq!((synthetic.rows, synthetic.repeats, synthetic.got), (40, 25, 0.4));
        let stage = dataset.stages.last().unwrap();
        assert_eq!((stage.added, stage.output), (25, 100));
        assert!(stage.adds_up());
        let error = run(&parts, &options(&ratios, Shortfall::Refuse)).unwrap_err().to_string();
        assert!(error.contains("SYNTHETIC_RATIO=0.4 wants 400"), "{error}");
    }

    #[test]
    fn a_ratio_of_zero_takes_none() {
        let parts = parts(&[(Kind::Real, 5), (Kind::Synthetic, 5)]);
        let dataset = run(&parts, &options(&[(Kind::Synthetic, 0.0)], Shortfall::Repeat)).unwrap();
        assert_eq!(dataset.train.len(), 5);
        let none = self::parts(&[(Kind::Synthetic, 5)]);
        let dataset = run(&none, &options(&[(Kind::Synthetic, 0.5)], Shortfall::Repeat)).unwrap();
        assert!(dataset.train.is_empty());
    }

    #[test]
    fn ratios_that_leave_nothing_real_are_refused() {
        let mut layers = crate::config::Layers::new();
        layers.command_line("SYNTHETIC_RATIO=0.9").unwrap();
        let error = Options::from_config(&layers.resolve(&[]).unwrap()).unwrap_err();
        assert!(error.to_string().contains("SYNTHETIC_RATIO"), "{error}");
    }
}
