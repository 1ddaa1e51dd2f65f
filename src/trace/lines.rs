//! The lines of a JSONL file, one at a time, however long the file is.

use std::fs::File;
use std::io::{BufRead, BufReader};

use sha2::{Digest, Sha256};

/// The longest line that is parsed, in bytes. A longer one is skipped without being held.
pub const MAX_LINE: usize = 32 << 20;

/// How many bytes of lines are read before they are parsed together.
const BATCH: usize = 8 << 20;

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

/// The non-blank lines of a file with their numbers, hashing every byte on the way.
pub(super) struct Lines {
    input: BufReader<File>,
    hasher: Sha256,
    /// Bytes read so far.
    pub bytes: u64,
    line: u64,
}

impl Lines {
    pub fn new(file: File) -> Self {
        let input = BufReader::with_capacity(1 << 18, file);
        Lines { input, hasher: Sha256::new(), bytes: 0, line: 0 }
    }

    pub fn digest(self) -> String {
        self.hasher.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The next lines, some megabytes of them; none at the end of the file.
    pub fn batch(&mut self) -> std::io::Result<Vec<(u64, Line)>> {
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
