//! Columns of CSV and TSV files whose header names a secret.

use super::names::Strength;
use super::values::{self, Written};
use super::words::is_words;
use super::{after, before};

/// How long a header may be, and how many rows are read below it.
const HEADER: usize = 200;
const ROWS: usize = 200;

/// The values below the name from `start` to `end`, if that is a field of a header.
pub fn below(text: &str, start: usize, end: usize, strength: Strength) -> Vec<(usize, usize)> {
    values_below(text, start, end, strength).unwrap_or_default()
}

fn values_below(
    text: &str,
    start: usize,
    end: usize,
    strength: Strength,
) -> Option<Vec<(usize, usize)>> {
    let bytes = text.as_bytes();
    let beside = [start.checked_sub(1).map(|n| bytes[n]), bytes.get(end).copied()];
    let quoted = beside == [Some(b'"'); 2];
    let (from, to) = (start - usize::from(quoted), end + usize::from(quoted));
    let beside = [from.checked_sub(1).map(|n| bytes[n]), bytes.get(to).copied()];
    let separator = beside.into_iter().flatten().find(|b| b",;\t".contains(b))?;
    let ends = |b: Option<u8>| b.is_none_or(|b| b == separator || b"\r\n".contains(&b));
    // The first field may stand right after the quote of a string.
    (ends(beside[0].filter(|b| *b != b'"')) && ends(beside[1])).then_some(())?;
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"_-. \"".contains(&b) || b == separator;
    let lead = before(text, from, HEADER);
    let lead = lead.rsplit('\n').next().filter(|line| line.len() < HEADER)?;
    // All of it may be a string of JSON.
    let lead = [":\"", ": \""]
        .iter()
        .filter_map(|w| Some(lead.rsplit_once(w)?.1))
        .next_back()
        .unwrap_or(lead);
    let rest = after(text, to, HEADER);
    let rest = rest.split_once('\n')?.0.trim_end_matches('\r');
    // A listing numbers its lines, and a line of base64 names nothing.
    let numbered = lead.trim().bytes().all(|b| b.is_ascii_digit()) && !lead.trim().is_empty();
    (!numbered && is_words(&text[start..end])).then_some(())?;
    // Before the first field there may be what the file stands in.
    let inner = lead.split_once(char::from(separator)).map_or("", |(_, inner)| inner);
    inner.bytes().chain(rest.bytes()).all(is_name).then_some(())?;
    let place = lead.bytes().filter(|b| *b == separator).count();
    let count = place + rest.bytes().filter(|b| *b == separator).count();
    let header = from - lead.len()..to + rest.len();
    if text[from - inner.len()..header.end].contains(", ") {
        // `name, password` is a sentence.
        return None;
    }
    let mut found = Vec::new();
    let mut at = to + rest.len();
    at += text[at..].find('\n')? + 1;
    for _ in 0..ROWS {
        let row = after(text, at, 2048).lines().next().unwrap_or("");
        let fields = fields(row, separator);
        if fields.len() != count + 1 || *row == text[header.clone()] {
            break;
        }
        let (a, b) = fields[place];
        let value = row[a..b].split('"').next().unwrap_or("").trim_end_matches('>');
        let b = a + value.len();
        let written = Written { quoted: true, ..Written::default() };
        if values::is_secret(&row[a..b], strength, written) {
            found.push((at + a, at + b));
        }
        at += row.len();
        at += usize::from(text[at..].starts_with('\r'));
        if !text[at..].starts_with('\n') {
            break;
        }
        at += 1;
    }
    Some(found)
}

/// Where the fields of a row are, without their quotes.
fn fields(row: &str, separator: u8) -> Vec<(usize, usize)> {
    let bytes = row.as_bytes();
    let (mut fields, mut start, mut inside) = (Vec::new(), 0, false);
    for at in 0..=bytes.len() {
        match bytes.get(at) {
            Some(b'"') => inside = !inside,
            Some(byte) if inside || *byte != separator => {}
            _ => {
                let quoted = at >= start + 2 && bytes[start] == b'"' && bytes[at - 1] == b'"';
                let quote = usize::from(quoted);
                fields.push((start + quote, at - quote));
                start = at + 1;
            }
        }
    }
    fields
}
