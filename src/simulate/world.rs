//! Where simulated nights get their scores from.

use anyhow::{Result, ensure};

use crate::chance::Chance;
use crate::dataset::Kind;
use crate::evaluate::metrics::Scores;
use crate::evaluate::{Metric, Record};
use crate::gate::Evidence;

use super::evidence;

/// The tools of an invented world.
const TOOLS: [&str; 3] = ["read", "edit", "bash"];

/// The fixed suite of an invented world.
const SUITE: &str = "general";

/// The chance that an invented session's candidate leans towards better or worse, in standard
/// deviations of its share of changed answers.
const LEAN: f64 = 0.5;

/// One item as both sides answered it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// Its session.
    pub session: String,
    /// The fixed suite it belongs to; none for validation.
    pub suite: Option<String>,
    /// The tools its reference calls.
    pub tools: Vec<String>,
    /// What the base scored.
    pub base: Scores,
    /// What the candidate scored.
    pub candidate: Scores,
}

/// A world of nights.
#[derive(Debug, Clone)]
pub enum World {
    /// Wholly invented.
    Invented(Invented),
    /// The outputs of a real run.
    Real {
        /// Its items.
        items: Vec<Scored>,
        /// Its evidence, for everything but scores.
        evidence: Box<Evidence>,
    },
}

/// The shape of an invented world.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Invented {
    /// Validation items.
    pub items: usize,
    /// Sessions they come from.
    pub sessions: usize,
    /// Items of a fixed suite.
    pub suite: usize,
    /// The share of items that the base has right.
    pub right: f64,
    /// The share of items on which one side is right and the other wrong.
    pub changed: f64,
}

impl World {
    /// The real items and suites of a run.
    pub fn real(records: &[Record], evidence: Evidence) -> Result<World> {
        let real = |r: &&Record| r.suite.is_some() || r.kind == Kind::Real;
        let items: Vec<Scored> = records
            .iter()
            .filter(real)
            .map(|record| Scored {
                session: record.session.clone(),
                suite: record.suite.clone(),
                tools: tools(record),
                base: record.base.scores.clone(),
                candidate: record.candidate.scores.clone(),
            })
            .collect();
        ensure!(!items.is_empty(), "the run evaluated no items");
        Ok(World::Real { items, evidence: Box::new(evidence) })
    }

    /// The evidence that everything but scores is taken from.
    pub(super) fn evidence(&self) -> Evidence {
        match self {
            World::Invented(_) => evidence::flawless(),
            World::Real { evidence, .. } => (**evidence).clone(),
        }
    }

    /// The scores of a night whose candidate is better by `gain` in exact match, and else as the
    /// base is.
    pub fn night(&self, gain: f64, chance: &mut Chance) -> Vec<Scored> {
        match self {
            World::Invented(shape) => shape.night(gain, chance),
            World::Real { items, .. } => swapped(items, gain, chance),
        }
    }
}

fn tools(record: &Record) -> Vec<String> {
    let mut tools: Vec<String> = record.reference.calls.iter().map(|c| c.name.clone()).collect();
    tools.sort();
    tools.dedup();
    tools
}

fn exact(scores: &Scores) -> bool {
    scores.get(Metric::ExactMatch.name()) == Some(&1.0)
}

/// The items with base and candidate trading places in half of the sessions, so that neither is
/// better, and then as many wrong answers made right as the gain asks for.
fn swapped(items: &[Scored], gain: f64, chance: &mut Chance) -> Vec<Scored> {
    let mut night = items.to_vec();
    let mut sessions: Vec<(Option<&str>, &str)> =
        items.iter().map(|i| (i.suite.as_deref(), i.session.as_str())).collect();
    sessions.sort_unstable();
    sessions.dedup();
    for (suite, session) in sessions {
        if chance.bits() >> 63 == 1 {
            continue;
        }
        let of = |i: &&mut Scored| i.suite.as_deref() == suite && i.session == session;
        for item in night.iter_mut().filter(of) {
            std::mem::swap(&mut item.base, &mut item.candidate);
        }
    }
    let val = night.iter().filter(|i| i.suite.is_none()).count();
    let mut wrong: Vec<usize> = (0..night.len())
        .filter(|i| night[*i].suite.is_none() && !exact(&night[*i].candidate))
        .collect();
    chance.shuffle(&mut wrong);
    for i in wrong.into_iter().take(libm::rint(gain * val as f64) as usize) {
        for metric in [Metric::ExactMatch, Metric::KeywordRecall] {
            let scores = &mut night[i].candidate;
            if scores.contains_key(metric.name()) {
                scores.insert(metric.name().into(), 1.0);
            }
        }
    }
    night
}

impl Invented {
    fn night(&self, gain: f64, chance: &mut Chance) -> Vec<Scored> {
        let mut items = Vec::with_capacity(self.items + self.suite);
        for (suite, count, gain) in [(None, self.items, gain), (Some(SUITE), self.suite, 0.0)] {
            // Sessions of a fixed suite are its items.
            let sessions = if suite.is_some() { count } else { self.sessions };
            let leans: Vec<f64> = (0..sessions).map(|_| LEAN * chance.normal()).collect();
            for i in 0..count {
                let session = i % sessions.max(1);
                let tool = TOOLS[chance.below(TOOLS.len())];
                let (base, candidate) = self.answers(gain, leans[session], chance);
                items.push(Scored {
                    session: format!("{}{session}", suite.unwrap_or("s")),
                    suite: suite.map(String::from),
                    tools: vec![tool.into()],
                    base,
                    candidate,
                });
            }
        }
        items
    }

    /// How both sides answer one item. The session's lean moves changes from worse to better or
    /// back, so that items of a session are not independent.
    fn answers(&self, gain: f64, lean: f64, chance: &mut Chance) -> (Scores, Scores) {
        let changed = self.changed.max(gain.abs()).min(1.0);
        let most = (changed - gain.abs()) / 2.0;
        let tilt = (lean * changed / 2.0).clamp(-most, most);
        let better = (changed + gain) / 2.0 + tilt;
        let worse = changed - better;
        let draw = chance.unit();
        let same = ((self.right - worse) / (1.0 - changed).max(1e-9)).clamp(0.0, 1.0);
        let (base, candidate) = match draw {
            _ if draw < better => (false, true),
            _ if draw < better + worse => (true, false),
            _ => {
                let right = chance.unit() < same;
                (right, right)
            }
        };
        // Words survive some wrong answers.
        let kept = chance.unit();
        let scores = |right: bool| {
            let recall = if right { 1.0 } else { kept };
            let of = |metric: Metric, score| (metric.name().to_string(), score);
            Scores::from([
                of(Metric::ExactMatch, f64::from(u8::from(right))),
                of(Metric::KeywordRecall, recall),
            ])
        };
        (scores(base), scores(candidate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Invented =
        Invented { items: 30_000, sessions: 3_000, suite: 0, right: 0.5, changed: 0.2 };

    /// The share of items on which exactly one side is right.
    fn share_changed(items: &[Scored]) -> f64 {
        share(items, |i| exact(&i.base) != exact(&i.candidate))
    }

    fn share(items: &[Scored], of: impl Fn(&Scored) -> bool) -> f64 {
        items.iter().filter(|i| of(i)).count() as f64 / items.len() as f64
    }

    #[test]
    fn an_invented_night_has_the_gain_and_the_noise_it_was_asked_for() {
        for gain in [0.0, 0.05, 0.3, -0.1] {
            let night = SHAPE.night(gain, &mut Chance::new(3, "night"));
            let base = share(&night, |i| exact(&i.base));
            let gained = share(&night, |i| exact(&i.candidate)) - base;
            assert!((gained - gain).abs() < 0.01, "gain {gain}: {gained}");
            let changed = f64::max(0.2, gain);
            assert!((share_changed(&night) - changed).abs() < 0.01, "gain {gain}");
            if gain == 0.0 {
                assert!((base - 0.5).abs() < 0.03, "gain {gain}: the base has {base} right");
            }
        }
    }

    #[test]
    fn trading_places_keeps_sessions_together_and_leaves_no_side_better() {
        let scores = |right: f64| Scores::from([("exact_match".to_string(), right)]);
        let item = |n: usize| Scored {
            session: format!("s{}", n / 4),
            suite: None,
            tools: Vec::new(),
            base: scores(0.0),
            candidate: scores(1.0),
        };
        let items: Vec<Scored> = (0..4000).map(item).collect();
        let night = swapped(&items, 0.0, &mut Chance::new(1, "swap"));
        for session in night.chunks(4) {
            assert!(session.iter().all(|i| i.base == session[0].base));
        }
        let better = share(&night, |i| exact(&i.candidate));
        assert!((better - 0.5).abs() < 0.05, "{better}");
        let gained = swapped(&items, 0.1, &mut Chance::new(1, "swap"));
        let more = share(&gained, |i| exact(&i.candidate)) - better;
        assert!((more - 0.1).abs() < 1e-9, "{more}");
    }
}
