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
use crate::trace::{Message, Role, Signal, pieces};

/// What stands in place of a result that gave way, as OpenCode writes it.
pub const CLEARED: &str = "[Old tool result content cleared]";

/// The rows that fit `limit` tokens as they are, and windows of those that do not: one stage
/// `window`. An answer that does not fit even alone is dropped with its window as `too_long`.
pub fn windows(
    rows: &Rows,
    limit: usize,
    count: &dyn TokenCount,
    observer: &dyn Observer,
) -> Result<Rows> {
    observer.begin("window", Some(rows.len() as u64), "rows");
    let counter = Counter::new(observer);
    let gauge = Gauge::new(&rows.examples, count)?;
    let cut = |row: &Held| -> Result<Vec<Held>> {
        counter.tick()?;
        let told = gauge.tells(row, limit);
        if row.kind.is_generated() || told == Some(true) {
            return Ok(vec![row.clone()]);
        }
        let example = row.read()?;
        if answers(&example.trace.messages) < 2 {
            return Ok(vec![row.clone()]);
        }
        let session = Session::new(&example, limit, count, &gauge);
        let shares = Shares::of(&session)?;
        let row = row.clone().with_tokens(shares.as_ref().map(Shares::all));
        if told.is_none() && gauge.fits(&row, limit)? {
            return Ok(vec![row]);
        }
        let windows = session.cut(shares.as_ref())?;
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
    count: &'a dyn TokenCount,
    gauge: &'a Gauge<'a>,
    /// How many messages every window begins with.
    head: usize,
    /// What follows, in pieces that stay whole.
    pieces: Vec<Range<usize>>,
}

/// A window: the pieces in it. Those before `from` are context only, and results in those before
/// `clear` have given way.
#[derive(Clone)]
struct Window {
    pieces: Range<usize>,
    from: usize,
    clear: usize,
}

/// Tells how long a window is.
type Measure<'a> = dyn Fn(&Window) -> Result<usize> + 'a;

impl<'a> Session<'a> {
    fn new(
        example: &'a Example,
        limit: usize,
        count: &'a dyn TokenCount,
        gauge: &'a Gauge<'a>,
    ) -> Self {
        let (head, pieces) = pieces(&example.trace.messages);
        Session { example, limit, count, gauge, head, pieces }
    }

    /// Whether a piece is an answer that the loss covers.
    fn taught(&self, piece: usize) -> bool {
        self.example.trace.messages[self.pieces[piece].clone()].iter().any(|m| m.train)
    }

    fn is_answer(&self, piece: usize) -> bool {
        self.example.trace.messages[self.pieces[piece].start].role == Role::Assistant
    }

    fn example(&self, window: &Window) -> Example {
        let all = &self.example.trace.messages;
        let mut messages = all[..self.head].to_vec();
        for piece in window.pieces.clone() {
            for message in &all[self.pieces[piece].clone()] {
                let mut message = message.clone();
                message.train &= piece >= window.from;
                if piece < window.clear {
                    clear(&mut message);
                }
                messages.push(message);
            }
        }
        let last = messages.iter().rposition(|m| m.role == Role::Assistant);
        messages.truncate(last.map_or(0, |at| at + 1));
        self.saying(messages)
    }

    /// The session with other messages.
    fn saying(&self, messages: Vec<Message>) -> Example {
        let Example { id, kind, derived_from, component, trace } = self.example;
        Example {
            id: id.clone(),
            kind: *kind,
            derived_from: derived_from.clone(),
            component: component.clone(),
            trace: trace.saying(messages),
        }
    }

    fn tokens(&self, window: &Window) -> Result<usize> {
        self.count.count(&self.example(window))
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
    fn cut(&self, shares: Option<&Shares>) -> Result<Vec<(Example, Option<usize>)>> {
        let mut windows = Vec::new();
        // The first piece that no window has trained yet.
        let mut next = 0;
        while let Some(answer) = (next..self.pieces.len()).find(|p| self.taught(*p)) {
            let found = match shares {
                Some(shares) => {
                    let sum = |window: &Window| Ok(shares.sum(self, window));
                    self.next(answer, &sum)?.map(|window| (Some(shares.sum(self, &window)), window))
                }
                None => self.guessed(answer)?,
            };
            // Without any even the answer alone is too long.
            next = found.as_ref().map_or(answer + 1, |(_, window)| window.pieces.end);
            windows.extend(found);
        }
        let mut first: Option<String> = None;
        let examples = windows.into_iter().map(|(tokens, window)| {
            let mut example = self.example(&window);
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

    /// The window that begins to train with an answer, where each would have to be counted whole:
    /// by an estimate if that proves right.
    fn guessed(&self, answer: usize) -> Result<Option<(Option<usize>, Window)>> {
        let exact = |window: &Window| self.tokens(window);
        if self.gauge.estimates() {
            let estimated =
                |window: &Window| Ok(self.gauge.estimate(&self.example(window).trace).unwrap_or(0));
            if let Some(window) = self.next(answer, &estimated)? {
                let tokens = self.tokens(&window)?;
                if tokens <= self.limit {
                    return Ok(Some((Some(tokens), window)));
                }
            }
        }
        Ok(self.next(answer, &exact)?.map(|window| (None, window)))
    }

    /// The window that begins to train with an answer.
    fn next(&self, answer: usize, tokens: &Measure) -> Result<Option<Window>> {
        let window = |from: usize, end: usize, clear: usize| Window {
            pieces: from..end,
            from: answer,
            clear,
        };
        let fits = |from: usize, end: usize, clear: usize, most: usize| -> Result<bool> {
            Ok(tokens(&window(from, end, clear))? <= most)
        };
        // Nothing fits where the answer does not even without context.
        if !fits(answer, answer + 1, answer, self.limit)? {
            return Ok(None);
        }
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
        Ok(Some(window(from, end, clear)))
    }
}

/// The note in place of a result that is longer than the note.
fn clear(message: &mut Message) {
    if message.role == Role::Tool && message.content.len() > CLEARED.len() {
        message.content = CLEARED.into();
        message.note(Signal::Cleared);
    }
}

/// What the pieces of a session add to a window, where they add up.
struct Shares {
    /// What every window has.
    head: usize,
    /// Sums over the pieces before each.
    whole: Vec<usize>,
    /// The same with results cleared.
    cleared: Vec<usize>,
    /// Answers without the results of their calls: a window ends with one.
    last: Vec<usize>,
}

impl Shares {
    fn of(session: &Session) -> Result<Option<Shares>> {
        let (count, messages) = (session.count, &session.example.trace.messages);
        let answers = |m: &Message| matches!(m.role, Role::Assistant | Role::Tool);
        if session.head == 0 || messages[..session.head].iter().any(answers) {
            return Ok(None);
        }
        let mut shares = Shares { head: 0, whole: vec![0], cleared: vec![0], last: Vec::new() };
        let (mut whole, mut cleared) = (0, 0);
        for piece in &session.pieces {
            let messages = &messages[piece.clone()];
            let Some(all) = count.adds(messages)? else { return Ok(None) };
            whole += all;
            let mut rest = messages.to_vec();
            rest.iter_mut().for_each(clear);
            let (mut less, mut alone) = (all, all);
            if messages.len() > 1 {
                let bare = (rest != messages).then(|| count.adds(&rest)).transpose()?;
                let answer = count.adds(&messages[..1])?;
                let (Some(bare), Some(answer)) = (bare.unwrap_or(Some(all)), answer) else {
                    return Ok(None);
                };
                (less, alone) = (bare, answer);
            }
            cleared += less;
            shares.whole.push(whole);
            shares.cleared.push(cleared);
            shares.last.push(alone);
        }
        shares.head = count.count(&session.saying(messages[..session.head].to_vec()))?;
        Ok(Some(shares))
    }

    /// The tokens of the whole session.
    fn all(&self) -> usize {
        self.head + self.whole.last().unwrap_or(&0)
    }

    /// The tokens of a window.
    fn sum(&self, session: &Session, window: &Window) -> usize {
        let Window { pieces, clear, .. } = window;
        let Some(last) = pieces.clone().rev().find(|piece| session.is_answer(*piece)) else {
            return 0;
        };
        let between = |sums: &[usize], range: Range<usize>| {
            if range.is_empty() { 0 } else { sums[range.end] - sums[range.start] }
        };
        let cleared = pieces.start..last.min(*clear);
        let whole = pieces.start.max(*clear)..last;
        // An answer that ends a window has no results there to clear.
        self.head + between(&self.cleared, cleared) + between(&self.whole, whole) + self.last[last]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{call, read, result, row};
    use super::*;
    use crate::chance::Chance;
    use crate::progress::Silent;
    use serde_json::json;

    /// Tokens are characters.
    fn characters(example: &Example) -> Result<usize> {
        let text = |m: &Message| m.content.len() + 10 * m.tool_calls.len();
        Ok(example.trace.messages.iter().map(text).sum())
    }

    /// The same, which knows that they add up.
    struct AddUp;

    impl TokenCount for AddUp {
        fn count(&self, example: &Example) -> Result<usize> {
            characters(example)
        }

        fn adds(&self, piece: &[Message]) -> Result<Option<usize>> {
            characters(&row("s", piece.to_vec())).map(Some)
        }
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
    fn windows_are_the_same_where_pieces_add_up() {
        for seed in 0..200 {
            let chance = &mut Chance::new(seed, "session");
            let mut example = session(chance.below(30), chance.below(120));
            for message in &mut example.trace.messages[1..] {
                if chance.below(5) == 0 {
                    message.role = Role::User;
                    message.train = false;
                }
                message.content = "x".repeat(chance.below(120));
            }
            let limit = 40 + chance.below(600);
            let rows = Rows::new(vec![example], Stage::made("made", 1));
            let counted = windows(&rows, limit, &characters, &Silent).unwrap();
            let added = windows(&rows, limit, &AddUp, &Silent).unwrap();
            assert_eq!(read(&counted.examples), read(&added.examples), "{seed}");
            for window in added.examples.iter() {
                let tokens = characters(window.read().unwrap().as_ref()).unwrap();
                assert!(window.tokens().is_none_or(|known| known == tokens), "{seed}");
            }
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
