//! Files with a line an entry, plain or packed with zstd.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use regex::bytes::Regex;

use super::entry::{Damage, Dialect, Entry, Header, Says, parse};
use super::session::{Known, Session};
use crate::trace::lines::MAX_LINE;
use crate::trace::store::Reading;

/// A packed file is read up to here, in bytes.
const MOST: u64 = 8 << 30;

/// How much is read at a time, in bytes.
const CHUNK: usize = 256 << 10;

/// A stretch of a file that is a session: `reset` lines end one and begin the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    /// Lines and bytes before it.
    pub row: u64,
    pub offset: u64,
    /// Its length in bytes.
    pub bytes: u64,
}

/// What a file holds.
#[derive(Debug, Default)]
pub struct Listed {
    /// Its first line, where that says which session it is.
    pub header: Option<Header>,
    /// At least one.
    pub parts: Vec<Part>,
}

/// Whether a file begins like a session.
pub fn header(head: &[u8]) -> Option<Header> {
    let line = head.split(|b| *b == b'\n').next()?;
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    match parse(line, 1, &PLAIN).ok()?.says {
        Says::Header(header) if header.session.is_some() => {
            Some(header).filter(|h| h.cwd.is_some() || h.time_ms.is_some())
        }
        _ => None,
    }
}

const PLAIN: Dialect = Dialect { agent: "pi", own_words: Some };

/// A line's number and text.
pub type Row<'a> = (u64, Result<&'a [u8], Damage>);

/// Lines of a reader that are not blank, with their numbers from 1.
pub struct Rows<R> {
    input: R,
    /// How much of the input's buffer the last line was.
    taken: usize,
    /// A line that did not fit into it.
    long: Vec<u8>,
    pub row: u64,
    /// Bytes up to the end of the last line.
    pub offset: u64,
}

/// The length of the first line, if it ends here.
fn line_end(mut text: &[u8]) -> Option<usize> {
    let all = text;
    let length = text.skip_until(b'\n').ok()?;
    all[..length].ends_with(b"\n").then_some(length)
}

impl<R: BufRead> Rows<R> {
    pub fn new(input: R) -> Self {
        Rows { input, taken: 0, long: Vec::new(), row: 0, offset: 0 }
    }

    /// The next line.
    pub fn next(&mut self) -> io::Result<Option<Row<'_>>> {
        loop {
            self.input.consume(std::mem::take(&mut self.taken));
            let within = line_end(self.input.fill_buf()?);
            let length = match within {
                Some(length) => length,
                None => {
                    self.long.clear();
                    let mut most = (&mut self.input).take(MAX_LINE as u64 + 1);
                    most.read_until(b'\n', &mut self.long)?
                }
            };
            if length == 0 {
                return Ok(None);
            }
            self.row += 1;
            self.offset += length as u64;
            if length > MAX_LINE && !self.long.ends_with(b"\n") {
                self.long = Vec::new();
                self.offset += self.input.skip_until(b'\n')? as u64;
                return Ok(Some((self.row, Err(Damage::too_long()))));
            }
            self.taken = within.unwrap_or(0);
            let text = match within {
                Some(length) => &self.input.fill_buf()?[..length],
                None => &self.long,
            };
            if !text.iter().all(u8::is_ascii_whitespace) {
                break;
            }
        }
        let text = match self.taken {
            0 => &self.long,
            // Still there: nothing is consumed before the next call.
            taken => &self.input.fill_buf()?[..taken],
        };
        let text = match self.row {
            1 => text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text),
            _ => text,
        };
        Ok(Some((self.row, Ok(text))))
    }
}

/// Opens a text from some place on.
pub type Open<'a> = &'a (dyn Fn(u64) -> io::Result<Box<dyn BufRead>> + Sync);

/// How a file is opened; never waits for a pipe.
pub fn open(path: &Path) -> impl Fn(u64) -> io::Result<Box<dyn BufRead>> + Sync {
    let path = path.to_path_buf();
    move |offset| {
        if !path.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut file = File::open(&path)?;
        if path.extension().is_some_and(|end| end == "zst") {
            let text = zstd::Decoder::new(file)?.take(MOST);
            return skip(BufReader::with_capacity(CHUNK, text), offset);
        }
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(BufReader::with_capacity(CHUNK, file)))
    }
}

/// How a text that is held in memory is opened.
pub fn held(text: Vec<u8>) -> impl Fn(u64) -> io::Result<Box<dyn BufRead>> + Sync {
    let text: Arc<[u8]> = text.into();
    move |offset| skip(io::Cursor::new(text.clone()), offset)
}

fn skip(mut text: impl BufRead + 'static, offset: u64) -> io::Result<Box<dyn BufRead>> {
    io::copy(&mut (&mut text).take(offset), &mut io::sink())?;
    Ok(Box::new(text))
}

/// Looks through a file: its header, and where sessions end in it.
pub fn list(open: Open) -> io::Result<Listed> {
    let mut input = open(0)?;
    let mut listed = Listed { header: header(input.fill_buf()?), parts: Vec::new() };
    let (bytes, found) = search(input)?;
    let mut part = Part::default();
    if found {
        let mut rows = Rows::new(open(0)?);
        while let Some((row, text)) = rows.next()? {
            let is_reset = text.is_ok_and(|text| contains_reset(text) && resets(text));
            if is_reset && rows.offset < bytes {
                listed.parts.push(Part { bytes: rows.offset - part.offset, ..part });
                part = Part { row, offset: rows.offset, bytes: 0 };
            }
        }
    }
    listed.parts.push(Part { bytes: bytes - part.offset, ..part });
    Ok(listed)
}

/// What stands in a `reset` line; in the text of a message its quotes are escaped.
const RESET: &str = "\"reset\"";

fn contains_reset(text: &[u8]) -> bool {
    static FINDS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(RESET).ok());
    FINDS.as_ref().is_some_and(|finds| finds.is_match(text))
}

pub fn resets(line: &[u8]) -> bool {
    matches!(parse(line, 1, &PLAIN), Ok(Entry { says: Says::Reset, .. }))
}

/// The length of what can be read, and whether a `reset` may stand in it.
fn search(mut input: Box<dyn BufRead>) -> io::Result<(u64, bool)> {
    let (mut bytes, mut found) = (0, false);
    // The end of what came before, where the first half of it may stand.
    let mut edge = Vec::new();
    const HALF: usize = RESET.len() - 1;
    loop {
        let text = input.fill_buf()?;
        let length = text.len();
        if length == 0 {
            return Ok((bytes, found));
        }
        edge.extend_from_slice(&text[..length.min(HALF)]);
        found = found || contains_reset(text) || contains_reset(&edge);
        if length > HALF {
            edge.clear();
            edge.extend_from_slice(&text[length - HALF..]);
        }
        edge.drain(..edge.len().saturating_sub(HALF));
        bytes += length as u64;
        input.consume(length);
    }
}

/// Reads one part of a file into a trace.
pub fn read(
    open: Open,
    part: Part,
    mut session: Session,
    known: Known,
    dialect: &Dialect,
) -> Reading {
    let mut last = part.row;
    let mut fill = || -> io::Result<()> {
        // What is written after the listing is not read.
        let mut rows = Rows::new(open(part.offset)?.take(part.bytes));
        while let Some((row, text)) = rows.next()? {
            last = part.row + row;
            session.add(last, text.and_then(|text| parse(text, last, dialect)));
        }
        Ok(())
    };
    if let Err(e) = fill() {
        let problem = format!("cannot read on: {e}");
        session.add(last + 1, Err(Damage { reason: "unreadable", problem }));
    }
    session.finish(known, dialect)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(text: &'static [u8], buffer: usize) -> BufReader<&'static [u8]> {
        BufReader::with_capacity(buffer, text)
    }

    #[test]
    fn lines_are_the_same_whatever_fits_into_the_buffer() {
        for buffer in 1..20 {
            let mut rows = Rows::new(small(b"\xef\xbb\xbfone\n\n  \ntwo\r\nthree", buffer));
            let mut found = Vec::new();
            while let Some((row, text)) = rows.next().unwrap() {
                found.push((row, text.unwrap().trim_ascii_end().to_vec()));
            }
            let wanted = [(1, b"one".to_vec()), (4, b"two".to_vec()), (5, b"three".to_vec())];
            assert_eq!(found, wanted, "{buffer}");
            assert_eq!(rows.offset, 21);
        }
    }

    #[test]
    fn a_reset_is_found_wherever_a_buffer_ends() {
        for buffer in 1..20 {
            let found = |text| search(Box::new(small(text, buffer))).unwrap();
            assert_eq!(found(b"{\"type\":\"reset\"}"), (16, true), "{buffer}");
            assert_eq!(found(b"{\"type\":\"reset!}"), (16, false), "{buffer}");
        }
    }
}
