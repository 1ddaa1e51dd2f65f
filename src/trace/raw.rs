//! The raw-trace contract: one JSON object a line, `messages` (or `conversation`) with `role` and
//! `content`, or `user` + `assistant`.
//!
//! The same reader takes back the rows this program writes. A bad line is counted under a reason,
//! reported with file and line, and costs only itself. What a line contains never enters a
//! message: at this point it may still hold secrets.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Origin, Trace};
use crate::files;
use crate::progress::Observer;

mod calls;
mod find;
mod message;
mod row;

pub use row::{Pedigree, Problem, Row, parse_row};

/// The longest line that is parsed, in bytes. A longer one is skipped without being held.
pub const MAX_LINE: usize = 32 << 20;

/// How many bytes of lines are read before they are parsed together.
const BATCH: usize = 8 << 20;

/// A line that gave no trace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BadLine {
    /// The file, named as in [`Origin::file`].
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it; never what it contains.
    pub problem: String,
}

impl std::fmt::Display for BadLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.problem)
    }
}

/// A file that was read, as the manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileDigest {
    /// The file, named as in [`Origin::file`].
    pub file: String,
    /// The SHA-256 of its bytes, in hex.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// Its lines that are not blank.
    pub lines: u64,
}

/// A file that was found but gave no line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unread {
    /// The file, named as in [`Origin::file`].
    pub file: String,
    /// Why: empty, not a regular file, no permission.
    pub problem: String,
}

/// What the named files hold: `lines = traces + Σ reasons`.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The traces, ordered by session, origin and content, whatever the order of the files.
    pub traces: Vec<Trace>,
    /// What a dataset row says of itself beside its trace; one for each trace.
    pub pedigrees: Vec<Pedigree>,
    /// Lines that are not blank.
    pub lines: u64,
    /// The lines that gave no trace.
    pub bad: Vec<BadLine>,
    /// How many bad lines there are, by reason.
    pub reasons: BTreeMap<String, u64>,
    /// The files that were read.
    pub files: Vec<FileDigest>,
    /// Files that were found and gave nothing.
    pub unread: Vec<Unread>,
    /// What was asked for, as it was named.
    pub asked: Vec<String>,
}

impl Loaded {
    /// Fails when there is no trace at all, saying what was looked at and what to do.
    pub fn refuse_empty(self) -> Result<Loaded> {
        if !self.traces.is_empty() {
            return Ok(self);
        }
        let asked = self.asked.join(", ");
        let mut message = format!("no trace in {asked}");
        if self.files.is_empty() && self.unread.is_empty() {
            message += ": there is no *.jsonl file";
        }
        for unread in self.unread.iter().take(3) {
            message += &format!("; {}: {}", unread.file, unread.problem);
        }
        if let Some(first) = self.bad.first() {
            message += &format!("; {} bad lines, the first at {first}", self.bad.len());
        }
        message += ". Put files with one JSON object a line (`messages` with `role` and `content`, \
                    or `user` and `assistant`) there, or name others with TRACES";
        bail!(message)
    }
}

/// One line as it came off the disk.
enum Line {
    Text(Vec<u8>),
    TooLong,
}

/// Reads raw traces from files, folders (every `*.jsonl` below them) and globs.
///
/// A path that does not exist or a named file that cannot be read is an error; whatever else is
/// wrong is reported in the result. `project` is the folder that file names are relative to.
pub fn load(paths: &[PathBuf], project: &Path, observer: &dyn Observer) -> Result<Loaded> {
    let asked = paths.iter().map(|p| p.display().to_string()).collect();
    let found = find::files(paths, project)?;
    let mut loaded = Loaded { asked, unread: found.unread, ..Loaded::default() };
    let mut rows = Vec::new();
    let total = found.files.iter().map(|f| f.bytes).sum();
    observer.begin("load", Some(total), "bytes");
    // Side by side, since shards may lie on several disks.
    let done = AtomicU64::new(0);
    let parts: Vec<Result<Part>> =
        found.files.par_iter().map(|file| read(file, &done, observer)).collect();
    observer.end();
    for part in parts {
        let Part { rows: more, lines, reasons, file, bad, unread } = part?;
        rows.extend(more);
        loaded.lines += lines;
        loaded.files.extend(file);
        loaded.bad.extend(bad);
        loaded.unread.extend(unread);
        for (reason, count) in reasons {
            *loaded.reasons.entry(reason).or_default() += count;
        }
    }
    rows.sort_by_cached_key(|row: &Row| {
        let content = serde_json::to_vec(&row.trace).unwrap_or_default();
        (row.trace.session.clone(), row.trace.origin.clone(), files::digest(&content))
    });
    for row in rows {
        loaded.traces.push(row.trace);
        loaded.pedigrees.push(row.pedigree);
    }
    loaded.files.sort();
    loaded.bad.sort();
    loaded.unread.sort();
    Ok(loaded)
}

/// What came of one file.
#[derive(Default)]
struct Part {
    rows: Vec<Row>,
    lines: u64,
    reasons: BTreeMap<String, u64>,
    file: Option<FileDigest>,
    bad: Vec<BadLine>,
    unread: Option<Unread>,
}

/// Reads one file to its end, a batch of lines at a time. `done` counts the bytes of all files.
fn read(file: &find::Found, done: &AtomicU64, observer: &dyn Observer) -> Result<Part> {
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

/// serde_json's message without its `at line 1`, which would contradict the file's line.
fn json_problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or("malformed");
    format!("not valid JSON: {what} at column {}", error.column())
}

/// The non-blank lines of a file with their numbers, hashing every byte on the way.
struct Lines {
    input: BufReader<File>,
    hasher: Sha256,
    bytes: u64,
    line: u64,
}

impl Lines {
    fn new(file: File) -> Self {
        let input = BufReader::with_capacity(1 << 18, file);
        Lines { input, hasher: Sha256::new(), bytes: 0, line: 0 }
    }

    fn digest(self) -> String {
        self.hasher.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The next lines, some megabytes of them; none at the end of the file.
    fn batch(&mut self) -> std::io::Result<Vec<(u64, Line)>> {
        let mut batch = Vec::new();
        let mut held = 0;
        while held < BATCH {
            let Some(line) = self.next()? else { break };
            if let Line::Text(text) = &line {
                if text.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                held += text.len();
            }
            batch.push((self.line, line));
        }
        Ok(batch)
    }

    fn next(&mut self) -> std::io::Result<Option<Line>> {
        let mut text = Vec::new();
        let mut length = 0;
        loop {
            let buffer = match self.input.fill_buf() {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if buffer.is_empty() {
                if length == 0 {
                    return Ok(None);
                }
                break;
            }
            let end = buffer.iter().position(|b| *b == b'\n');
            let part = &buffer[..end.map_or(buffer.len(), |n| n + 1)];
            let taken = part.len();
            self.hasher.update(part);
            length += taken;
            if length <= MAX_LINE {
                text.extend_from_slice(part);
            } else {
                text = Vec::new();
            }
            self.bytes += taken as u64;
            self.input.consume(taken);
            if end.is_some() {
                break;
            }
        }
        self.line += 1;
        if length > MAX_LINE {
            return Ok(Some(Line::TooLong));
        }
        if self.line == 1 && text.starts_with(b"\xef\xbb\xbf") {
            text.drain(..3);
        }
        Ok(Some(Line::Text(text)))
    }
}
