//! `proto review`: a person judges the answers whose label would teach most.

use std::io::{IsTerminal, stdin};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use console::Term;
use serde_json::json;

use super::layers::Settings;
use super::terminal::Terminal;
use super::{Outcome, print};
use crate::ingest::refuse_tracked;
use crate::label::{Review as Verdict, Reviews, label};
use crate::progress::Observer;
use crate::redact::{Policy, Redactor};
use crate::review::{Desk, Key, Turn, ask, turns};
use crate::script::Host;
use crate::trace::{self, Trace, places};

/// Judge the answers whose label would teach most: good, bad, or corrected in an editor. Every
/// verdict is saved at once, to REVIEWS, and joins every later run
#[derive(Debug, Args)]
pub struct Review {
    /// Files, folders, globs or agents (opencode, openclaw, claude-code, codex, pi)
    /// [default: what TRACES names]
    paths: Vec<String>,
    /// At most this many answers
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Print what would be asked about as JSON, one answer a line, without their text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Review {
    pub(super) fn execute(self) -> Result<Outcome> {
        let config = self.settings.layers(&[])?.resolve(&[])?;
        let term = Term::stderr();
        let attended = term.features().is_attended() && stdin().is_terminal();
        ensure!(
            self.json || attended,
            "reviewing takes a terminal; --json lists what would be asked about"
        );
        let file = config.path("REVIEWS").with_context(|| {
            format!("{}: REVIEWS names no file to keep verdicts in", config.provenance("REVIEWS"))
        })?;
        let redactor = Redactor::new(Policy::from_config(&config)?)?;
        refuse_tracked(&file)?;
        let reviews = Reviews::read(&file)?;
        let observer = Terminal::new()?;
        let paths = match self.paths.is_empty() {
            true => Host::new(config, ".", observer.clone()).trace_paths()?,
            false => places::named(&self.paths)?,
        };
        let loaded = trace::load(&paths, Path::new("."), observer.as_ref())?.refuse_empty()?;
        let mut traces = loaded.traces;
        for trace in &mut traces {
            reviews.apply(trace);
            label(trace);
        }
        let mut turns = turns(&traces);
        turns.truncate(self.limit);
        if self.json {
            turns.iter().try_for_each(|turn| print(&line(turn)))?;
            return Ok(Outcome::Done);
        }
        ensure!(!turns.is_empty(), "there is no answer to ask about: all are judged or known");
        let mut seat = Seat { term, file, observer, redactor };
        let given = ask(&turns, &mut seat)?;
        let counts: Vec<String> =
            given.iter().map(|(verdict, n)| format!("{n} {}", verdict.as_str())).collect();
        let counts = if counts.is_empty() { "nothing".into() } else { counts.join(", ") };
        eprintln!("saved to {}: {counts}", seat.file.display());
        Ok(Outcome::Done)
    }
}

/// A question as a program reads it: where the answer stands, never what it says.
fn line(turn: &Turn) -> String {
    let Turn { trace, question } = turn;
    let message = &trace.messages[question.at];
    let value = json!({
        "source": trace.source,
        "session": trace.session,
        "file": message.file.as_ref().unwrap_or(&trace.origin.file),
        "row": message.row,
        "score": question.score,
        "label": message.label,
        "author": message.author,
        "repository": trace.repository,
        "time_ms": message.time_ms,
    });
    format!("{value}\n")
}

/// The terminal, the editor and the file.
struct Seat {
    term: Term,
    file: PathBuf,
    observer: Arc<Terminal>,
    redactor: Redactor,
}

impl Desk for Seat {
    fn redacted(&mut self, trace: &Trace) -> Result<Trace> {
        let redacted = self.redactor.session(&[trace])?.pop();
        Ok(redacted.context("redaction gave nothing back")?.trace)
    }

    fn show(&mut self, page: &str) -> Result<()> {
        self.term.clear_screen()?;
        Ok(self.term.write_str(page)?)
    }

    fn key(&mut self) -> Result<Option<Key>> {
        // As it is: Ctrl-C ends the review and not the program.
        let key = self.term.read_key_raw().context("cannot read a key")?;
        Ok(match key {
            _ if self.observer.cancelled() => Some(Key::Quit),
            console::Key::CtrlC => Some(Key::Quit),
            console::Key::Char(letter) => Key::of(letter),
            _ => None,
        })
    }

    fn edit(&mut self, text: &str) -> Result<String> {
        // Beside the verdicts: the text is as private as they are, and so is that folder.
        let folder = self.file.parent().filter(|f| !f.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let file = tempfile::Builder::new().prefix(".review-").suffix(".md").tempfile_in(folder)?;
        // Closed, because some editors replace the file.
        let path = file.into_temp_path();
        fs::write(&path, text)?;
        let (editor, mut command) = editor(&path);
        let status =
            command.status().with_context(|| format!("cannot start the editor `{editor}`"))?;
        if !status.success() {
            bail!("the editor `{editor}` ended with {status}");
        }
        fs::read_to_string(&path).context("cannot read the text back")
    }

    fn save(&mut self, review: &Verdict) -> Result<()> {
        Reviews::append(&self.file, review)
    }

    fn now_ms(&self) -> i64 {
        jiff::Timestamp::now().as_millisecond()
    }
}

/// The person's editor, given a file. What the variables hold is a command line.
fn editor(file: &Path) -> (String, Command) {
    let given = ["VISUAL", "EDITOR"].into_iter().filter_map(|name| env::var(name).ok());
    let usual = if cfg!(windows) { "notepad" } else { "vi" };
    let editor = given.map(|e| e.trim().to_string()).find(|e| !e.is_empty());
    let editor = editor.unwrap_or_else(|| usual.into());
    let command = if cfg!(windows) {
        let mut words = editor.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or(usual));
        command.args(words).arg(file);
        command
    } else {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(file);
        command
    };
    (editor, command)
}
