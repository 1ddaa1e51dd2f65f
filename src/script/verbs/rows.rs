//! `Rows`: examples on their way through the protocol.

use std::any::TypeId;
use std::sync::Arc;

use rhai::plugin::*;
use rhai::{Array, FnPtr};

use super::{Row, host};
use crate::dataset::{Example, Held, Kind, Rows, Stage};
use crate::script::closures::{each_index, each_row};
use crate::script::compare::named;
use crate::script::{RhaiResultOf, fail};

/// Registers rows and what can be done with them.
pub fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Rows>("Rows");
    engine.register_global_module(exported_module!(verbs).into());
    let mut iteration = Module::new();
    iteration.set_iter_result(TypeId::of::<Rows>(), |rows| {
        let rows = rows.cast::<Rows>();
        let count = rows.len();
        let row = move |i: usize| Row::read(&rows.examples[i]).map(Dynamic::from).map_err(fail);
        Box::new((0..count).map(row))
    });
    engine.register_global_module(iteration.into());
}

/// How many rows one call may make up.
const MOST_ROWS: usize = 10_000_000;

/// Tells what the newest stage did.
fn told(ctx: &NativeCallContext, rows: Rows) -> RhaiResultOf<Rows> {
    Ok(host(ctx)?.told(rows))
}

fn a_row(value: Dynamic) -> Result<Arc<Example>, String> {
    let wrong = format!("the closure must return a row, not {}", named(&value));
    value.try_cast::<Row>().map(Row::into_example).ok_or(wrong)
}

fn a_flag(value: Dynamic) -> Result<bool, String> {
    value.as_bool().map_err(|_| {
        format!("the closure must return true (keep) or false (drop), not {}", named(&value))
    })
}

#[export_module]
mod verbs {
    /// How many rows there are.
    #[rhai_fn(name = "len", name = "count", pure)]
    pub fn len(rows: &mut Rows) -> i64 {
        rows.len() as i64
    }

    /// How many rows of a kind there are: real, synthetic, adversarial, counterexample, replay.
    #[rhai_fn(name = "count", pure, return_raw)]
    pub fn count_kind(rows: &mut Rows, kind: &str) -> RhaiResultOf<i64> {
        Kind::named(kind).map(|kind| rows.count(kind) as i64).map_err(fail)
    }

    /// Whether there are no rows.
    #[rhai_fn(pure)]
    pub fn is_empty(rows: &mut Rows) -> bool {
        rows.is_empty()
    }

    /// Keeps the rows for which the closure returns true. The others are dropped and counted in
    /// the manifest under `reason`. Rows run in parallel; the closure can read variables from
    /// outside but not change them.
    #[rhai_fn(pure, return_raw)]
    pub fn filter(
        ctx: NativeCallContext,
        rows: &mut Rows,
        reason: &str,
        keep: FnPtr,
    ) -> RhaiResultOf<Rows> {
        let verdicts = each_row(&ctx, rows, reason, keep, a_flag)?;
        let mut verdicts = verdicts.into_iter();
        let dropped = |_: &Held| (verdicts.next() == Some(false)).then(|| reason.to_string());
        told(&ctx, rows.keep(reason, dropped))
    }

    /// Replaces every row by what the closure returns: the row itself or a changed copy such as
    /// `row.with_outcome("good")`. Rows run in parallel.
    #[rhai_fn(pure, return_raw)]
    pub fn map(
        ctx: NativeCallContext,
        rows: &mut Rows,
        stage: &str,
        change: FnPtr,
    ) -> RhaiResultOf<Rows> {
        let pager = rows.pager.clone();
        let held = |value: Dynamic| {
            let example = Arc::unwrap_or_clone(a_row(value)?);
            pager.hold(example).map_err(|e| format!("{e:#}"))
        };
        let changed = each_row(&ctx, rows, stage, change, held)?;
        let n = rows.len() as u64;
        let stage = Stage { name: stage.into(), input: n, output: n, ..Stage::default() };
        told(&ctx, rows.after(changed, stage))
    }

    /// Replaces every row by what the closure returns; the manifest calls the stage `map`.
    #[rhai_fn(name = "map", pure, return_raw)]
    pub fn map_unnamed(
        ctx: NativeCallContext,
        rows: &mut Rows,
        change: FnPtr,
    ) -> RhaiResultOf<Rows> {
        map(ctx, rows, "map", change)
    }

    /// The first `n` rows; the others are dropped and counted as `take`.
    #[rhai_fn(pure, return_raw)]
    pub fn take(ctx: NativeCallContext, rows: &mut Rows, n: i64) -> RhaiResultOf<Rows> {
        let n = usize::try_from(n).map_err(|_| format!("take({n}): ask for 0 rows or more"))?;
        told(&ctx, rows.first(n))
    }

    /// One row, counted from 0.
    #[rhai_fn(index_get, pure, return_raw)]
    pub fn at(rows: &mut Rows, index: i64) -> RhaiResultOf<Row> {
        let found = usize::try_from(index).ok().and_then(|i| rows.examples.get(i));
        match found {
            Some(row) => Row::read(row).map_err(fail),
            None => {
                Err(format!("there is no row {index}: the {} rows count from 0", rows.len()).into())
            }
        }
    }

    /// Both sets, one after the other.
    #[rhai_fn(name = "+")]
    pub fn add(rows: Rows, more: Rows) -> Rows {
        rows.and(&more)
    }

    /// Rows written out in the script, for tests and generators: an array of maps with
    /// `messages` (each with `role` and `content`) and, where wanted, `id`, `session`, `kind`,
    /// `source`, `outcome`, `tools`, ….
    #[rhai_fn(return_raw)]
    pub fn rows_from(list: Array) -> RhaiResultOf<Rows> {
        let mut values = Vec::with_capacity(list.len());
        for item in &list {
            values.push(rhai::serde::from_dynamic::<serde_json::Value>(item)?);
        }
        Rows::from_values("rows_from", values).map_err(fail)
    }

    /// `count` rows written out by a closure that is called with 0, 1, … and returns a map as
    /// for `rows_from`. The calls run in parallel; much faster than pushing onto an array.
    #[rhai_fn(name = "rows_from", return_raw)]
    pub fn rows_from_closure(
        ctx: NativeCallContext,
        count: i64,
        make: FnPtr,
    ) -> RhaiResultOf<Rows> {
        let count = usize::try_from(count).ok().filter(|n| *n <= MOST_ROWS);
        let count = count.ok_or_else(|| format!("rows_from makes 0 to {MOST_ROWS} rows"))?;
        let value = |made: Dynamic| {
            rhai::serde::from_dynamic::<serde_json::Value>(&made).map_err(|e| e.to_string())
        };
        let values = each_index(&ctx, count, "rows_from", make, value)?;
        Rows::from_values("rows_from", values).map_err(fail)
    }

    /// One line: how many rows of which kind.
    #[rhai_fn(name = "to_string", name = "to_debug", name = "print", name = "debug", pure)]
    pub fn show(rows: &mut Rows) -> String {
        rows.to_string()
    }
}
