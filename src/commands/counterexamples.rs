//! `proto counterexamples`: a run's failures as a sheet to fill, and the filled sheet as
//! counterexamples.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use super::Outcome;
use super::layers::Settings;
use crate::config::Config;
use crate::history::find;
use crate::history::sheet::{Accepted, Failure, Sheet, accept};
use crate::ingest::refuse_tracked;
use crate::redact::{Policy, Redactor};

/// Write a run's regressions and persistent failures to a sheet, one a line, each with a place for
/// the right answer; with --accept take the answered ones as counterexamples for the next run
#[derive(Debug, Args)]
pub struct Counterexamples {
    /// The run: its folder, or its name under RUNS_DIR
    #[arg(value_name = "RUN", required_unless_present = "accept", conflicts_with = "accept")]
    run: Option<PathBuf>,
    /// The sheet [default: counterexamples.jsonl in the run's folder]
    #[arg(long, value_name = "FILE", conflicts_with = "accept")]
    out: Option<PathBuf>,
    /// At most this many failures, regressions first
    #[arg(long, conflicts_with = "accept")]
    limit: Option<usize>,
    /// Take the answered lines of this sheet into the folder COUNTEREXAMPLES
    #[arg(long, value_name = "FILE")]
    accept: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

impl Counterexamples {
    pub(super) fn execute(self) -> Result<Outcome> {
        let config = self.settings.layers(&[])?.resolve(&[])?;
        match (&self.run, &self.accept) {
            (_, Some(sheet)) => take(&config, sheet)?,
            (run, None) => self.write(&config, run.as_deref().unwrap_or(Path::new(".")))?,
        }
        Ok(Outcome::Done)
    }

    fn write(&self, config: &Config, run: &Path) -> Result<()> {
        let parent = config.path("RUNS_DIR").unwrap_or_else(|| PathBuf::from("."));
        let run = find(run, &parent)?;
        let path = self.out.clone().unwrap_or_else(|| run.join("counterexamples.jsonl"));
        refuse_tracked(&path)?;
        let sheet = Sheet::of(&run, self.limit.unwrap_or(usize::MAX))?;
        for (reason, n) in &sheet.left_out {
            eprintln!("left out: {n} {reason}");
        }
        if sheet.cases.is_empty() {
            eprintln!("no failure to answer");
            return Ok(());
        }
        sheet.write(&path)?;
        let shown = path.display();
        let regressions = sheet.cases.iter().filter(|c| c.failure == Failure::Regression).count();
        let persistent = sheet.cases.len() - regressions;
        eprintln!("{shown}: {regressions} regressions, {persistent} persistent failures");
        eprintln!(
            "fill `accept` (reference, base, candidate) or `answer` at the beginning of a line, \
             then: proto counterexamples --accept {shown}"
        );
        Ok(())
    }
}

fn take(config: &Config, sheet: &Path) -> Result<()> {
    let folder = config.path("COUNTEREXAMPLES").with_context(|| {
        format!("{}: COUNTEREXAMPLES names no folder", config.provenance("COUNTEREXAMPLES"))
    })?;
    refuse_tracked(&folder.join("any.jsonl"))?;
    let redactor = Redactor::new(Policy::from_config(config)?)?;
    let Accepted { answered, open, known, replaced } = accept(sheet, &folder, &redactor)?;
    eprintln!("{}: {answered} answered, {open} still open", sheet.display());
    if answered > 0 {
        let new = answered - known - replaced;
        eprintln!(
            "{}: {new} new, {replaced} answered anew, {known} as before; the next run learns them",
            folder.display()
        );
    }
    Ok(())
}
