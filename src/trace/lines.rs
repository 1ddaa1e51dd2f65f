//! The lines of a JSONL file, some at a time, however long the file is.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use sha2::{Digest, Sha256};

use crate::files;

/// The longest line that is parsed, in bytes. A longer one is skipped without being held.
pub const MAX_LINE: usize = 32 << 20;

/// How many bytes of lines are read before they are parsed together.
const BATCH: usize = 4 << 20;

/// What a line costs in memory beside its text.
const OVERHEAD: usize = 64;

/// One line as it came off the disk.
pub(super) enum Line {
    Text(Vec<u8>),
    TooLong,
}

/// serde_json's message without its `at line 1`, which would contradict the file's line.
pub(super) fn json_problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or("malformed");
    format!("not valid JSON: {what} at column {}", error.column())
}

/// A file that is hashed as it is read.
struct Hashed {
    file: File,
    hasher: Sha256,
    bytes: u64,
}

impl Read for Hashed {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(into)?;
        self.hasher.update(&into[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

/// The non-blank lines of a file with their numbers, every byte of it hashed on the way.
pub(super) struct Lines {
    input: BufReader<Hashed>,
    line: u64,
}

impl Lines {
    pub fn new(file: File) -> Self {
        let file = Hashed { file, hasher: Sha256::new(), bytes: 0 };
        Lines { input: BufReader::with_capacity(1 << 18, file), line: 0 }
    }

    /// Bytes of the file read so far.
    pub fn bytes(&self) -> u64 {
        self.input.get_ref().bytes
    }

    /// The digest of the file, once all of it has been read.
    pub fn digest(self) -> String {
        files::hex(&self.input.into_inner().hasher.finalize())
    }

    /// The next lines, some megabytes of them; none at the end of the file.
    pub fn batch(&mut self) -> std::io::Result<Option<Vec<(u64, Line)>>> {
        let mut batch = Vec::new();
        let mut held = 0;
        while held < BATCH {
            let Some(line) = self.next()? else { break };
            held += OVERHEAD;
            if let Line::Text(text) = &line {
                if text.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                held += text.len();
            }
            batch.push((self.line, line));
        }
        Ok((held > 0).then_some(batch))
    }

    fn next(&mut self) -> std::io::Result<Option<Line>> {
        let mut text = Vec::new();
        let most = MAX_LINE as u64 + 1;
        let length = self.input.by_ref().take(most).read_until(b'\n', &mut text)?;
        if length == 0 {
            return Ok(None);
        }
        self.line += 1;
        if length > MAX_LINE {
            if text.last() != Some(&b'\n') {
                self.input.skip_until(b'\n')?;
            }
            return Ok(Some(Line::TooLong));
        }
        if self.line == 1 && text.starts_with(b"\xef\xbb\xbf") {
            text.drain(..3);
        }
        Ok(Some(Line::Text(text)))
    }
}
