//! Text under base64: runs of it, in either alphabet, whole or wrapped at a usual line length.

use std::ops::Range;

use super::{Origin, Part, View, readable};

/// The shortest run that is decoded.
const MIN_BASE64: usize = 16;

/// The value of each base64 character, of either alphabet; 64 for anything else.
const SEXTETS: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut values = [64; 256];
    let mut i = 0;
    while i < 64 {
        values[alphabet[i] as usize] = i as u8;
        i += 1;
    }
    values[b'-' as usize] = 62;
    values[b'_' as usize] = 63;
    values
};

fn is_base64(byte: u8) -> bool {
    SEXTETS[byte as usize] < 64
}

/// The bytes of four characters or fewer.
#[inline]
fn quad(characters: &[u8]) -> [u8; 3] {
    let word = characters.iter().fold(0, |word, c| word << 6 | u32::from(SEXTETS[*c as usize]));
    let [_, a, b, c] = (word << (6 * (4 - characters.len()))).to_be_bytes();
    [a, b, c]
}

/// Adds a view for every base64 run that decodes to text.
pub(super) fn base64(text: &str, views: &mut Vec<View>) {
    let bytes = text.as_bytes();
    // Up to where a wrapped run was read in vain.
    let mut vain = 0;
    let mut i = 0;
    while let Some(next) = long_run(bytes, i) {
        i = next;
        let end = i + bytes[i..].iter().take_while(|b| is_base64(**b)).count();
        // A run may begin with what only looks like base64, such as the path before it.
        for skip in 0..4 {
            let Some(start) = bytes[i + skip..end].first_chunk::<MIN_BASE64>() else { break };
            if !begins_text(start) {
                continue;
            }
            let lines = run(bytes, i + skip, if i < vain { end } else { bytes.len() });
            if let Some(view) = decode(bytes, &lines) {
                views.push(view);
                i = lines.last().map_or(end, |line| line.end - 1);
                break;
            }
            vain = lines.last().map_or(end, |line| line.end).max(vain);
        }
        i = end.max(i + 1);
    }
}

/// Where the next run of base64 characters begins that is long enough to be decoded; `at` is not
/// within a run.
fn long_run(bytes: &[u8], mut at: usize) -> Option<usize> {
    // Any run of that length covers one of these places.
    loop {
        let window = bytes.get(at..at + MIN_BASE64)?;
        match window.iter().rposition(|b| !is_base64(*b)) {
            None => return Some(at),
            Some(other) => at += other + 1,
        }
    }
}

/// Whether the first characters of a run decode to text. Most runs are words, paths and digests.
fn begins_text(start: &[u8; MIN_BASE64]) -> bool {
    let (quads, _) = start.as_chunks::<4>();
    if !matches!(quad(&quads[0])[0], b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0xc2..=0xf4) {
        return false;
    }
    let mut decoded = [0; MIN_BASE64 / 4 * 3];
    for (characters, bytes) in quads.iter().zip(decoded.chunks_mut(3)) {
        bytes.copy_from_slice(&quad(characters));
    }
    is_text(&decoded) || is_wide(&decoded)
}

/// The lines of a run of base64 characters, which may be wrapped at a usual line length.
fn run(bytes: &[u8], from: usize, limit: usize) -> Vec<Range<usize>> {
    let mut lines = Vec::new();
    let mut line = from;
    loop {
        let end = line + bytes[line..limit].iter().take_while(|b| is_base64(**b)).count();
        lines.push(line..end);
        let width = end - line;
        let newline = match &bytes[end..limit] {
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            _ => break,
        };
        let goes_on = bytes[end..limit].get(newline).is_some_and(|b| is_base64(*b));
        if !(60..=80).contains(&width) || !width.is_multiple_of(4) || !goes_on {
            break;
        }
        line = end + newline;
    }
    lines
}

/// Decodes the characters of a run's lines, if they give readable text.
fn decode(bytes: &[u8], lines: &[Range<usize>]) -> Option<View> {
    let last = lines.last()?.end;
    let pads = bytes[last..].iter().take(2).take_while(|b| **b == b'=').count();
    let mut decoded = Vec::with_capacity(lines.iter().map(Range::len).sum::<usize>() / 4 * 3 + 3);
    let mut parts = Vec::with_capacity(lines.len());
    for line in lines {
        let end = if line.end == last { last + pads } else { line.end };
        parts.push(Part {
            at: decoded.len() as u32,
            from: line.start as u32,
            origin: Origin::Quads { last: line.end as u32, end: end as u32 },
        });
        for characters in bytes[line.clone()].chunks(4) {
            decoded.extend_from_slice(&quad(characters)[..characters.len() - 1]);
        }
    }
    if is_wide(&decoded[..decoded.len().min(12)]) {
        return wide_view(&decoded, parts);
    }
    let text = readable(decoded);
    let odd = text.chars().filter(|c| c.is_control() && !c.is_whitespace()).count();
    (odd * 20 <= text.len()).then(|| View::new(text, parts))
}

fn is_text(bytes: &[u8]) -> bool {
    let valid = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // The last character may be cut.
        Err(e) if e.error_len().is_none() => return is_text(&bytes[..e.valid_up_to()]),
        Err(_) => return false,
    };
    valid.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'))
}

/// UTF-16, as PowerShell encodes its commands.
fn is_wide(bytes: &[u8]) -> bool {
    bytes.len() >= 8 && bytes.chunks_exact(2).all(|p| p[1] == 0 && (p[0] >= b' ' || p[0] == b'\n'))
}

fn wide_view(decoded: &[u8], parts: Vec<Part>) -> Option<View> {
    let narrow = View::new(String::new(), parts);
    let (mut text, mut parts) = (String::new(), Vec::new());
    for (index, pair) in decoded.chunks_exact(2).enumerate() {
        let c = char::from_u32(u32::from(u16::from_le_bytes([pair[0], pair[1]])))?;
        let (start, end) = narrow.original(2 * index, 2 * index + 2);
        let origin = Origin::Whole(end as u32);
        parts.push(Part { at: text.len() as u32, from: start as u32, origin });
        text.push(c);
    }
    Some(View::new(text, parts))
}
