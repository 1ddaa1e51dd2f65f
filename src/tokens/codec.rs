//! Conversations to token ids with a loss mask, and answers back to messages.
//!
//! What is trained must be what is served. So a conversation is cut at the start and the end of
//! each assistant turn, and every piece is tokenised by itself: the prompt of a turn then gives
//! the same ids whether it is encoded for training or for generation, and the turn's own ids are
//! the ones the model has to produce. Where the cuts are is found by rendering every prefix. Where
//! a template shows an earlier turn differently later on, that turn is context there, and is
//! trained in a sequence of its own that ends with it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{LazyLock, OnceLock};

use anyhow::{Context, Result, anyhow, bail, ensure};
use minijinja::Value;
use regex::Regex;
use serde_json::json;
use tokenizers::Tokenizer;

use super::length::Lengths;
use super::reply::Form;
use super::talk::{Served, Talk};
use super::template::{HERMES, Template};
use super::vocabulary::{self, Vocabulary};
use super::{Encoded, Reply, gguf, probe};
use crate::files;
use crate::files::gguf::{Gguf, Metadata};
use crate::trace::{Message, Role};

/// What redaction leaves in place of a secret: never something to learn to say.
static PLACEHOLDER: LazyLock<Regex> =
    // A constant, compiled whenever a row is encoded.
    LazyLock::new(|| Regex::new(r"<[A-Z]+(?:_[A-Z0-9]+)*_[0-9]+>").expect("a valid pattern"));

/// The tokenizer and chat template of a base model.
pub struct Codec {
    pub(super) tokenizer: Tokenizer,
    pub(super) template: Template,
    special: BTreeMap<String, String>,
    pub(super) end_text: String,
    pub(super) end_id: u32,
    stop: Vec<u32>,
    pad: u32,
    vocab_size: usize,
    tools: OnceLock<Result<Form, String>>,
    digest: OnceLock<String>,
    pub(super) lengths: Lengths,
}

impl Codec {
    /// Opens the tokenizer and template of a Hugging Face folder or a GGUF. `template` replaces
    /// the model's own: a path, or `hermes` for the shipped one; empty counts as not given.
    pub fn open(base: &Path, template: Option<&str>) -> Result<Codec> {
        let vocabulary = match files::gguf::find(base)? {
            Some(file) => gguf::from_gguf(&Gguf::open(&file)?)?,
            None => vocabulary::from_folder(base)?,
        };
        let source = match template.filter(|template| !template.is_empty()) {
            Some("hermes") => HERMES.to_string(),
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the chat template CHAT_TEMPLATE={path}"))?,
            None => vocabulary.template.clone().with_context(|| {
                format!(
                    "{} has no chat template; set CHAT_TEMPLATE=hermes or to a template file",
                    base.display()
                )
            })?,
        };
        Self::new(vocabulary, &source)
            .with_context(|| format!("cannot use the chat template with {}", base.display()))
    }

    fn new(vocabulary: Vocabulary, source: &str) -> Result<Codec> {
        let Vocabulary { tokenizer, special, mut eos, .. } = vocabulary;
        let template = Template::new(source, special.clone())?;
        let (end_text, end_id) = end_of_turn(&tokenizer, &template)?;
        pieces_stand_alone(&tokenizer, &end_text)?;
        eos.push(end_id);
        eos.sort_unstable();
        eos.dedup();
        let vocab_size =
            tokenizer.get_vocab(true).values().max().map_or(0, |highest| *highest as usize + 1);
        ensure!(
            eos.iter().all(|id| (*id as usize) < vocab_size),
            "a stop token lies beyond the vocabulary of {vocab_size} tokens"
        );
        let pad = special.get("pad_token").or_else(|| special.get("eos_token"));
        let pad = pad.and_then(|text| tokenizer.token_to_id(text)).unwrap_or(end_id);
        let lengths = Lengths::new(&tokenizer);
        Ok(Codec {
            tokenizer,
            template,
            special,
            end_text,
            end_id,
            stop: eos,
            pad,
            vocab_size,
            tools: OnceLock::new(),
            digest: OnceLock::new(),
            lengths,
        })
    }

    /// A conversation as token ids. The loss covers the trained assistant messages, each with its
    /// end-of-turn token, but not what redaction left in them. Refused where one sequence cannot
    /// hold them all; see [`Codec::sequences`].
    pub fn encode(&self, messages: &[Message], tools: &[serde_json::Value]) -> Result<Encoded> {
        let mut sequences = self.sequences(messages, tools)?;
        let last = sequences.pop().context("no sequence")?;
        let Some(earlier) = sequences.last() else { return Ok(last) };
        let lost = earlier.turns.last().map_or(0, |turn| turn.message);
        bail!(
            "{}: the chat template shows this turn differently once the conversation goes on, so a \
             prompt as served is no prefix of the whole, which would take {} sequences; set \
             CHAT_TEMPLATE=hermes or to a template that leaves earlier turns alone",
            place(messages, lost),
            sequences.len() + 1
        )
    }

    /// A conversation as one sequence or more, such that each trained message is trained once, in
    /// exactly the tokens that the model would be asked with and would have to answer. A template
    /// that shows earlier turns differently later on, as those do which strip reasoning, makes
    /// more than one necessary: each then ends at the last answer that it trains, but the last,
    /// which is the whole conversation.
    pub fn sequences(
        &self,
        messages: &[Message],
        tools: &[serde_json::Value],
    ) -> Result<Vec<Encoded>> {
        let talk = Talk::new(self, messages, tools)?;
        let turns = talk.turns(true)?;
        let trained = |turn: &&Served| messages[turn.message].train;
        let mut wanted: Vec<usize> = turns.iter().filter(trained).map(|t| t.message).collect();
        let mut text = talk.render(messages.len(), false)?;
        let mut sequences = Vec::new();
        loop {
            let encoded = talk.tokens(&text, &turns, &wanted)?;
            let before = wanted.len();
            wanted.retain(|message| encoded.turns.iter().all(|turn| turn.message != *message));
            if wanted.len() < before || (before == 0 && sequences.is_empty()) {
                sequences.push(encoded);
            }
            match wanted.last() {
                Some(last) => text = talk.render(last + 1, false)?,
                None => break,
            }
        }
        sequences.reverse();
        Ok(sequences)
    }

    /// The ids of a prompt as served: these messages and the start of the model's turn.
    pub fn prompt(&self, messages: &[Message], tools: &[serde_json::Value]) -> Result<Vec<u32>> {
        let talk = Talk::new(self, messages, tools)?;
        let text = talk.render(messages.len(), true)?;
        Ok(talk.tokens(&text, &talk.turns(false)?, &[])?.ids)
    }

    /// The ids of a bare text, without a template; special tokens in it are recognised.
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.tokenizer.encode_fast(text, false).map_err(cannot_encode)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of some tokens, special ones included.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.tokenizer.decode(ids, false).map_err(|e| anyhow!("cannot decode tokens: {e}"))
    }

    /// An answer taken apart; the first stop token and all after it are left out.
    pub fn parse(&self, ids: &[u32]) -> Result<Reply> {
        let end = ids.iter().position(|id| self.stop.contains(id)).unwrap_or(ids.len());
        let form = self.tools().unwrap_or(Form::Tagged);
        Ok(Reply::parse(&self.decode(&ids[..end])?, form))
    }

    /// The tokens that end an answer, in ascending order.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop
    }

    /// The token that ends an assistant turn in the template.
    pub fn end_of_turn(&self) -> u32 {
        self.end_id
    }

    /// The token that fills up a batch.
    pub fn pad_id(&self) -> u32 {
        self.pad
    }

    /// One more than the highest token id: the rows an embedding needs.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The chat template's source.
    pub fn template(&self) -> &str {
        self.template.source()
    }

    /// A SHA-256 of the chat template.
    pub fn template_digest(&self) -> String {
        files::digest(self.template.source().as_bytes())
    }

    /// A SHA-256 of the tokenizer.
    pub fn digest(&self) -> Result<String> {
        if let Some(digest) = self.digest.get() {
            return Ok(digest.clone());
        }
        let digest = files::digest(self.tokenizer_json()?.as_bytes());
        Ok(self.digest.get_or_init(|| digest).clone())
    }

    fn tokenizer_json(&self) -> Result<String> {
        self.tokenizer.to_string(false).map_err(|e| anyhow!("cannot write the tokenizer: {e}"))
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json`, template included, as Hugging Face's
    /// libraries read them.
    pub fn save(&self, folder: &Path) -> Result<()> {
        files::write_bytes(&folder.join("tokenizer.json"), self.tokenizer_json()?.as_bytes())?;
        let config = config_json(&self.special, self.template.source());
        files::write_json(&folder.join("tokenizer_config.json"), &config)
    }

    /// The tokenizer of `base`, from which this was opened, and the chat template, for a GGUF of a
    /// model with `rows` rows in its embedding. A GGUF's own entries are carried over; for a Hugging
    /// Face folder they are made, if it is a byte-level BPE that llama.cpp knows.
    pub fn gguf_metadata(&self, base: &Path, rows: usize) -> Result<Metadata> {
        let mut metadata = match files::gguf::find(base)? {
            Some(file) => {
                let mut metadata = Metadata::default();
                for (key, value) in Gguf::open(&file)?.entries("tokenizer.ggml.") {
                    metadata.raw(key, value.to_vec());
                }
                metadata
            }
            None => gguf::describe(&self.tokenizer, &self.special, self.end_id, rows)
                .with_context(|| {
                    format!("cannot put the tokenizer of {} in a GGUF", base.display())
                })?,
        };
        // Beside these two, llama.cpp stops at tokens whose text is known to end an answer.
        metadata.u32("tokenizer.ggml.eot_token_id", self.end_id);
        metadata.text("tokenizer.chat_template", self.template.source());
        Ok(metadata)
    }

    /// The form of the template's tool calls; an error if it drops or mangles tools, their calls or
    /// their results. To be asked before work begins that needs tools.
    pub fn tools(&self) -> Result<Form> {
        let probe = || probe::form(&self.template, &self.end_text).map_err(|e| format!("{e:#}"));
        match self.tools.get_or_init(probe) {
            Ok(form) => Ok(*form),
            Err(problem) => bail!(
                "the chat template cannot carry tools ({problem}); set CHAT_TEMPLATE=hermes or to \
                 a template that can"
            ),
        }
    }

    pub(super) fn check_tools(
        &self,
        messages: &[Message],
        tools: &[serde_json::Value],
    ) -> Result<()> {
        let with_tools = |m: &Message| !m.tool_calls.is_empty() || m.role == Role::Tool;
        match messages.iter().position(with_tools) {
            Some(at) => self.tools().with_context(|| place(messages, at)).map(|_| ()),
            None if !tools.is_empty() => self.tools().map(|_| ()),
            None => Ok(()),
        }
    }

    /// The text of an answer to be trained must read back as the same calls.
    pub(super) fn check_calls(
        &self,
        messages: &[Message],
        turn: &Served,
        answer: &str,
    ) -> Result<()> {
        ensure!(
            self.reads_back(&messages[turn.message], answer)?,
            "{}: the tool calls of this answer do not come back from the chat template as they \
             went in; leave it out or set CHAT_TEMPLATE to another",
            place(messages, turn.message)
        );
        Ok(())
    }

    /// Whether the text of an answer, its end of turn included, reads back as the same calls.
    pub(super) fn reads_back(&self, message: &Message, answer: &str) -> Result<bool> {
        let wanted = &message.tool_calls;
        if wanted.is_empty() {
            return Ok(true);
        }
        let answer = answer.strip_suffix(&self.end_text).unwrap_or(answer);
        let reply = Reply::parse(answer, self.tools()?);
        Ok(probe::same(&reply.calls, wanted) && reply.malformed.is_none())
    }

    pub(super) fn append(&self, piece: &str, encoded: &mut Encoded) -> Result<()> {
        if !piece.is_empty() {
            let encoding = self.tokenizer.encode_fast(piece, false).map_err(cannot_encode)?;
            encoded.ids.extend_from_slice(encoding.get_ids());
            encoded.trained.resize(encoded.ids.len(), false);
        }
        Ok(())
    }

    /// Marks an answer's tokens as trained, except those that touch a placeholder.
    pub(super) fn mark(&self, answer: &str, trained: &mut [bool]) -> Result<()> {
        trained.fill(true);
        let hidden: Vec<Range<usize>> = PLACEHOLDER.find_iter(answer).map(|m| m.range()).collect();
        if hidden.is_empty() {
            return Ok(());
        }
        let encoding = self.tokenizer.encode(answer, false).map_err(cannot_encode)?;
        for (trained, (from, to)) in trained.iter_mut().zip(encoding.get_offsets()) {
            *trained = !hidden.iter().any(|span| span.start < *to && *from < span.end);
        }
        Ok(())
    }
}

fn cannot_encode(e: tokenizers::Error) -> anyhow::Error {
    anyhow!("cannot tokenise: {e}")
}

pub(super) fn place(messages: &[Message], index: usize) -> String {
    match messages.get(index).map_or(0, |message| message.row) {
        0 => format!("message {}", index + 1),
        row => format!("message {} (row {row})", index + 1),
    }
}

/// A message as chat templates expect it: keys that do not apply are left out, since templates
/// ask for their presence.
pub(super) fn template_message(message: &Message) -> Value {
    let mut object = json!({"role": message.role.as_str(), "content": message.content});
    if let Some(reasoning) = &message.reasoning_content {
        object["reasoning_content"] = json!(reasoning);
    }
    if !message.tool_calls.is_empty() {
        object["tool_calls"] = json!(message.tool_calls);
    }
    if let Some(id) = &message.tool_call_id {
        object["tool_call_id"] = json!(id);
    }
    if let Some(name) = &message.name {
        object["name"] = json!(name);
    }
    Value::from_serialize(&object)
}

/// The token with which the template ends an assistant turn.
fn end_of_turn(tokenizer: &Tokenizer, template: &Template) -> Result<(String, u32)> {
    const ANSWER: &str = "the answer";
    let messages =
        [Message::text(Role::User, "a question"), Message::text(Role::Assistant, ANSWER)];
    let values: Vec<Value> = messages.iter().map(template_message).collect();
    let text = template.render(&values, None, false)?;
    let (_, after) = text.rsplit_once(ANSWER).context("it drops the assistant's answer")?;
    let added = tokenizer.get_added_tokens_decoder();
    let encoding = tokenizer.encode_fast(after, false).map_err(cannot_encode)?;
    let id = encoding.get_ids().iter().find(|id| added.contains_key(id)).with_context(|| {
        format!(
            "after an answer it writes {after:?}, in which this tokenizer has no special token \
             to stop at; set CHAT_TEMPLATE to a template made for this model"
        )
    })?;
    Ok((added[id].content.clone(), *id))
}

/// Refuses tokenizers that treat the start of a text specially, as those with a leading space do:
/// with them, pieces would not add up to the whole.
fn pieces_stand_alone(tokenizer: &Tokenizer, end: &str) -> Result<()> {
    let ids = |text: &str| -> Result<Vec<u32>> {
        Ok(tokenizer.encode_fast(text, false).map_err(cannot_encode)?.get_ids().to_vec())
    };
    for next in ["a", "\n", " a"] {
        let whole = ids(&format!("{end}{next}"))?;
        let parts = [ids(end)?, ids(next)?].concat();
        let text = tokenizer.decode(&ids(next)?, false).map_err(cannot_encode)?;
        ensure!(
            whole == parts && text == next,
            "its tokenizer changes the text around {end} (a leading space, or stripped blanks), \
             which is not supported"
        );
    }
    Ok(())
}

/// `tokenizer_config.json`.
pub(super) fn config_json(
    special: &BTreeMap<String, String>,
    template: &str,
) -> serde_json::Map<String, serde_json::Value> {
    let mut config = serde_json::Map::new();
    config.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
    config.insert("add_prefix_space".into(), json!(false));
    config.insert("clean_up_tokenization_spaces".into(), json!(false));
    for (name, text) in special {
        config.insert(name.clone(), json!(text));
    }
    config.insert("chat_template".into(), json!(template));
    config
}
