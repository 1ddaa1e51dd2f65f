//! An encoded example as a person can read it: which of its tokens are trained.

use anyhow::Result;
use serde::Serialize;

use super::{Codec, Encoded};

/// One token, or the few that together make up a character.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Piece {
    /// The ids.
    pub ids: Vec<u32>,
    /// Their text.
    pub text: String,
    /// Whether the loss covers them.
    pub trained: bool,
}

/// The pieces of an example, as the trainer sees it: the first token is never predicted.
pub fn pieces(codec: &Codec, encoded: &Encoded) -> Result<Vec<Piece>> {
    // More tokens than this never make up one character, but a byte that belongs to none.
    const LONGEST: usize = 4;
    let mut pieces = Vec::new();
    let mut open: Vec<u32> = Vec::new();
    let trained = |at: usize| at > 0 && encoded.trained[at];
    for (at, id) in encoded.ids.iter().enumerate() {
        open.push(*id);
        let text = codec.decode(&open)?;
        let ends = at + 1 == encoded.ids.len() || trained(at + 1) != trained(at);
        if !text.contains('\u{fffd}') || open.len() == LONGEST || ends {
            let ids = std::mem::take(&mut open);
            pieces.push(Piece { ids, text, trained: trained(at) });
        }
    }
    Ok(pieces)
}
