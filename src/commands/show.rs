//! `proto show`: sessions as a person reads them, and rows as the trainer sees them.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;

use super::layers::Settings;
use super::terminal::Terminal;
use super::{Outcome, print};
use crate::config::Config;
use crate::dataset::labels::judge;
use crate::dataset::redaction::redact;
use crate::dataset::source::from_rows;
use crate::dataset::{Example, Held};
use crate::label::{self, Reviews};
use crate::redact::{Policy, Redactor};
use crate::review::page::{self, visible};
use crate::tokens::mask::{Piece, pieces};
use crate::tokens::{Codec, Encoded};
use crate::trace::{self, places};

/// Show sessions as a person reads them, after redaction: who said what, how calls went, and for
/// every answer its label, whether it is trained, and why
#[derive(Debug, Args)]
pub struct Show {
    /// A run's train.jsonl, a file or folder of traces or of an agent's sessions, or an agent
    /// (opencode, openclaw, claude-code, codex, pi)
    #[arg(value_name = "PATH|AGENT")]
    from: String,
    /// Only sessions whose id begins with this
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Only rows whose id begins with this
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// At most this many rows
    #[arg(long, default_value_t = 1)]
    rows: usize,
    /// Every token, coloured by whether the loss covers it, as BASE_MODEL's tokenizer and chat
    /// template make it
    #[arg(long)]
    mask: bool,
    /// Print JSON, one row a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Show {
    pub(super) fn execute(self) -> Result<Outcome> {
        let config = self.settings.layers(&[])?.resolve(&[])?;
        let observer = Terminal::new()?;
        let paths = places::named(std::slice::from_ref(&self.from))?;
        let loaded = trace::load(&paths, Path::new("."), observer.as_ref())?.refuse_empty()?;
        // The rows of a dataset say themselves what is trained.
        let judged = loaded.pedigrees.iter().any(|pedigree| pedigree.kind.is_some());
        let mut rows = from_rows(loaded, "load")?;
        if let Some(session) = &self.session {
            let first = rows.examples[0].session.clone();
            rows = rows
                .keep("session", |e| (!e.session.starts_with(session)).then(|| "another".into()));
            ensure!(
                !rows.is_empty(),
                "{} has no session that begins with `{session}`; one there is {}",
                self.from,
                visible(&first)
            );
        }
        let policy = label::Policy::from_config(&config)?;
        if !judged {
            rows = judge(rows, None, &policy, &reviews(&config)?)?;
        }
        let seed = config.int("SEED").unsigned_abs();
        let redactor = Redactor::new(Policy::from_config(&config)?)?;
        let rows = redact(&rows, &redactor, seed, observer.as_ref())?;
        let wanted = |e: &&Held| self.id.as_ref().is_none_or(|id| e.id.starts_with(id.as_str()));
        let chosen: Vec<_> = rows.examples.iter().filter(wanted).take(self.rows).collect();
        ensure!(
            !chosen.is_empty(),
            "{} has no row with that id; ids begin as {} does",
            self.from,
            rows.examples.first().map_or("none", |e| &e.id)
        );
        let codec = match self.mask {
            true => Some(open(&config)?),
            false => None,
        };
        for held in chosen {
            let example = held.read()?;
            let text = match &codec {
                Some(codec) => self.masked(codec, &example)?,
                None if self.json => format!("{}\n", serde_json::to_string(example.as_ref())?),
                None => row(&example, &policy),
            };
            print(&text)?;
        }
        Ok(Outcome::Done)
    }

    fn masked(&self, codec: &Codec, example: &Example) -> Result<String> {
        let sequences = codec
            .sequences(&example.trace.messages, &example.trace.tools)
            .with_context(|| format!("{} ({})", example.id, example.trace.origin))?;
        let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let one = |encoded: &Encoded| {
            let pieces = pieces(codec, encoded)?;
            Ok(match (self.json, colours) {
                (true, _) => format!("{}\n", json!({"id": example.id, "tokens": pieces})),
                (_, true) => heading(example, encoded) + painted(&pieces).as_str(),
                (_, false) => heading(example, encoded) + marked(&pieces).as_str(),
            })
        };
        sequences.iter().map(one).collect()
    }
}

fn open(config: &Config) -> Result<Codec> {
    let base = config.path("BASE_MODEL").context("BASE_MODEL names no model")?;
    Codec::open(&base, Some(config.text("CHAT_TEMPLATE")).filter(|t| !t.is_empty()))
}

/// The verdicts of REVIEWS.
fn reviews(config: &Config) -> Result<Reviews> {
    config.path("REVIEWS").map_or_else(|| Ok(Reviews::default()), |path| Reviews::read(&path))
}

fn heading(example: &Example, encoded: &Encoded) -> String {
    let (tokens, trained) = (encoded.ids.len(), encoded.targets());
    format!("{} ({}): {tokens} tokens, {trained} trained\n", example.id, example.trace.origin)
}

/// Trained tokens green, others grey; every second one is darker, so that borders show.
fn painted(pieces: &[Piece]) -> String {
    let mut text = String::new();
    for (i, piece) in pieces.iter().enumerate() {
        let colour = match (piece.trained, i % 2) {
            (true, 0) => "1;92",
            (true, _) => "1;32",
            (false, 0) => "37",
            (false, _) => "90",
        };
        // A line break inside a colour would paint the rest of the line.
        for (nth, line) in visible(&piece.text).split('\n').enumerate() {
            let start = if nth > 0 { "\n" } else { "" };
            text += &format!("{start}\x1b[{colour}m{line}\x1b[0m");
        }
    }
    text + "\n"
}

/// The same without colours: what is trained stands in ⟦ ⟧, tokens are set apart by │.
fn marked(pieces: &[Piece]) -> String {
    let mut text = String::new();
    let mut before: Option<bool> = None;
    for piece in pieces {
        text += match (before, piece.trained) {
            (Some(false) | None, true) => "⟦",
            (Some(true), false) => "⟧",
            (None, false) => "",
            _ => "│",
        };
        text += &visible(&piece.text);
        before = Some(piece.trained);
    }
    text + if before == Some(true) { "⟧\n" } else { "\n" }
}

/// A row as a person reads it: what it is, then the session.
fn row(example: &Example, policy: &label::Policy) -> String {
    let made = match &example.derived_from {
        Some(parent) => format!(", made from {parent}"),
        None => String::new(),
    };
    let head = format!("{} ({}{made})\n", example.id, example.kind.as_str());
    visible(&head) + page::session(&example.trace, policy).as_str() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(text: &str, trained: bool) -> Piece {
        Piece { ids: vec![1], text: text.into(), trained }
    }

    #[test]
    fn what_is_trained_is_set_apart_and_nothing_acts_on_the_terminal() {
        let pieces =
            [piece("say\x1b[2J", false), piece("ye", true), piece("s\n", true), piece("ok", false)];
        assert_eq!(marked(&pieces), "say␛[2J⟦ye│s\n⟧ok\n");
        let painted = painted(&pieces);
        assert!(painted.contains("\x1b[1;32mye\x1b[0m\x1b[1;92ms\x1b[0m\n"), "{painted:?}");
        assert_eq!(painted.matches("\x1b[").count(), 2 * 5, "{painted:?}");
    }
}
