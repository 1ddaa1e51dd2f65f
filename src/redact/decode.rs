//! The texts hidden in a text: under JSON and unicode escapes, HTML entities, terminal colours,
//! percent-encoding and base64, and under each other.
//!
//! Every decoded byte remembers which bytes of the original it came from, so that a find in a
//! decoded view is redacted in the encoding it stands in.

/// How many encodings may lie over each other.
const DEPTH: usize = 3;

/// The shortest base64 run that is decoded.
const MIN_BASE64: usize = 16;

/// A decoded text and where its bytes came from.
struct View {
    text: String,
    starts: Vec<u32>,
    ends: Vec<u32>,
}

impl View {
    fn push(&mut self, c: char, start: usize, end: usize) {
        self.text.push(c);
        for _ in 0..c.len_utf8() {
            self.starts.push(start as u32);
            self.ends.push(end as u32);
        }
    }

    fn with_capacity(n: usize) -> Self {
        View {
            text: String::with_capacity(n),
            starts: Vec::with_capacity(n),
            ends: Vec::with_capacity(n),
        }
    }
}

/// From a span in a view to the span of the original text.
pub(super) type ToOriginal<'a> = &'a dyn Fn(usize, usize) -> (usize, usize);

/// Calls `f` with the text itself and with everything decoded from it.
pub(super) fn each_view(text: &str, f: &mut dyn FnMut(&str, ToOriginal, usize)) {
    // Positions are kept in 32 bits; no line is long enough to need more.
    if u32::try_from(text.len()).is_ok() {
        visit(text, 0, &|a, b| (a, b), f);
    }
}

fn visit(text: &str, depth: usize, map: ToOriginal, f: &mut dyn FnMut(&str, ToOriginal, usize)) {
    f(text, map, depth);
    if depth == DEPTH {
        return;
    }
    let mut views = Vec::new();
    views.extend(unescape(text));
    views.extend(percent(text));
    base64(text, &mut views);
    for view in &views {
        let outer = |a: usize, b: usize| {
            let (a, b) = match b > a {
                true => (view.starts[a] as usize, view.ends[b - 1] as usize),
                false => (0, 0),
            };
            map(a, b)
        };
        visit(&view.text, depth + 1, &outer, f);
    }
}

/// Undoes backslash escapes, HTML entities and terminal colours; `None` when there are none.
fn unescape(text: &str) -> Option<View> {
    let bytes = text.as_bytes();
    let is_special = |b: &u8| matches!(b, b'\\' | b'&' | 0x1b);
    let first = bytes.iter().position(is_special)?;
    let mut view = View::with_capacity(text.len());
    let mut changed = false;
    let mut i = 0;
    while i < bytes.len() {
        let plain = match i < first {
            true => first,
            false => bytes[i..].iter().position(is_special).map_or(bytes.len(), |n| i + n),
        };
        for (at, c) in text[i..plain].char_indices() {
            view.push(c, i + at, i + at + c.len_utf8());
        }
        i = plain;
        if i == bytes.len() {
            break;
        }
        match escape(&bytes[i..]) {
            Some((decoded, length)) => {
                changed = true;
                if let Some(c) = decoded {
                    view.push(c, i, i + length);
                }
                i += length;
            }
            None => {
                view.push(char::from(bytes[i]), i, i + 1);
                i += 1;
            }
        }
    }
    changed.then_some(view)
}

/// The character an escape stands for (none for a colour code) and the escape's length.
fn escape(bytes: &[u8]) -> Option<(Option<char>, usize)> {
    match bytes[0] {
        0x1b => {
            let body = bytes.strip_prefix(b"\x1b[")?.iter().take(24);
            let length =
                body.take_while(|b| b.is_ascii_digit() || matches!(b, b';' | b'?')).count();
            bytes.get(2 + length)?.is_ascii_alphabetic().then_some((None, 3 + length))
        }
        b'&' => {
            let end = bytes.iter().take(9).position(|b| *b == b';')?;
            let c = match &bytes[1..end] {
                b"quot" => '"',
                b"apos" => '\'',
                b"amp" => '&',
                b"lt" => '<',
                b"gt" => '>',
                b"nbsp" => ' ',
                [b'#', b'x' | b'X', digits @ ..] => char::from_u32(number(digits, 16)?)?,
                [b'#', digits @ ..] => char::from_u32(number(digits, 10)?)?,
                _ => return None,
            };
            Some((Some(c), end + 1))
        }
        _ => backslash(bytes),
    }
}

fn backslash(bytes: &[u8]) -> Option<(Option<char>, usize)> {
    let c = match bytes.get(1)? {
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        // JSON's and, in Markdown, any punctuation.
        c if c.is_ascii_punctuation() => char::from(*c),
        b'x' => {
            let c = char::from_u32(number(bytes.get(2..4)?, 16)?)?;
            return Some((Some(c), 4));
        }
        b'u' if bytes.get(2) == Some(&b'{') => {
            let end = bytes.iter().take(10).position(|b| *b == b'}')?;
            let c = char::from_u32(number(&bytes[3..end], 16)?)?;
            return Some((Some(c), end + 1));
        }
        b'u' => {
            let high = number(bytes.get(2..6)?, 16)?;
            if let Some(c) = char::from_u32(high) {
                return Some((Some(c), 6));
            }
            let low = bytes.get(6..)?.strip_prefix(b"\\u")?;
            let low = number(low.get(..4)?, 16)?;
            let both = char::decode_utf16([high as u16, low as u16]).next()?.ok()?;
            return Some((Some(both), 12));
        }
        b'e' | b'0' => {
            // A colour code as source code writes it.
            let skip = if bytes.starts_with(b"\\033") { 4 } else { 2 };
            let rest = bytes.get(skip..)?.strip_prefix(b"[")?;
            let length = rest.iter().take(24).take_while(|b| b.is_ascii_digit() || **b == b';');
            let length = length.count();
            return (rest.get(length) == Some(&b'm')).then_some((None, skip + 2 + length));
        }
        _ => return None,
    };
    Some((Some(c), 2))
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok()?;
    if !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(text, radix).ok()
}

fn hex_pair(bytes: &[u8]) -> Option<u8> {
    let value = |b: u8| char::from(b).to_digit(16);
    Some((value(*bytes.first()?)? * 16 + value(*bytes.get(1)?)?) as u8)
}

/// Undoes percent-encoding; `None` when there is none.
fn percent(text: &str) -> Option<View> {
    let bytes = text.as_bytes();
    bytes.iter().position(|b| *b == b'%')?;
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut starts = Vec::with_capacity(bytes.len());
    let mut ends = Vec::with_capacity(bytes.len());
    let mut changed = false;
    let mut i = 0;
    while i < bytes.len() {
        let pair = (bytes[i] == b'%').then(|| hex_pair(&bytes[i + 1..])).flatten();
        let (byte, length) = match pair {
            Some(byte) => (byte, 3),
            None => (bytes[i], 1),
        };
        changed |= pair.is_some();
        decoded.push(byte);
        starts.push(i as u32);
        ends.push((i + length) as u32);
        i += length;
    }
    if !changed {
        return None;
    }
    Some(readable(decoded, starts, ends))
}

/// A view of bytes of which some may be no UTF-8: each such byte becomes a space.
fn readable(bytes: Vec<u8>, starts: Vec<u32>, ends: Vec<u32>) -> View {
    let text = String::from_utf8(bytes).unwrap_or_else(|error| {
        let mut text = String::with_capacity(starts.len());
        for chunk in error.as_bytes().utf8_chunks() {
            text.push_str(chunk.valid());
            text.extend(chunk.invalid().iter().map(|_| ' '));
        }
        text
    });
    View { text, starts, ends }
}

fn sextet(b: u8) -> Option<u32> {
    match b {
        b'A'..=b'Z' => Some(u32::from(b - b'A')),
        b'a'..=b'z' => Some(u32::from(b - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(b - b'0') + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

/// Adds a view for every base64 run that decodes to text.
fn base64(text: &str, views: &mut Vec<View>) {
    let bytes = text.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        if sextet(bytes[i]).is_none() {
            i += 1;
            continue;
        }
        let run = run(bytes, i);
        i = run.last().map_or(i, |last| *last as usize) + 1;
        if run.len() >= MIN_BASE64 {
            // A run may begin with what only looks like base64, such as the path before it.
            let decoded = (0..4).find_map(|skip| decode(bytes, &run[skip..]));
            views.extend(decoded);
        }
    }
}

/// The positions of a run of base64 characters, which may be wrapped at a usual line length.
fn run(bytes: &[u8], from: usize) -> Vec<u32> {
    let mut run = Vec::new();
    let mut i = from;
    let mut line = from;
    while i < bytes.len() {
        if sextet(bytes[i]).is_some() {
            run.push(i as u32);
            i += 1;
            continue;
        }
        let width = i - line;
        let newline = match &bytes[i..] {
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            _ => break,
        };
        let goes_on = bytes.get(i + newline).is_some_and(|b| sextet(*b).is_some());
        if !(60..=80).contains(&width) || !width.is_multiple_of(4) || !goes_on {
            break;
        }
        i += newline;
        line = i;
    }
    run
}

/// Decodes characters at `run`'s positions, if they give readable text.
fn decode(bytes: &[u8], run: &[u32]) -> Option<View> {
    if run.len() < MIN_BASE64 {
        return None;
    }
    let quads = |run: &[u32]| -> Vec<u8> {
        let mut out = Vec::with_capacity(run.len() / 4 * 3 + 2);
        for quad in run.chunks(4) {
            let mut word = 0;
            for position in quad {
                word = word << 6 | sextet(bytes[*position as usize]).unwrap_or(0);
            }
            word <<= 6 * (4 - quad.len()) as u32;
            let three = word.to_be_bytes();
            out.extend_from_slice(&three[1..quad.len().max(1)]);
        }
        out
    };
    // Most runs are words, paths and digests: sixteen characters tell.
    let start = quads(&run[..MIN_BASE64]);
    let wide = is_wide(&start);
    if !wide && !is_text(&start) {
        return None;
    }
    let decoded = quads(run);
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for index in 0..decoded.len() {
        let quad = index / 3 * 4;
        let last = (quad + 3).min(run.len() - 1);
        let mut end = run[last] as usize + 1;
        if last + 1 == run.len() {
            end += bytes[end..].iter().take(2).take_while(|b| **b == b'=').count();
        }
        starts.push(run[quad]);
        ends.push(end as u32);
    }
    if wide {
        return wide_view(&decoded, &starts, &ends);
    }
    let readable = readable(decoded, starts, ends);
    let odd = readable.text.chars().filter(|c| c.is_control() && !c.is_whitespace()).count();
    (odd * 20 <= readable.text.len()).then_some(readable)
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

fn wide_view(decoded: &[u8], starts: &[u32], ends: &[u32]) -> Option<View> {
    let mut view = View::with_capacity(decoded.len() / 2);
    for (index, pair) in decoded.chunks_exact(2).enumerate() {
        let c = char::from_u32(u32::from(u16::from_le_bytes([pair[0], pair[1]])))?;
        view.push(c, starts[2 * index] as usize, ends[2 * index + 1] as usize);
    }
    Some(view)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn views(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        each_view(text, &mut |view, _, depth| {
            if depth > 0 {
                found.push(view.to_string());
            }
        });
        found
    }

    /// The part of the original that `needle` came from.
    fn original<'a>(text: &'a str, needle: &str) -> &'a str {
        let mut span = None;
        each_view(text, &mut |view, map, _| {
            if let Some(at) = view.find(needle) {
                span.get_or_insert(map(at, at + needle.len()));
            }
        });
        let (start, end) = span.expect("some view shows it");
        &text[start..end]
    }

    #[test]
    fn escapes_are_undone_in_place() {
        assert_eq!(original(r"a\u0073ecret", "secret"), r"\u0073ecret");
        assert_eq!(original(r#"{\"k\":\"a\\nb\"}"#, "a\nb"), r"a\\nb");
        assert_eq!(original("x&#115;e&quot;y", "se\""), "&#115;e&quot;");
        assert_eq!(original("\u{1b}[31mred\u{1b}[0mé", "redé"), "red\u{1b}[0mé");
        assert_eq!(original(r"\033[1mbold", "bold"), "bold");
        assert_eq!(original(r"\ud83d\ude00!", "😀"), r"\ud83d\ude00");
        assert_eq!(original("a%40b%2Ec", "a@b.c"), "a%40b%2Ec");
        assert!(views(r"C:\Work \d+ 100% &c").is_empty());
        assert_eq!(original(r"sk\_live\_9", "k_live"), r"k\_live");
    }

    #[test]
    fn base64_is_decoded_with_and_without_padding_and_wrapped() {
        use base64::Engine as _;
        use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
        let text = "user=alice&password=correct horse battery staple ~~~???>>> and so on and on!";
        for encoded in [STANDARD.encode(text), STANDARD_NO_PAD.encode(text), URL_SAFE.encode(text)]
        {
            assert!(views(&encoded).iter().any(|v| v == text), "{encoded}");
            assert!(
                views(&format!("data:text/plain;base64,{encoded}\"")).iter().any(|v| v == text)
            );
        }
        let long = text.repeat(3);
        let encoded = STANDARD.encode(&long);
        let lines: Vec<_> = encoded.as_bytes().chunks(76).collect();
        assert!(views(&String::from_utf8(lines.join(&b'\n')).unwrap()).contains(&long));
        let encoded = STANDARD.encode("0123456789abcdef");
        assert_eq!(original(&encoded, "345"), &encoded[4..8]);
        let wide: Vec<u8> = "Invoke-Thing $x".bytes().flat_map(|b| [b, 0]).collect();
        assert!(views(&STANDARD.encode(wide)).contains(&"Invoke-Thing $x".to_string()));
        assert!(views("the/quick/brown/fox/jumps/over/it").is_empty());
    }

    #[test]
    fn any_text_gives_spans_on_character_boundaries() {
        let mut chance = crate::chance::Chance::new(3, "decode");
        let pieces = [
            r"\u00e9",
            "é",
            r"\",
            "%C3%A9",
            "%e",
            "&#233;",
            "dXNlcjpwYXNzd29yZA==",
            "\u{1b}[",
            "😀",
        ];
        for _ in 0..2000 {
            let n = chance.below(9);
            let text: String = (0..n).map(|_| pieces[chance.below(pieces.len())]).collect();
            each_view(&text, &mut |view, map, _| {
                let at: Vec<_> = view.char_indices().map(|(i, _)| i).chain([view.len()]).collect();
                for pair in at.windows(2) {
                    let (start, end) = map(pair[0], pair[1]);
                    assert!(text.get(start..end).is_some(), "{text:?}");
                }
            });
        }
    }
}
