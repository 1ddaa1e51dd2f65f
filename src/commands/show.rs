//! `proto show`: rows as the trainer sees them.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;

use super::layers::Settings;
use super::terminal::Terminal;
use super::{Outcome, print};
use crate::dataset::Example;
use crate::dataset::redaction::redact;
use crate::dataset::source::from_rows;
use crate::redact::{Policy, Redactor};
use crate::tokens::mask::{Piece, pieces};
use crate::tokens::{Codec, Encoded};
use crate::trace;

/// Show rows of a dataset, or raw traces, after redaction
#[derive(Debug, Args)]
pub struct Show {
    /// A run's train.jsonl, or any file of raw traces
    file: PathBuf,
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
        let loaded =
            trace::load(std::slice::from_ref(&self.file), Path::new("."), observer.as_ref())?;
        let rows = from_rows(loaded.refuse_empty()?, "load")?;
        let seed = config.int("SEED").unsigned_abs();
        let redactor = Redactor::new(Policy::from_config(&config)?)?;
        let rows = redact(&rows, &redactor, seed, observer.as_ref())?;
        let wanted = |e: &&Example| self.id.as_ref().is_none_or(|id| e.id.starts_with(id));
        let chosen: Vec<&Example> =
            rows.examples.iter().map(|e| e.as_ref()).filter(wanted).take(self.rows).collect();
        ensure!(
            !chosen.is_empty(),
            "{} has no row with that id; ids begin as {} does",
            self.file.display(),
            rows.examples.first().map_or("none", |e| &e.id)
        );
        let codec = match self.mask {
            true => Some(open(&config)?),
            false => None,
        };
        for example in chosen {
            let text = match &codec {
                Some(codec) => self.masked(codec, example)?,
                None if self.json => format!("{}\n", serde_json::to_string(example)?),
                None => conversation(example),
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

fn open(config: &crate::config::Config) -> Result<Codec> {
    let base = config.path("BASE_MODEL").context("BASE_MODEL names no model")?;
    Codec::open(&base, Some(config.text("CHAT_TEMPLATE")).filter(|t| !t.is_empty()))
}

fn heading(example: &Example, encoded: &Encoded) -> String {
    let (tokens, trained) = (encoded.ids.len(), encoded.targets());
    format!("{} ({}): {tokens} tokens, {trained} trained\n", example.id, example.trace.origin)
}

/// Control characters would act on the terminal.
fn visible(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' => '\n',
        c if c.is_control() => char::from_u32(0x2400 + c as u32).filter(|_| c < ' ').unwrap_or('·'),
        c => c,
    };
    text.chars().map(shown).collect()
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

/// Who says what.
fn conversation(example: &Example) -> String {
    let mut text = format!("{} ({})\n", example.id, example.trace.origin);
    for message in &example.trace.messages {
        let mark = if message.train { ", trained" } else { "" };
        text += &format!("── {}{mark}\n", message.role.as_str());
        if let Some(reasoning) = &message.reasoning_content {
            text += &format!("(thinks) {}\n", visible(reasoning));
        }
        if !message.content.is_empty() {
            text += &format!("{}\n", visible(&message.content));
        }
        for call in &message.tool_calls {
            let arguments = serde_json::Value::Object(call.arguments.clone());
            text += &format!("→ {}({})\n", visible(&call.name), visible(&arguments.to_string()));
        }
    }
    text
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
