//! Tokens with a shape of their own, by vendor.
//!
//! A token is tried where one of its keys stands, so a pattern begins with its key; `back` is how
//! far before its key a token may begin. A token must end where the text around it goes on with
//! something else, and its entropy must be that of something generated.

mod clouds;
mod code;
mod commerce;
mod messages;
mod models;
mod office;
mod operations;
mod web;

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::bytes::Regex;

use super::values::is_placeholder;
use super::words::is_words;
use super::{Hit, Rule, entropy, is_edge};
use crate::redact::policy::Class;

/// One token format.
pub struct Token {
    pub name: &'static str,
    pub label: &'static str,
    pub class: Class,
    pub keys: &'static [&'static str],
    pub pattern: &'static str,
    /// Fewest bits per byte.
    pub entropy: f64,
    pub back: usize,
}

const fn token(
    name: &'static str,
    label: &'static str,
    keys: &'static [&'static str],
    pattern: &'static str,
) -> Token {
    Token { name, label, class: Class::Vendor, keys, pattern, entropy: 2.8, back: 0 }
}

const fn of(class: Class, token: Token) -> Token {
    Token { class, ..token }
}

const fn strict(entropy: f64, token: Token) -> Token {
    Token { entropy, ..token }
}

const fn behind(back: usize, token: Token) -> Token {
    Token { back, ..token }
}

/// Every format.
pub static TOKENS: LazyLock<Vec<&'static Token>> = LazyLock::new(|| {
    let kinds = [
        clouds::TOKENS,
        code::TOKENS,
        operations::TOKENS,
        models::TOKENS,
        messages::TOKENS,
        commerce::TOKENS,
        office::TOKENS,
        web::TOKENS,
    ];
    kinds.into_iter().flatten().collect()
});

/// The compiled patterns, in the order of [`TOKENS`].
static PATTERNS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let compile = |token: &&Token| {
        let anchor = if token.back == 0 { "^" } else { "" };
        Regex::new(&format!("(?-u){anchor}(?:{})", token.pattern))
            // Constants, compiled by the first redaction of any test.
            .expect("built-in patterns are valid")
    };
    TOKENS.iter().map(compile).collect()
});

/// The length of the shortest token.
const SHORTEST: usize = 14;

/// How far after its key a pattern is tried; what follows belongs to the token while it looks it.
const WINDOW: usize = 1024;

/// Tries token `index` where its key stands at `at`. `last` is the end of the last very long token:
/// the keys within do not each read it again.
pub fn scan(index: usize, text: &str, at: usize, last: &mut usize, hits: &mut Vec<Hit>) {
    if at < *last {
        return;
    }
    let token = TOKENS[index];
    let bytes = text.as_bytes();
    let before = |at: usize| at.checked_sub(1).map(|n| &bytes[n]);
    if token.back == 0 && !is_edge(before(at)) {
        return;
    }
    // Most keys begin an ordinary word, which is shorter than any token.
    let is_part = |b: &u8| b.is_ascii_graphic() && !b"\"'`;()<>[]\\".contains(b);
    if token.back == 0 && !bytes.get(at..at + SHORTEST).is_some_and(|b| b.iter().all(is_part)) {
        return;
    }
    // A short one is also found within longer texts of base64's letters and signs.
    let key = token.keys.iter().find(|key| text[at..].starts_with(**key));
    if key.is_some_and(|key| key.len() <= 3) && is_inside(bytes, at) {
        return;
    }
    let from = at.saturating_sub(token.back);
    let window = &bytes[from..bytes.len().min(at + WINDOW)];
    let Some(found) = PATTERNS[index].find(window) else { return };
    let (start, mut end) = (from + found.start(), from + found.end());
    let goes_on = found.end() == window.len();
    // A full stop ends the sentence.
    while end > at && bytes[end - 1] == b'.' && !goes_on {
        end -= 1;
    }
    let covers = start <= at && at < end;
    let whole = &text[start..end];
    if covers
        && is_edge(before(start))
        && (goes_on || is_edge(bytes.get(end)))
        && entropy(whole.as_bytes()) >= token.entropy
        // A webhook's address is made of words.
        && match token.label {
            "WEBHOOK" => !whole.rsplit('/').next().is_some_and(|last| last.len() >= 8 && is_placeholder(last)),
            // Nobody's word is twenty capitals long.
            "AWS" if whole.len() == 20 => true,
            // The key is words, what follows it must not be.
            _ if token.back == 0 => {
                let key = token.keys.iter().find(|key| whole.starts_with(**key));
                let rest = &whole[key.map_or(0, |key| key.len())..];
                // Random letters of both cases may read like a name with many humps.
                let humps = !rest.contains(['_', '-', '.', '/'])
                    && rest.bytes().skip(1).any(|b| b.is_ascii_uppercase())
                    && rest.bytes().any(|b| b.is_ascii_lowercase());
                !is_words(rest) || humps || rest.bytes().filter(u8::is_ascii_digit).count() >= 3
            }
            _ => !is_words(whole),
        }
    {
        if goes_on {
            let more = |b: &&u8| b.is_ascii_alphanumeric() || b"_.+/=-".contains(b);
            end += bytes[end..].iter().take_while(more).count();
            while end > at && bytes[end - 1] == b'.' {
                end -= 1;
            }
            if end - start >= WINDOW {
                *last = end;
            }
        }
        let rule = Rule {
            name: Cow::Borrowed(token.name),
            label: Cow::Borrowed(token.label),
            class: token.class,
        };
        if token.name == "aws-access-key-id" {
            beside(text, start, end, &rule, hits);
        }
        hits.push(Hit { start, end, rule });
    }
}

/// Whether what stands at `at` goes on with a longer text. A slash also stands between the names of
/// a path, which are not made of capitals, small letters and digits at random.
fn is_inside(bytes: &[u8], at: usize) -> bool {
    let [lead @ .., sign] = &bytes[at.saturating_sub(64)..at] else { return false };
    let run = lead.iter().rev().take_while(|b| b.is_ascii_alphanumeric()).count();
    let part = &lead[lead.len() - run..];
    let count = |f: fn(&u8) -> bool| part.iter().filter(|b| f(b)).count();
    match sign {
        b'-' | b'_' | b'+' => run > 0,
        b'/' => {
            count(u8::is_ascii_uppercase) >= 3
                && count(u8::is_ascii_lowercase) > 0
                && count(u8::is_ascii_digit) > 0
        }
        _ => false,
    }
}

/// How far from an access key's id its secret is looked for.
const BESIDE: usize = 160;
/// How long that secret is.
const SECRET: usize = 40;

/// The secret of a key pair, which has no shape of its own, beside its id.
fn beside(text: &str, start: usize, end: usize, rule: &Rule, hits: &mut Vec<Hit>) {
    let bytes = text.as_bytes();
    let is_part = |b: &u8| b.is_ascii_alphanumeric() || b"+/".contains(b);
    let (low, high) = (start.saturating_sub(BESIDE), bytes.len().min(end + BESIDE));
    let mut at = low;
    while at < high {
        let run = bytes[at..high].iter().take_while(|b| is_part(b)).count();
        let run = if at + run == high {
            run + bytes[high..].iter().take(SECRET + 1).take_while(|b| is_part(b)).count()
        } else {
            run
        };
        let value = &bytes[at..at + run];
        let has = |f: fn(&u8) -> bool| value.iter().any(f);
        let whole = at > low || low == 0;
        if run == SECRET
            && whole
            && has(u8::is_ascii_lowercase)
            && has(u8::is_ascii_uppercase)
            && has(|b| !b.is_ascii_alphabetic())
            && entropy(value) >= 4.0
        {
            hits.push(Hit::new(at, at + run, rule));
        }
        at += run.max(1);
    }
}

#[cfg(test)]
mod tests {
    use regex_syntax::hir::{Hir, HirKind};

    use super::*;
    use crate::chance::Chance;
    use crate::redact::{Policy, Redactor};

    /// A text that a pattern matches.
    fn sample(hir: &Hir, chance: &mut Chance, out: &mut String) {
        match hir.kind() {
            HirKind::Literal(literal) => out.push_str(std::str::from_utf8(&literal.0).unwrap()),
            HirKind::Class(class) => {
                let regex_syntax::hir::Class::Unicode(class) = class else { panic!("not ASCII") };
                let all: Vec<char> =
                    class.ranges().iter().flat_map(|r| r.start()..=r.end()).collect();
                out.push(all[chance.below(all.len())]);
            }
            HirKind::Repetition(repetition) => {
                let most = repetition.max.unwrap_or(repetition.min + 8).min(repetition.min + 8);
                let count =
                    repetition.min + chance.below((most - repetition.min + 1) as usize) as u32;
                (0..count).for_each(|_| sample(&repetition.sub, chance, out));
            }
            HirKind::Capture(capture) => sample(&capture.sub, chance, out),
            HirKind::Concat(parts) => parts.iter().for_each(|part| sample(part, chance, out)),
            HirKind::Alternation(parts) => sample(&parts[chance.below(parts.len())], chance, out),
            HirKind::Empty | HirKind::Look(_) => {}
        }
    }

    #[test]
    fn every_token_is_found_wherever_it_stands() {
        let redactor = Redactor::new(Policy::default()).unwrap();
        let mut chance = Chance::new(11, "vendor tokens");
        let mut missed = Vec::new();
        for token in TOKENS.iter() {
            let hir = regex_syntax::parse(token.pattern).unwrap();
            for round in 0..12 {
                // A token that ends in punctuation cannot be told from the sentence around it.
                let value = loop {
                    let mut value = String::new();
                    sample(&hir, &mut chance, &mut value);
                    if value.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '=') {
                        break value;
                    }
                };
                let places = [
                    format!("use {value}"),
                    format!("use {value}."),
                    format!("\"{value}\","),
                    format!("(see {value})"),
                    format!("a={value}&b=1"),
                    format!("line one\\n{value}\\nline three"),
                    format!("+{value}"),
                    format!("<td>{value}</td>"),
                    format!("\u{1b}[32m{value}\u{1b}[0m"),
                    format!("https://api.acme.dev/v1/?k={value}#top"),
                ];
                let place = &places[round % places.len()];
                let out = redactor.text(place).unwrap();
                if out.contains(&value[value.len() / 2..]) || !out.contains("<SECRET_") {
                    missed.push(format!("{}: {place} -> {out}", token.name));
                }
            }
        }
        assert!(
            missed.is_empty(),
            "{} missed: {:#?}",
            missed.len(),
            &missed[..missed.len().min(40)]
        );
    }

    #[test]
    fn what_only_begins_like_a_token_stays() {
        let redactor = Redactor::new(Policy::default()).unwrap();
        let mut chance = Chance::new(12, "vendor look-alikes");
        let mut taken = Vec::new();
        for token in TOKENS.iter().filter(|token| token.back == 0) {
            for key in token.keys.iter().filter(|key| key.ends_with(['_', '-'])) {
                let mut letters = String::new();
                (0..6).for_each(|_| letters.push(char::from(b"abcdefgh"[chance.below(8)])));
                for text in [
                    format!("see {key}{letters} there"),
                    format!("see {key}{} there", "x".repeat(40)),
                    format!("see x{key} there"),
                    format!("see {key}my-own-name there"),
                ] {
                    if redactor.text(&text).unwrap() != text {
                        taken.push(format!("{}: {text}", token.name));
                    }
                }
            }
        }
        assert!(taken.is_empty(), "{} taken: {taken:#?}", taken.len());
    }

    #[test]
    fn there_are_many_vendors() {
        assert!(TOKENS.len() >= 200, "{}", TOKENS.len());
        for token in TOKENS.iter() {
            assert!(!token.keys.is_empty(), "{}", token.name);
            assert!(
                token.label.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'),
                "{}",
                token.name
            );
        }
    }
}
