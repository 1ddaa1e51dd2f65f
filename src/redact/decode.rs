//! The texts hidden in a text: under JSON and unicode escapes, HTML entities, terminal colours,
//! percent-encoding and base64, and under each other.
//!
//! Every decoded byte remembers which bytes of the original it came from, so that a find in a
//! decoded view is redacted in the encoding it stands in.

use super::keywords::seek;
use super::wrapped;

mod base64;

/// How many encodings may lie over each other.
const DEPTH: usize = 3;

/// How much of the text around an encoded part is shown with it.
const CONTEXT: usize = 512;
/// How far a word is followed before it is cut.
const WORD: usize = 4096;
/// Stands between parts that are far from each other in the original; nothing reads across it.
const CUT: &[u8] = b"\n\0no \0text \0here\n";

/// A decoded text and where its bytes came from.
pub(super) struct View {
    pub text: String,
    parts: Vec<Part>,
    /// The view it was decoded from; none for the text itself.
    from: Option<usize>,
}

/// Some bytes of a view that came from the original in one way.
struct Part {
    /// Where they begin in the view.
    at: u32,
    /// Where they begin in the original.
    from: u32,
    origin: Origin,
}

#[derive(Clone, Copy)]
enum Origin {
    /// The original's own bytes.
    Same,
    /// All of them stand for the original's bytes up to here.
    Whole(u32),
    /// Three for every four characters; the last of these, and what pads it, end here.
    Quads { last: u32, end: u32 },
}

impl Part {
    /// Which bytes of the original the view's byte at `at` came from.
    fn original(&self, at: usize) -> (usize, usize) {
        let (from, after) = (self.from as usize, at - self.at as usize);
        match self.origin {
            Origin::Same => (from + after, from + after + 1),
            Origin::Whole(end) => (from, end as usize),
            Origin::Quads { last, end } => {
                let quad = from + after / 3 * 4;
                (quad, if quad + 4 >= last as usize { end as usize } else { quad + 4 })
            }
        }
    }
}

impl View {
    fn new(text: String, parts: Vec<Part>) -> Self {
        View { text, parts, from: None }
    }

    /// From a span of the view to the span of what it was decoded from.
    fn original(&self, start: usize, end: usize) -> (usize, usize) {
        if end <= start {
            return (0, 0);
        }
        let part = |at: usize| {
            let after = self.parts.partition_point(|part| part.at as usize <= at);
            self.parts[after.saturating_sub(1)].original(at)
        };
        (part(start).0, part(end - 1).1)
    }
}

/// A view in the making: the decoded parts with what is around them. What is far from any was
/// read already where it stands.
pub(super) struct Decoding<'a> {
    from: &'a str,
    bytes: Vec<u8>,
    parts: Vec<Part>,
    /// Up to where the original is shown.
    shown: usize,
    /// Whether anything was decoded.
    changed: bool,
}

impl<'a> Decoding<'a> {
    pub(super) fn of(from: &'a str) -> Self {
        Decoding { from, bytes: Vec::new(), parts: Vec::new(), shown: 0, changed: false }
    }

    /// Shows `decoded` for the original's bytes from `at` to `end`.
    pub(super) fn decoded(&mut self, at: usize, end: usize, decoded: &[u8]) {
        let far = at - self.shown > 2 * CONTEXT;
        if !self.changed || far {
            if far && self.changed {
                self.copy(self.right());
            }
            let left = self.left(at);
            let before = left.checked_sub(1).map(|n| self.from.as_bytes()[n]);
            if left > self.shown {
                self.add(CUT, left, left);
                match before {
                    Some(b'\n') => {}
                    // Not the start of a line, or not even of a word.
                    Some(b) if b.is_ascii_whitespace() => self.add(b"\0 ", left, left),
                    _ => self.add(b"x", left, left),
                }
                self.shown = left;
            }
        }
        self.changed = true;
        self.copy(at);
        self.add(decoded, at, end);
        self.shown = end;
    }

    fn add(&mut self, bytes: &[u8], start: usize, end: usize) {
        if !bytes.is_empty() {
            let (at, from) = (self.bytes.len() as u32, start as u32);
            self.parts.push(Part { at, from, origin: Origin::Whole(end as u32) });
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// Shows the original as it is up to `to`.
    fn copy(&mut self, to: usize) {
        let from = self.shown;
        if to > from {
            let at = self.bytes.len() as u32;
            self.parts.push(Part { at, from: from as u32, origin: Origin::Same });
            self.bytes.extend_from_slice(&self.from.as_bytes()[from..to]);
            self.shown = to;
        }
    }

    /// Where the context of a part at `at` begins: after a blank.
    fn left(&self, at: usize) -> usize {
        let bytes = self.from.as_bytes();
        let low = at.saturating_sub(CONTEXT).max(self.shown);
        if low == self.shown {
            return low;
        }
        let within = bytes[low..at].iter().position(u8::is_ascii_whitespace).map(|n| low + n + 1);
        let floor = low.saturating_sub(WORD).max(self.shown);
        let before = || bytes[floor..low].iter().rposition(u8::is_ascii_whitespace);
        within
            .or_else(|| before().map(|n| floor + n + 1))
            .unwrap_or_else(|| (low..=at).find(|n| self.from.is_char_boundary(*n)).unwrap_or(at))
    }

    /// Where the context of what is shown last ends: before a blank.
    fn right(&self) -> usize {
        let bytes = self.from.as_bytes();
        let high = bytes.len().min(self.shown + CONTEXT);
        if high == bytes.len() {
            return high;
        }
        let within = bytes[self.shown..high].iter().rposition(u8::is_ascii_whitespace);
        let ceiling = bytes.len().min(high + WORD);
        let after = || bytes[high..ceiling].iter().position(u8::is_ascii_whitespace);
        within.map(|n| self.shown + n).or_else(|| after().map(|n| high + n)).unwrap_or_else(|| {
            (high..=ceiling).find(|n| self.from.is_char_boundary(*n)).unwrap_or(bytes.len())
        })
    }

    pub(super) fn view(mut self) -> Option<View> {
        if !self.changed {
            return None;
        }
        self.copy(self.right());
        Some(View::new(readable(self.bytes), self.parts))
    }
}

/// A text with everything decoded from it.
pub(super) struct Views(Vec<View>);

impl Views {
    /// Decodes a text.
    pub fn of(text: &str) -> Self {
        let mut views = Vec::new();
        decode_all(text, None, 1, &mut views);
        Views(views)
    }

    /// The text of each.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|view| view.text.as_str())
    }

    /// Calls `f` with the places of the text that a span of view `index` came from: several where
    /// a seam runs through it.
    pub fn places(
        &self,
        index: usize,
        text: &str,
        start: usize,
        end: usize,
        f: &mut dyn FnMut(usize, usize),
    ) {
        wrapped::places(text, (start, end), &|a, b| self.original(index, a, b), f);
    }

    /// From a span in view `index` to the span of the text.
    fn original(&self, index: usize, start: usize, end: usize) -> (usize, usize) {
        let mut span = (start, end);
        let mut from = Some(index);
        while let Some(view) = from.map(|n| &self.0[n]) {
            span = view.original(span.0, span.1);
            from = view.from;
        }
        span
    }
}

/// Adds what is decoded from a text, and what from that.
fn decode_all(text: &str, from: Option<usize>, depth: usize, views: &mut Vec<View>) {
    // Positions are kept in 32 bits; no line is long enough to need more.
    if depth > DEPTH + 1 || u32::try_from(text.len()).is_err() {
        return;
    }
    let mut own = Vec::new();
    if depth <= DEPTH {
        own.extend(unescape(text));
        own.extend(percent(text));
        base64::base64(text, &mut own);
    }
    own.extend(wrapped::wrapped(text));
    for view in own {
        let index = views.len();
        views.push(View { from, ..view });
        let text = std::mem::take(&mut views[index].text);
        decode_all(&text, Some(index), depth + 1, views);
        views[index].text = text;
    }
}

/// Undoes backslash escapes, HTML entities and terminal colours; `None` when there are none.
fn unescape(text: &str) -> Option<View> {
    let bytes = text.as_bytes();
    let mut view = Decoding::of(text);
    let mut i = 0;
    while let Some(next) = seek(bytes, i, |b| (b == b'\\') | (b == b'&') | (b == 0x1b)) {
        i = next;
        match escape(&bytes[i..]) {
            Some((decoded, length)) => {
                let mut utf8 = [0; 4];
                let shown = decoded.map_or(&[][..], |c| c.encode_utf8(&mut utf8).as_bytes());
                view.decoded(i, i + length, shown);
                i += length;
            }
            None => i += 1,
        }
    }
    view.view()
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
    let mut view = Decoding::of(text);
    let mut i = 0;
    // Up to where a `+` is a blank, as forms write it.
    let mut form = 0;
    while let Some(next) = seek(bytes, i, |b| (b == b'%') | (b == b'+')) {
        i = next;
        if bytes[i] == b'+' {
            if i >= form {
                let word =
                    bytes[i..].iter().take(WORD).take_while(|b| b.is_ascii_graphic()).count();
                let encoded = bytes[i..i + word]
                    .windows(3)
                    .any(|w| w[0] == b'%' && hex_pair(&w[1..]).is_some());
                form = i + word;
                // `body=paid+by+card+…` has nothing else to escape.
                let name =
                    bytes[..i].iter().rev().take(64).take_while(|b| b.is_ascii_alphanumeric());
                let given = bytes[..i].iter().rev().nth(name.count()) == Some(&b'=');
                let blanks = || bytes[i..form].iter().filter(|b| **b == b'+').count() >= 3;
                if !(encoded || given && blanks()) {
                    i = form;
                    continue;
                }
            }
            view.decoded(i, i + 1, b" ");
            i += 1;
            continue;
        }
        match hex_pair(&bytes[i + 1..]) {
            Some(byte) => {
                if i >= form {
                    let rest = bytes[i..].iter().take(WORD);
                    form = i + rest.take_while(|b| b.is_ascii_graphic()).count();
                }
                view.decoded(i, i + 3, &[byte]);
                i += 3;
            }
            None => i += 1,
        }
    }
    view.view()
}

/// Bytes as text; each that is no UTF-8 becomes a space.
fn readable(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let mut text = String::with_capacity(error.as_bytes().len());
        for chunk in error.as_bytes().utf8_chunks() {
            text.push_str(chunk.valid());
            text.extend(chunk.invalid().iter().map(|_| ' '));
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn views(text: &str) -> Vec<String> {
        Views::of(text).0.into_iter().map(|view| view.text).collect()
    }

    /// The part of the original that `needle` came from.
    fn original<'a>(text: &'a str, needle: &str) -> &'a str {
        let views = Views::of(text);
        let mut found = views.texts().enumerate().map(|(index, view)| (index, view.find(needle)));
        let Some((index, Some(at))) = found.find(|f| f.1.is_some()) else { panic!("{needle}") };
        let (start, end) = views.original(index, at, at + needle.len());
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
    fn what_is_far_from_any_escape_is_left_out() {
        let far = "a long line of words\n".repeat(500);
        let text = format!("{far}one \\u0074wo three\n{far}{far}four fi\\u0076e six\n{far}");
        let shown = views(&text).concat();
        assert!(shown.contains("one two three") && shown.contains("four five six"));
        assert!(shown.len() < 4 * 4 * CONTEXT, "{}", shown.len());
        assert_eq!(original(&text, "five six"), "fi\\u0076e six");
        assert_eq!(original("\u{1b}[31mred", "red"), "red");
        let mash = "x".repeat(20_000);
        assert_eq!(original(&format!("{mash}\\u0041B{mash}"), "AB"), "\\u0041B");
    }

    #[test]
    fn base64_is_decoded_with_and_without_padding_and_wrapped() {
        use ::base64::Engine as _;
        use ::base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
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
            let views = Views::of(&text);
            for (index, view) in views.0.iter().enumerate() {
                let ends = view.text.char_indices().map(|(i, c)| (i, i + c.len_utf8()));
                for (from, to) in ends {
                    let (start, end) = views.original(index, from, to);
                    assert!(text.get(start..end).is_some(), "{text:?}");
                }
            }
        }
    }
}
