//! A tokenizer trained from texts, for a base of our own.
//!
//! Words, digits and runs of anything else are cut apart before byte-level BPE, so that a word is
//! the same token after a space, a quote or a slash, and JSON's punctuation is few tokens. A small model copies names out of a request
//! into JSON; with GPT-2's split, where the space belongs to the word, it would have to learn each
//! word twice.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{AddedToken, Tokenizer};

use super::codec::{config_json, template_message};
use super::template::{HERMES, Template};
use crate::files;
use crate::trace::Trace;

/// Where one piece of text ends and the next begins.
const PIECES: &str = "[A-Za-z]+|[0-9]|[^A-Za-z0-9]+";

/// The token between documents and at the start of a text.
pub const END_OF_TEXT: &str = "<|endoftext|>";
/// Opens a turn.
pub const TURN_START: &str = "<|im_start|>";
/// Ends a turn.
pub const TURN_END: &str = "<|im_end|>";

/// Traces as the shipped chat template renders them: what the tokenizer will have to cut.
pub fn texts<'a>(traces: impl Iterator<Item = &'a Trace>) -> Result<Vec<String>> {
    let template = Template::new(HERMES, BTreeMap::new())?;
    let text = |trace: &Trace| {
        let messages: Vec<_> = trace.messages.iter().map(template_message).collect();
        template.render(&messages, None, false)
    };
    traces.map(text).collect()
}

/// Trains a tokenizer of `vocab_size` tokens and writes it with the shipped chat template into
/// `folder`. The same texts give the same files, in whatever order they come. `more_special` are
/// further texts that are always one token.
pub fn train<'a>(
    texts: impl Iterator<Item = &'a str> + Send,
    vocab_size: usize,
    more_special: &[&str],
    folder: &Path,
) -> Result<()> {
    let failed = |e: tokenizers::Error| anyhow!("cannot train the tokenizer: {e}");
    let special: Vec<AddedToken> = [END_OF_TEXT, TURN_START, TURN_END]
        .iter()
        .chain(more_special)
        .map(|text| AddedToken::from(text.to_string(), true))
        .collect();
    let least = special.len() + 256;
    ensure!(vocab_size >= least, "a vocabulary of {vocab_size} has no room for {least} bytes");

    let split =
        Split::new(SplitPattern::Regex(PIECES.into()), SplitDelimiterBehavior::Isolated, false)
            .map_err(failed)?;
    let bytes = ByteLevel::new(false, true, false);
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![split.into(), bytes.into()])));
    tokenizer.with_decoder(Some(bytes));
    let mut trainer: TrainerWrapper = BpeTrainer::builder()
        .vocab_size(vocab_size)
        .show_progress(false)
        .special_tokens(special)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build()
        .into();
    tokenizer.train(&mut trainer, texts).map_err(failed)?;

    let json = tokenizer.to_string(true).map_err(failed)?;
    files::write_bytes(&folder.join("tokenizer.json"), json.as_bytes())?;
    let names = BTreeMap::from([
        ("bos_token".to_string(), END_OF_TEXT.to_string()),
        ("eos_token".to_string(), TURN_END.to_string()),
        ("pad_token".to_string(), END_OF_TEXT.to_string()),
    ]);
    files::write_json(&folder.join("tokenizer_config.json"), &config_json(&names, HERMES))
        .context("cannot write the tokenizer")
}
