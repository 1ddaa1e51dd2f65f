//! A base model's tokenizer and what belongs to it: special tokens, stop tokens, chat template.
//! From a Hugging Face folder, or built from a GGUF's metadata.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Map, Value};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{AddedToken, Tokenizer};

use crate::files;
use crate::files::gguf::Gguf;

/// More than any tokenizer.json takes: those of 260,000 tokens have some 33 MB.
const TOKENIZER: u64 = 64 << 20;

/// The names under which templates know special tokens.
const SPECIAL: &[&str] = &["bos_token", "eos_token", "pad_token", "unk_token"];

/// A tokenizer with its special tokens and its template.
pub(super) struct Vocabulary {
    pub tokenizer: Tokenizer,
    /// Special tokens by the names templates use.
    pub special: BTreeMap<String, String>,
    /// Token ids that end an answer, as the model's files name them.
    pub eos: Vec<u32>,
    /// The model's own chat template.
    pub template: Option<String>,
}

fn failed(what: &str) -> impl Fn(tokenizers::Error) -> anyhow::Error {
    move |e| anyhow!("{what}: {e}")
}

/// From `tokenizer.json`, `tokenizer_config.json`, `chat_template.jinja` and the stop tokens in
/// `config.json` and `generation_config.json`.
pub(super) fn from_folder(folder: &Path) -> Result<Vocabulary> {
    let path = folder.join("tokenizer.json");
    let bytes = files::read_small(&path, TOKENIZER).with_context(|| {
        format!(
            "cannot read {}; a model folder needs the tokenizer in this form (a folder with \
             tokenizer.model alone must be converted first)",
            path.display()
        )
    })?;
    let mut tokenizer = Tokenizer::from_bytes(&bytes)
        .map_err(failed("not a tokenizer"))
        .with_context(|| format!("cannot use {}", path.display()))?;
    // Such a file may carry the settings of whoever saved it last.
    tokenizer.with_truncation(None).map_err(failed("cannot lift the truncation"))?;
    tokenizer.with_padding(None);

    let config = object(&folder.join("tokenizer_config.json"))?.unwrap_or_default();
    let map = object(&folder.join("special_tokens_map.json"))?.unwrap_or_default();
    let mut special = BTreeMap::new();
    for name in SPECIAL {
        if let Some(text) = [&config, &map].iter().find_map(|o| token_text(o.get(*name)?)) {
            special.insert(name.to_string(), text);
        }
    }
    let mut eos = Vec::new();
    for name in ["config.json", "generation_config.json"] {
        let path = folder.join(name);
        let ids = object(&path)?.and_then(|o| o.get("eos_token_id").cloned());
        let ids = match ids {
            None | Some(Value::Null) => continue,
            Some(Value::Array(ids)) => ids,
            Some(id) => vec![id],
        };
        for id in ids {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            eos.push(
                id.with_context(|| format!("{}: eos_token_id is not a token id", path.display()))?,
            );
        }
    }
    if let Some(id) = special.get("eos_token").and_then(|text| tokenizer.token_to_id(text)) {
        eos.push(id);
    }
    let template = match files::read_small(&folder.join("chat_template.jinja"), files::CARD) {
        Ok(bytes) => {
            Some(String::from_utf8(bytes).context("chat_template.jinja is not UTF-8 text")?)
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => config_template(&config),
        Err(e) => return Err(e).context("cannot read chat_template.jinja"),
    };
    Ok(Vocabulary { tokenizer, special, eos, template })
}

fn object(path: &Path) -> Result<Option<Map<String, Value>>> {
    match files::read_small(path, files::CARD) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .with_context(|| format!("{} is not a JSON object", path.display())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// A token as text, or as an object with its content.
fn token_text(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_string)
}

/// One template, or several by name, of which `default` is the plain one.
fn config_template(config: &Map<String, Value>) -> Option<String> {
    match config.get("chat_template")? {
        Value::String(text) => Some(text.clone()),
        Value::Array(named) => named
            .iter()
            .find(|one| one.get("name").and_then(Value::as_str) == Some("default"))
            .and_then(|one| one.get("template")?.as_str())
            .map(str::to_string),
        _ => None,
    }
}

/// From a GGUF's metadata: byte-level BPE, cut up as the model's own tokenizer does.
pub(super) fn from_gguf(gguf: &Gguf) -> Result<Vocabulary> {
    build(gguf).with_context(|| format!("cannot build the tokenizer of {}", gguf.path().display()))
}

const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

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

/// How a family cuts text before BPE, whether it composes characters first, and whether a word
/// that is a token needs no merges.
fn family(pre: &str) -> Result<(PreTokenizerWrapper, bool, bool)> {
    let gpt2 = ByteLevel::new(false, true, true);
    Ok(match pre {
        "gpt-2" => (gpt2.into(), false, false),
        "smollm" => {
            (Sequence::new(vec![Digits::new(true).into(), gpt2.into()]).into(), false, false)
        }
        "qwen2" => (split_by(QWEN2)?, true, false),
        "llama-bpe" => (split_by(LLAMA3)?, false, true),
        other => bail!(
            "its pre-tokenizer {other:?} is not known (gpt-2, smollm, qwen2 and llama-bpe are); \
             use the model's Hugging Face folder instead"
        ),
    })
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
    let (pre, compose, ignore_merges) = family(gguf.text(key)?.with_context(|| missing(key))?)?;

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
        .ignore_merges(ignore_merges)
        .build()
        .map_err(failed(key))?;

    let mut tokenizer = Tokenizer::new(bpe);
    if compose {
        tokenizer.with_normalizer(Some(NFC)).map_err(failed("NFC"))?;
    }
    tokenizer.with_pre_tokenizer(Some(pre));
    tokenizer.with_decoder(Some(ByteLevel::new(false, true, true)));
    add_marked_tokens(gguf, &tokens, &mut tokenizer)?;

    let mut special = BTreeMap::new();
    let mut eos = Vec::new();
    for (name, key) in [
        ("bos_token", "bos_token_id"),
        ("eos_token", "eos_token_id"),
        ("eot_token", "eot_token_id"),
        ("pad_token", "padding_token_id"),
        ("unk_token", "unknown_token_id"),
    ] {
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
    const UNKNOWN: i64 = 2;
    const CONTROL: i64 = 3;
    const USER_DEFINED: i64 = 4;
    let key = "tokenizer.ggml.token_type";
    let types = gguf.integers(key)?.with_context(|| format!("{key} is missing"))?;
    ensure!(types.len() == tokens.len(), "{key} has {} of {}", types.len(), tokens.len());
    let marked = types.iter().zip(tokens).filter_map(|(kind, token)| match *kind {
        CONTROL | UNKNOWN => Some(AddedToken::from(token.to_string(), true)),
        USER_DEFINED => Some(AddedToken::from(token.to_string(), false).normalized(false)),
        _ => None,
    });
    tokenizer.add_tokens(marked.collect::<Vec<_>>()).map_err(failed("its added tokens"))?;
    Ok(())
}
