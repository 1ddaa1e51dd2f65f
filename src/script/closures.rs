//! Calling a script's closure many times, in parallel, with one answer for any thread count.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rayon::prelude::*;
use rhai::{Dynamic, EvalAltResult, FnPtr, NativeCallContext, Position};

use super::compare::named;
use super::failure::{ITEM_FRAME, ROW_FRAME};
use super::verbs::{Row, host};
use super::{RhaiResultOf, fail};
use crate::dataset::Rows;

/// Calls `closure` with every row and reads each answer with `read`. Answers come in the rows'
/// order. When several rows fail, the error is the first row's.
pub fn each_row<T: Send>(
    ctx: &NativeCallContext,
    rows: &Rows,
    stage: &str,
    closure: FnPtr,
    read: impl Fn(Dynamic) -> Result<T, String> + Sync,
) -> RhaiResultOf<Vec<T>> {
    let row =
        |index: usize| Row::read(&rows.examples[index]).map(|r| [Dynamic::from(r)]).map_err(fail);
    let place = |index: usize| format!("{ROW_FRAME}{}", rows.examples[index].place());
    each(ctx, stage, rows.len(), closure, row, place, read)
}

/// Calls `closure` with 0, 1, … `count` - 1.
pub fn each_index<T: Send>(
    ctx: &NativeCallContext,
    count: usize,
    stage: &str,
    closure: FnPtr,
    read: impl Fn(Dynamic) -> Result<T, String> + Sync,
) -> RhaiResultOf<Vec<T>> {
    let place = |index: usize| format!("{ROW_FRAME}{index} of {stage}");
    each(ctx, stage, count, closure, |index| Ok([Dynamic::from(index as i64)]), place, read)
}

/// Calls `closure` with the item and the answer at 0, 1, … `count` - 1.
pub fn each_answer<T: Send>(
    ctx: &NativeCallContext,
    count: usize,
    stage: &str,
    closure: FnPtr,
    arguments: impl Fn(usize) -> [Dynamic; 2] + Sync,
    place: impl Fn(usize) -> String,
    read: impl Fn(Dynamic) -> Result<T, String> + Sync,
) -> RhaiResultOf<Vec<T>> {
    let place = |index: usize| format!("{ITEM_FRAME}{}", place(index));
    each(ctx, stage, count, closure, |index| Ok(arguments(index)), place, read)
}

/// What is wrong with what a metric returned.
pub fn no_score(value: &Dynamic) -> String {
    format!(
        "a metric gives a finite number, true or false, or () where it does not apply; not {}",
        named(value)
    )
}

fn each<T: Send, const N: usize>(
    ctx: &NativeCallContext,
    stage: &str,
    count: usize,
    mut closure: FnPtr,
    arguments: impl Fn(usize) -> RhaiResultOf<[Dynamic; N]> + Sync,
    place: impl Fn(usize) -> String,
    read: impl Fn(Dynamic) -> Result<T, String> + Sync,
) -> RhaiResultOf<Vec<T>> {
    let observer = &host(ctx)?.observer;
    // Calls run in parallel, so what the closure took from outside is shared and read-only:
    // writing to it is an error where it is written, not a race or a lost update.
    for captured in closure.iter_curry_mut() {
        *captured = captured.flatten_clone().into_read_only().into_shared();
    }
    let first_failure = AtomicUsize::new(usize::MAX);
    let done = AtomicU64::new(0);
    observer.begin(stage, Some(count as u64), "rows");
    let answer = |index| -> Option<RhaiResultOf<T>> {
        // Everything before the first failure is asked, so the failure reported is always the
        // same; what lies behind it no longer matters.
        if index > first_failure.load(Ordering::Relaxed) {
            return None;
        }
        let n = done.fetch_add(1, Ordering::Relaxed) + 1;
        if n.is_multiple_of(1024) {
            observer.advance(n, "");
        }
        let result = if observer.cancelled() {
            Err(EvalAltResult::ErrorTerminated(Dynamic::UNIT, Position::NONE).into())
        } else {
            let answer = arguments(index).and_then(|given| closure.call_raw(ctx, None, given));
            answer.and_then(|value| read(value).map_err(|message| at_call(ctx, message)))
        };
        if result.is_err() {
            first_failure.fetch_min(index, Ordering::Relaxed);
        }
        Some(result)
    };
    let answers: Vec<_> = (0..count).into_par_iter().map(answer).collect();
    observer.end();
    let mut values = Vec::with_capacity(count);
    for (index, answer) in answers.into_iter().enumerate() {
        match answer {
            Some(Ok(value)) => values.push(value),
            // Bare, or a script could catch it.
            Some(Err(error)) if matches!(*error, EvalAltResult::ErrorTerminated(..)) => {
                return Err(error);
            }
            Some(Err(error)) => {
                let frame = place(index);
                let position = ctx.call_position();
                let error =
                    EvalAltResult::ErrorInFunctionCall(frame, String::new(), error, position);
                return Err(error.into());
            }
            // Only what lies behind a failure stays unasked, and the failure returned above.
            None => unreachable!("a row was skipped although none before it failed"),
        }
    }
    Ok(values)
}

fn at_call(ctx: &NativeCallContext, message: String) -> Box<EvalAltResult> {
    EvalAltResult::ErrorRuntime(message.into(), ctx.call_position()).into()
}
