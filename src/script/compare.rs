//! Comparisons without silent falsehoods.
//!
//! Rhai's own operators answer `false` to `() < 0.5`, `"5" == 5` and `NaN < x`. Here a comparison
//! of values that have no order, or of different types, is an error at its place. Only `==` and
//! `!=` with `()` stay: that is how a script asks whether something is there.

use std::cmp::Ordering;

use rhai::{Dynamic, Engine, ImmutableString};

use super::RhaiResultOf;

/// Replaces the comparison operators of an engine.
pub fn register(engine: &mut Engine) {
    engine.set_fast_operators(false);
    macro_rules! ordered {
        ($($sign:literal $accepts:expr;)*) => {$(
            let accepts: fn(Ordering) -> bool = $accepts;
            engine.register_fn($sign, move |a: i64, b: i64| accepts(a.cmp(&b)));
            engine.register_fn($sign, move |a: f64, b: f64| numbers(a, b).map(accepts));
            engine.register_fn($sign, move |a: i64, b: f64| numbers(a as f64, b).map(accepts));
            engine.register_fn($sign, move |a: f64, b: i64| numbers(a, b as f64).map(accepts));
            engine.register_fn($sign, move |a: ImmutableString, b: ImmutableString| {
                accepts(a.as_str().cmp(b.as_str()))
            });
            engine.register_fn($sign, move |a: Dynamic, b: Dynamic| {
                mixed_order(&a, &b, $sign).map(accepts)
            });
        )*};
    }
    ordered! {
        "<" Ordering::is_lt;
        "<=" Ordering::is_le;
        ">" Ordering::is_gt;
        ">=" Ordering::is_ge;
    }
    macro_rules! equal {
        ($($sign:literal $wanted:literal;)*) => {$(
            engine.register_fn($sign, |a: i64, b: i64| (a == b) == $wanted);
            engine.register_fn($sign, |a: bool, b: bool| (a == b) == $wanted);
            engine.register_fn($sign, |a: f64, b: f64| -> RhaiResultOf<bool> {
                Ok(numbers(a, b)?.is_eq() == $wanted)
            });
            engine.register_fn($sign, |a: i64, b: f64| -> RhaiResultOf<bool> {
                Ok(numbers(a as f64, b)?.is_eq() == $wanted)
            });
            engine.register_fn($sign, |a: f64, b: i64| -> RhaiResultOf<bool> {
                Ok(numbers(a, b as f64)?.is_eq() == $wanted)
            });
            engine.register_fn($sign, |a: ImmutableString, b: ImmutableString| {
                (a == b) == $wanted
            });
            engine.register_fn($sign, |a: Dynamic, b: Dynamic| -> RhaiResultOf<bool> {
                Ok(mixed_equal(&a, &b, $sign)? == $wanted)
            });
        )*};
    }
    equal! {
        "==" true;
        "!=" false;
    }
}

fn numbers(a: f64, b: f64) -> RhaiResultOf<Ordering> {
    a.partial_cmp(&b).ok_or_else(|| format!("{a} and {b} cannot be compared: not a number").into())
}

/// A character or string as text.
fn text(value: &Dynamic) -> Option<String> {
    match value.as_char() {
        Ok(c) => Some(c.to_string()),
        Err(_) => value.as_immutable_string_ref().ok().map(|s| s.to_string()),
    }
}

fn mixed_order(a: &Dynamic, b: &Dynamic, sign: &str) -> RhaiResultOf<Ordering> {
    match (text(a), text(b)) {
        (Some(a), Some(b)) => Ok(a.cmp(&b)),
        _ => Err(incomparable(a, b, sign)),
    }
}

fn mixed_equal(a: &Dynamic, b: &Dynamic, sign: &str) -> RhaiResultOf<bool> {
    if a.is_unit() || b.is_unit() {
        return Ok(a.is_unit() && b.is_unit());
    }
    match (text(a), text(b)) {
        (Some(a), Some(b)) => Ok(a == b),
        _ => Err(incomparable(a, b, sign)),
    }
}

fn incomparable(a: &Dynamic, b: &Dynamic, sign: &str) -> Box<rhai::EvalAltResult> {
    format!("`{sign}` cannot compare {} with {}", named(a), named(b)).into()
}

/// The type of a value in a script's words, with the value where it is short.
pub fn named(value: &Dynamic) -> String {
    match value.type_name() {
        "()" => "() (nothing)".into(),
        "i64" => format!("the number {value}"),
        "f64" => format!("the number {value}"),
        "bool" => format!("the flag {value}"),
        "string" => {
            format!("the string {:?}", value.to_string().chars().take(40).collect::<String>())
        }
        "char" => format!("the character '{value}'"),
        "array" => "an array".into(),
        "map" => "a map".into(),
        "Fn" => "a function".into(),
        other if other.ends_with("::Check") => "a single check".into(),
        other => format!("a {}", other.rsplit("::").next().unwrap_or(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::engine;

    fn engine() -> Engine {
        let mut engine = engine::bare(&engine::SCRIPT);
        engine.register_fn("nan", || f64::NAN);
        engine
    }

    #[test]
    fn values_of_one_kind_compare_as_everywhere() {
        let engine = engine();
        for truth in [
            "1 < 2",
            "2 <= 2",
            "1 < 1.5",
            "2.5 > 2",
            "\"a\" < \"b\"",
            "'a' == \"a\"",
            "1 == 1.0",
            "1 != 2",
            "true == true",
            "true != false",
            "() == ()",
            "\"x\" != ()",
            "!(0 == ())",
            "[1, 2] == [1, 2]",
            "#{a: 1} == #{a: 1}",
            "2 in [1, 2]",
            "const A = 3; A > 2",
            "let x = 3; let f = |y| y < x; f.call(2)",
        ] {
            assert!(engine.eval::<bool>(truth).unwrap(), "{truth}");
        }
    }

    #[test]
    fn what_has_no_order_is_an_error() {
        let engine = engine();
        for wrong in [
            "() < 0.5",
            "0.5 >= ()",
            "\"5\" < 100",
            "\"5\" == 5",
            "5 != \"5\"",
            "nan() < 1.0",
            "1 >= nan()",
            "nan() == nan()",
            "true < false",
            "true == 1",
            "[1] < [2]",
            "#{} == 1",
            "let x = (); let f = |y| y < x; f.call(2)",
            "let m = #{a: ()}; m.a < 1",
        ] {
            let error = engine.eval::<bool>(wrong).expect_err(wrong).to_string();
            assert!(error.contains("compare"), "{wrong}: {error}");
        }
    }
}
