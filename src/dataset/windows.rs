//! Sessions longer than the model's context, cut into windows that fit it.
//!
//! A window begins with the session's system prompt and first question, then come as many later
//! messages as fit, in one piece: a cut falls between messages and never between a call and its
//! result, and every window ends on an answer. Each answer is trained in exactly one window, and
//! has before it as much of what came before as half the context holds. Where the context is
//! short, the results of older calls give way first, to the note that agents put in their place:
//! training sees what inference sees.

use std::ops::Range;

use anyhow::Result;
use rayon::prelude::*;

use super::gauge::Gauge;
use super::{Example, Held, Rows, Stage, TokenCount};
use crate::progress::{Counter, Observer};
use crate::trace::{Message, Role, Signal, Trace};

/// What stands in place of a result that gave way, as OpenCode writes it.
pub const CLEARED: &str = "[Old tool result content cleared]";

/// The rows that fit `limit` tokens as they are, and windows of those that do not: one stage
/// `window`. An answer that does not fit even alone is dropped with its window as `too_long`.
pub fn windows(
    rows: &Rows,
    limit: usize,
    count: &TokenCount,
    observer: &dyn Observer,
) -> Result<Rows> {
    observer.begin("window", Some(rows.len() as u64), "rows");
    let counter = Counter::new(observer);
    let gauge = Gauge::new(&rows.examples, count)?;
    let cut = |row: &Held| -> Result<Vec<Held>> {
        counter.tick()?;
        if row.kind.is_generated() || gauge.fits(row, limit)? {
            return Ok(vec![row.clone()]);
        }
        let example = row.read()?;
        if answers(&example.trace.messages) < 2 {
            return Ok(vec![row.clone()]);
        }
        let windows = Session::new(&example, limit, count, &gauge).cut()?;
        let hold = |(window, tokens)| Ok(rows.pager.hold(window)?.with_tokens(tokens));
        windows.into_iter().map(hold).collect()
    };
    let cut: Vec<Result<_>> = rows.examples.par_iter().map(cut).collect();
    let cut: Result<Vec<_>> = cut.into_iter().collect();
    observer.end();
    let (mut out, mut added, mut dropped) = (Vec::new(), 0, 0);
    for windows in cut? {
        match windows.len() {
            0 => dropped += 1,
            n => added += n - 1,
        }
        out.extend(windows);
    }
    let stage = Stage {
        name: "window".into(),
        input: rows.len() as u64,
        added: added as u64,
        output: out.len() as u64,
        dropped: (dropped > 0).then(|| ("too_long".to_string(), dropped)).into_iter().collect(),
        ..Stage::default()
    };
    Ok(rows.after(out, stage))
}

fn answers(messages: &[Message]) -> usize {
    messages.iter().filter(|m| m.role == Role::Assistant).count()
}

/// A session on its way into windows.
struct Session<'a> {
    example: &'a Example,
    limit: usize,
    count: &'a TokenCount<'a>,
    gauge: &'a Gauge<'a>,
    /// How many messages every window begins with.
    head: usize,
    /// What follows, in pieces that stay whole: an answer with the results of its calls, or a
    /// single message.
    pieces: Vec<Range<usize>>,
}

impl<'a> Session<'a> {
    fn new(
        example: &'a Example,
        limit: usize,
        count: &'a TokenCount<'a>,
        gauge: &'a Gauge<'a>,
    ) -> Self {
        let messages = &example.trace.messages;
        let asked = messages.iter().position(|m| m.role == Role::User);
        let head = asked.map_or(0, |at| at + 1);
        let mut pieces: Vec<Range<usize>> = Vec::new();
        for (at, message) in messages.iter().enumerate().skip(head) {
            match pieces.last_mut() {
                Some(piece) if message.role == Role::Tool => piece.end = at + 1,
                _ => pieces.push(at..at + 1),
            }
        }
        Session { example, limit, count, gauge, head, pieces }
    }

    /// Whether a piece is an answer that the loss covers.
    fn taught(&self, piece: usize) -> bool {
        self.example.trace.messages[self.pieces[piece].clone()].iter().any(|m| m.train)
    }

    fn is_answer(&self, piece: usize) -> bool {
        self.example.trace.messages[self.pieces[piece].start].role == Role::Assistant
    }

    /// The window of some pieces in which those before `from` are context only; results in
    /// pieces before `clear` have given way.
    fn window(&self, pieces: Range<usize>, from: usize, clear: usize) -> Trace {
        let trace = &self.example.trace;
        let mut messages = trace.messages[..self.head].to_vec();
        for piece in pieces {
            for message in &trace.messages[self.pieces[piece].clone()] {
                let mut message = message.clone();
                message.train &= piece >= from;
                if message.role == Role::Tool
                    && piece < clear
                    && message.content.len() > CLEARED.len()
                {
                    message.content = CLEARED.into();
                    message.note(Signal::Cleared);
                }
                messages.push(message);
            }
        }
        let last = messages.iter().rposition(|m| m.role == Role::Assistant);
        messages.truncate(last.map_or(0, |at| at + 1));
        Trace { messages, ..trace.clone() }
    }

    fn tokens(&self, trace: Trace) -> Result<usize> {
        (self.count)(&Example { trace, ..self.example.clone() })
    }

    /// The first of `range` for which `fits` holds, given that it goes on holding from there.
    fn first(
        range: Range<usize>,
        mut fits: impl FnMut(usize) -> Result<bool>,
    ) -> Result<Option<usize>> {
        let (mut low, mut high) = (range.start, range.end);
        while low < high {
            let middle = low + (high - low) / 2;
            if fits(middle)? { high = middle } else { low = middle + 1 }
        }
        Ok((low < range.end).then_some(low))
    }

    /// The windows, each with its tokens where they were counted.
    fn cut(&self) -> Result<Vec<(Example, Option<usize>)>> {
        let mut traces = Vec::new();
        // The first piece that no window has trained yet.
        let mut next = 0;
        while let Some(answer) = (next..self.pieces.len()).find(|p| self.taught(*p)) {
            let exact = |trace: Trace| self.tokens(trace);
            let estimated = |trace: Trace| Ok(self.gauge.estimate(&trace).unwrap_or(0));
            let mut found = None;
            if self.gauge.estimates()
                && let Some((trace, end)) = self.next(answer, &estimated)?
            {
                let tokens = self.tokens(trace.clone())?;
                found = (tokens <= self.limit).then_some((trace, end, Some(tokens)));
            }
            if found.is_none() {
                found = self.next(answer, &exact)?.map(|(trace, end)| (trace, end, None));
            }
            // Without any even the answer alone is too long.
            next = found.as_ref().map_or(answer + 1, |(_, end, _)| *end);
            traces.extend(found.map(|(trace, _, tokens)| (trace, tokens)));
        }
        let mut first: Option<String> = None;
        let examples = traces.into_iter().map(|(trace, tokens)| {
            let mut example = Example { trace, ..self.example.clone() };
            if let Some(first) = &first {
                example = Example::new(example.kind, example.trace);
                example.derived_from = Some(first.clone());
            } else {
                first = Some(example.id.clone());
            }
            (example, tokens)
        });
        Ok(examples.collect())
    }

    /// The window that begins to train with an answer, and the piece after its last one.
    fn next(
        &self,
        answer: usize,
        tokens: &dyn Fn(Trace) -> Result<usize>,
    ) -> Result<Option<(Trace, usize)>> {
        let fits = |from: usize, end: usize, clear: usize, most: usize| -> Result<bool> {
            Ok(tokens(self.window(from..end, answer, clear))? <= most)
        };
        // As much before the answer as half the context holds, all of it where there is room;
        // then with old results cleared, then whatever the whole context holds.
        let mut chosen = None;
        for (cleared, most) in [(false, self.limit / 2), (true, self.limit / 2), (true, self.limit)]
        {
            let clear = if cleared { answer } else { 0 };
            let found = Self::first(0..answer + 1, |from| fits(from, answer + 1, clear, most))?;
            // A context that lost most of its messages is worse than one that lost results.
            match found {
                Some(0) => {
                    chosen = Some((0, clear));
                    break;
                }
                Some(from) if cleared => {
                    chosen = Some((from, clear));
                    break;
                }
                _ => {}
            }
        }
        let Some((from, clear)) = chosen else { return Ok(None) };
        // As many pieces after it as fit.
        let beyond = Self::first(answer + 2..self.pieces.len() + 1, |end| {
            Ok(!fits(from, end, clear, self.limit)?)
        })?;
        let end = beyond.map_or(self.pieces.len(), |end| end - 1);
        let end = (answer + 1..=end).rev().find(|e| self.is_answer(e - 1)).unwrap_or(answer + 1);
        Ok(Some((self.window(from..end, answer, clear), end)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{call, read, result, row};
    use super::*;
    use crate::progress::Silent;
    use serde_json::json;

    /// Tokens are characters.
    fn characters(example: &Example) -> Result<usize> {
        let text = |m: &Message| m.content.len() + 10 * m.tool_calls.len();
        Ok(example.trace.messages.iter().map(text).sum())
    }

    fn cut(example: Example, limit: usize) -> Rows {
        let rows = Rows::new(vec![example], Stage::made("made", 1));
        windows(&rows, limit, &characters, &Silent).unwrap()
    }

    /// A question, then steps: a call of 10 and a result of `size`; an answer of 10 at the end.
    fn session(steps: usize, size: usize) -> Example {
        let mut messages = vec![Message::text(Role::User, "u".repeat(20))];
        for n in 0..steps {
            let id = format!("c{n}");
            messages.push(call(&id, "read", json!({"n": n})));
            messages.push(result(&id, &"r".repeat(size)));
        }
        messages.push(Message::text(Role::Assistant, "a".repeat(10)));
        row("s", messages)
    }

    fn trained(rows: &Rows) -> Vec<String> {
        let rows = read(&rows.examples);
        let messages = rows.iter().flat_map(|e| &e.trace.messages).filter(|m| m.train);
        messages.map(|m| m.tool_calls.first().map_or("end".into(), |c| c.id.clone())).collect()
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let example = session(3, 10);
        let out = cut(example.clone(), 1000);
        assert_eq!(*read(&out.examples)[0], example);
        assert!(out.stages.last().unwrap().adds_up());
    }

    #[test]
    fn every_answer_is_trained_once_in_a_window_that_fits() {
        for (steps, size, limit) in [(30, 40, 400), (30, 40, 150), (7, 90, 230), (50, 1, 100)] {
            let example = session(steps, size);
            let out = cut(example.clone(), limit);
            let mut wanted: Vec<String> = (0..steps).map(|n| format!("c{n}")).collect();
            wanted.push("end".into());
            assert_eq!(trained(&out), wanted, "{steps} x {size} in {limit}");
            assert!(out.len() > 1);
            for window in &read(&out.examples) {
                let messages = &window.trace.messages;
                assert!(characters(window).unwrap() <= limit);
                assert_eq!(messages[0], example.trace.messages[0]);
                assert_eq!(messages.last().unwrap().role, Role::Assistant);
                for (at, message) in messages.iter().enumerate() {
                    if message.role == Role::Tool {
                        let id = message.tool_call_id.as_ref().unwrap();
                        assert_eq!(messages[at - 1].tool_calls[0].id, *id);
                    }
                }
            }
            let ids: Vec<&str> = out.examples.iter().map(|e| e.id.as_str()).collect();
            assert_eq!(ids[0], example.id);
            assert!(out.examples[1..].iter().all(|e| e.derived_from.as_deref() == Some(ids[0])));
            assert!(out.stages.last().unwrap().adds_up());
        }
    }

    #[test]
    fn old_results_give_way_before_messages_do() {
        let out = cut(session(8, 100), 500);
        let windows = read(&out.examples);
        let last = &windows.last().unwrap().trace.messages;
        assert!(last.iter().any(|m| m.content == CLEARED && m.signals == [Signal::Cleared]));
        // The call before a cleared result is still there.
        assert!(last.len() > 10, "{}", last.len());
        let first = &windows[0].trace.messages;
        assert!(first.iter().all(|m| m.content != CLEARED));
    }

    #[test]
    fn a_step_that_fits_nowhere_is_left_out_and_the_rest_is_kept() {
        let mut example = session(6, 10);
        example.trace.messages[5].content = "x".repeat(900);
        example.trace.messages[5].role = Role::Assistant;
        let out = cut(example, 200);
        assert!(!trained(&out).is_empty());
        assert!(read(&out.examples).iter().all(|e| characters(e).unwrap() <= 200));
    }

    #[test]
    fn masked_steps_stay_context() {
        let mut example = session(30, 40);
        example.trace.messages[1].train = false;
        let out = cut(example, 300);
        assert!(!trained(&out).contains(&"c0".to_string()));
        assert_eq!(trained(&out).len(), 30);
    }
}
