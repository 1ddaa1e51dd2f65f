//! Calling a script's closure for every row, in parallel, with one answer for any thread count.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rayon::prelude::*;
use rhai::{Dynamic, EvalAltResult, FnPtr, NativeCallContext, Position};

use super::RhaiResultOf;
use super::failure::ROW_FRAME;
use super::verbs::{Row, host};
use crate::dataset::Rows;

/// Calls `closure` with every row and reads each answer with `read`. Answers come in the rows'
/// order. When several rows fail, the error is the first row's.
pub fn each_row<T: Send>(
    ctx: &NativeCallContext,
    rows: &Rows,
    stage: &str,
    mut closure: FnPtr,
    read: impl Fn(Dynamic) -> Result<T, String> + Sync,
) -> RhaiResultOf<Vec<T>> {
    let observer = &host(ctx)?.observer;
    // Rows run in parallel, so what the closure took from outside is shared and read-only:
    // writing to it is an error where it is written, not a race or a lost update.
    for captured in closure.iter_curry_mut() {
        *captured = captured.flatten_clone().into_read_only().into_shared();
    }
    let first_failure = AtomicUsize::new(usize::MAX);
    let done = AtomicU64::new(0);
    observer.begin(stage, Some(rows.len() as u64), "rows");
    let answer = |(index, example)| -> Option<RhaiResultOf<T>> {
        // Rows before the first failure are all asked, so the failure reported is always the
        // same; rows behind it no longer matter.
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
            let row = Dynamic::from(Row::new(example));
            let answer = closure.call_raw(ctx, None, [row]);
            answer.and_then(|value| read(value).map_err(|message| at_call(ctx, message)))
        };
        if result.is_err() {
            first_failure.fetch_min(index, Ordering::Relaxed);
        }
        Some(result)
    };
    let answers: Vec<_> = rows.examples.par_iter().enumerate().map(answer).collect();
    observer.end();
    let mut read = Vec::with_capacity(answers.len());
    for (answer, example) in answers.into_iter().zip(rows.examples.iter()) {
        match answer {
            Some(Ok(value)) => read.push(value),
            // Bare, or a script could catch it.
            Some(Err(error)) if matches!(*error, EvalAltResult::ErrorTerminated(..)) => {
                return Err(error);
            }
            Some(Err(error)) => {
                let trace = &example.trace;
                let frame = format!("{ROW_FRAME}{} (session {})", trace.origin, trace.session);
                let position = ctx.call_position();
                let error =
                    EvalAltResult::ErrorInFunctionCall(frame, String::new(), error, position);
                return Err(error.into());
            }
            // Only rows behind a failure stay unasked, and the failure returned above.
            None => unreachable!("a row was skipped although none before it failed"),
        }
    }
    Ok(read)
}

fn at_call(ctx: &NativeCallContext, message: String) -> Box<EvalAltResult> {
    EvalAltResult::ErrorRuntime(message.into(), ctx.call_position()).into()
}
