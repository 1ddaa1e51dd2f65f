//! Checks: the only thing a policy can answer with.

use rhai::ImmutableString;
use rhai::plugin::*;

use super::Evidence;
use crate::script::RhaiResultOf;
use crate::script::compare::named;
use crate::script::failure::place;

/// One check of a policy: what was wanted, what was measured, whether it passed, who asked.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyCheck {
    /// What was looked at.
    pub name: String,
    /// What was wanted, such as `>= 0.02`.
    pub wanted: String,
    /// What was measured.
    pub measured: f64,
    /// Whether it passed.
    pub passed: bool,
    /// Where the check is written: `file:line`.
    pub author: String,
}

/// Registers the constructors of checks.
pub fn register(engine: &mut Engine) {
    engine.register_type_with_name::<PolicyCheck>("Check");
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

fn author(ctx: &NativeCallContext) -> String {
    let line = ctx.call_position().line().unwrap_or(0);
    place(ctx.call_source().unwrap_or("policy"), line, 0)
}

fn least(ctx: &NativeCallContext, name: String, measured: f64, wanted: f64) -> PolicyCheck {
    let passed = measured >= wanted;
    PolicyCheck { name, wanted: format!(">= {wanted}"), measured, passed, author: author(ctx) }
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
    ) -> RhaiResultOf<PolicyCheck> {
        let measured = number(&value, &format!("the value of check `{name}`"))?;
        let wanted = number(&wanted, &format!("the bound of check `{name}`"))?;
        Ok(least(&ctx, name.into(), measured, wanted))
    }

    /// Passes when the value is at most what is wanted.
    #[rhai_fn(return_raw)]
    pub fn at_most(
        ctx: NativeCallContext,
        name: &str,
        value: Dynamic,
        wanted: Dynamic,
    ) -> RhaiResultOf<PolicyCheck> {
        let measured = number(&value, &format!("the value of check `{name}`"))?;
        let wanted = number(&wanted, &format!("the bound of check `{name}`"))?;
        let passed = measured <= wanted;
        let (name, wanted) = (name.into(), format!("<= {wanted}"));
        Ok(PolicyCheck { name, wanted, measured, passed, author: author(&ctx) })
    }

    /// Passes when the adapter is better than the base by at least `gain` on a metric.
    #[rhai_fn(return_raw)]
    pub fn better(
        ctx: NativeCallContext,
        evidence: Evidence,
        metric: &str,
        gain: Dynamic,
    ) -> RhaiResultOf<PolicyCheck> {
        let name = evidence.label("delta", metric);
        let wanted = number(&gain, &format!("the gain wanted by check `{name}`"))?;
        let measured = evidence.figure(metric, "delta")?;
        Ok(least(&ctx, name, measured, wanted))
    }

    /// Passes when the adapter is worse than the base by at most `loss` on a metric.
    #[rhai_fn(return_raw)]
    pub fn no_worse(
        ctx: NativeCallContext,
        evidence: Evidence,
        metric: &str,
        loss: Dynamic,
    ) -> RhaiResultOf<PolicyCheck> {
        let name = evidence.label("delta", metric);
        let loss = number(&loss, &format!("the loss allowed by check `{name}`"))?;
        if loss < 0.0 {
            return Err(format!("the loss allowed by check `{name}` is negative: {loss}").into());
        }
        let measured = evidence.figure(metric, "delta")?;
        // Not `-loss`, which would print as -0.
        Ok(least(&ctx, name, measured, 0.0 - loss))
    }

    /// Passes when the flag is true; measured is 1 or 0.
    pub fn holds(ctx: NativeCallContext, name: &str, flag: bool) -> PolicyCheck {
        let measured = if flag { 1.0 } else { 0.0 };
        let (name, wanted) = (name.into(), "true".into());
        PolicyCheck { name, wanted, measured, passed: flag, author: author(&ctx) }
    }
}

#[export_module]
mod properties {
    /// What the check looked at.
    #[rhai_fn(get = "name", pure)]
    pub fn name(check: &mut PolicyCheck) -> ImmutableString {
        check.name.as_str().into()
    }

    /// What it wanted.
    #[rhai_fn(get = "wanted", pure)]
    pub fn wanted(check: &mut PolicyCheck) -> ImmutableString {
        check.wanted.as_str().into()
    }

    /// What it measured.
    #[rhai_fn(get = "measured", pure)]
    pub fn measured(check: &mut PolicyCheck) -> f64 {
        check.measured
    }

    /// Whether it passed.
    #[rhai_fn(get = "passed", pure)]
    pub fn passed(check: &mut PolicyCheck) -> bool {
        check.passed
    }

    /// Where it is written.
    #[rhai_fn(get = "author", pure)]
    pub fn author_of(check: &mut PolicyCheck) -> ImmutableString {
        check.author.as_str().into()
    }

    /// One line.
    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn show(check: &mut PolicyCheck) -> String {
        let verdict = if check.passed { "passed" } else { "failed" };
        format!("Check({} {}: {}, {verdict})", check.name, check.wanted, check.measured)
    }
}
