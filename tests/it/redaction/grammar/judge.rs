//! Whether a secret is still in a text, in any form that can be read back.
//!
//! Decodes with code of its own: what the scanner cannot decode, it must not be excused from.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use regex::Regex;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// How deeply encodings are looked through.
const DEPTH: usize = 4;

/// The shortest part of a secret that counts as half of it.
const HALF: usize = 6;

/// What of a case went wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Secrets of which half is left.
    pub left: Vec<String>,
    /// Texts that should have stayed.
    pub changed: Vec<String>,
}

/// Judges what a session became.
pub fn judge(case: &super::Case, outputs: &[String]) -> Verdict {
    let all: Vec<View> = outputs.iter().flat_map(|o| views(o)).collect();
    let is_left = |secret: &&String| all.iter().any(|view| view.shows(secret));
    let is_changed = |kept: &&String| !outputs.iter().any(|o| o.contains(kept.as_str()));
    Verdict {
        left: case.secrets.iter().filter(is_left).cloned().collect(),
        changed: case.kept.iter().filter(is_changed).cloned().collect(),
    }
}

/// A text in one reading: as it stands, and with nothing but its letters and digits.
struct View {
    text: String,
    bare: String,
}

impl View {
    fn new(text: String) -> Self {
        let bare = bare(&text);
        View { text, bare }
    }

    /// Whether half of the secret can be read here.
    fn shows(&self, secret: &str) -> bool {
        let letters = bare(secret);
        if letters.len() >= 2 * HALF {
            return halves(&letters).any(|half| self.bare.contains(half));
        }
        // Too short to be told from other words but as a word.
        if secret.len() < 2 * HALF && secret.chars().all(char::is_alphanumeric) {
            return self.text.match_indices(secret).any(|(at, _)| {
                let before = self.text[..at].chars().next_back();
                let after = self.text[at + secret.len()..].chars().next();
                !before.is_some_and(char::is_alphanumeric)
                    && !after.is_some_and(char::is_alphanumeric)
            });
        }
        halves(secret).any(|half| self.text.contains(half))
    }
}

fn halves(secret: &str) -> impl Iterator<Item = &str> {
    let count = secret.chars().count();
    let half = count.div_ceil(2).max(HALF.min(count));
    let ends: Vec<usize> = secret.char_indices().map(|(at, _)| at).chain([secret.len()]).collect();
    (0..=count - half).map(move |at| &secret[ends[at]..ends[at + half]])
}

fn bare(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

/// Every reading of a text.
fn views(text: &str) -> Vec<View> {
    let mut seen = BTreeSet::from([text.to_string()]);
    let mut new = vec![text.to_string()];
    for _ in 0..DEPTH {
        let mut next = Vec::new();
        for text in &new {
            for reading in readings(text) {
                if !reading.is_empty() && seen.insert(reading.clone()) {
                    next.push(reading);
                }
            }
        }
        new = next;
    }
    seen.into_iter().map(View::new).collect()
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a valid pattern")
}

fn readings(text: &str) -> Vec<String> {
    static COLOUR: LazyLock<Regex> = LazyLock::new(|| pattern("\x1b\\[[0-9;]*m"));
    static MARGIN: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"(?m)^(?:[ \t]*\d+(?:\t|→|:|\|| \| )|[+\-> |]+)[ \t]*"));
    static BASE64: LazyLock<Regex> = LazyLock::new(|| pattern("[A-Za-z0-9+/_-]{12,}"));
    static HEX: LazyLock<Regex> = LazyLock::new(|| pattern("(?:[0-9a-fA-F]{2}){8,}"));
    let mut found = Vec::new();
    if text.contains('\\') {
        found.push(unescaped(text));
    }
    if text.contains('%') {
        found.push(unpercent(text));
    }
    if text.contains('&') {
        found.push(unentity(text));
    }
    if text.contains('\x1b') {
        found.push(COLOUR.replace_all(text, "").into_owned());
    }
    if text.contains('\n') {
        found.push(MARGIN.replace_all(text, "").into_owned());
        // Base64 that was wrapped.
        found.push(text.lines().map(str::trim).collect());
    }
    for run in BASE64.find_iter(text) {
        // What was cut out before it may have shifted it.
        found.extend((0..4).filter_map(|skip| unbase64(&run.as_str()[skip..])));
    }
    for run in HEX.find_iter(text) {
        let digits = run.as_str().as_bytes();
        let bytes = digits
            .chunks(2)
            .filter_map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        found.extend(printable(bytes.collect()));
    }
    found
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let code = |from: usize, n: usize| {
            rest.get(from..from + n).and_then(|hex| u32::from_str_radix(hex, 16).ok())
        };
        let (c, length) = match rest.chars().next() {
            Some('n' | 'r') => ('\n', 1),
            Some('t') => ('\t', 1),
            Some('u') if code(1, 4).is_some() => {
                (code(1, 4).and_then(char::from_u32).unwrap_or(' '), 5)
            }
            Some('x') if code(1, 2).is_some() => {
                (code(1, 2).and_then(char::from_u32).unwrap_or(' '), 3)
            }
            Some('e') => ('\x1b', 1),
            Some('0') if rest.starts_with("033") => ('\x1b', 3),
            Some(other) => (other, other.len_utf8()),
            None => break,
        };
        out.push(c);
        rest = &rest[length..];
    }
    out.push_str(rest);
    out
}

fn unpercent(text: &str) -> String {
    let mut out = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()))
            .flatten();
        out.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn unentity(text: &str) -> String {
    static CODE: LazyLock<Regex> = LazyLock::new(|| pattern("&#(x?)([0-9a-fA-F]{1,6});"));
    let text = CODE.replace_all(text, |c: &regex::Captures| {
        let radix = if c[1].is_empty() { 10 } else { 16 };
        let code = u32::from_str_radix(&c[2], radix).ok();
        code.and_then(char::from_u32).unwrap_or(' ').to_string()
    });
    let mut text = text.into_owned();
    for (name, c) in
        [("&quot;", "\""), ("&apos;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")]
    {
        text = text.replace(name, c);
    }
    text
}

fn unbase64(run: &str) -> Option<String> {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let alphabet = if run.contains(['-', '_']) { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    let run = &run[..run.len() - usize::from(run.len() % 4 == 1)];
    printable(GeneralPurpose::new(alphabet, config).decode(run).ok()?)
}

/// A text, where the bytes are mostly one.
fn printable(bytes: Vec<u8>) -> Option<String> {
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let odd = text.chars().filter(|c| c.is_control() && !c.is_whitespace() || *c == '\u{fffd}');
    (odd.count() * 8 <= text.chars().count()).then_some(text)
}

#[test]
fn a_secret_is_seen_in_whatever_form_it_was_left() {
    use base64::engine::general_purpose::STANDARD;
    let case = |text: &str| {
        let secrets = vec!["k3jd82hdk29dj4hsQQ".to_string()];
        let case = super::Case {
            class: "",
            kind: super::Kind::Plain,
            name: String::new(),
            texts: Vec::new(),
            secrets,
            kept: Vec::new(),
        };
        judge(&case, &[text.to_string()]).left.len()
    };
    assert_eq!(case("gone"), 0);
    assert_eq!(case("k3jd82hd"), 0);
    assert_eq!(case("k3jd82hdk"), 1);
    assert_eq!(case("x = k3jd8\\u0032hdk29"), 1);
    assert_eq!(case("k3jd82\\\n  hdk29dj4hs"), 1);
    assert_eq!(case("\"k3jd82\" +\n  \"hdk29dj4hs\""), 1);
    assert_eq!(case("%6B3jd82hdk29dj"), 1);
    assert_eq!(case("&#107;3jd82hdk29dj"), 1);
    assert_eq!(case("k3jd\x1b[31m82hdk29dj"), 1);
    assert_eq!(case(&STANDARD.encode("{\"a\": \"k3jd82hdk29dj4hsQQ\"}")), 1);
    assert_eq!(case(&STANDARD.encode(STANDARD.encode("a=k3jd82hdk29dj4hsQQ"))), 1);
    assert_eq!(case("   6b336a64383268646b3239646a"), 1);
    assert_eq!(case("12\tk3jd82\n13\thdk29dj4hs"), 1);
}
