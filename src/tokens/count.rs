//! How many tokens a text has, without making them.
//!
//! Byte-level BPE cuts a text into pieces and merges each by itself, so the tokens of a text are
//! the sum over its pieces, and the same few thousand pieces make up most of any text. What is
//! not of this kind is not counted here: a tokenizer that [`Counter::new`] refuses, or a text
//! that [`Counter::count`] does not know how to cut.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use aho_corasick::{AhoCorasick, MatchKind};
use anyhow::Result;
use regex_automata::meta::{Cache, Regex};
use regex_automata::{Anchored, Input};
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{Model, ModelWrapper, Tokenizer};
use xxhash_rust::xxh3::Xxh3Builder;

use super::vocabulary::failed;

/// GPT-2's own split, which [`ByteLevel`] brings along.
///
/// [`ByteLevel`]: tokenizers::pre_tokenizers::byte_level::ByteLevel
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// How split patterns end that leave the last of several blanks to the word behind them.
const LAST_BLANK: [&str; 2] = [r"|\s+(?!\S)|\s+", r"|\s+(?!\S)|\s"];

/// Pieces of fewer bytes than this are remembered in a table by what they say.
const SHORT: usize = 16;

/// Slots of that table, a power of two.
const SLOTS: usize = 1 << 15;

/// Longer pieces are remembered up to so many bytes,
const LONG: usize = 96;

/// and up to so many pieces.
const MANY: usize = 1 << 15;

/// Counts the tokens of texts.
pub(super) struct Counter {
    /// Tokens that are cut out of a text before all else.
    added: Option<AhoCorasick>,
    /// Whether characters are composed first.
    composes: bool,
    steps: Vec<Step>,
    /// The character that stands for a byte.
    letters: [char; 256],
    idle: Mutex<Vec<Memory>>,
}

/// One way to cut a text, each within the pieces of the one before.
enum Step {
    Pattern {
        regex: Regex,
        /// Whether the regex's second pattern, blanks, leaves the last one to the word behind.
        last_blank: bool,
    },
    /// Numerals, each by itself or in a row.
    Digits { each: bool },
}

/// What one thread remembers.
struct Memory {
    caches: Vec<Option<Cache>>,
    /// Pieces by their bytes, with their tokens.
    short: Vec<(u128, u32)>,
    long: HashMap<Box<str>, u32, Xxh3Builder>,
    /// A piece in the letters that stand for bytes.
    spelled: String,
}

impl Counter {
    /// A counter for a tokenizer; none where its pieces are not independent or not known here.
    pub fn new(tokenizer: &Tokenizer) -> Option<Counter> {
        let ModelWrapper::BPE(bpe) = tokenizer.get_model() else { return None };
        if bpe.dropout.is_some_and(|share| share > 0.0) {
            return None;
        }
        let composes = match tokenizer.get_normalizer() {
            None => false,
            Some(NormalizerWrapper::NFC(_)) => true,
            Some(_) => return None,
        };
        let vocabulary = tokenizer.get_added_vocabulary();
        let added: Vec<_> = vocabulary.get_added_tokens_decoder().values().collect();
        let plain = added.iter().all(|t| {
            !t.single_word && !t.lstrip && !t.rstrip && (!composes || t.content.is_ascii())
        });
        // Those that count as normalised are looked for after all others.
        let at_once = added.iter().all(|t| t.normalized == added[0].normalized);
        if !plain || !at_once || vocabulary.get_encode_special_tokens() {
            return None;
        }
        let added = (!added.is_empty()).then(|| {
            let texts = added.iter().map(|token| &token.content);
            AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(texts)
        });
        let mut steps = Vec::new();
        if !cuts(tokenizer.get_pre_tokenizer()?, &mut steps)? {
            return None;
        }
        Some(Counter {
            added: added.transpose().ok()?,
            composes,
            steps,
            letters: letters(),
            idle: Mutex::default(),
        })
    }

    /// Whether a text begins with a token that is always cut out of what stands before it.
    pub fn opens(&self, text: &str) -> bool {
        let first = self.added.as_ref().and_then(|added| added.find(text));
        first.is_some_and(|found| found.start() == 0)
    }

    /// The tokens of a text; none where it has to be normalised first.
    pub fn count(&self, tokenizer: &Tokenizer, text: &str) -> Result<Option<usize>> {
        // Below these are no characters that compose.
        if self.composes && text.chars().any(|c| c >= '\u{300}') {
            return Ok(None);
        }
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut memory = idle.unwrap_or_else(|| Memory::new(&self.steps));
        let mut work = Work { counter: self, tokenizer, memory: &mut memory };
        let counted = work.text(text);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
        counted.map(Some)
    }
}

/// The steps of a pre-tokenizer, and whether it ends in bytes; none for one not known here.
fn cuts(pre: &PreTokenizerWrapper, steps: &mut Vec<Step>) -> Option<bool> {
    match pre {
        PreTokenizerWrapper::Sequence(sequence) => {
            let mut bytes = false;
            for pre in sequence.as_ref() {
                // What comes after the bytes would see other letters.
                if bytes {
                    return None;
                }
                bytes = cuts(pre, steps)?;
            }
            Some(bytes)
        }
        PreTokenizerWrapper::ByteLevel(level) if !level.add_prefix_space => {
            if level.use_regex {
                steps.push(Step::pattern(GPT2)?);
            }
            Some(true)
        }
        PreTokenizerWrapper::Split(split)
            if !split.invert && split.behavior == SplitDelimiterBehavior::Isolated =>
        {
            let SplitPattern::Regex(pattern) = &split.pattern else { return None };
            steps.push(Step::pattern(pattern)?);
            Some(false)
        }
        PreTokenizerWrapper::Digits(digits) => {
            steps.push(Step::Digits { each: digits.individual_digits });
            Some(false)
        }
        _ => None,
    }
}

impl Step {
    fn pattern(pattern: &str) -> Option<Step> {
        let rest = LAST_BLANK.iter().find_map(|end| pattern.strip_suffix(end));
        let regex = match rest {
            Some(rest) => Regex::new_many(&[rest, r"\s+"]),
            None => Regex::new(pattern),
        };
        // A pattern that looks around otherwise is refused by this library.
        let regex = regex.ok().filter(|regex| !regex.is_match(""))?;
        Some(Step::Pattern { regex, last_blank: rest.is_some() })
    }
}

impl Memory {
    fn new(steps: &[Step]) -> Memory {
        let cache = |step: &Step| match step {
            Step::Pattern { regex, .. } => Some(regex.create_cache()),
            Step::Digits { .. } => None,
        };
        Memory {
            caches: steps.iter().map(cache).collect(),
            short: vec![(0, 0); SLOTS],
            long: HashMap::default(),
            spelled: String::new(),
        }
    }
}

/// A text on its way.
struct Work<'a> {
    counter: &'a Counter,
    tokenizer: &'a Tokenizer,
    memory: &'a mut Memory,
}

impl Work<'_> {
    fn text(&mut self, text: &str) -> Result<usize> {
        let (mut tokens, mut at) = (0, 0);
        if let Some(added) = &self.counter.added {
            for found in added.find_iter(text) {
                tokens += self.cut(0, &text[at..found.start()])? + 1;
                at = found.end();
            }
        }
        Ok(tokens + self.cut(0, &text[at..])?)
    }

    /// The tokens of a piece that earlier steps left whole.
    fn cut(&mut self, step: usize, text: &str) -> Result<usize> {
        let (mut tokens, mut at) = (0, 0);
        match self.counter.steps.get(step) {
            None => return self.piece(text),
            Some(Step::Digits { each }) => {
                let numeral = |c: char| c.is_numeric();
                while let Some(first) = text[at..].chars().next() {
                    let rest = &text[at..];
                    let end = match (numeral(first), each) {
                        (true, true) => first.len_utf8(),
                        (is, _) => rest.find(|c| numeral(c) != is).unwrap_or(rest.len()),
                    };
                    tokens += self.cut(step + 1, &rest[..end])?;
                    at += end;
                }
            }
            Some(Step::Pattern { regex, last_blank }) => {
                while at < text.len() {
                    let found = self.find(step, regex, text, at, *last_blank);
                    if found.start > at {
                        tokens += self.cut(step + 1, &text[at..found.start])?;
                    }
                    tokens += self.cut(step + 1, &text[found.clone()])?;
                    at = found.end;
                }
            }
        }
        Ok(tokens)
    }

    /// The next match in a text; an empty one at its end where there is none.
    fn find(
        &mut self,
        step: usize,
        regex: &Regex,
        text: &str,
        at: usize,
        last_blank: bool,
    ) -> Range<usize> {
        let Some(cache) = &mut self.memory.caches[step] else { return text.len()..text.len() };
        let input = Input::new(text).range(at..);
        // Most often the next match begins where the last one ended.
        let here = regex.search_half_with(cache, &input.clone().anchored(Anchored::Yes));
        let (found, pattern) = match here {
            Some(half) => (at..half.offset(), half.pattern()),
            None => match regex.search_with(cache, &input) {
                Some(found) => (found.range(), found.pattern()),
                None => return text.len()..text.len(),
            },
        };
        if last_blank && pattern.as_usize() == 1 && found.end < text.len() {
            let last = text[found.clone()].chars().next_back().map_or(0, char::len_utf8);
            if found.len() > last {
                return found.start..found.end - last;
            }
        }
        found
    }

    /// The tokens of a piece that is not cut any more.
    fn piece(&mut self, piece: &str) -> Result<usize> {
        if piece.is_empty() {
            return Ok(0);
        }
        if piece.len() < SHORT {
            let mut key = [0; SHORT];
            key[..piece.len()].copy_from_slice(piece.as_bytes());
            key[SHORT - 1] = piece.len() as u8;
            let key = u128::from_le_bytes(key);
            let mixed = (key as u64 ^ ((key >> 64) as u64).rotate_left(29))
                .wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let slot = (mixed >> 40) as usize % SLOTS;
            let (known, tokens) = self.memory.short[slot];
            if known == key {
                return Ok(tokens as usize);
            }
            let tokens = self.merged(piece)?;
            self.memory.short[slot] = (key, tokens as u32);
            return Ok(tokens);
        }
        if let Some(tokens) = self.memory.long.get(piece) {
            return Ok(*tokens as usize);
        }
        let tokens = self.merged(piece)?;
        if piece.len() <= LONG && self.memory.long.len() < MANY {
            self.memory.long.insert(piece.into(), tokens as u32);
        }
        Ok(tokens)
    }

    /// The tokens of a piece, from the model itself.
    fn merged(&mut self, piece: &str) -> Result<usize> {
        let spelled = &mut self.memory.spelled;
        spelled.clear();
        spelled.extend(piece.bytes().map(|byte| self.counter.letters[usize::from(byte)]));
        let tokens = self.tokenizer.get_model().tokenize(spelled);
        Ok(tokens.map_err(failed("cannot tokenise"))?.len())
    }
}

/// The characters that byte-level tokenizers write for bytes: printable ones for themselves, the
/// others in order from U+0100.
fn letters() -> [char; 256] {
    let mut next = 0x100;
    std::array::from_fn(|byte| {
        let printable = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let code = if printable { byte as u32 } else { next };
        if !printable {
            next += 1;
        }
        char::from_u32(code).unwrap_or_default()
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use super::super::{gguf, vocabulary};
    use super::*;
    use crate::chance::Chance;

    /// Texts of everything that a tokenizer cuts in a way of its own.
    pub fn text(chance: &mut Chance) -> String {
        const PARTS: &[&str] = &[
            "fn main() {",
            "format!(\"{}\", x_1);",
            "}",
            "the",
            "We've",
            "it's",
            "DON'T",
            "I'll",
            " ",
            "  ",
            "   ",
            "\t",
            "\n",
            "\n\n",
            "\r\n",
            "\u{a0}",
            "\u{2003}",
            "0",
            "42",
            "2026-11-22",
            "3.14e-5",
            "0x7f",
            "Größe",
            "naïve",
            "東京",
            "🙂",
            "e\u{301}",
            "²",
            "Ⅷ",
            "٣",
            "_",
            "--",
            "====",
            "/usr/lib",
            "a",
            "B",
            "{\"name\": ",
            "<|im_start|>",
            "<|im_end|>",
            "<|im_",
            "<tool_call>",
            "</think>",
            "\0",
            "\u{7f}",
            "ß",
            "Ǆ",
            "supercalifragilistic",
        ];
        let mut text = String::new();
        for _ in 0..chance.below(40) {
            text += PARTS[chance.below(PARTS.len())];
            if chance.below(4) == 0 {
                text.push(' ');
            }
        }
        text
    }

    fn agree(tokenizer: &Tokenizer, name: &str) {
        let counter = Counter::new(tokenizer).unwrap_or_else(|| panic!("{name} is not known"));
        let wanted = |text: &str| tokenizer.encode_fast(text, false).unwrap().get_ids().len();
        let mut counted = 0;
        for seed in 0..2000 {
            let text = text(&mut Chance::new(seed, "text"));
            if let Some(tokens) = counter.count(tokenizer, &text).unwrap() {
                assert_eq!(tokens, wanted(&text), "{name}: {text:?}");
                counted += 1;
            }
        }
        assert!(counted > 200, "{name}: {counted}");
        let long = ["x".repeat(500), " ".repeat(70), "{}".repeat(90), "é".repeat(40)].concat();
        assert_eq!(counter.count(tokenizer, &long).unwrap(), Some(wanted(&long)), "{name}");
    }

    fn embedded() -> Tokenizer {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/embedded");
        vocabulary::from_folder(&folder).unwrap().tokenizer
    }

    #[test]
    fn as_many_as_the_tokenizer_makes() {
        agree(&embedded(), "embedded");
    }

    #[test]
    fn every_known_way_to_cut_a_text() {
        for name in gguf::FAMILIES {
            let mut tokenizer = embedded();
            gguf::family(name).unwrap().set(&mut tokenizer).unwrap();
            agree(&tokenizer, name);
        }
    }

    #[test]
    #[ignore = "needs models/smollm2"]
    fn as_many_as_smollm2_makes() {
        let folder = std::env::var_os("PROTO_SMOLLM2").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("models/smollm2"),
            Into::into,
        );
        let file = crate::files::gguf::find(&folder).unwrap().unwrap();
        let file = crate::files::gguf::Gguf::open(&file).unwrap();
        agree(&gguf::from_gguf(&file).unwrap().tokenizer, "smollm2");
    }

    #[test]
    fn what_is_not_cut_in_pieces_is_not_counted() {
        let mut tokenizer = embedded();
        tokenizer.with_normalizer(Some(tokenizers::normalizers::Lowercase)).unwrap();
        assert!(Counter::new(&tokenizer).is_none());
        let mut tokenizer = embedded();
        let blanks = tokenizers::AddedToken::from("[x]", true).lstrip(true);
        tokenizer.add_special_tokens([blanks]).unwrap();
        assert!(Counter::new(&tokenizer).is_none());
    }
}
