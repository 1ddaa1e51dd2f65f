//! A tokenizer in a GGUF's metadata, read and written. Only byte-level BPE: there a text is cut into
//! pieces first, and a GGUF tells how by a name that llama.cpp knows (`tokenizer.ggml.pre`).

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{AddedToken, Tokenizer};

use super::vocabulary::{Vocabulary, failed};
use crate::files::gguf::{Gguf, Metadata};

/// Kinds of tokens, as `tokenizer.ggml.token_type` has them.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// Special tokens: the names templates use, and a GGUF's keys.
const SPECIAL_IDS: [(&str, &str); 5] = [
    ("bos_token", "bos_token_id"),
    ("eos_token", "eos_token_id"),
    ("eot_token", "eot_token_id"),
    ("pad_token", "padding_token_id"),
    ("unk_token", "unknown_token_id"),
];

/// From a GGUF's metadata: byte-level BPE, cut up as the model's own tokenizer does.
pub(super) fn from_gguf(gguf: &Gguf) -> Result<Vocabulary> {
    build(gguf).with_context(|| format!("cannot build the tokenizer of {}", gguf.path().display()))
}

const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The names known here.
pub(super) const FAMILIES: [&str; 5] = ["gpt-2", "smollm", "qwen2", "llama-bpe", "tekken"];

/// How a text is cut before BPE.
pub(super) struct Family {
    pieces: PreTokenizerWrapper,
    /// Whether characters are composed first.
    composes: bool,
    /// Whether a piece that is a token needs no merges.
    ignores_merges: bool,
}

pub(super) fn family(name: &str) -> Result<Family> {
    let gpt2 = ByteLevel::new(false, true, true);
    let (pieces, composes, ignores_merges) = match name {
        "gpt-2" => (gpt2.into(), false, false),
        "smollm" => {
            (Sequence::new(vec![Digits::new(true).into(), gpt2.into()]).into(), false, false)
        }
        "qwen2" => (split_by(QWEN2)?, true, false),
        "llama-bpe" => (split_by(LLAMA3)?, false, true),
        "tekken" => (split_by(TEKKEN)?, false, true),
        other => bail!(
            "its pre-tokenizer {other:?} is not known (those known are {}); use the model's \
             Hugging Face folder instead",
            FAMILIES.join(", ")
        ),
    };
    Ok(Family { pieces, composes, ignores_merges })
}

impl Family {
    /// Has a tokenizer cut texts so.
    pub fn set(self, tokenizer: &mut Tokenizer) -> Result<()> {
        if self.composes {
            tokenizer.with_normalizer(Some(NFC)).map_err(failed("NFC"))?;
        }
        tokenizer.with_pre_tokenizer(Some(self.pieces));
        Ok(())
    }
}

/// Splits by a pattern, then bytes without GPT-2's own split.
fn split_by(pattern: &str) -> Result<PreTokenizerWrapper> {
    let split = Split::new(
        SplitPattern::Regex(pattern.to_string()),
        SplitDelimiterBehavior::Isolated,
        false,
    )
    .map_err(failed("a split pattern"))?;
    Ok(Sequence::new(vec![split.into(), ByteLevel::new(false, true, false).into()]).into())
}

fn build(gguf: &Gguf) -> Result<Vocabulary> {
    let missing = |key: &str| format!("{key} is missing");
    match gguf.text("tokenizer.ggml.model")?.with_context(|| missing("tokenizer.ggml.model"))? {
        "gpt2" => {}
        other => bail!(
            "its tokenizer model {other:?} is not supported, only byte-level BPE (gpt2) is; use \
             the model's Hugging Face folder instead"
        ),
    }
    let key = "tokenizer.ggml.pre";
    let pre = gguf.text(key)?.with_context(|| missing(key))?;
    let cuts = family(pre)?;

    let key = "tokenizer.ggml.tokens";
    let tokens = gguf.texts(key)?.with_context(|| missing(key))?;
    let vocab: Vocab = tokens.iter().zip(0..).map(|(token, id)| (token.to_string(), id)).collect();
    ensure!(vocab.len() == tokens.len(), "{key} names a token twice");
    let key = "tokenizer.ggml.merges";
    let merges = gguf.texts(key)?.with_context(|| missing(key))?;
    let merges = merges
        .iter()
        .map(|merge| {
            // A token may itself begin with a space.
            let at = merge.char_indices().find(|(at, c)| *at > 0 && *c == ' ').map(|(at, _)| at);
            let (left, right) = at
                .map(|at| (&merge[..at], &merge[at + 1..]))
                .with_context(|| format!("{key} has the entry {merge:?}"))?;
            Ok((left.to_string(), right.to_string()))
        })
        .collect::<Result<Vec<_>>>()?;
    let bpe = BPE::builder()
        .vocab_and_merges(vocab, merges)
        .ignore_merges(cuts.ignores_merges)
        .build()
        .map_err(failed(key))?;

    let mut tokenizer = Tokenizer::new(bpe);
    cuts.set(&mut tokenizer)?;
    tokenizer.with_decoder(Some(ByteLevel::new(false, true, true)));
    add_marked_tokens(gguf, &tokens, &mut tokenizer)?;

    let mut special = BTreeMap::new();
    let mut eos = Vec::new();
    for (name, key) in SPECIAL_IDS {
        let key = format!("tokenizer.ggml.{key}");
        let Some(id) = gguf.unsigned(&key)? else { continue };
        let text = usize::try_from(id).ok().and_then(|id| tokens.get(id));
        let text = text.with_context(|| format!("{key} is {id}, beyond the vocabulary"))?;
        match name {
            "eos_token" | "eot_token" => eos.push(id as u32),
            _ => {}
        }
        if name != "eot_token" {
            special.insert(name.to_string(), text.to_string());
        }
    }
    let template = gguf.text("tokenizer.chat_template")?.map(str::to_string);
    Ok(Vocabulary { tokenizer, special, eos, template })
}

/// Control tokens are matched before BPE and special; user-defined ones only the former.
fn add_marked_tokens(gguf: &Gguf, tokens: &[&str], tokenizer: &mut Tokenizer) -> Result<()> {
    let key = "tokenizer.ggml.token_type";
    let types = gguf.integers(key)?.with_context(|| format!("{key} is missing"))?;
    ensure!(types.len() == tokens.len(), "{key} has {} of {}", types.len(), tokens.len());
    let marked = types.iter().zip(tokens).filter_map(|(kind, token)| {
        match i32::try_from(*kind).unwrap_or(NORMAL) {
            CONTROL | UNKNOWN => Some(AddedToken::from(token.to_string(), true)),
            USER_DEFINED => Some(AddedToken::from(token.to_string(), false).normalized(false)),
            _ => None,
        }
    });
    tokenizer.add_tokens(marked.collect::<Vec<_>>()).map_err(failed("its added tokens"))?;
    Ok(())
}

/// A tokenizer for a GGUF of a model with `rows` rows in its embedding; `special` are its special
/// tokens by name, and an answer ends with `end`.
pub(super) fn describe(
    tokenizer: &Tokenizer,
    special: &BTreeMap<String, String>,
    end: u32,
    rows: usize,
) -> Result<Metadata> {
    let json = serde_json::to_value(tokenizer)?;
    let pre = recognised(&json)?.context(
        "llama.cpp has no pre-tokenizer that cuts text as this tokenizer does; write a Hugging \
         Face folder with --to merged instead, or the adapter alone with --to gguf-lora",
    )?;
    let mut tokens: Vec<String> = (0..rows).map(|id| format!("[PAD{id}]")).collect();
    let mut types = vec![UNUSED; rows];
    let added = tokenizer.get_added_tokens_decoder();
    for (token, id) in tokenizer.get_vocab(true) {
        let at = id as usize;
        ensure!(at < rows, "the token {token:?} has the id {id}, the embedding only {rows} rows");
        tokens[at] = token;
        types[at] = match added.get(&id) {
            Some(token) if token.special => CONTROL,
            Some(_) => USER_DEFINED,
            None => NORMAL,
        };
    }
    let merges: Vec<(String, String)> = serde_json::from_value(json["model"]["merges"].clone())?;
    let merges: Vec<String> = merges.iter().map(|(a, b)| format!("{a} {b}")).collect();

    let mut metadata = Metadata::default();
    metadata
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", pre)
        .texts("tokenizer.ggml.tokens", &tokens)
        .i32s("tokenizer.ggml.token_type", &types)
        .texts("tokenizer.ggml.merges", &merges);
    // Without this key llama.cpp takes the token of another model.
    metadata.u32("tokenizer.ggml.eos_token_id", end);
    for (name, key) in SPECIAL_IDS {
        if let Some(id) = special.get(name).and_then(|text| tokenizer.token_to_id(text)) {
            metadata.u32(&format!("tokenizer.ggml.{key}"), id);
        }
    }
    let ids = |with_special| -> Result<Vec<u32>> {
        let encoding = tokenizer.encode_fast("a", with_special).map_err(failed("a letter"))?;
        Ok(encoding.get_ids().to_vec())
    };
    let (bare, whole) = (ids(false)?, ids(true)?);
    metadata.boolean("tokenizer.ggml.add_bos_token", !whole.starts_with(&bare));
    metadata.boolean("tokenizer.ggml.add_eos_token", !whole.ends_with(&bare));
    Ok(metadata)
}

/// The name llama.cpp has for how this tokenizer cuts and merges, if it is a byte-level BPE with one.
fn recognised(tokenizer: &Value) -> Result<Option<&'static str>> {
    let model = &tokenizer["model"];
    let plain = ["dropout", "continuing_subword_prefix", "end_of_word_suffix"];
    if model["type"] != "BPE"
        || model["byte_fallback"] == true
        || plain.iter().any(|key| !model[key].is_null())
    {
        return Ok(None);
    }
    for name in FAMILIES {
        let Family { pieces, composes, ignores_merges } = family(name)?;
        let normalizer = if composes { json!({"type": "NFC"}) } else { Value::Null };
        if tokenizer["normalizer"] == normalizer
            && model["ignore_merges"] == ignores_merges
            && without_offsets(&tokenizer["pre_tokenizer"])
                == without_offsets(&serde_json::to_value(pieces)?)
        {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// A pre-tokenizer without what shapes only the places of tokens, not the tokens.
fn without_offsets(pieces: &Value) -> Value {
    let mut pieces = pieces.clone();
    let steps = match pieces.get_mut("pretokenizers") {
        Some(Value::Array(steps)) => steps.iter_mut().collect(),
        _ => vec![&mut pieces],
    };
    for step in steps.into_iter().filter_map(Value::as_object_mut) {
        step.remove("trim_offsets");
    }
    pieces
}
