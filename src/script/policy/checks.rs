//! Checks: the only thing a policy can answer with. The comparisons are the gate's own.

use rhai::ImmutableString;
use rhai::plugin::*;

use super::Evidence;
use crate::gate::{Check, policy as compare};
use crate::script::RhaiResultOf;
use crate::script::compare::named;
use crate::script::failure::place;

/// Registers the constructors of checks.
pub fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Check>("Check");
    engine.register_global_module(exported_module!(constructors).into());
    engine.register_global_module(exported_module!(properties).into());
}

/// A number that can be compared.
fn number(value: &Dynamic, what: &str) -> Result<f64, String> {
    let number = value.as_float().or_else(|_| value.as_int().map(|n| n as f64));
    match number {
        Ok(number) if number.is_finite() => Ok(number),
        Ok(number) => Err(format!("{what} is {number}, which nothing can be compared with")),
        Err(_) => Err(format!("{what} must be a number, not {}", named(value))),
    }
}

/// A figure of the evidence, compared with a bound.
fn held(
    evidence: &Evidence,
    figure: &str,
    bound: &Dynamic,
    compare: fn(&str, Option<f64>, f64) -> Check,
) -> RhaiResultOf<Check> {
    let bound = number(bound, &format!("the bound of check `{figure}`"))?;
    Ok(compare(figure, evidence.whole().find(figure)?, bound))
}

fn margin_of(metric: &str, margin: &Dynamic) -> Result<f64, String> {
    let number = number(margin, &format!("the margin of a check on `{metric}`"))?;
    match number < 0.0 {
        true => Err(format!("the margin of a check on `{metric}` is negative: {number}")),
        false => Ok(number),
    }
}

/// Where the check is written.
fn author(ctx: &NativeCallContext) -> String {
    let line = ctx.call_position().line().unwrap_or(0);
    place(ctx.call_source().unwrap_or("policy"), line, 0)
}

#[export_module]
mod constructors {
    /// Passes when the value is at least what is wanted.
    #[rhai_fn(return_raw)]
    pub fn at_least(
        ctx: NativeCallContext,
        name: &str,
        value: Dynamic,
        wanted: Dynamic,
    ) -> RhaiResultOf<Check> {
        let value = number(&value, &format!("the value of check `{name}`"))?;
        let wanted = number(&wanted, &format!("the bound of check `{name}`"))?;
        Ok(compare::at_least(name, Some(value), wanted).by(&author(&ctx)))
    }

    /// Passes when the value is at most what is wanted.
    #[rhai_fn(return_raw)]
    pub fn at_most(
        ctx: NativeCallContext,
        name: &str,
        value: Dynamic,
        wanted: Dynamic,
    ) -> RhaiResultOf<Check> {
        let value = number(&value, &format!("the value of check `{name}`"))?;
        let wanted = number(&wanted, &format!("the bound of check `{name}`"))?;
        Ok(compare::at_most(name, Some(value), wanted).by(&author(&ctx)))
    }

    /// Passes when a figure of the evidence, by its full name, is at least what is wanted; one
    /// that was not measured does not pass.
    #[rhai_fn(name = "at_least", return_raw)]
    pub fn figure_at_least(
        ctx: NativeCallContext,
        evidence: Evidence,
        figure: &str,
        wanted: Dynamic,
    ) -> RhaiResultOf<Check> {
        Ok(held(&evidence, figure, &wanted, compare::at_least)?.by(&author(&ctx)))
    }

    /// Passes when a figure of the evidence, by its full name, is at most what is wanted; one
    /// that was not measured does not pass.
    #[rhai_fn(name = "at_most", return_raw)]
    pub fn figure_at_most(
        ctx: NativeCallContext,
        evidence: Evidence,
        figure: &str,
        wanted: Dynamic,
    ) -> RhaiResultOf<Check> {
        Ok(held(&evidence, figure, &wanted, compare::at_most)?.by(&author(&ctx)))
    }

    /// Passes when the candidate is better than the base on a metric beyond chance: the whole
    /// interval of the difference lies on the good side of zero. Otherwise nothing is decided,
    /// or the check fails where the whole interval lies on the bad side.
    #[rhai_fn(return_raw)]
    pub fn better(ctx: NativeCallContext, evidence: Evidence, metric: &str) -> RhaiResultOf<Check> {
        if let Some(scope) = evidence.scope() {
            return Err(format!("of `{scope}` ask `no_worse`").into());
        }
        Ok(compare::better(evidence.whole(), metric)?.by(&author(&ctx)))
    }

    /// Passes when the candidate is worse than the base by at most `margin` on a metric.
    #[rhai_fn(return_raw)]
    pub fn no_worse(
        ctx: NativeCallContext,
        evidence: Evidence,
        metric: &str,
        margin: Dynamic,
    ) -> RhaiResultOf<Check> {
        let (name, margin) = (evidence.difference(metric), margin_of(metric, &margin)?);
        Ok(compare::no_worse(evidence.whole(), &name, margin)?.by(&author(&ctx)))
    }

    /// The same for a slice too small to tell a loss from noise, such as a tool: fails only where
    /// the loss is larger than `margin` and its whole interval lies on the bad side of zero.
    #[rhai_fn(return_raw)]
    pub fn no_regression(
        ctx: NativeCallContext,
        evidence: Evidence,
        metric: &str,
        margin: Dynamic,
    ) -> RhaiResultOf<Check> {
        let (name, margin) = (evidence.difference(metric), margin_of(metric, &margin)?);
        Ok(compare::no_regression(evidence.whole(), &name, margin)?.by(&author(&ctx)))
    }

    /// Passes when there is at most so much of a figure that makes evidence weak, such as
    /// `references.self_written`; with more, nothing is decided.
    #[rhai_fn(return_raw)]
    pub fn not_too_much(
        ctx: NativeCallContext,
        evidence: Evidence,
        figure: &str,
        wanted: Dynamic,
    ) -> RhaiResultOf<Check> {
        let wanted = number(&wanted, &format!("the bound of check `{figure}`"))?;
        Ok(compare::not_too_much(evidence.whole(), figure, wanted)?.by(&author(&ctx)))
    }

    /// Passes when there is as much of a figure (`pairs`, `sessions`) as wanted; with less,
    /// nothing is decided.
    #[rhai_fn(return_raw)]
    pub fn enough(
        ctx: NativeCallContext,
        evidence: Evidence,
        figure: &str,
        wanted: Dynamic,
    ) -> RhaiResultOf<Check> {
        let wanted = number(&wanted, &format!("the bound of check `{figure}`"))?;
        Ok(compare::enough(evidence.whole(), figure, wanted)?.by(&author(&ctx)))
    }

    /// Passes when a condition that the policy worked out holds; `reason` says what it was.
    pub fn require(ctx: NativeCallContext, name: &str, holds: bool, reason: &str) -> Check {
        compare::require(name, holds, reason).by(&author(&ctx))
    }
}

#[export_module]
mod properties {
    /// What the check looked at.
    #[rhai_fn(get = "name", pure)]
    pub fn name(check: &mut Check) -> ImmutableString {
        check.name.as_str().into()
    }

    /// What it wanted.
    #[rhai_fn(get = "wanted", pure)]
    pub fn wanted(check: &mut Check) -> ImmutableString {
        check.wanted.as_str().into()
    }

    /// What it measured; `()` where nothing was.
    #[rhai_fn(get = "measured", pure)]
    pub fn measured(check: &mut Check) -> Dynamic {
        check.measured.map_or(Dynamic::UNIT, Dynamic::from)
    }

    /// Whether it passed.
    #[rhai_fn(get = "passed", pure)]
    pub fn passed(check: &mut Check) -> bool {
        check.passed
    }

    /// Whether there was too little evidence to tell.
    #[rhai_fn(get = "undecided", pure)]
    pub fn undecided(check: &mut Check) -> bool {
        check.undecided
    }

    /// What a reader should know beside the numbers.
    #[rhai_fn(get = "note", pure)]
    pub fn note(check: &mut Check) -> ImmutableString {
        check.note.as_str().into()
    }

    /// Where it is written.
    #[rhai_fn(get = "author", pure)]
    pub fn author_of(check: &mut Check) -> ImmutableString {
        check.author.as_str().into()
    }

    /// One line.
    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn show(check: &mut Check) -> String {
        let verdict = match (check.passed, check.undecided) {
            (true, _) => "passed",
            (false, true) => "undecided",
            (false, false) => "failed",
        };
        format!("Check({}: {verdict})", check.line())
    }
}
