//! What test functions assert.

use rhai::FnPtr;
use rhai::plugin::*;

use crate::script::RhaiResultOf;
use crate::script::compare::named;

/// Registers assertions.
pub fn register(engine: &mut Engine) {
    engine.register_global_module(exported_module!(verbs).into());
}

#[export_module]
mod verbs {
    /// Fails the test unless the condition holds.
    #[rhai_fn(return_raw)]
    pub fn assert(condition: bool) -> RhaiResultOf<()> {
        if condition { Ok(()) } else { Err("assertion failed".into()) }
    }

    /// Fails the test with a message unless the condition holds.
    #[rhai_fn(name = "assert", return_raw)]
    pub fn assert_message(condition: bool, message: &str) -> RhaiResultOf<()> {
        if condition { Ok(()) } else { Err(format!("assertion failed: {message}").into()) }
    }

    /// Fails the test unless both values are equal; values of different types cannot be compared.
    #[rhai_fn(return_raw)]
    pub fn assert_eq(ctx: NativeCallContext, left: Dynamic, right: Dynamic) -> RhaiResultOf<()> {
        let (mut a, mut b) = (left.clone(), right.clone());
        let same = ctx.call_native_fn_raw("==", true, &mut [&mut a, &mut b])?;
        if same.as_bool() == Ok(true) {
            return Ok(());
        }
        Err(format!("not equal\n  left:  {}\n  right: {}", shown(&left), shown(&right)).into())
    }

    /// Fails the test unless the closure throws. Returns what it threw.
    #[rhai_fn(return_raw)]
    pub fn assert_throws(ctx: NativeCallContext, code: FnPtr) -> RhaiResultOf<String> {
        match code.call_within_context::<Dynamic>(&ctx, ()) {
            Ok(value) => Err(format!("nothing was thrown; it returned {}", named(&value)).into()),
            Err(error) if matches!(*error, EvalAltResult::ErrorTerminated(..)) => Err(error),
            Err(error) => Ok(error.to_string()),
        }
    }

    /// Fails the test unless the closure throws an error that contains `text`.
    #[rhai_fn(name = "assert_throws", return_raw)]
    pub fn assert_throws_text(
        ctx: NativeCallContext,
        code: FnPtr,
        text: &str,
    ) -> RhaiResultOf<String> {
        let thrown = assert_throws(ctx, code)?;
        if thrown.contains(text) {
            Ok(thrown)
        } else {
            Err(format!("threw `{thrown}`, which does not contain `{text}`").into())
        }
    }
}

fn shown(value: &Dynamic) -> String {
    match value.is_array() || value.is_map() {
        true => value.to_string(),
        false => named(value),
    }
}
