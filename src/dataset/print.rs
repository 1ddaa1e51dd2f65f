//! The fingerprint of a row: what deduplication, split and leak check compare.
//!
//! It covers what user, assistant and tools said and the calls with their arguments. The system
//! prompt and the tool schemas are left out: they are the same in unrelated sessions.

use std::cell::RefCell;
use std::sync::LazyLock;

use serde_json::{Map, Value};
use xxhash_rust::xxh3::xxh3_128;

use super::minhash::{MinHash, Signature};
use super::normal::{hashes, mix};
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
    /// What was said up to some places, once the model has spoken.
    pub chain: Vec<Link>,
}

/// The beginning of a row: up to and with an answer or, within a long message, so far that a row
/// which ends between two such places still begins with most of itself at the first of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Equal for rows that began with the same words.
    pub hash: u64,
    /// How many words that were.
    pub words: u32,
}

/// What finds copies among more rows than fit into memory whole: of a row's shingles only some,
/// the same ones in every row (FracMinHash; Irber and others 2022), and the keys of its bands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sketch {
    /// As in [`Print::exact`].
    pub exact: u128,
    /// How many words the row has.
    pub words: u64,
    /// How many distinct shingles it has, counted and not estimated.
    pub shingles: u32,
    /// One key for each band.
    pub bands: Signature,
    /// Its distinct shingles up to the threshold, sorted.
    pub sample: Vec<u64>,
    /// Up to where shingles are in the sample.
    pub threshold: u64,
    /// What was said up to some places, once the model has spoken.
    pub chain: Vec<Link>,
}

/// How many sampled shingles two rows have, up to the lower of both thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// Those of both.
    pub shared: usize,
    /// Those of the first.
    pub in_self: usize,
    /// Those of the second.
    pub in_other: usize,
}

impl Print {
    /// The fingerprint of a row.
    pub fn of(row: &impl AsRef<[Message]>) -> Print {
        let Heard { exact, said, chain } = Heard::of(row.as_ref());
        let mut shingles: Vec<u64> = said.windows(SHINGLE).map(shingle).collect();
        shingles.sort_unstable();
        shingles.dedup();
        Print { exact, words: said.len() as u64, shingles, chain }
    }

    /// How many shingles two rows share.
    pub fn overlap(&self, other: &Print) -> usize {
        shared(&self.shingles, &other.shingles)
    }
}

impl Sketch {
    /// The sketch of a row, with a sample of its shingles up to `threshold`.
    pub fn of(row: &impl AsRef<[Message]>, threshold: u64) -> Sketch {
        static MINHASH: LazyLock<MinHash> = LazyLock::new(MinHash::default);
        let Heard { exact, said, chain } = Heard::of(row.as_ref());
        let mut all: Vec<u64> = said.windows(SHINGLE).map(shingle).collect();
        keep_first(&mut all);
        let mut sample: Vec<u64> = all.iter().copied().filter(|s| *s <= threshold).collect();
        sample.sort_unstable();
        Sketch {
            exact,
            words: said.len() as u64,
            shingles: u32::try_from(all.len()).unwrap_or(u32::MAX),
            bands: MINHASH.signature(&all),
            sample,
            threshold,
            chain,
        }
    }

    /// Whether all its shingles are in the sample.
    pub fn is_whole(&self) -> bool {
        self.threshold == u64::MAX
    }

    /// What two rows share of the shingles that both samples can have.
    pub fn overlap(&self, other: &Sketch) -> Overlap {
        let threshold = self.threshold.min(other.threshold);
        let below = |of: &'_ Sketch| of.sample.partition_point(|s| *s <= threshold);
        let (in_self, in_other) = (below(self), below(other));
        let shared = shared(&self.sample[..in_self], &other.sample[..in_other]);
        Overlap { shared, in_self, in_other }
    }
}

/// How many members two sorted sets share.
fn shared(a: &[u64], b: &[u64]) -> usize {
    let (mut at, mut on, mut shared) = (0, 0, 0);
    while let (Some(x), Some(y)) = (a.get(at), b.get(on)) {
        shared += usize::from(x == y);
        at += usize::from(x <= y);
        on += usize::from(y <= x);
    }
    shared
}

/// A link follows the last one after a sixth of what was said until then at the latest, but never
/// after less than eight words of one message.
const STEP: usize = 6;
const LEAST_STEP: usize = 8;

/// What a row says, before anything is left out.
struct Heard {
    exact: u128,
    /// The hashes of its words, in order.
    said: Vec<u64>,
    chain: Vec<Link>,
}

impl Heard {
    fn of(messages: &[Message]) -> Heard {
        let (mut said, mut chain) = (Vec::new(), Vec::new());
        let (mut exact, mut bytes) = (Vec::new(), Vec::new());
        let (mut before, mut heard, mut answered) = (0u128, 0, false);
        let spoken = messages.iter().filter(|m| m.role != Role::System);
        for message in spoken {
            let mut hear = |text: &str| hashes(text, |word| said.push(word));
            hear(&message.content);
            for call in &message.tool_calls {
                hear(&call.name);
                each_entry(&call.arguments, &mut hear);
            }
            literal(message, &mut exact);
            let mut from = heard;
            loop {
                let end = said.len().min(from + LEAST_STEP.max(from / STEP));
                bytes.clear();
                bytes.extend(before.to_le_bytes());
                bytes.push(message.role as u8);
                let head = bytes.len();
                bytes.resize(head + 8 * (end - from), 0);
                for (place, word) in bytes[head..].chunks_exact_mut(8).zip(&said[from..end]) {
                    place.copy_from_slice(&word.to_le_bytes());
                }
                before = xxh3_128(&bytes);
                answered |= message.role == Role::Assistant;
                let ends = end == said.len();
                if answered && end >= SHINGLE && (!ends || message.role == Role::Assistant) {
                    chain.push(Link { hash: before as u64, words: end as u32 });
                }
                from = end;
                if ends {
                    break;
                }
            }
            heard = said.len();
        }
        Heard { exact: xxh3_128(&exact), said, chain }
    }
}

/// The hash of some words in a row: a polynomial, whose factor is 3 modulo 4 so that swapped
/// words lose no more than a bit, then mixed.
fn shingle(words: &[u64]) -> u64 {
    const FACTOR: u64 = 0xd605_1c3e_4a97_b58b;
    mix(words.iter().fold(0, |hash: u64, word| hash.wrapping_mul(FACTOR).wrapping_add(*word)))
}

/// Slots that stay allocated, at most: a row that needs more is rare.
const SLOTS_KEPT: usize = 1 << 19;

/// Removes what stood further to the front already. The hashes are their own hashes, which makes
/// this several times as fast as sorting.
fn keep_first(hashes: &mut Vec<u64>) {
    thread_local! {
        // Kept, since new memory has to be cleared by the system first.
        static SLOTS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    }
    SLOTS.with_borrow_mut(|slots| {
        slots.clear();
        slots.resize((2 * hashes.len()).next_power_of_two(), 0);
        keep_first_by(hashes, slots);
        slots.truncate(SLOTS_KEPT);
        slots.shrink_to(SLOTS_KEPT);
    });
}

/// The same, with as many empty slots as a power of two beyond the number of hashes.
fn keep_first_by(hashes: &mut Vec<u64>, slots: &mut [u64]) {
    let mask = slots.len() - 1;
    let mut has_zero = false;
    hashes.retain(|hash| {
        if *hash == 0 {
            return !std::mem::replace(&mut has_zero, true);
        }
        let mut at = *hash as usize & mask;
        loop {
            match slots[at] {
                0 => {
                    slots[at] = *hash;
                    return true;
                }
                known if known == *hash => return false,
                _ => at = (at + 1) & mask,
            }
        }
    });
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

/// A space before each run of anything else.
fn collapse(text: &str, out: &mut Vec<u8>) {
    if !text.is_ascii() && text.contains(|c: char| !c.is_ascii() && c.is_whitespace()) {
        for word in text.split_whitespace() {
            out.push(b' ');
            out.extend(word.bytes());
        }
        return;
    }
    // Without branches: where words end cannot be foreseen.
    let from = out.len();
    out.resize(from + 1 + text.len(), b' ');
    let (mut end, mut after_space) = (from + 1, true);
    for byte in text.bytes() {
        let space = matches!(byte, b'\t'..=b'\r' | b' ');
        out[end] = if space { b' ' } else { byte };
        end += usize::from(!(space && after_space));
        after_space = space;
    }
    out.truncate(end - usize::from(after_space));
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
    use super::super::testing::{call, chat, prose, result, row};
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
        assert_eq!(a.chain.len(), 1);
        assert_eq!(a.chain, b.chain);
        assert_eq!(a.overlap(&b), a.shingles.len());
    }

    #[test]
    fn a_sketch_agrees_with_the_print() {
        let minhash = MinHash::default();
        for text in ["", "two words", &prose(1, 300), &format!("{0} {0} x", prose(2, 40))] {
            let row = chat("s", "look at this please now", text);
            let (print, all) = (Print::of(&row), Sketch::of(&row, u64::MAX));
            assert_eq!(
                (all.exact, all.words, &all.chain),
                (print.exact, print.words, &print.chain)
            );
            assert_eq!(all.shingles as usize, print.shingles.len());
            assert_eq!(all.sample, print.shingles);
            assert_eq!(all.bands, minhash.signature(&print.shingles));
            let half = Sketch::of(&row, u64::MAX / 2);
            let wanted: Vec<u64> =
                print.shingles.iter().copied().filter(|s| *s <= u64::MAX / 2).collect();
            assert_eq!(half, Sketch { sample: wanted, threshold: u64::MAX / 2, ..all });
        }
    }

    #[test]
    fn sketches_are_compared_at_the_lower_threshold() {
        let whole = prose(1, 400);
        let words: Vec<&str> = whole.split(' ').collect();
        let a = chat("s", "look at this please", &whole);
        let b = chat("s", "look at this please", &words[..300].join(" "));
        let exact = Sketch::of(&a, u64::MAX).overlap(&Sketch::of(&b, u64::MAX));
        assert_eq!(exact.in_other, Print::of(&b).shingles.len());
        assert_eq!(exact.shared, Print::of(&a).overlap(&Print::of(&b)));
        let part = Sketch::of(&a, u64::MAX).overlap(&Sketch::of(&b, u64::MAX / 4));
        assert_eq!(part, Sketch::of(&a, u64::MAX / 4).overlap(&Sketch::of(&b, u64::MAX)));
        let share = part.shared as f64 / part.in_self as f64;
        assert!((60..150).contains(&part.in_self) && (share - 0.75).abs() < 0.15, "{part:?}");
    }

    #[test]
    fn any_white_space_is_white_space() {
        let print = |text: &str| Print::of(&chat("s", "look", text)).exact;
        for text in ["a b", " a b", "a\t\r\nb ", "a\u{a0}\u{2003}b", "a\u{b}b\u{3000}"] {
            assert_eq!(print(text), print("a b"), "{text:?}");
        }
        assert_eq!(print("ä  b"), print("ä b\n"));
        assert_ne!(print("ab"), print("a b"));
    }

    #[test]
    fn sketches_never_change() {
        let row = chat("s", "look at a/b.rs please", "It reads 12 files of /home/mira.");
        let sketch = Sketch::of(&row, u64::MAX);
        let exact = 47_327_028_161_025_113_946_994_597_749_777_083_711;
        let chain = 17_501_066_900_785_105_897;
        assert_eq!((sketch.exact, sketch.chain[0].hash), (exact, chain));
        assert_eq!((sketch.sample[0], sketch.bands[0]), (738_399_068_475_855_568, 4_290_259_689));
    }

    #[test]
    fn a_row_that_ends_within_a_message_begins_mostly_as_the_whole_one() {
        let text = prose(1, 500);
        let whole = Print::of(&chat("s", "what does the loader do", &text));
        for kept in (40..500).step_by(7) {
            let words: Vec<&str> = text.split(' ').take(kept).collect();
            let cut = Print::of(&chat("s", "what does the loader do", &words.join(" ")));
            let mut both = cut.chain.iter().rev().filter(|link| whole.chain.contains(link));
            let share = both.next().map_or(0.0, |link| f64::from(link.words) / cut.words as f64);
            assert!(share >= 0.8, "{kept} words: {share}");
        }
        assert!(whole.chain.len() < 40, "{}", whole.chain.len());
    }

    #[test]
    fn a_row_of_few_words_has_no_shingles() {
        assert!(Print::of(&chat("s", "hi", "hello there")).shingles.is_empty());
    }
}
