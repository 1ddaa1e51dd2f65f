//! How often a gate errs, before it is trusted: invented nights whose truth is known, judged by
//! the real statistics and the real policies.
//!
//! [`world`] invents what base and candidate score, or trades their places in the outputs of a real
//! run session by session, which is what a useless adapter looks like there; [`evidence`] turns
//! scores into evidence; [`Simulation`] counts verdicts.

use anyhow::{Result, ensure};
use rayon::prelude::*;
use serde::Serialize;

use crate::chance::Chance;
use crate::gate::{self, Evidence, Nights, Policy, Verdict};
use crate::progress::{Counter, Observer};

mod evidence;
pub mod fixtures;
pub mod world;

pub use world::{Invented, World};

/// True gains in exact match that a simulation looks at, as fractions; the first is none.
pub const GAINS: [f64; 4] = [0.0, 0.02, 0.05, 0.10];

/// How sure the intervals of the counted shares are.
const Z: f64 = 1.96;

/// Asks the policies about some evidence.
pub type Ask<'a> = &'a (dyn Fn(&Evidence) -> Vec<Policy> + Sync);

/// How much is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Effort {
    /// Single nights at each gain.
    pub runs: u64,
    /// Months of useless adapters.
    pub streams: u64,
    /// Nights in such a month.
    pub nights: u64,
    /// The seed.
    pub seed: u64,
}

/// Verdicts at one true gain.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rates {
    /// The true gain in exact match.
    pub gain: f64,
    /// Nights simulated.
    pub runs: u64,
    /// The share promoted.
    pub promoted: f64,
    /// The share blocked; the rest was inconclusive.
    pub blocked: f64,
    /// Where the true share promoted lies, with 95 % confidence (Wilson's interval).
    pub interval: (f64, f64),
}

/// A gate's operating characteristic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Characteristic {
    /// One night on its own, the first in its ledger.
    pub one_night: Vec<Rates>,
    /// Streams of nights, all with adapters that are no better: how many were simulated, of how
    /// many nights.
    pub streams: u64,
    /// Nights in each.
    pub nights: u64,
    /// The share of streams in which any night promoted.
    pub any_dud: f64,
    /// Where that share truly lies, with 95 % confidence.
    pub any_dud_interval: (f64, f64),
    /// Promotions by nights, over all streams.
    pub dud_nights: f64,
}

/// What is simulated.
pub struct Simulation<'a> {
    /// Where scores come from.
    pub world: &'a World,
    /// The policies, all of which must agree.
    pub ask: Ask<'a>,
    /// How much.
    pub effort: Effort,
}

impl Simulation<'_> {
    /// Counts verdicts; the same seed gives the same counts for any number of threads.
    pub fn run(&self, observer: &dyn Observer) -> Result<Characteristic> {
        let Effort { runs, streams, nights, .. } = self.effort;
        ensure!(
            runs > 0 && streams > 0 && nights > 0,
            "a simulation needs runs, streams and nights"
        );
        let work = GAINS.len() as u64 * runs + streams * nights;
        observer.begin("simulate", Some(work), "nights");
        let done = Counter::new(observer);
        let mut one_night = Vec::new();
        for gain in GAINS {
            let verdicts: Vec<Verdict> = (0..runs)
                .into_par_iter()
                .map(|run| {
                    done.tick()?;
                    let label = format!("one night {run}");
                    Ok(self.night(gain, &label, Nights::default(), Verdict::Block))
                })
                .collect::<Result<_>>()?;
            let of = |verdict| verdicts.iter().filter(|v| **v == verdict).count() as u64;
            let promoted = of(Verdict::Promote);
            one_night.push(Rates {
                gain,
                runs,
                promoted: promoted as f64 / runs as f64,
                blocked: of(Verdict::Block) as f64 / runs as f64,
                interval: wilson(promoted, runs),
            });
        }
        let promotions: Vec<u64> = (0..streams)
            .into_par_iter()
            .map(|stream| {
                let mut ledger = Nights::default();
                for night in 0..nights {
                    done.tick()?;
                    let label = format!("stream {stream} night {night}");
                    let verdict =
                        self.night(GAINS[0], &label, ledger.clone(), Verdict::Inconclusive);
                    ledger.before += 1;
                    if verdict == Verdict::Promote {
                        ledger.promoted.push(ledger.before);
                    }
                }
                Ok(ledger.promoted.len() as u64)
            })
            .collect::<Result<_>>()?;
        observer.end();
        let any = promotions.iter().filter(|n| **n > 0).count() as u64;
        Ok(Characteristic {
            one_night,
            streams,
            nights,
            any_dud: any as f64 / streams as f64,
            any_dud_interval: wilson(any, streams),
            dud_nights: promotions.iter().sum::<u64>() as f64 / (streams * nights) as f64,
        })
    }

    /// One night's verdict. Where the host's own checks alone come out `settled` or worse, the
    /// policies are not asked, since they can only tighten.
    fn night(&self, gain: f64, label: &str, nights: Nights, settled: Verdict) -> Verdict {
        let seed = self.effort.seed;
        let scored = self.world.night(gain, &mut Chance::new(seed, label));
        let evidence = |slices| {
            let evidence = evidence::of(self.world, &scored, slices, seed);
            Evidence { nights: Some(nights.clone()), ..evidence }
        };
        let agreed = Policy {
            name: String::new(),
            digest: String::new(),
            checks: Ok(vec![gate::policy::require("agreed", true, "")]),
        };
        let alone = gate::judge(&evidence(false), vec![agreed], Vec::new()).verdict;
        let over = alone == Verdict::Block || alone == settled;
        if over && alone != Verdict::Promote {
            return alone;
        }
        let whole = evidence(true);
        gate::judge(&whole, (self.ask)(&whole), Vec::new()).verdict
    }
}

/// Wilson's interval of a share (Wilson 1927).
fn wilson(hits: u64, of: u64) -> (f64, f64) {
    let (n, p) = (of as f64, hits as f64 / of as f64);
    let middle = p + Z * Z / (2.0 * n);
    let reach = Z * libm::sqrt(p * (1.0 - p) / n + Z * Z / (4.0 * n * n));
    let scale = 1.0 + Z * Z / n;
    (((middle - reach) / scale).max(0.0), ((middle + reach) / scale).min(1.0))
}
