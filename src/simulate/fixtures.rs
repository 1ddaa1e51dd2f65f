//! Evidence to test policies with, by name.

use super::evidence;
use super::world::{Invented, World};
use crate::chance::Chance;
use crate::evaluate::metrics;
use crate::gate::{Evidence, Nights};

/// The shape of the nights that fixtures are.
const SHAPE: Invented = Invented { items: 240, sessions: 80, suite: 60, right: 0.5, changed: 0.2 };

/// Every fixture: its name and what it is.
pub const FIXTURES: [(&str, &str); 7] = [
    ("good", "a clear gain, nothing lost, no secret: it is promoted"),
    ("dud", "an adapter that is no better: inconclusive"),
    ("harmful", "many answers that were right are wrong: blocked"),
    ("few", "a clear gain on a handful of sessions: inconclusive"),
    ("late", "a small gain on the hundredth night in vain: inconclusive"),
    ("champion", "a clear gain over the base, but far behind the adapter in use: blocked"),
    ("leaky", "a clear gain with a secret in an answer: blocked"),
];

/// The evidence of a name, or an error that lists the known ones.
pub fn fixture(name: &str) -> Result<Evidence, String> {
    let night = |shape: Invented, gain: f64| {
        let world = World::Invented(shape);
        let scored = world.night(gain, &mut Chance::new(5, "fixture"));
        evidence::of(&world, &scored, true, 5)
    };
    let mut evidence = match name {
        "good" | "champion" | "leaky" => night(SHAPE, 0.2),
        "dud" => night(SHAPE, 0.0),
        "harmful" => night(SHAPE, -0.2),
        "few" => night(Invented { items: 24, sessions: 8, ..SHAPE }, 0.2),
        "late" => night(SHAPE, 0.06),
        _ => {
            let known = FIXTURES.iter().map(|(known, _)| *known);
            return Err(metrics::unknown("fixture", name, known));
        }
    };
    evidence.nights = Some(Nights::default());
    if name == "late" {
        evidence.nights = Some(Nights { before: 99, ..Nights::default() });
    }
    if let Some(e) = &mut evidence.evaluation {
        match name {
            "champion" => e.champion_delta = night(SHAPE, -0.2).evaluation.map(|e| e.delta),
            "leaky" => e.secrets = Some(1),
            _ => {}
        }
    }
    Ok(evidence)
}
