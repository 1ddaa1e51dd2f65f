//! What the gate's statistics and its shipped policy are claimed to do, counted with fixed seeds:
//! how often 95 % intervals hold the truth, and how often a useless adapter is promoted.
//!
//!     cargo bench --bench gate

use proto::chance::Chance;
use proto::evaluate::statistics::paired;
use proto::gate::Evidence;
use proto::progress::Silent;
use proto::script::policy;
use proto::simulate::{Effort, Invented, Simulation, World};
use rayon::prelude::*;

/// Simulated comparisons behind each coverage.
const RUNS: u64 = 2000;

fn main() {
    coverage();
    promotions();
}

/// How items of a session differ, and the true mean of that.
type Draw = fn(&mut Chance) -> Vec<f64>;

/// Scores between 0 and 1 that lean with their session; +0.1.
fn shares(chance: &mut Chance) -> Vec<f64> {
    let lean = 0.25 * chance.normal();
    (0..1 + chance.below(4)).map(|_| 0.1 + lean + 0.4 * chance.normal()).collect()
}

/// Right or wrong on both sides: 10 % of answers better, 5 % worse; +0.05. Sessions lean.
fn flags(chance: &mut Chance) -> Vec<f64> {
    let scale = 2.0 * chance.unit();
    let item = |u: f64| match u {
        u if u < 0.10 * scale => 1.0,
        u if u < 0.15 * scale => -1.0,
        _ => 0.0,
    };
    (0..1 + chance.below(6)).map(|_| item(chance.unit())).collect()
}

fn coverage() {
    println!("95 % intervals that hold the truth, {RUNS} comparisons each");
    println!("{:<10} {:>8} {:>8} {:>8} {:>8}", "sessions", "shares", "±", "flags", "±");
    for sessions in [10usize, 20, 50, 100, 200] {
        let covered = |draw: Draw, truth: f64, label: &str| {
            let holds = |run: u64| {
                let mut chance = Chance::new(run, &format!("{label} {sessions}"));
                let items: Vec<(String, f64)> = (0..sessions)
                    .flat_map(|s| draw(&mut chance).into_iter().map(move |d| (format!("s{s}"), d)))
                    .collect();
                let pairs = items.iter().map(|(s, d)| (s.as_str(), *d));
                let found = paired(pairs, 2000, &Chance::new(run, "resamples")).expect("numbers");
                found.low.is_some_and(|low| low <= truth) && found.high.is_some_and(|h| truth <= h)
            };
            (0..RUNS).into_par_iter().filter(|run| holds(*run)).count() as f64 / RUNS as f64
        };
        let error = |p: f64| 100.0 * 1.96 * (p * (1.0 - p) / RUNS as f64).sqrt();
        let (a, b) = (covered(shares, 0.1, "shares"), covered(flags, 0.05, "flags"));
        println!(
            "{sessions:<10} {:>6.1} % {:>8.1} {:>6.1} % {:>8.1}",
            a * 100.0,
            error(a),
            b * 100.0,
            error(b)
        );
    }
}

fn promotions() {
    println!("\nthe shipped policy; true gain in points: promoted");
    let effort = Effort { runs: 1000, streams: 1000, nights: 30, seed: 17 };
    for (items, sessions, changed) in
        [(60, 20, 0.2), (200, 60, 0.1), (200, 60, 0.2), (200, 60, 0.4), (800, 200, 0.2)]
    {
        let world =
            World::Invented(Invented { items, sessions, suite: items / 4, right: 0.5, changed });
        let ask = |evidence: &Evidence| policy::ask_all(&[], evidence);
        let found = Simulation { world: &world, ask: &ask, effort }.run(&Silent).expect("counts");
        print!("{items} items, {sessions} sessions, {:.0} % changed:", changed * 100.0);
        for rates in &found.one_night {
            print!(" {:+.0}: {:.1} %", rates.gain * 100.0, rates.promoted * 100.0);
        }
        println!(
            "; a dud within {} nights: {:.1} % ({:.1} to {:.1})",
            found.nights,
            found.any_dud * 100.0,
            found.any_dud_interval.0 * 100.0,
            found.any_dud_interval.1 * 100.0
        );
    }
}
