//! Messages to token ids and back: tokenizer, chat template, loss mask, tool-call parser.

mod codec;
mod count;
mod gguf;
mod length;
pub mod mask;
mod probe;
mod reply;
mod talk;
mod template;
pub mod training;
mod vocabulary;

pub use codec::Codec;
pub use reply::Form;

use std::ops::Range;

use crate::trace::ToolCall;

/// One assistant turn inside an encoded example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The index of the assistant message.
    pub message: usize,
    /// Its tokens, end-of-turn included; everything before `start` is the prompt as served.
    pub tokens: Range<usize>,
}

/// An example as the model sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids of the whole conversation.
    pub ids: Vec<u32>,
    /// For every token, whether the loss covers its prediction.
    pub trained: Vec<bool>,
    /// The assistant turns that stand as they were answered, trained or not, in order.
    pub turns: Vec<Turn>,
}

impl Encoded {
    /// How many tokens the loss covers. The first token of a sequence is never predicted.
    pub fn targets(&self) -> usize {
        self.trained.iter().skip(1).filter(|t| **t).count()
    }
}

/// What the model answered, taken apart.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reply {
    /// The text around reasoning and calls.
    pub content: String,
    /// The reasoning, where the template has a place for it.
    pub reasoning: Option<String>,
    /// The calls that parsed.
    pub calls: Vec<ToolCall>,
    /// What was wrong with a call that did not parse.
    pub malformed: Option<String>,
}
