//! What was found once is gone everywhere: each value is looked for in the whole session, as it
//! is, in base64 at any alignment, and in hex. Other encodings show it in a decoded view.

use std::collections::BTreeMap;

use aho_corasick::{AhoCorasick, MatchKind};
use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::keywords::Keywords;
use super::policy::Class;
use super::rules::values::is_mixed;
use super::rules::words::is_words;
use super::rules::{Hit, Rule, is_edge};

/// Words that are somebody's password or name and everybody's word.
#[rustfmt::skip]
const COMMON: &[&str] = &[
    "production", "development", "staging", "localhost", "postgres", "postgresql", "database",
    "username", "password", "administrator", "application", "configuration", "container",
    "kubernetes", "rabbitmq", "elasticsearch", "mongodb", "workspace", "repository", "directory",
    "documents", "downloads", "will", "mark", "max", "may", "art", "bill", "frank", "grace", "rose",
    "drew", "chase", "grant", "hope", "joy", "faith", "dean", "dale", "glen", "guy", "jack", "june",
    "april", "august", "summer", "amber", "crystal", "ruby", "pearl", "jade", "iris", "lily",
    "daisy", "violet", "olive", "ivy", "holly", "dawn", "eve", "angel", "christian", "page", "paige",
    "miles", "lane", "reed", "brook", "brooks", "wade", "ray", "skip", "rob", "pat", "sue", "bob",
    "ben", "dan", "sam", "tim", "tom", "jim", "joe", "ken", "ron", "don", "roy", "lee", "kim", "ian",
    "mason", "carter", "hunter", "cooper", "parker", "porter", "tanner", "taylor", "tyler", "turner",
    "the", "and", "for", "with", "from", "this", "that", "all", "any", "new", "old", "get", "set",
    "file", "files", "path", "paths", "main", "master", "origin", "head", "log", "logs", "lib",
    "api", "web", "www", "app", "apps", "cli", "cmd", "pkg", "src", "doc", "docs", "config", "cache",
    "temp", "stable", "beta", "alpha", "release", "debug", "system", "model", "models", "assistant",
    "tool", "tools", "agent", "agents", "session", "message", "content", "role", "type", "name",
    "value", "key", "token", "secret", "string", "number", "object", "array", "true", "false",
    "null", "none", "admin1", "secure", "private", "public", "internal", "external", "client",
    "service", "network", "storage", "backup", "monitor", "metrics", "queue", "worker", "schema",
];

/// The values found in a session so far.
#[derive(Default)]
pub(super) struct Chase {
    values: BTreeMap<String, Rule>,
    finder: Option<(Finder, Vec<Pattern>)>,
}

/// Looks for all forms of all values. The first that stand in a text count, and of those that
/// begin together the longest.
enum Finder {
    Few(Keywords),
    Many(AhoCorasick),
}

/// Up to how many words keywords are the faster way.
const FEW: usize = 600;

impl Finder {
    fn new(words: &[String]) -> Result<Self> {
        if words.len() <= FEW {
            let words: Vec<_> = words.iter().map(|word| (word.as_str(), true)).collect();
            return Ok(Finder::Few(Keywords::new(&words)));
        }
        let many = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(words);
        many.map(Finder::Many)
            .context("the values found in one session are too many to look for together")
    }

    /// Calls `f` with start, end and number of each word found.
    fn each(&self, text: &str, f: &mut dyn FnMut(usize, usize, usize)) {
        match self {
            Finder::Few(keywords) => {
                let mut best: Option<(usize, usize, usize)> = None;
                keywords.each(text, |start, end, index| match best {
                    Some((from, to, _)) if start == from && end <= to => {}
                    Some((from, to, _)) if start > from && start < to => {}
                    _ => {
                        if let Some((from, to, last)) = best.filter(|b| b.0 < start) {
                            f(from, to, last);
                        }
                        best = Some((start, end, index));
                    }
                });
                if let Some((from, to, last)) = best {
                    f(from, to, last);
                }
            }
            Finder::Many(automaton) => {
                for found in automaton.find_iter(text) {
                    f(found.start(), found.end(), found.pattern().as_usize());
                }
            }
        }
    }
}

struct Pattern {
    rule: Rule,
    form: Form,
    value: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Plain,
    /// How many characters that hold other bits too stand before and after.
    Base64(usize, usize),
    Hex,
}

impl Chase {
    /// Remembers a value, if its other occurrences can only be the same thing. Says whether it
    /// was new.
    pub fn add(&mut self, value: &str, rule: &Rule) -> bool {
        let mut new = false;
        if self.values.contains_key(value) {
            return false;
        }
        if rule.class == Class::PrivateKey {
            for line in value.split_whitespace().filter(|line| is_key_line(line)) {
                new |= self.insert(line, rule);
            }
            return new;
        }
        if is_telling(value, rule.class) {
            new |= self.insert(value, rule);
        }
        new
    }

    /// Remembers a value whatever it looks like.
    pub fn insert(&mut self, value: &str, rule: &Rule) -> bool {
        if self.values.contains_key(value) {
            return false;
        }
        self.values.insert(value.to_string(), rule.clone());
        self.finder = None;
        true
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Prepares to look for every form of every value.
    pub fn prepare(&mut self) -> Result<()> {
        if self.finder.is_some() || self.values.is_empty() {
            return Ok(());
        }
        let mut words: Vec<String> = Vec::new();
        let mut patterns = Vec::new();
        for (value, rule) in &self.values {
            let mut add = |word: String, form: Form| {
                words.push(word);
                patterns.push(Pattern { rule: rule.clone(), form, value: value.clone() });
            };
            add(value.clone(), Form::Plain);
            if rule.class == Class::User && capitalised(value) != *value {
                add(capitalised(value), Form::Plain);
            }
            if value.len() < 8 {
                continue;
            }
            for offset in 0..3 {
                for url_safe in [false, true] {
                    let (core, form) = aligned(value, offset, url_safe);
                    if core.len() >= 10 && (!url_safe || core.contains(['-', '_'])) {
                        add(core, form);
                    }
                }
            }
            let hex: String = value.bytes().map(|b| format!("{b:02x}")).collect();
            add(hex.to_uppercase(), Form::Hex);
            add(hex, Form::Hex);
        }
        self.finder = Some((Finder::new(&words)?, patterns));
        Ok(())
    }

    /// Where known values stand in a text, with the value each stands for.
    pub fn find(&self, text: &str, found: &mut dyn FnMut(Hit, &str)) {
        let Some((finder, patterns)) = &self.finder else { return };
        let bytes = text.as_bytes();
        finder.each(text, &mut |mut start, mut end, index| {
            let pattern = &patterns[index];
            match pattern.form {
                Form::Plain => {
                    let inside = !is_edge(start.checked_sub(1).map(|n| &bytes[n]))
                        || !is_edge(bytes.get(end));
                    if inside && !is_unmistakable(&pattern.value, pattern.rule.class) {
                        return;
                    }
                }
                Form::Base64(before, after) => {
                    let is_base64 = |b: &u8| b.is_ascii_alphanumeric() || b"+/-_".contains(b);
                    start -= bytes[..start]
                        .iter()
                        .rev()
                        .take(before)
                        .take_while(|b| is_base64(b))
                        .count();
                    end += bytes[end..].iter().take(after).take_while(|b| is_base64(b)).count();
                }
                Form::Hex => {}
            }
            found(Hit::new(start, end, &pattern.rule), &pattern.value);
        });
    }
}

/// Base64 of a value that begins at byte `offset` of a group: the characters that no neighbour
/// touches.
fn aligned(value: &str, offset: usize, url_safe: bool) -> (String, Form) {
    let mut padded = vec![0; offset];
    padded.extend_from_slice(value.as_bytes());
    let encoded = match url_safe {
        true => URL_SAFE_NO_PAD.encode(&padded),
        false => STANDARD_NO_PAD.encode(&padded),
    };
    let skip = [0, 2, 3][offset];
    let shared = usize::from(!(padded.len() * 8).is_multiple_of(6));
    let core = encoded.get(skip..encoded.len() - shared).unwrap_or("").to_string();
    (core, Form::Base64(usize::from(offset > 0), shared))
}

fn capitalised(value: &str) -> String {
    let mut chars = value.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn is_key_line(line: &str) -> bool {
    line.len() >= 40 && line.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
}

/// Whether the same text elsewhere can be taken for the same thing.
fn is_telling(value: &str, class: Class) -> bool {
    if COMMON.contains(&value.to_ascii_lowercase().as_str()) {
        return false;
    }
    match class {
        Class::User => value.len() >= 3 && !value.bytes().all(|b| b.is_ascii_digit()),
        _ if class.is_personal() => value.len() >= 6,
        // `group_id` in the place of a value is a variable, and so it is elsewhere.
        _ if is_words(value) && value.contains(['_', '.', '/']) => false,
        _ => value.len() >= 8 || value.len() >= 6 && is_mixed(value, 1.5),
    }
}

/// Whether a value is so long and odd that it is found inside words as well.
fn is_unmistakable(value: &str, class: Class) -> bool {
    !class.is_personal() && value.len() >= 12 && is_mixed(value, 2.5)
}
