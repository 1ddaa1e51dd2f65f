//! `proto ingest`: the agents' sessions as files of traces.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::layers::Settings;
use super::terminal::Terminal;
use super::{Outcome, print};
use crate::ingest::{Forgotten, Ledger, Wanted, ingest, moment, refuse_tracked};
use crate::redact::{Policy, Redactor};
use crate::trace::places::{AGENTS, Home, named, of};
use crate::trace::{Loaded, Shelf, each};

/// Where traces go, and beside them which sessions they hold.
const FOLDER: &str = "data/raw_traces";
const LEDGER: &str = "ingested.json";

/// Write the agents' own sessions as traces, redacted
#[derive(Debug, Args)]
pub struct Ingest {
    /// Databases, files, folders, or agents: opencode, openclaw, claude-code, codex, pi
    /// [default: every agent that keeps sessions here]
    paths: Vec<String>,
    /// Only show what is found where, and what would be skipped
    #[arg(long)]
    list: bool,
    /// Only sessions that changed since then: 2026-11-22, yesterday, 36h, 7d
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Only sessions that began before then
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Only sessions that no earlier ingest into this folder wrote, or that have grown since
    #[arg(long)]
    new: bool,
    /// The file to write [default: data/raw_traces/<time>.jsonl]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Leave secrets and personal data where they are
    #[arg(long)]
    raw: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Ingest {
    pub(super) fn execute(self) -> Result<Outcome> {
        let paths = self.places()?;
        let observer = Terminal::new()?;
        let project = Path::new(".");
        if self.list {
            let loaded = each(&paths, project, observer.as_ref(), &mut |_| Ok(()))?;
            print(&if self.json { listed_json(&loaded) } else { listed(&loaded) })?;
            return Ok(Outcome::Done);
        }
        let config = self.settings.layers(&[])?.resolve(&[])?;
        let now = Timestamp::now();
        let when = |given: &Option<String>, name: &str| -> Result<Option<i64>> {
            given
                .as_deref()
                .map(|text| moment(text, now))
                .transpose()
                .with_context(|| name.to_string())
        };
        let out = match &self.out {
            Some(out) => out.clone(),
            None => Path::new(FOLDER).join(format!("{}.jsonl", now.strftime("%Y%m%dT%H%M%SZ"))),
        };
        ensure!(!out.exists(), "{} is there already; name another file with --out", out.display());
        refuse_tracked(&out)?;
        let ledger_file = out.with_file_name(LEDGER);
        let mut ledger = Ledger::read(&ledger_file)?;
        let redactor = || Redactor::new(Policy::from_config(&config)?);
        let wanted = Wanted {
            since: when(&self.since, "--since")?,
            until: when(&self.until, "--until")?,
            known: self.new.then(|| ledger.clone()),
            forgotten: Some((Forgotten::from_config(&config, project)?, redactor()?)),
        };
        let redactor = if self.raw { None } else { Some(redactor()?) };
        let redactor = redactor.as_ref();
        let report =
            ingest(&paths, project, &wanted, redactor, &out, &mut ledger, observer.as_ref())?;
        if report.written > 0 {
            ledger.write(&ledger_file)?;
        }
        if self.json {
            let bad = &report.loaded.bad;
            let out = (report.written > 0).then_some(&out);
            print(&format!("{}\n", json!({"out": out, "report": report, "bad": bad})))?;
            return Ok(Outcome::Done);
        }
        for bad in report.loaded.bad.iter().take(20) {
            eprintln!("{bad}");
        }
        if report.loaded.bad.len() > 20 {
            eprintln!("… and {} more damaged records", report.loaded.bad.len() - 20);
        }
        let left = words(&report.left);
        let left = if left.is_empty() { left } else { format!("; left out: {left}") };
        print(&match report.written {
            0 => format!("no session to write{left}\n"),
            n => format!(
                "{n} sessions in {}, {}{left}\n",
                out.display(),
                if self.raw {
                    "as they are".into()
                } else {
                    format!("{} redacted", report.redacted)
                }
            ),
        })?;
        Ok(Outcome::Done)
    }

    /// Where to look.
    fn places(&self) -> Result<Vec<PathBuf>> {
        if !self.paths.is_empty() {
            return named(&self.paths);
        }
        let home = Home::here();
        let places: Vec<PathBuf> =
            AGENTS.iter().filter_map(|agent| of(agent, &home)).flatten().collect();
        ensure!(
            !places.is_empty(),
            "no agent keeps sessions where they are by default ({}); name files or folders",
            AGENTS.join(", ")
        );
        Ok(places)
    }
}

fn words(counts: &BTreeMap<String, u64>) -> String {
    let each = counts.iter().map(|(reason, n)| format!("{reason} {n}"));
    each.collect::<Vec<_>>().join(", ")
}

fn day(ms: Option<i64>) -> String {
    let moment = ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    moment.map_or("?".into(), |moment| moment.strftime("%Y-%m-%d").to_string())
}

/// The shelves, with all single files of an agent as one.
fn gathered(shelves: &[Shelf]) -> Vec<Shelf> {
    let mut files: BTreeMap<(&str, &str), (u64, Shelf)> = BTreeMap::new();
    let mut all = Vec::new();
    for shelf in shelves {
        if shelf.form != "JSONL" {
            all.push(shelf.clone());
            continue;
        }
        let (n, sum) = files.entry((&shelf.agent, &shelf.form)).or_default();
        *n += 1;
        sum.sessions += shelf.sessions;
        sum.messages += shelf.messages;
        sum.first_ms = [sum.first_ms, shelf.first_ms].into_iter().flatten().min();
        sum.last_ms = sum.last_ms.max(shelf.last_ms);
        for (reason, count) in &shelf.skipped {
            *sum.skipped.entry(reason.clone()).or_default() += count;
        }
    }
    all.extend(files.into_iter().map(|((agent, form), (n, sum))| Shelf {
        agent: agent.into(),
        form: form.into(),
        place: if n == 1 { "1 file".into() } else { format!("{n} files") },
        ..sum
    }));
    all.sort_by(|a, b| (&a.agent, &b.form).cmp(&(&b.agent, &a.form)));
    all
}

fn listed(loaded: &Loaded) -> String {
    let mut rows = vec![
        ["agent", "stored as", "sessions", "messages", "from", "to", "where"]
            .map(String::from)
            .to_vec(),
    ];
    let mut notes = Vec::new();
    for shelf in &gathered(&loaded.shelves) {
        let Shelf { agent, form, place, sessions, messages, first_ms, last_ms, skipped } = shelf;
        rows.push(vec![
            agent.clone(),
            form.clone(),
            sessions.to_string(),
            messages.to_string(),
            day(*first_ms),
            day(*last_ms),
            place.clone(),
        ]);
        if !skipped.is_empty() {
            notes.push(format!("{agent}, {place}: skipped {}", words(skipped)));
        }
    }
    for file in loaded.files.iter().filter(|f| loaded.shelves.iter().all(|s| s.place != f.file)) {
        notes.push(format!("{}: {} rows of raw traces", file.file, file.lines));
    }
    for unread in &loaded.unread {
        notes.push(format!("{}: {}", unread.file, unread.problem));
    }
    notes.extend(loaded.bad.iter().take(20).map(|bad| format!("damaged: {bad}")));
    if loaded.bad.len() > 20 {
        notes.push(format!("… and {} more damaged records", loaded.bad.len() - 20));
    }
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    notes.iter().for_each(|note| text += &format!("{note}\n"));
    text
}

fn listed_json(loaded: &Loaded) -> String {
    let records = &loaded.records;
    let records = json!({"read": records.read, "used": records.used, "left": records.left});
    let all = json!({
        "shelves": loaded.shelves, "unread": loaded.unread, "bad": loaded.bad, "records": records,
    });
    format!("{all}\n")
}
