//! Rows of many files, within bounded memory: a thread a file reads, the pool parses, the caller
//! takes, all at the same time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use anyhow::{Context, Result};
use rayon::prelude::*;

use super::{End, Problem, Row, parse, read};
use crate::progress::Observer;
use crate::trace::find::Place;
use crate::trace::lines::Line;
use crate::trace::{BadLine, Loaded};

/// How many files are read at the same time: they may lie on several disks.
const ABREAST: usize = 8;

/// How many pieces of a file wait to be parsed, beside the one that is being read.
const AHEAD: usize = 1;

enum Piece {
    Lines(Vec<(u64, Line)>),
    End(End),
}

/// A line's number and what became of it.
type Parsed = (u64, Result<Row, Problem>);

/// Reads the files and hands over their rows; everything else goes into the account. The files
/// that are open take turns, so that the order of rows depends on nothing but the files.
pub(in crate::trace) fn feed(
    files: &[Place],
    loaded: &mut Loaded,
    observer: &dyn Observer,
    take: &mut dyn FnMut(Row) -> Result<()>,
) -> Result<()> {
    let done = AtomicU64::new(0);
    let step = |bytes: u64| {
        observer.advance(done.fetch_add(bytes, Ordering::Relaxed) + bytes, "");
        observer.check()
    };
    let step = &step;
    // The readers are threads of their own: one that waits must not hold up the pool that parses.
    thread::scope(|scope| {
        let start = |file| -> Result<(&Place, Receiver<Result<Piece>>)> {
            let (give, pieces) = sync_channel(AHEAD);
            let reader = move || {
                let read = read(file, step, &mut |lines| Ok(give.send(Ok(Piece::Lines(lines)))?));
                // Whoever no longer listens has an error of their own.
                let _ = give.send(read.map(Piece::End));
            };
            thread::Builder::new().spawn_scoped(scope, reader).context("cannot start a thread")?;
            Ok((file, pieces))
        };
        let mut waiting = files.iter().map(start);
        let mut open = waiting.by_ref().take(ABREAST).collect::<Result<VecDeque<_>>>()?;
        let mut rows = Vec::new();
        while let Some((file, pieces)) = open.pop_front() {
            let piece = pieces.recv().with_context(|| format!("{} was left", file.shown))?;
            match piece? {
                Piece::Lines(lines) => {
                    open.push_back((file, pieces));
                    let (parsed, taken) = while_parsing(lines, &file.shown, || {
                        rows.drain(..).try_for_each(&mut *take)
                    });
                    taken?;
                    rows.extend(loaded.kept(parsed, &file.shown));
                }
                Piece::End(end) => {
                    loaded.files.extend(end.file);
                    loaded.unread.extend(end.unread);
                    open.extend(waiting.next().transpose()?);
                }
            }
        }
        rows.into_iter().try_for_each(take)
    })
}

/// Parses lines on all cores while this thread does something else.
fn while_parsing<T>(
    lines: Vec<(u64, Line)>,
    file: &str,
    work: impl FnOnce() -> T,
) -> (Vec<Parsed>, T) {
    let mut parsed = Vec::new();
    let each = |(number, line)| (number, parse(line, file, number));
    let worked = rayon::in_place_scope(|scope| {
        scope.spawn(|_| parsed = lines.into_par_iter().map(each).collect());
        work()
    });
    (parsed, worked)
}

impl Loaded {
    /// The rows among parsed lines; what is none is counted and reported.
    fn kept(&mut self, parsed: Vec<Parsed>, file: &str) -> Vec<Row> {
        self.lines += parsed.len() as u64;
        let mut rows = Vec::with_capacity(parsed.len());
        for (line, result) in parsed {
            match result {
                Ok(row) => rows.push(row),
                Err(problem) => {
                    self.drop(problem.reason);
                    self.bad.push(BadLine { file: file.into(), line, problem: problem.message });
                }
            }
        }
        rows
    }
}
