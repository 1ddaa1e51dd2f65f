//! The raw-trace contract: one JSON object a line, `messages` (or `conversation`) with `role` and
//! `content`, or `user` + `assistant`. OpenAI's chat rows and ShareGPT's `conversations` with
//! `from` and `value` are such rows too.
//!
//! The same reader takes back the rows this program writes. A bad line is counted under a reason,
//! reported with file and line, and costs only itself. What a line contains never enters a
//! message: at this point it may still hold secrets.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use rayon::prelude::*;

use super::find::Place;
use super::lines::{Line, Lines, json_problem};
use super::{BadLine, FileDigest, Origin, Unread};
use crate::progress::Observer;

mod calls;
mod message;
mod row;

pub use super::lines::MAX_LINE;
pub use row::{Pedigree, Problem, Row, parse_row};

/// What came of one file.
#[derive(Default)]
pub(super) struct Part {
    pub rows: Vec<Row>,
    pub lines: u64,
    pub reasons: BTreeMap<String, u64>,
    pub file: Option<FileDigest>,
    pub bad: Vec<BadLine>,
    pub unread: Option<Unread>,
}

/// Reads one file to its end, a batch of lines at a time. `done` counts the bytes of all files.
pub(super) fn read(file: &Place, done: &AtomicU64, observer: &dyn Observer) -> Result<Part> {
    let mut part = Part::default();
    let unread = |problem: String| Some(Unread { file: file.shown.clone(), problem });
    let cannot_read = || format!("cannot read {}", file.path.display());
    let mut input = match File::open(&file.path) {
        Ok(open) => Lines::new(open),
        // Only what the user named must be readable; the rest of a folder is reported.
        Err(e) if !file.named => return Ok(Part { unread: unread(e.to_string()), ..part }),
        Err(e) => return Err(e).with_context(cannot_read),
    };
    loop {
        observer.check()?;
        let before = input.bytes;
        let batch = input.batch().with_context(cannot_read)?;
        if batch.is_empty() {
            break;
        }
        part.lines += batch.len() as u64;
        let parsed: Vec<_> = batch
            .into_par_iter()
            .map(|(line, text)| (line, parse(text, &file.shown, line)))
            .collect();
        for (line, result) in parsed {
            match result {
                Ok(row) => part.rows.push(row),
                Err(problem) => {
                    *part.reasons.entry(problem.reason.to_string()).or_default() += 1;
                    let file = file.shown.clone();
                    part.bad.push(BadLine { file, line, problem: problem.message });
                }
            }
        }
        let read = input.bytes - before;
        observer.advance(done.fetch_add(read, Ordering::Relaxed) + read, "");
    }
    if part.lines == 0 {
        let problem = if input.bytes == 0 { "the file is empty" } else { "only blank lines" };
        part.unread = unread(problem.into());
    }
    let (bytes, lines) = (input.bytes, part.lines);
    let (file, sha256) = (file.shown.clone(), input.digest());
    part.file = Some(FileDigest { file, sha256, bytes, lines });
    Ok(part)
}

fn parse(line: Line, file: &str, number: u64) -> Result<Row, Problem> {
    let Line::Text(bytes) = line else {
        return Err(Problem::new("too_long", format!("longer than {} MiB", MAX_LINE >> 20)));
    };
    let text = std::str::from_utf8(&bytes).map_err(|e| {
        Problem::new("not_utf8", format!("invalid UTF-8 at byte {}", e.valid_up_to() + 1))
    })?;
    let value =
        serde_json::from_str(text).map_err(|e| Problem::new("not_json", json_problem(&e)))?;
    parse_row(value, &Origin { file: file.to_string(), line: number })
}
