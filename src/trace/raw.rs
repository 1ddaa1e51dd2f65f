//! The raw-trace contract: one JSON object a line, `messages` (or `conversation`) with `role` and
//! `content`, or `user` + `assistant`. OpenAI's chat rows and ShareGPT's `conversations` with
//! `from` and `value` are such rows too. A file may be compressed with zstd, or be Parquet with a
//! column for each field.
//!
//! The same reader takes back the rows this program writes. A bad line is counted under a reason,
//! reported with file and line, and costs only itself. What a line contains never enters a
//! message: at this point it may still hold secrets.

use std::fs::File;

use anyhow::{Context, Result};

use super::find::Place;
use super::lines::{Line, json_problem};
use super::{FileDigest, Origin, Unread};

mod calls;
pub(super) mod feed;
mod message;
mod parquet;
mod row;
mod texts;

pub use super::lines::MAX_LINE;
pub use row::{Pedigree, Problem, Row, parse_row};
pub use texts::Texts;

/// How a file ended: read, or with nothing in it.
struct End {
    file: Option<FileDigest>,
    unread: Option<Unread>,
}

/// Is told the bytes read since it was last called; an error ends the reading.
type Step<'a> = &'a dyn Fn(u64) -> Result<()>;

/// Takes over some lines with their numbers.
type Give<'a> = &'a mut dyn FnMut(Vec<(u64, Line)>) -> Result<()>;

/// Reads one file to its end, some lines at a time, and hands them over as they stand there.
fn read(file: &Place, step: Step, give: Give) -> Result<End> {
    let unread = |problem: String| Some(Unread { file: file.shown.clone(), problem });
    let cannot_read = || format!("cannot read {}", file.path.display());
    let open = match File::open(&file.path) {
        Ok(open) => open,
        // Only what the user named must be readable; the rest of a folder is reported.
        Err(e) if !file.named => return Ok(End { unread: unread(e.to_string()), file: None }),
        Err(e) => return Err(e).with_context(cannot_read),
    };
    let mut texts = Texts::new(open).with_context(cannot_read)?;
    let (mut lines, mut told) = (0, 0);
    loop {
        let bytes = texts.bytes();
        step(bytes - told)?;
        told = bytes;
        let Some(batch) = texts.batch().with_context(cannot_read)? else { break };
        lines += batch.len() as u64;
        give(batch)?;
    }
    let (sha256, bytes) = texts.finish().with_context(cannot_read)?;
    let nothing = if bytes == 0 { "the file is empty" } else { "no rows, or only blank lines" };
    Ok(End {
        unread: if lines == 0 { unread(nothing.into()) } else { None },
        file: Some(FileDigest { file: file.shown.clone(), sha256, bytes, lines }),
    })
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
