//! What was found once is gone everywhere: each value is looked for in the whole session, as it
//! is, in base64 at any alignment, and in hex. Other encodings show it in a decoded view.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

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

/// How many bytes of a word are looked up.
const HEAD: usize = 3;

/// Looks for many words at once. Those that begin first in a text count, and of those that begin
/// together the longest.
struct Finder {
    /// The words in order, each with its number.
    words: Vec<(String, usize)>,
    /// For each word, which other one is the longest that it begins with; itself if there is none.
    within: Vec<usize>,
    /// Where the words with one head begin and end.
    heads: HashMap<[u8; HEAD], (usize, usize)>,
    /// Which heads there may be, as bits by what [`slot`] makes of them.
    slots: Box<[u64; 1 << (SLOT - 6)]>,
}

impl Finder {
    /// Of words of at least [`HEAD`] bytes; shorter ones are not looked for.
    fn new(words: Vec<String>) -> Self {
        let mut words: Vec<(String, usize)> = words.into_iter().zip(0..).collect();
        words.sort_unstable();
        words.dedup_by(|later, first| later.0 == first.0);
        let (mut heads, mut slots) = (HashMap::new(), Box::new([0; 1 << (SLOT - 6)]));
        let mut within: Vec<usize> = Vec::with_capacity(words.len());
        for (at, (word, _)) in words.iter().enumerate() {
            let Some(head) = word.as_bytes().first_chunk::<HEAD>() else {
                within.push(at);
                continue;
            };
            heads.entry(*head).or_insert((at, at)).1 = at + 1;
            let slot = slot(head);
            slots[slot / 64] |= 1 << (slot % 64);
            let mut outer = at.saturating_sub(1);
            while !word.starts_with(&words[outer].0) && within[outer] != outer {
                outer = within[outer];
            }
            within.push(if word.starts_with(&words[outer].0) { outer } else { at });
        }
        Finder { words, within, heads, slots }
    }

    /// Calls `f` with start, end and number of each word found.
    fn each(&self, text: &str, mut f: impl FnMut(usize, usize, usize)) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while let Some(next) = self.next_head(bytes, at) {
            at = next;
            match self.longest(&bytes[at..]) {
                Some((length, index)) => {
                    f(at, at + length, index);
                    at += length;
                }
                None => at += 1,
            }
        }
    }

    /// Where a word may begin next.
    fn next_head(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let may_begin = |head: &[u8]| {
            let slot = slot(head);
            self.slots[slot / 64] >> (slot % 64) & 1 != 0
        };
        bytes.get(from..)?.windows(HEAD).position(may_begin).map(|n| from + n)
    }

    /// The longest word that `rest` begins with: its length and number.
    fn longest(&self, rest: &[u8]) -> Option<(usize, usize)> {
        let (from, to) = *self.heads.get(rest.first_chunk::<HEAD>()?)?;
        let after = self.words[from..to].partition_point(|(word, _)| word.as_bytes() <= rest);
        // The word before `rest` in order begins with every word that `rest` begins with.
        let mut word = from + after.checked_sub(1)?;
        let same = self.words[word].0.bytes().zip(rest).take_while(|(a, b)| a == *b).count();
        while self.words[word].0.len() > same {
            let outer = self.within[word];
            if outer == word {
                return None;
            }
            word = outer;
        }
        let (word, index) = &self.words[word];
        Some((word.len(), *index))
    }
}

/// How many bits a slot has.
const SLOT: u32 = 16;

fn slot(head: &[u8]) -> usize {
    let word = u32::from_le_bytes([head[0], head[1], head[2], 0]);
    (word.wrapping_mul(0x9e37_79b1) >> (32 - SLOT)) as usize
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
    pub fn prepare(&mut self) {
        if self.finder.is_some() || self.values.is_empty() {
            return;
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
            let digit = |half: u8| char::from(b"0123456789abcdef"[half as usize]);
            let hex: String = value.bytes().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect();
            add(hex.to_ascii_uppercase(), Form::Hex);
            add(hex, Form::Hex);
        }
        self.finder = Some((Finder::new(words), patterns));
    }

    /// Where known values stand in a text, with the value each stands for.
    pub fn find(&self, text: &str, found: &mut dyn FnMut(Hit, &str)) {
        let Some((finder, patterns)) = &self.finder else { return };
        let bytes = text.as_bytes();
        finder.each(text, |mut start, mut end, index| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance::Chance;

    #[test]
    fn the_first_and_longest_words_are_found() {
        let mut chance = Chance::new(8, "finder");
        let mut random = |least: usize, most: usize| -> String {
            let length = least + chance.below(most - least + 1);
            (0..length).map(|_| char::from(b'a' + chance.below(2) as u8)).collect()
        };
        for _ in 0..500 {
            let words: Vec<String> = (0..12).map(|_| random(3, 9)).collect();
            let text = random(0, 40);
            let mut found = Vec::new();
            Finder::new(words.clone()).each(&text, |start, end, index| {
                assert_eq!(text[start..end], words[index]);
                found.push((start, end));
            });
            let mut expected = Vec::new();
            let mut at = 0;
            while at < text.len() {
                let here = words.iter().filter(|word| text[at..].starts_with(*word));
                let length = here.map(String::len).max().unwrap_or(0);
                if length > 0 {
                    expected.push((at, at + length));
                }
                at += length.max(1);
            }
            assert_eq!(found, expected, "{text} {words:?}");
        }
    }
}
