//! The fingerprint of a row: what deduplication, split and leak check compare.
//!
//! It covers what user, assistant and tools said and the calls with their arguments. The system
//! prompt and the tool schemas are left out: they are the same in unrelated sessions.

use serde_json::{Map, Value};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::Example;
use super::minhash::{BANDS, MinHash};
use super::normal::{word_hash, words};
use crate::trace::{Message, Role};

/// Words in a shingle. A row with fewer words has none and is compared exactly only.
pub const SHINGLE: usize = 5;

/// What a row says, as hashes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Print {
    /// Equal for rows that say the same but for white space.
    pub exact: u128,
    /// How many words the row has.
    pub words: u64,
    /// The distinct hashes of every five words in a row, sorted.
    pub shingles: Vec<u64>,
    /// After each message, what was said up to there.
    pub chain: Vec<Link>,
}

/// A row up to and with one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Equal for rows that began with the same words.
    pub hash: u128,
    /// How many words that were.
    pub words: u64,
    /// Whether the model has spoken by then.
    pub answered: bool,
}

impl Print {
    /// The fingerprint of a row.
    pub fn of(example: &Example) -> Print {
        let mut print = Print::default();
        let mut said = Vec::new();
        let mut exact = Vec::new();
        let mut link = Link { hash: 0, words: 0, answered: false };
        let spoken = example.trace.messages.iter().filter(|m| m.role != Role::System);
        for message in spoken {
            let from = said.len();
            let mut hear = |text: &str| words(text, |word| said.push(word_hash(word)));
            hear(&message.content);
            for call in &message.tool_calls {
                hear(&call.name);
                each_entry(&call.arguments, &mut hear);
            }
            literal(message, &mut exact);
            let mut bytes = Vec::with_capacity(17 + 8 * (said.len() - from));
            bytes.extend(link.hash.to_le_bytes());
            bytes.push(message.role as u8);
            bytes.extend(said[from..].iter().flat_map(|w| w.to_le_bytes()));
            link.hash = xxh3_128(&bytes);
            link.words = said.len() as u64;
            link.answered |= message.role == Role::Assistant;
            print.chain.push(link);
        }
        print.exact = xxh3_128(&exact);
        print.words = said.len() as u64;
        print.shingles = said.windows(SHINGLE).map(shingle).collect();
        print.shingles.sort_unstable();
        print.shingles.dedup();
        print
    }

    /// How many shingles two rows share.
    pub fn overlap(&self, other: &Print) -> usize {
        overlap(&self.shingles, &other.shingles)
    }
}

/// How many members two sorted sets share.
pub fn overlap(a: &[u64], b: &[u64]) -> usize {
    let (mut i, mut j, mut shared) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        let (x, y) = (a[i], b[j]);
        shared += usize::from(x == y);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    shared
}

/// What a row is compared by as long as it is not read: a digest of its whole, the bands of its
/// signature, what it began with, and those of its shingles that lie below a threshold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sketch {
    /// See [`Print::exact`].
    pub exact: u128,
    /// See [`Print::words`].
    pub words: u64,
    /// How many distinct shingles it has.
    pub shingles: u32,
    /// One key for each band of its signature.
    pub bands: [u32; BANDS],
    /// Its distinct shingles below the threshold, sorted.
    pub sample: Vec<u64>,
    /// Where the sample ends; all shingles are in it where this is the largest number.
    pub threshold: u64,
    /// See [`Print::chain`].
    pub chain: Vec<Link>,
}

impl Sketch {
    /// Whether all shingles are in the sample.
    pub fn is_whole(&self) -> bool {
        self.threshold == u64::MAX
    }

    /// The sketch of a row.
    pub fn of(example: &Example, threshold: u64) -> Sketch {
        let print = Print::of(example);
        let signature = MinHash::default().signature(&print.shingles);
        let mut bands = [0; BANDS];
        for (band, key) in bands.iter_mut().zip(signature.bands()) {
            *band = key as u32;
        }
        let sample = print.shingles.iter().copied().filter(|s| *s <= threshold).collect();
        Sketch {
            exact: print.exact,
            words: print.words,
            shingles: print.shingles.len() as u32,
            bands,
            sample,
            threshold,
            chain: print.chain,
        }
    }
}

fn shingle(words: &[u64]) -> u64 {
    let mut bytes = [0u8; 8 * SHINGLE];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    xxh3_64(&bytes)
}

/// Every key and every leaf of a map, keys in the order of their names.
fn each_entry(map: &Map<String, Value>, hear: &mut impl FnMut(&str)) {
    for (key, value) in by_name(map) {
        hear(key);
        each_text(value, hear);
    }
}

fn by_name(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    entries
}

fn each_text(value: &Value, hear: &mut impl FnMut(&str)) {
    match value {
        Value::Object(map) => each_entry(map, hear),
        Value::Array(items) => items.iter().for_each(|item| each_text(item, hear)),
        Value::String(text) => hear(text),
        Value::Null => {}
        other => hear(&other.to_string()),
    }
}

/// A message as exact comparison sees it: runs of white space are one space, call ids are left
/// out, arguments stand in the order of their names.
fn literal(message: &Message, out: &mut Vec<u8>) {
    out.push(0xff);
    out.extend(message.role.as_str().bytes());
    collapse(&message.content, out);
    for call in &message.tool_calls {
        out.push(0xfe);
        out.extend(call.name.bytes());
        canonical_map(&call.arguments, out);
    }
}

fn collapse(text: &str, out: &mut Vec<u8>) {
    for word in text.split_whitespace() {
        out.push(b' ');
        out.extend(word.bytes());
    }
}

fn canonical_map(map: &Map<String, Value>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (key, value) in by_name(map) {
        out.push(0xfd);
        out.extend(key.bytes());
        canonical(value, out);
    }
    out.push(b'}');
}

fn canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(map) => canonical_map(map, out),
        Value::Array(items) => {
            out.push(b'[');
            items.iter().for_each(|item| canonical(item, out));
            out.push(b']');
        }
        Value::String(text) => {
            out.push(0xfc);
            collapse(text, out);
        }
        other => out.extend(other.to_string().bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{call, chat, result, row};
    use super::*;
    use serde_json::json;

    #[test]
    fn white_space_is_no_difference_and_anything_else_is() {
        let print = |user: &str| Print::of(&chat("s", user, "It prints four.")).exact;
        assert_eq!(print("run  the\n test"), print("run the test"));
        assert_ne!(print("2 + 3"), print("2 * 3"));
        assert_ne!(print("Run"), print("run"));
    }

    #[test]
    fn system_prompt_ids_and_argument_order_do_not_count() {
        let with = |system: &str, id: &str, arguments: Value| {
            let mut example = row(
                "s",
                vec![
                    Message::text(Role::System, system),
                    Message::text(Role::User, "look into the file please"),
                    call(id, "read", arguments),
                    result(id, "fn main() {}"),
                ],
            );
            example.trace.tools = vec![json!({"function": {"name": system}})];
            Print::of(&example)
        };
        let one = with("be brief", "c1", json!({"path": "a.rs", "limit": 3}));
        let two = with("be long", "c2", json!({"limit": 3, "path": "a.rs"}));
        assert_eq!(one, two);
        let three = with("be brief", "c1", json!({"path": "b.rs", "limit": 3}));
        assert_ne!(one.exact, three.exact);
    }

    #[test]
    fn a_session_that_went_on_begins_with_the_same_chain() {
        let first = chat("s", "what does the loader do", "It reads files in batches.");
        let mut longer = first.clone();
        longer.trace.messages.push(Message::text(Role::User, "and the writer"));
        let (a, b) = (Print::of(&first), Print::of(&longer));
        assert_eq!(a.chain[..], b.chain[..2]);
        assert!(!a.chain[0].answered && a.chain[1].answered);
        assert_eq!(a.overlap(&b), a.shingles.len());
    }

    #[test]
    fn a_row_of_few_words_has_no_shingles() {
        assert!(Print::of(&chat("s", "hi", "hello there")).shingles.is_empty());
    }
}
