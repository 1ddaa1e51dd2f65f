//! The comparisons a gate policy is made of. Each gives a [`Check`] with what was wanted and what
//! was measured; a missing figure or one that is no number never passes. A name the evidence does
//! not know is an error, since then the policy does not say what its author meant.

use serde::{Deserialize, Serialize};

use super::evidence::Evidence;
use super::plan;
use crate::evaluate::{Metric, rounded};

/// One condition and how it came out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// What was wanted, in words or as a bound.
    pub wanted: String,
    /// What was measured; absent when nothing was, or no number.
    pub measured: Option<f64>,
    /// The 95 % interval behind it, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<(f64, f64)>,
    /// Whether it holds.
    pub passed: bool,
    /// It neither holds nor fails: there is too little evidence to tell.
    #[serde(default, skip_serializing_if = "is_false")]
    pub undecided: bool,
    /// Where it is undecided: about how many more items like these would decide it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_items: Option<u64>,
    /// What a reader should know beside the numbers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Who asked: a policy's file and line, or `host`.
    pub author: String,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Check {
    /// The check with its author named.
    pub fn by(mut self, author: &str) -> Check {
        self.author = author.into();
        self
    }

    /// The check with a note.
    pub fn noting(mut self, note: impl Into<String>) -> Check {
        self.note = note.into();
        self
    }

    /// Whether it stands against a promotion for good.
    pub fn failed(&self) -> bool {
        !self.passed && !self.undecided
    }

    /// One line: what was wanted and what came.
    pub fn line(&self) -> String {
        let measured = self.measured.map_or("nothing measured".into(), |m| format!("{m}"));
        let note = if self.note.is_empty() { String::new() } else { format!(" ({})", self.note) };
        format!("{}: wanted {}, got {measured}{note}", self.name, self.wanted)
    }
}

/// A number that can be compared, or nothing.
fn number(measured: Option<f64>) -> Option<f64> {
    measured.filter(|m| m.is_finite())
}

fn bound(
    name: &str,
    measured: Option<f64>,
    sign: &str,
    wanted: f64,
    holds: fn(f64, f64) -> bool,
) -> Check {
    let measured = number(measured);
    Check {
        name: name.into(),
        wanted: format!("{sign} {wanted}"),
        measured,
        passed: wanted.is_finite() && measured.is_some_and(|m| holds(m, wanted)),
        ..Check::default()
    }
}

/// `measured` is at least `wanted`.
pub fn at_least(name: &str, measured: Option<f64>, wanted: f64) -> Check {
    bound(name, measured, ">=", wanted, |m, w| m >= w)
}

/// `measured` is at most `wanted`.
pub fn at_most(name: &str, measured: Option<f64>, wanted: f64) -> Check {
    bound(name, measured, "<=", wanted, |m, w| m <= w)
}

/// A condition a policy worked out for itself; `reason` says what it was.
pub fn require(name: &str, holds: bool, reason: &str) -> Check {
    let measured = Some(f64::from(u8::from(holds)));
    Check { name: name.into(), wanted: "true".into(), measured, passed: holds, ..Check::default() }
        .noting(reason)
}

/// There is as much of a figure (`pairs`, `sessions`) as wanted; with less, nothing is decided.
pub fn enough(evidence: &Evidence, name: &str, wanted: f64) -> Result<Check, String> {
    let check = at_least(name, evidence.find(name)?, wanted);
    let undecided = !check.passed;
    let more_items = match (undecided, &evidence.evaluation, check.measured) {
        (true, Some(e), Some(measured)) => {
            // A session brings as many items as it did so far.
            let items = if name == "sessions" { e.pairs as f64 / measured.max(1.0) } else { 1.0 };
            Some(plan::whole((wanted - measured) * items))
        }
        _ => None,
    };
    Ok(Check { undecided, more_items, ..check })
}

/// There is at most as much of a figure that makes evidence weak (references that the base wrote
/// itself); with more, nothing is decided.
pub fn not_too_much(evidence: &Evidence, name: &str, wanted: f64) -> Result<Check, String> {
    let check = at_most(name, evidence.find(name)?, wanted);
    let undecided = !check.passed && check.measured.is_some();
    Ok(Check { undecided, ..check })
}

/// The candidate's metric is better than the base's beyond chance: the whole interval of the
/// difference lies on the good side of zero. An interval that includes zero decides nothing.
pub fn better(evidence: &Evidence, metric: &str) -> Result<Check, String> {
    let more = more_is_better(metric)?;
    let name = format!("delta.{metric}");
    let measured = number(evidence.find(&name)?);
    let low = number(evidence.find(&format!("{name}.low"))?);
    let high = number(evidence.find(&format!("{name}.high"))?);
    let interval = low.zip(high);
    // What the interval promises at worst and at best, as gains.
    let ends = interval.map(|(low, high)| if more { (low, high) } else { (-high, -low) });
    let passed = measured.is_some() && ends.is_some_and(|(worst, _)| worst > 0.0);
    let fell = ends.is_some_and(|(_, best)| best < 0.0);
    let note = match (measured, ends) {
        (None, _) => "not measured".to_string(),
        (_, None) => "no interval: fewer than two sessions".into(),
        _ if passed || fell => String::new(),
        _ => match evidence.find(&format!("{name}.detectable"))? {
            Some(d) => format!("the interval includes 0; the smallest detectable change is {d}"),
            None => "the interval includes 0".into(),
        },
    };
    let undecided = !passed && !fell && measured.is_some();
    Ok(Check {
        wanted: format!("interval {} 0", if more { "above" } else { "below" }),
        name: format!("better {metric}"),
        measured,
        interval,
        passed,
        undecided,
        more_items: if undecided {
            plan::to_decide(evidence, metric, plan::TWO_SIDED)
        } else {
            None
        },
        note,
        author: String::new(),
    })
}

/// A metric (`exact_match`), or one of a slice (`suite.general.exact_match`,
/// `champion_delta.exact_match`), is not worse than the base's by more than `margin`.
pub fn no_worse(evidence: &Evidence, name: &str, margin: f64) -> Result<Check, String> {
    let (full, more) = difference(name)?;
    let measured = evidence.find(&full)?;
    let check = match more {
        true => at_least(&full, measured, 0.0 - margin),
        false => at_most(&full, measured, margin),
    };
    Ok(Check { interval: interval(evidence, &full)?, ..check })
}

/// The same, where a slice is too small to tell a loss from noise: fails only where the loss is
/// larger than `margin` and its whole interval lies on the bad side of zero.
pub fn no_regression(evidence: &Evidence, name: &str, margin: f64) -> Result<Check, String> {
    let check = no_worse(evidence, name, margin)?;
    let (_, more) = difference(name)?;
    let by_chance = match check.interval {
        Some((low, high)) => {
            if more {
                high >= 0.0
            } else {
                low <= 0.0
            }
        }
        // Fewer than two sessions: no loss can be told from noise.
        None => check.measured.is_some(),
    };
    let wanted = format!("{} beyond chance", check.wanted);
    if check.passed || !by_chance {
        return Ok(Check { wanted, ..check });
    }
    Ok(Check { wanted, passed: true, ..check }
        .noting("more than the margin, but no more than noise"))
}

/// The full name of a difference, and whether more of it is better.
fn difference(name: &str) -> Result<(String, bool), String> {
    let metric = name.rsplit('.').next().unwrap_or(name);
    let full = if name.contains('.') { name.to_string() } else { format!("delta.{name}") };
    Ok((full, more_is_better(metric)?))
}

fn interval(evidence: &Evidence, full: &str) -> Result<Option<(f64, f64)>, String> {
    let low = number(evidence.find(&format!("{full}.low"))?);
    Ok(low.zip(number(evidence.find(&format!("{full}.high"))?)))
}

/// The gain is so unlikely to be chance that this night may promote, given all nights before: p is
/// at most what [`Nights::allowed`](super::Nights::allowed) says. A larger p decides nothing.
pub fn beyond_chance(evidence: &Evidence, metric: &str, budget: f64) -> Result<Check, String> {
    let side = if more_is_better(metric)? { "p_greater" } else { "p_less" };
    let measured = number(evidence.find(&format!("delta.{metric}.{side}"))?);
    let (allowed, look) = match &evidence.nights {
        Some(nights) => (nights.allowed(budget), format!("look {}", nights.look())),
        None => (super::Nights::default().allowed(budget), "looks not counted: no LEDGER".into()),
    };
    let check = at_most("false promotion", measured, rounded(allowed));
    let undecided = !check.passed && measured.is_some();
    let more_items = if undecided { plan::to_decide(evidence, metric, allowed) } else { None };
    let note = format!("p of {metric}, {look}");
    Ok(Check { undecided, more_items, ..check }.noting(note))
}

fn more_is_better(metric: &str) -> Result<bool, String> {
    // A team's own metric counts up.
    match Metric::parse(metric).map_or(Some(true), Metric::more_is_better) {
        Some(more) => Ok(more),
        None => {
            Err(format!("neither more nor less of `{metric}` is better; use at_least or at_most"))
        }
    }
}
