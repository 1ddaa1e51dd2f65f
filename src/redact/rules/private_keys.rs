//! Private keys: whole, cut, numbered, quoted, with or without their header.

use super::{Hit, Rule, after, before, rule};
use crate::redact::policy::Class;

pub static RULES: [Rule; 1] = [rule("private-key", "PRIVATE_KEY", Class::PrivateKey)];

/// Keywords: the ends of a begin and of an end marker.
pub const MARKERS: &[&str] = &["private key-----", "private key block-----", "private key ----"];
/// PuTTY's own format.
pub const PUTTY: &str = "private-lines:";

/// How much of a key is read.
const LENGTH: usize = 24 << 10;
/// The shortest piece that cannot be a word of prose.
const PIECE: usize = 16;

/// At a marker that ends at `end`; `start` is where its keyword begins.
pub fn marker(text: &str, start: usize, end: usize, hits: &mut Vec<Hit>) {
    let line = before(text, start, 48);
    let Some(dashes) = line.rfind("----") else { return };
    let head = &line[dashes..];
    if head.contains("BEGIN") {
        let begin = start - head.len();
        let begin = begin - text[..begin].bytes().rev().take(4).take_while(|b| *b == b'-').count();
        if let Some(stop) = forwards(text, end) {
            hits.push(Hit::new(begin, stop, &RULES[0]));
        }
    } else if head.contains("END") {
        let begin = start - head.len();
        if let Some(first) = backwards(text, begin) {
            hits.push(Hit::new(first, end, &RULES[0]));
        }
    }
}

/// After `Private-Lines:`.
pub fn putty(text: &str, end: usize, hits: &mut Vec<Hit>) {
    if let Some(stop) = forwards(text, end) {
        hits.push(Hit::new(end, stop, &RULES[0]));
    }
}

fn is_base64(word: &str) -> bool {
    word.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
}

/// A word without the quotes, signs and line ends that code, diffs and listings put around it.
fn bare(word: &str) -> &str {
    // A line number that a listing glued to its line.
    let word = unlisted(word);
    let unnumbered = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let word = match unnumbered.starts_with(['→', '|', ':', '│', '\t']) {
        true => unnumbered,
        false => word,
    };
    let word = word.trim_matches(|c: char| "\"'`,;:|>\\()[]{}#*<→│".contains(c));
    let word = word.strip_suffix("\\n").unwrap_or(word);
    word.strip_prefix(['+', '-']).filter(|rest| rest.len() >= PIECE).unwrap_or(word)
}

/// A word without the file and line number that `grep -rn` puts before it: `a/b.pem:12:`.
fn unlisted(word: &str) -> &str {
    for sign in [':', '-'] {
        if let Some((head, rest)) = word.rsplit_once(sign)
            && head.rsplit_once(sign).is_some_and(|(file, line)| {
                !file.is_empty() && !line.is_empty() && line.bytes().all(|b| b.is_ascii_digit())
            })
        {
            return rest;
        }
    }
    word
}

/// Words that may stand between the pieces of a key.
fn is_between(word: &str) -> bool {
    let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    bare.is_empty()
        || bare.len() <= 5 && bare.bytes().all(|b| b.is_ascii_digit())
        || [
            "Proc-Type",
            "ENCRYPTED",
            "4,ENCRYPTED",
            "DEK-Info",
            "Version",
            "Comment",
            "Hash",
            "truncated",
            "br",
            "p",
            "pre",
            "code",
            "span",
            "div",
            "omitted",
            "lines",
            "more",
        ]
        .contains(&bare)
        || bare.starts_with("AES-")
        || bare.starts_with("DES-")
        // The file and line before an empty line
        || word.ends_with([':', '-']) && word[..word.len() - 1].ends_with(|c: char| c.is_ascii_digit())
}

/// The end of the key that begins after a marker; none where no key material follows.
fn forwards(text: &str, from: usize) -> Option<usize> {
    let window = after(text, from, LENGTH);
    let mut end = None;
    let mut short = None;
    for (start, word) in (Words { text: window, at: 0 }) {
        if let Some(dash) = word.find("-----").or_else(|| word.find("----")) {
            // The end marker, unless another key begins.
            let rest = after(window, start + dash, 64);
            let piece = bare(&word[..dash]);
            let glued = piece.len() >= 4 && is_base64(piece);
            if end.is_none() && !glued {
                return None;
            }
            let close = rest.find("KEY").and_then(|n| {
                let dashes = rest[n..].find("----")?;
                let tail = &rest[n + dashes..];
                Some(n + dashes + tail.bytes().take_while(|b| *b == b'-').count())
            });
            return match close {
                Some(close) if rest.contains("END") => Some(from + start + dash + close),
                _ => end.or(short).map(|e| from + e),
            };
        }
        let piece = bare(word);
        if piece.len() >= PIECE && is_base64(piece) {
            end = Some(start + word.len());
            short = None;
        } else if !is_between(word) {
            // The last line of a key may be short, if its end marker follows.
            if short.is_some() || !is_base64(piece) {
                break;
            }
            short = Some(start + word.len());
        }
    }
    end.map(|e| from + e)
}

/// The start of the key material before an end marker at `to`, if its begin marker is missing.
fn backwards(text: &str, to: usize) -> Option<usize> {
    let window = before(text, to, LENGTH);
    let from = to - window.len();
    let mut first = None;
    let mut short = 0;
    for word in window.rsplit(char::is_whitespace).filter(|word| !word.is_empty()) {
        let start = word.as_ptr() as usize - window.as_ptr() as usize;
        let piece = bare(word);
        if word.contains("-----") {
            // A begin marker: the whole key is found from there.
            return None;
        }
        if piece.len() >= PIECE && is_base64(piece) {
            first = Some(start);
        } else if !is_between(word) {
            short += 1;
            if first.is_some() || short > 1 || !is_base64(piece) {
                break;
            }
        }
    }
    first.map(|f| from + f)
}

/// Words with their positions; a literal `\n` separates like a real one.
struct Words<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Iterator for Words<'a> {
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.text[self.at..];
        let is_gap = |c: char| c.is_whitespace() || c == '<' || c == '>';
        let start = self.at + rest.find(|c| !is_gap(c))?;
        let rest = &self.text[start..];
        let length = rest.find(is_gap).unwrap_or(rest.len());
        self.at = start + length;
        Some((start, &rest[..length]))
    }
}

/// A member that every JSON web key has.
pub const JWK: &str = "\"kty\"";

/// The private members of the JSON web key around `at`.
pub fn jwk(text: &str, at: usize, hits: &mut Vec<Hit>) {
    const MEMBERS: &[&str] = &["d", "p", "q", "dp", "dq", "qi", "k"];
    let lead = before(text, at, 4096);
    let tail = after(text, at, 4096);
    // Keys stand one to an object.
    let bounds = |text: &str, at: usize| match text.as_bytes()[at] {
        b'{' | b'}' => true,
        b'"' => text[at..].starts_with(JWK),
        _ => false,
    };
    let first = (0..lead.len()).rev().find(|n| bounds(lead, *n));
    let from = first.map_or(at, |n| at - lead.len() + n);
    let to = at + (1..tail.len()).find(|n| bounds(tail, *n)).unwrap_or(tail.len());
    for (start, _) in text[from..to].match_indices("\":") {
        let name = text[from..from + start].trim_end_matches('"').rsplit('"').next().unwrap_or("");
        if !MEMBERS.contains(&name) {
            continue;
        }
        let rest = &text[from + start + 2..to];
        let Some(value) = rest.trim_start().strip_prefix('"') else { continue };
        let value = value.trim_start_matches('"');
        let length = value.find('"').unwrap_or(value.len());
        let start = to - value.len();
        if length >= 16 {
            hits.push(Hit::new(start, start + length, &RULES[0]));
        }
    }
}

/// What begins a private key as .NET writes it.
pub const XML: &str = "<rsakeyvalue>";

/// The private members of a key in XML, after its beginning.
pub fn xml(text: &str, at: usize, hits: &mut Vec<Hit>) {
    let tail = after(text, at, 8192);
    let mut tags = tail.match_indices('<').map(|(start, _)| start).peekable();
    let mut inside = true;
    while let (Some(start), true) = (tags.next(), inside) {
        let Some(length) = tail[start + 1..].bytes().take(16).position(|b| b == b'>') else {
            return;
        };
        let name = &tail[start + 1..start + 1 + length];
        // Another key, or the end of this one
        inside = !name.to_ascii_lowercase().ends_with("rsakeyvalue");
        let value = start + length + 2;
        let end = *tags.peek().unwrap_or(&value);
        if ["D", "P", "Q", "DP", "DQ", "InverseQ"].contains(&name) && end >= value + PIECE {
            hits.push(Hit::new(at + value, at + end, &RULES[0]));
        }
    }
}
