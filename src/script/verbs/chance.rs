//! The noun `Chance`: a seeded stream a script draws from.
//!
//! The handle is shared, so that passing it to a function goes on with the same stream rather
//! than repeating it. A stream has one order, which rows in parallel do not: drawing is no `pure`
//! method, so a closure over rows cannot draw from a captured stream, and a stream that reached
//! another thread all the same says so. Per row, `chance(seed, row.id)` makes one of its own.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::ThreadId;

use rhai::Array;
use rhai::plugin::*;

use crate::chance::Chance;
use crate::script::RhaiResultOf;

/// A script's handle of one stream.
#[derive(Debug, Clone)]
pub struct ChanceHandle {
    label: Arc<str>,
    seed: i64,
    home: ThreadId,
    stream: Arc<Mutex<Chance>>,
}

impl ChanceHandle {
    fn draw<T>(&self, take: impl FnOnce(&mut Chance) -> RhaiResultOf<T>) -> RhaiResultOf<T> {
        if std::thread::current().id() != self.home {
            return Err(format!(
                "the stream \"{}\" belongs to where it was made; for rows in parallel make one \
                 per row: chance(seed, row.id)",
                self.label
            )
            .into());
        }
        take(&mut self.stream.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How many there are to choose from, as the stream counts.
fn choices(n: i64) -> RhaiResultOf<usize> {
    match usize::try_from(n) {
        Ok(n) if n > 0 => Ok(n),
        _ => Err(format!("a choice among {n}: there must be at least one").into()),
    }
}

/// Registers streams and what can be drawn from them.
pub fn register(engine: &mut Engine) {
    engine.register_type_with_name::<ChanceHandle>("Chance");
    engine.register_global_module(exported_module!(verbs).into());
}

#[export_module]
mod verbs {
    /// A stream for one purpose: the same seed and label give the same choices.
    #[rhai_fn(return_raw)]
    pub fn chance(seed: i64, label: &str) -> RhaiResultOf<ChanceHandle> {
        let bits = u64::try_from(seed).map_err(|_| format!("the seed {seed} is negative"))?;
        Ok(ChanceHandle {
            label: label.into(),
            seed,
            home: std::thread::current().id(),
            stream: Arc::new(Mutex::new(Chance::new(bits, label))),
        })
    }

    /// A whole number from 0 up to but not including `n`.
    #[rhai_fn(return_raw)]
    pub fn below(stream: &mut ChanceHandle, n: i64) -> RhaiResultOf<i64> {
        let n = choices(n)?;
        stream.draw(|c| Ok(c.below(n) as i64))
    }

    /// A number from 0.0 up to but not including 1.0.
    #[rhai_fn(return_raw)]
    pub fn unit(stream: &mut ChanceHandle) -> RhaiResultOf<f64> {
        stream.draw(|c| Ok(c.unit()))
    }

    /// One of the items.
    #[rhai_fn(return_raw)]
    pub fn pick(stream: &mut ChanceHandle, items: Array) -> RhaiResultOf<Dynamic> {
        let n = choices(items.len() as i64)?;
        stream.draw(|c| Ok(items[c.below(n)].clone()))
    }

    /// `n` of the items, each drawn from all of them.
    #[rhai_fn(return_raw, name = "pick")]
    pub fn pick_some(stream: &mut ChanceHandle, items: Array, n: i64) -> RhaiResultOf<Array> {
        let from = choices(items.len() as i64)?;
        stream.draw(|c| Ok((0..n).map(|_| items[c.below(from)].clone()).collect()))
    }

    /// The items in a random order.
    #[rhai_fn(return_raw)]
    pub fn shuffle(stream: &mut ChanceHandle, items: Array) -> RhaiResultOf<Array> {
        let mut items = items;
        stream.draw(|c| {
            c.shuffle(&mut items);
            Ok(())
        })?;
        Ok(items)
    }

    /// What the stream is, in one line.
    #[rhai_fn(name = "to_string", name = "to_debug", name = "print", name = "debug", pure)]
    pub fn show(stream: &mut ChanceHandle) -> String {
        format!("chance({}, \"{}\")", stream.seed, stream.label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rhai::Engine;

    fn engine() -> Engine {
        let mut engine = Engine::new();
        register(&mut engine);
        engine
    }

    fn text(script: &str) -> String {
        engine().eval::<Dynamic>(script).map_or_else(|e| e.to_string(), |v| v.to_string())
    }

    #[test]
    fn the_same_seed_and_label_give_the_same_choices() {
        let draw = |head: &str| {
            text(&format!(
                "let c = {head}; [c.below(1000), c.unit(), c.pick([1, 2, 3]), \
                 c.pick([1, 2, 3], 4), c.shuffle([1, 2, 3, 4, 5])]"
            ))
        };
        assert_eq!(draw(r#"chance(7, "a")"#), draw(r#"chance(7, "a")"#));
        assert_ne!(draw(r#"chance(7, "a")"#), draw(r#"chance(8, "a")"#));
        assert_ne!(draw(r#"chance(7, "a")"#), draw(r#"chance(7, "b")"#));
    }

    #[test]
    fn a_function_goes_on_with_the_callers_stream() {
        let script = |second: &str| {
            text(&format!(
                "fn next(c) {{ c.below(1000000) }} let c = chance(7, \"a\"); [next(c), {second}]"
            ))
        };
        assert_eq!(script("next(c)"), script("c.below(1000000)"));
    }

    #[test]
    fn shuffling_keeps_every_item() {
        let sorted = r#"let a = chance(3, "s").shuffle([5, 1, 4, 2, 3]); a.sort(); a"#;
        assert_eq!(text(sorted), "[1, 2, 3, 4, 5]");
    }

    #[test]
    fn a_choice_among_nothing_is_an_error_with_a_reason() {
        for script in ["c.below(0)", "c.below(-2)", "c.pick([])", "c.pick([], 1)"] {
            let said = text(&format!("let c = chance(1, \"x\"); {script}"));
            assert!(said.contains("there must be at least one"), "{script}: {said}");
        }
        assert!(text(r#"chance(-1, "x")"#).contains("negative"));
    }

    #[test]
    fn another_thread_may_not_draw() {
        let handle = engine().eval::<ChanceHandle>(r#"chance(1, "rows")"#).unwrap();
        let said = std::thread::spawn(move || {
            let mut scope = rhai::Scope::new();
            scope.push("c", handle);
            engine().eval_with_scope::<i64>(&mut scope, "c.below(3)").unwrap_err().to_string()
        })
        .join()
        .unwrap();
        assert!(said.contains("chance(seed, row.id)"), "{said}");
    }

    #[test]
    fn a_constant_stream_cannot_be_drawn_from() {
        let said = text(r#"const C = chance(1, "x"); C.below(3)"#);
        assert!(said.contains("constant"), "{said}");
    }

    #[test]
    fn prints_as_one_line() {
        assert_eq!(text(r#"chance(1, "x").to_string()"#), r#"chance(1, "x")"#);
        assert_eq!(text(r#"`${chance(1, "x")}`"#), r#"chance(1, "x")"#);
    }
}
