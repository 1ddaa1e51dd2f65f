//! Paired statistics clustered by session: how large a difference is, how sure it is, and what
//! could have been seen.
//!
//! Items of one session are not independent, so every method here resamples, flips or counts
//! whole sessions. Percentile bootstrap intervals are too narrow with few sessions, so their
//! levels are widened (Hesterberg 2015), and below [`FEW`] sessions the interval is also
//! bias-corrected and accelerated (BCa).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::distributions::{normal_cdf, normal_quantile, sign_test, student_quantile};
use super::rounded;
use crate::chance::Chance;

/// Below this many sessions the plain percentile bootstrap is not trusted.
pub const FEW: usize = 30;
/// How sure the intervals are.
pub const CONFIDENCE: f64 = 0.95;
/// The chance of seeing a difference as large as the smallest detectable one.
pub const POWER: f64 = 0.8;
/// Up to this many sessions that differ, every assignment of signs is tried.
const EXHAUSTIVE: usize = 14;
/// Where sessions differ by whole numbers, all assignments are counted at once in up to this many
/// additions.
const COUNTED: usize = 4 << 20;

/// A paired difference of one metric: what was measured, and how sure it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// The mean difference over the pairs.
    pub delta: f64,
    /// The lower end of the 95 % interval; absent with fewer than two sessions.
    pub low: Option<f64>,
    /// The upper end.
    pub high: Option<f64>,
    /// How the interval was found: `percentile` or `bca`.
    pub interval: String,
    /// Two-sided p by flipping the signs of whole sessions.
    pub p: f64,
    /// One-sided p, by the same flips, that a difference this high comes by chance.
    #[serde(default = "certain")]
    pub p_greater: f64,
    /// One-sided p that a difference this low comes by chance.
    #[serde(default = "certain")]
    pub p_less: f64,
    /// Two-sided p of the exact sign test over sessions.
    pub sign_p: f64,
    /// Sessions in which the metric rose.
    pub rose: u64,
    /// Sessions in which it fell.
    pub fell: u64,
    /// Items compared.
    pub pairs: u64,
    /// Sessions they come from.
    pub sessions: u64,
    /// The smallest true difference that this many sessions, with this much noise, would show
    /// in four of five cases; absent when nothing varies.
    pub detectable: Option<f64>,
}

fn certain() -> f64 {
    1.0
}

/// The differences of one session: their sum and number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cluster {
    /// Sum of the session's differences.
    pub sum: f64,
    /// How many there are.
    pub n: f64,
}

/// Statistics of differences, each with the session it belongs to. `None` when there are none or
/// when one of them is not a number: then nothing can be said.
pub fn paired<'a>(
    differences: impl IntoIterator<Item = (&'a str, f64)>,
    resamples: usize,
    chance: &Chance,
) -> Option<Delta> {
    let mut sessions: BTreeMap<&str, Cluster> = BTreeMap::new();
    for (session, difference) in differences {
        if !difference.is_finite() {
            return None;
        }
        let cluster = sessions.entry(session).or_insert(Cluster { sum: 0.0, n: 0.0 });
        cluster.sum += difference;
        cluster.n += 1.0;
    }
    let clusters: Vec<Cluster> = sessions.into_values().collect();
    if clusters.is_empty() {
        return None;
    }
    let (rose, fell) = (count(&clusters, |d| d > 0.0), count(&clusters, |d| d < 0.0));
    let few = clusters.len() < FEW;
    let interval = (clusters.len() > 1).then(|| {
        let means = bootstrap(&clusters, resamples, &mut chance.clone());
        let tail = widened(clusters.len());
        let levels = if few { bca_levels(&clusters, &means, tail) } else { (tail, 1.0 - tail) };
        percentile(&means, levels)
    });
    let flipped = sign_flip(&clusters, resamples, &mut chance.clone());
    Some(Delta {
        delta: rounded(mean(&clusters)),
        low: interval.map(|i| rounded(i.0)),
        high: interval.map(|i| rounded(i.1)),
        interval: if few { "bca" } else { "percentile" }.into(),
        p: rounded(flipped.two_sided),
        p_greater: fine(flipped.greater),
        p_less: fine(flipped.less),
        sign_p: rounded(sign_test(rose, fell)),
        rose,
        fell,
        pairs: clusters.iter().map(|c| c.n).sum::<f64>() as u64,
        sessions: clusters.len() as u64,
        detectable: detectable(&clusters).map(rounded),
    })
}

fn count(clusters: &[Cluster], holds: impl Fn(f64) -> bool) -> u64 {
    // A sum of opposite differences may miss zero by a rounding error.
    let settled = |c: &&Cluster| c.sum.abs() > 1e-12 && holds(c.sum);
    clusters.iter().filter(settled).count() as u64
}

fn mean<'a>(clusters: impl IntoIterator<Item = &'a Cluster>) -> f64 {
    let (sum, n) = clusters.into_iter().fold((0.0, 0.0), |(s, n), c| (s + c.sum, n + c.n));
    sum / n
}

fn tails() -> (f64, f64) {
    ((1.0 - CONFIDENCE) / 2.0, (1.0 + CONFIDENCE) / 2.0)
}

/// The means of `resamples` draws of whole sessions with replacement, sorted.
pub fn bootstrap(clusters: &[Cluster], resamples: usize, chance: &mut Chance) -> Vec<f64> {
    let mut means: Vec<f64> = (0..resamples.max(1))
        .map(|_| mean((0..clusters.len()).map(|_| &clusters[chance.below(clusters.len())])))
        .collect();
    means.sort_by(f64::total_cmp);
    means
}

/// The interval between two quantiles of sorted bootstrap means.
pub fn percentile(sorted: &[f64], (low, high): (f64, f64)) -> (f64, f64) {
    (quantile(sorted, low), quantile(sorted, high))
}

/// The quantile of sorted values, interpolated linearly.
fn quantile(sorted: &[f64], level: f64) -> f64 {
    let place = level.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

/// The tail to cut off on each side so that an interval over `sessions` resampled sessions is as
/// wide as Student's (Hesterberg 2015): the bootstrap alone is narrow by the factor √((n−1)/n) and
/// knows nothing of Student's tails.
fn widened(sessions: usize) -> f64 {
    let n = sessions as f64;
    let t = student_quantile(tails().1, n - 1.0);
    normal_cdf(-libm::sqrt(n / (n - 1.0)) * t)
}

/// The quantile levels of the BCa interval (Efron 1987) whose nominal tails are `tail` each. Where
/// bias or acceleration cannot be told, the nominal levels.
pub fn bca_levels(clusters: &[Cluster], sorted: &[f64], tail: f64) -> (f64, f64) {
    let centre = mean(clusters);
    let below = sorted.iter().filter(|m| **m < centre).count();
    let up_to = sorted.iter().filter(|m| **m <= centre).count();
    let share = (below + up_to) as f64 / (2 * sorted.len()) as f64;
    let left_out: Vec<f64> =
        (0..clusters.len()).map(|i| mean(clusters[..i].iter().chain(&clusters[i + 1..]))).collect();
    let average = left_out.iter().sum::<f64>() / left_out.len() as f64;
    let gaps = || left_out.iter().map(|m| average - m);
    let squares: f64 = gaps().map(square).sum();
    let cubes: f64 = gaps().map(|g| g * square(g)).sum();
    if share <= 0.0 || share >= 1.0 || squares < 1e-24 {
        return (tail, 1.0 - tail);
    }
    let acceleration = cubes / (6.0 * squares * libm::sqrt(squares));
    let bias = normal_quantile(share);
    let adjusted = |level: f64| {
        let z = bias + normal_quantile(level);
        normal_cdf(bias + z / (1.0 - acceleration * z))
    };
    let levels = (adjusted(tail), adjusted(1.0 - tail));
    // Past its pole the correction turns back on itself.
    if levels.0 < levels.1 { levels } else { (tail, 1.0 - tail) }
}

/// What chance alone does when the sign of each session's difference is a coin flip: the shares
/// of assignments that reach what was measured. The test is exact where base and candidate could
/// trade places session by session.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignFlip {
    /// At least as far from zero.
    pub two_sided: f64,
    /// At least as high.
    pub greater: f64,
    /// At least as low.
    pub less: f64,
}

/// Flips the signs of whole sessions: every assignment where that is feasible (few sessions
/// differ, or all differ by whole numbers), else `resamples` random ones.
pub fn sign_flip(clusters: &[Cluster], resamples: usize, chance: &mut Chance) -> SignFlip {
    let sums: Vec<f64> = clusters.iter().map(|c| c.sum).filter(|s| s.abs() > 1e-12).collect();
    let total = sums.iter().sum::<f64>();
    let whole: Option<Vec<usize>> =
        sums.iter().map(|s| (libm::rint(*s) == *s).then_some(s.abs() as usize)).collect();
    let reach: usize = whole.iter().flatten().sum();
    if let Some(whole) = whole.filter(|whole| whole.len() * (2 * reach + 1) <= COUNTED) {
        let shares = flipped_totals(&whole, reach);
        return SignFlip::counted((-(reach as i64)..).map(|t| t as f64).zip(shares), total);
    }
    let flipped = |keep: &mut dyn FnMut() -> bool| -> f64 {
        sums.iter().map(|s| if keep() { *s } else { -s }).sum()
    };
    if sums.len() <= EXHAUSTIVE {
        let ways = 1usize << sums.len();
        let totals = (0..ways).map(|way| {
            let mut signs = (0..sums.len()).map(|i| way >> i & 1 == 1);
            (flipped(&mut || signs.next().unwrap_or_default()), 1.0 / ways as f64)
        });
        return SignFlip::counted(totals, total);
    }
    // What was measured is one of the assignments.
    let share = 1.0 / (resamples + 1) as f64;
    let drawn = (0..resamples).map(|_| (flipped(&mut || chance.bits() >> 63 == 1), share));
    SignFlip::counted(drawn.chain([(total, share)]), total)
}

impl SignFlip {
    /// From the totals that flipping gives, with the share of each.
    fn counted(totals: impl Iterator<Item = (f64, f64)>, measured: f64) -> SignFlip {
        let mut shares = SignFlip { two_sided: 0.0, greater: 0.0, less: 0.0 };
        for (total, share) in totals {
            let mut add = |reached: bool, to: fn(&mut SignFlip) -> &mut f64| {
                *to(&mut shares) += if reached { share } else { 0.0 };
            };
            add(total.abs() >= measured.abs() - 1e-9, |s| &mut s.two_sided);
            add(total >= measured - 1e-9, |s| &mut s.greater);
            add(total <= measured + 1e-9, |s| &mut s.less);
        }
        shares
    }
}

/// The shares of all assignments of signs to these whole numbers, by their total from `-reach`
/// (the sum of all) to `reach`.
fn flipped_totals(whole: &[usize], reach: usize) -> Vec<f64> {
    let mut shares = vec![0.0; 2 * reach + 1];
    shares[reach] = 1.0;
    let mut reached = 0;
    for step in whole {
        let mut next = vec![0.0; shares.len()];
        for at in reach - reached..=reach + reached {
            next[at - step] += shares[at] / 2.0;
            next[at + step] += shares[at] / 2.0;
        }
        shares = next;
        reached += step;
    }
    shares
}

/// A small probability as it is written: fifteen decimals, since late nights ask for p far below
/// what nine could tell.
fn fine(p: f64) -> f64 {
    libm::rint(p * 1e15) / 1e15
}

/// The smallest difference seen with probability [`POWER`] at these sessions' noise.
fn detectable(clusters: &[Cluster]) -> Option<f64> {
    let sessions = clusters.len() as f64;
    if clusters.len() < 2 {
        return None;
    }
    let (centre, pairs) = (mean(clusters), clusters.iter().map(|c| c.n).sum::<f64>());
    let spread: f64 = clusters.iter().map(|c| square(c.sum - centre * c.n)).sum();
    let error = libm::sqrt(spread * sessions / (sessions - 1.0)) / pairs;
    let reach =
        student_quantile(tails().1, sessions - 1.0) + student_quantile(POWER, sessions - 1.0);
    (error > 1e-12).then_some(reach * error)
}

fn square(x: f64) -> f64 {
    x * x
}

#[cfg(test)]
mod tests {
    use super::*;

    // Golden values come from scipy 1.17 on the same data and the same resample indices.
    const GOLD: [(f64, f64); 8] = [
        (1.0, 2.0),
        (0.0, 1.0),
        (-1.0, 3.0),
        (2.0, 2.0),
        (1.0, 1.0),
        (0.0, 2.0),
        (3.0, 4.0),
        (-1.0, 1.0),
    ];

    fn gold() -> Vec<Cluster> {
        GOLD.iter().map(|(sum, n)| Cluster { sum: *sum, n: *n }).collect()
    }

    /// The resample indices the golden values were made with.
    fn indices(skip: usize) -> impl FnMut() -> usize {
        let mut state: u64 = 42;
        let mut next = move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize
        };
        for _ in 0..skip {
            next();
        }
        next
    }

    fn resampled(clusters: &[Cluster], mut next: impl FnMut() -> usize) -> Vec<f64> {
        let n = clusters.len();
        let draw = |_| (0..n).map(|_| clusters[next() % n]).collect::<Vec<_>>();
        let mut means: Vec<f64> = (0..999).map(draw).map(|drawn| mean(&drawn)).collect();
        means.sort_by(f64::total_cmp);
        means
    }

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() <= 1e-9 * b.abs().max(1.0), "{a} is not {b}");
    }

    #[test]
    fn distributions_agree_with_scipy() {
        near(normal_cdf(-6.0) * 1e10, 9.865876450376946);
        near(normal_cdf(0.3), 0.6179114221889526);
        near(normal_quantile(1e-9), -5.9978070150076865);
        near(normal_quantile(0.025), -1.9599639845400545);
        near(normal_quantile(0.4), -0.2533471031357997);
        near(normal_quantile(0.93), 1.475791028179171);
        near(normal_quantile(1.0 - 1e-6), 4.753424308817087);
        near(super::super::distributions::student_cdf(-1.3, 1.0), 0.20871440016015272);
        near(super::super::distributions::student_cdf(3.5, 200.0), 0.9997132299625086);
        near(student_quantile(0.975, 1.0), 12.706204736174694);
        near(student_quantile(0.975, 5.0), 2.5705818356363146);
        near(student_quantile(0.1, 12.0), -1.356217334023205);
        near(student_quantile(0.8, 200.0), 0.8434221315354185);
    }

    #[test]
    fn sign_tests_agree_with_scipy() {
        near(sign_test(0, 6), 0.03125);
        near(sign_test(9, 2), 0.0654296875);
        near(sign_test(30, 18), 0.11140289106101878);
        near(sign_test(240, 300), 0.011050481081929898);
        near(sign_test(0, 0), 1.0);
        near(sign_test(4, 4), 1.0);
    }

    #[test]
    fn intervals_agree_with_scipy_on_the_same_resamples() {
        let clusters = gold();
        let means = resampled(&clusters, indices(0));
        let (low, high) = percentile(&means, (0.025, 0.975));
        near(low, -1.0 / 7.0);
        near(high, 13.0 / 19.0);
        let levels = bca_levels(&clusters, &means, 0.01);
        near(levels.0, 0.009547024940084017);
        near(levels.1, 0.9895344277426471);
        let (low, high) = percentile(&means, levels);
        near(low, -0.218032294522192);
        near(high, 0.730638538710071);
        let values = [1.0, 0.0, -1.0, 2.0, 1.0, 0.0, 3.0, -1.0, 4.0, 0.5];
        let single: Vec<Cluster> = values.iter().map(|v| Cluster { sum: *v, n: 1.0 }).collect();
        let levels = bca_levels(&single, &resampled(&single, indices(999 * 8)), 0.025);
        near(levels.0, 0.039556968813271);
        near(levels.1, 0.985726350285562);
    }

    #[test]
    fn flips_and_the_detectable_difference_agree_with_scipy() {
        let chance = Chance::new(1, "test");
        let flipped = sign_flip(&gold(), 1, &mut chance.clone());
        near(flipped.two_sided, 0.375);
        near(flipped.greater, 0.1875);
        near(flipped.less, 0.921875);
        near(detectable(&gold()).unwrap(), 0.7398077687604246);
        near(widened(8), 0.0057375205170298775);
        let many: Vec<Cluster> =
            (0..40).map(|i| Cluster { sum: if i % 8 < 5 { 1.0 } else { -1.0 }, n: 1.0 }).collect();
        // 25 of 40: the exact two-sided binomial p.
        let exact = sign_test(25, 15);
        near(sign_flip(&many, 1, &mut chance.clone()).two_sided, exact);
        // The same a little off whole numbers has to be drawn.
        let uneven: Vec<Cluster> =
            many.iter().map(|c| Cluster { sum: c.sum * 1.5, ..*c }).collect();
        let drawn = sign_flip(&uneven, 20_000, &mut chance.clone());
        assert!((drawn.two_sided - exact).abs() < 0.01, "{drawn:?} is not near {exact}");
        assert!((drawn.greater - exact / 2.0).abs() < 0.01, "{drawn:?} is not near {exact}");
    }

    #[test]
    fn the_detectable_difference_matches_the_published_arithmetic() {
        // 20 % discordant pairs: about 18 points at 50 pairs, 9 at 200.
        for (n, points) in [(50usize, 0.18), (200, 0.09)] {
            let differs = |i: usize| match i % 10 {
                0 => 1.0,
                5 => -1.0,
                _ => 0.0,
            };
            let pairs: Vec<Cluster> = (0..n).map(|i| Cluster { sum: differs(i), n: 1.0 }).collect();
            let found = detectable(&pairs).unwrap();
            assert!((found - points).abs() < 0.006, "{found} is not near {points}");
        }
    }

    #[test]
    fn sessions_are_the_unit_whatever_their_order() {
        let items: Vec<(String, f64)> =
            (0..120).map(|i| (format!("s{}", i % 40), f64::from(i % 3) - 0.5)).collect();
        let of = |items: &[(String, f64)]| {
            let pairs = items.iter().map(|(s, d)| (s.as_str(), *d));
            paired(pairs, 500, &Chance::new(3, "x")).unwrap()
        };
        let delta = of(&items);
        assert_eq!((delta.pairs, delta.sessions), (120, 40));
        assert_eq!(delta.interval, "percentile");
        let mut turned = items.clone();
        turned.reverse();
        assert_eq!(of(&turned), delta);
        // The same differences as one session each look surer than they are.
        let alone: Vec<(String, f64)> =
            items.iter().enumerate().map(|(i, (_, d))| (format!("s{i:03}"), *d)).collect();
        assert_eq!(of(&alone).sessions, 120);
        assert_ne!(of(&alone).low, delta.low);
    }

    #[test]
    fn nothing_is_said_where_nothing_can_be() {
        let chance = Chance::new(1, "x");
        assert_eq!(paired([], 100, &chance), None);
        assert_eq!(paired([("a", 1.0), ("b", f64::NAN)], 100, &chance), None);
        let one = paired([("a", 1.0), ("a", 0.0)], 100, &chance).unwrap();
        assert_eq!((one.low, one.high, one.p, one.detectable), (None, None, 1.0, None));
        let same = paired([("a", 0.0), ("b", 0.0)], 100, &chance).unwrap();
        assert_eq!((same.low, same.high, same.p, same.sign_p), (Some(0.0), Some(0.0), 1.0, 1.0));
    }

    #[test]
    fn intervals_cover_the_truth_with_few_and_many_sessions() {
        let mut chance = Chance::new(11, "coverage");
        for (sessions, bar) in [(8usize, 0.90), (50, 0.92)] {
            let runs = 400;
            let covered = (0..runs)
                .filter(|run| {
                    // Items of a session share a tendency; the true difference is 0.1.
                    let mut items = Vec::new();
                    for s in 0..sessions {
                        let lean = 0.25 * chance.normal();
                        for _ in 0..1 + chance.below(4) {
                            items.push((format!("s{s}"), 0.1 + lean + 0.4 * chance.normal()));
                        }
                    }
                    let pairs = items.iter().map(|(s, d)| (s.as_str(), *d));
                    let found = paired(pairs, 400, &Chance::new(*run, "r")).unwrap();
                    found.low.unwrap() <= 0.1 && 0.1 <= found.high.unwrap()
                })
                .count() as f64
                / runs as f64;
            assert!(covered >= bar && covered <= 0.99, "{sessions} sessions: {covered}");
        }
    }
}
