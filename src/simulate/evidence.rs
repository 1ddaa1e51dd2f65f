//! Evidence from scores alone, by the same statistics that real evidence has.

use std::collections::{BTreeMap, BTreeSet};

use super::World;
use super::world::Scored;
use crate::chance::Chance;
use crate::config::Layers;
use crate::evaluate::{Metric, rounded, statistics};
use crate::gate::evidence::Deltas;
use crate::gate::{DatasetEvidence, EvaluationEvidence, Evidence};

/// Draws behind each interval.
const RESAMPLES: usize = 1000;

/// A run in which everything but the scores is as it should be.
pub(super) fn flawless() -> Evidence {
    let dataset = DatasetEvidence {
        digest: "simulated".into(),
        min_example_ok: Some(true),
        redaction_ok: Some(true),
        leak_ok: Some(true),
        train: Some(1000.0),
        val: Some(200.0),
        leakage: Some(0.0),
        canary_recall: Some(1.0),
        residue: Some(0.0),
    };
    // Constants, which every test of the configuration resolves.
    let config = Layers::new().resolve(&[]).expect("built-in defaults resolve");
    let losses = [("base".to_string(), 1.0), ("candidate".to_string(), 0.9)];
    let evaluation = EvaluationEvidence {
        digest: "simulated".into(),
        adapter_active: Some(true),
        secrets: Some(0),
        canary_recall: Some(1.0),
        loss: BTreeMap::from([("val".to_string(), BTreeMap::from(losses))]),
        ..EvaluationEvidence::default()
    };
    let evidence = Evidence::new(dataset, None, None, &config);
    Evidence { evaluation: Some(evaluation), ..evidence }
}

/// The evidence of a night; without its slices where only the overall figures are wanted.
pub(super) fn of(world: &World, scored: &[Scored], slices: bool, seed: u64) -> Evidence {
    let mut evidence = world.evidence();
    let real: Vec<&Scored> = scored.iter().filter(|i| i.suite.is_none()).collect();
    let mut e = evidence.evaluation.take().unwrap_or_default();
    e.pairs = real.len() as u64;
    e.sessions = real.iter().map(|i| &i.session).collect::<BTreeSet<_>>().len() as u64;
    e.delta = deltas(&real, seed);
    for (column, side) in [("base", base as Side), ("candidate", candidate as Side)] {
        e.means.insert(column.into(), means(&real, side));
    }
    // Nobody simulates the adapter in use, nor what else runs differ by.
    e.champion_delta = None;
    (e.source, e.task_category) = Default::default();
    (e.language, e.repository, e.author) = Default::default();
    (e.suite, e.tool) = Default::default();
    if slices {
        e.suite = by(scored.iter().map(|i| (i.suite.iter(), i)), seed);
        e.tool = by(real.iter().map(|i| (i.tools.iter(), *i)), seed);
    }
    evidence.evaluation = Some(e);
    evidence
}

type Side = fn(&Scored) -> &crate::evaluate::metrics::Scores;

fn base(item: &Scored) -> &crate::evaluate::metrics::Scores {
    &item.base
}

fn candidate(item: &Scored) -> &crate::evaluate::metrics::Scores {
    &item.candidate
}

fn by<'a>(
    items: impl Iterator<Item = (impl Iterator<Item = &'a String>, &'a Scored)>,
    seed: u64,
) -> BTreeMap<String, Deltas> {
    let mut members: BTreeMap<&String, Vec<&Scored>> = BTreeMap::new();
    for (keys, item) in items {
        for key in keys {
            members.entry(key).or_default().push(item);
        }
    }
    members.into_iter().map(|(key, items)| (key.clone(), deltas(&items, seed))).collect()
}

fn names<'a>(items: &[&'a Scored]) -> BTreeSet<&'a String> {
    items.iter().flat_map(|i| i.base.keys()).collect()
}

fn deltas(items: &[&Scored], seed: u64) -> Deltas {
    let chance = Chance::new(seed, "simulated");
    let mut deltas = Deltas::new();
    for name in names(items) {
        let differences = items
            .iter()
            .filter_map(|i| Some((i.session.as_str(), i.candidate.get(name)? - i.base.get(name)?)));
        if let Some(delta) = statistics::paired(differences, RESAMPLES, &chance) {
            deltas.insert(name.clone(), delta);
        }
    }
    deltas
}

/// Means by metric; one that an invented world does not know is at its best.
fn means(items: &[&Scored], side: Side) -> BTreeMap<String, f64> {
    let best = |m: &Metric| m.more_is_better().is_some_and(|more| more);
    let known = Metric::ALL.iter().map(|m| (m.name().to_string(), f64::from(u8::from(best(m)))));
    let mut means: BTreeMap<String, f64> = known.collect();
    for name in names(items) {
        let scores: Vec<f64> = items.iter().filter_map(|i| side(i).get(name).copied()).collect();
        if !scores.is_empty() {
            means.insert(name.clone(), rounded(scores.iter().sum::<f64>() / scores.len() as f64));
        }
    }
    means
}
