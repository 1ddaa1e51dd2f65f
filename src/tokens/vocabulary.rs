//! A base model's tokenizer and what belongs to it: special tokens, stop tokens, chat template.
//! From a Hugging Face folder; [`super::gguf`] has what a GGUF holds.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use serde_json::{Map, Value};
use tokenizers::Tokenizer;

use crate::files;

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

pub(super) fn failed(what: &str) -> impl Fn(tokenizers::Error) -> anyhow::Error {
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
