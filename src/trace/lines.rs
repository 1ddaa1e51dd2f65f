//! The lines of a JSONL file, some at a time, however long the file is; also where it is
//! compressed with zstd.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use sha2::{Digest, Sha256};

use crate::files;

/// The longest line that is parsed, in bytes. A longer one is skipped without being held.
pub const MAX_LINE: usize = 32 << 20;

/// How many bytes of lines are read before they are parsed together.
pub(super) const BATCH: usize = 4 << 20;

/// How much is read from the disk at once.
const BUFFER: usize = 1 << 18;

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

/// Whether a file's first bytes say that it is compressed with zstd.
pub(super) fn is_zstd(head: &[u8]) -> bool {
    // A frame, or one that is to be skipped.
    head.starts_with(b"\x28\xb5\x2f\xfd") || matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// A file that is hashed as it is read.
pub(super) struct Hashed {
    file: File,
    hasher: Sha256,
    bytes: u64,
}

impl Hashed {
    pub fn new(file: File) -> Self {
        Hashed { file, hasher: Sha256::new(), bytes: 0 }
    }

    /// The digest of the whole file, whatever has been read of it, and its size.
    pub fn finish(mut self) -> std::io::Result<(String, u64)> {
        let mut rest = vec![0; BUFFER];
        while self.read(&mut rest)? > 0 {}
        Ok((files::hex(&self.hasher.finalize()), self.bytes))
    }
}

impl Read for Hashed {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(into)?;
        self.hasher.update(&into[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

enum Input {
    Plain(BufReader<Hashed>),
    /// The decoder refuses frames whose window is larger than 128 MB.
    Zstd(BufReader<zstd::Decoder<'static, BufReader<Hashed>>>),
}

/// The non-blank lines of a file with their numbers, every byte of the file hashed on the way.
pub(super) struct Lines {
    input: Input,
    line: u64,
}

impl Lines {
    pub fn new(file: File) -> std::io::Result<Self> {
        let mut plain = BufReader::with_capacity(BUFFER, Hashed::new(file));
        let input = if is_zstd(plain.fill_buf()?) {
            Input::Zstd(BufReader::with_capacity(BUFFER, zstd::Decoder::with_buffer(plain)?))
        } else {
            Input::Plain(plain)
        };
        Ok(Lines { input, line: 0 })
    }

    /// Bytes of the file read so far.
    pub fn bytes(&self) -> u64 {
        match &self.input {
            Input::Plain(plain) => plain.get_ref().bytes,
            Input::Zstd(decoder) => decoder.get_ref().get_ref().get_ref().bytes,
        }
    }

    /// The digest of the file and its size.
    pub fn finish(self) -> std::io::Result<(String, u64)> {
        match self.input {
            Input::Plain(plain) => plain.into_inner(),
            Input::Zstd(decoder) => decoder.into_inner().finish().into_inner(),
        }
        .finish()
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
        let input: &mut dyn BufRead = match &mut self.input {
            Input::Plain(plain) => plain,
            Input::Zstd(decoder) => decoder,
        };
        let length = input.take(most).read_until(b'\n', &mut text)?;
        if length == 0 {
            return Ok(None);
        }
        self.line += 1;
        if length > MAX_LINE {
            if text.last() != Some(&b'\n') {
                input.skip_until(b'\n')?;
            }
            return Ok(Some(Line::TooLong));
        }
        if self.line == 1 && text.starts_with(b"\xef\xbb\xbf") {
            text.drain(..3);
        }
        Ok(Some(Line::Text(text)))
    }
}
