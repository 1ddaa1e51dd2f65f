//! The comparisons a gate policy is made of. Each gives a [`Check`] with what was wanted and what
//! was measured; a missing figure or one that is no number never passes. A name the evidence does
//! not know is an error, since then the policy does not say what its author meant.

use serde::{Deserialize, Serialize};

use super::evidence::Evidence;
use crate::evaluate::Metric;

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
    Ok(Check {
        wanted: format!("interval {} 0", if more { "above" } else { "below" }),
        name: format!("better {metric}"),
        measured,
        interval,
        passed,
        undecided: !passed && !fell && measured.is_some(),
        note,
        author: String::new(),
    })
}

/// A metric (`exact_match`), or one of a slice (`suite.general.exact_match`,
/// `tool.read.exact_match`), is not worse than the base's by more than `margin`.
pub fn no_worse(evidence: &Evidence, name: &str, margin: f64) -> Result<Check, String> {
    let metric = name.rsplit('.').next().unwrap_or(name);
    let more = more_is_better(metric)?;
    let full = if name.contains('.') { name.to_string() } else { format!("delta.{name}") };
    let measured = evidence.find(&full)?;
    let low = evidence.find(&format!("{full}.low"))?;
    let high = evidence.find(&format!("{full}.high"))?;
    let check = match more {
        true => at_least(&full, measured, 0.0 - margin),
        false => at_most(&full, measured, margin),
    };
    Ok(Check { interval: number(low).zip(number(high)), ..check })
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
