//! `proto forget`: which datasets and adapters hold a session, and that none takes it from now on.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;

use super::layers::Settings;
use super::{Outcome, print};
use crate::ingest::{Forgotten, refuse_tracked};
use crate::lineage::forget::holders;
use crate::lineage::{Trained, runs};
use crate::review::page::visible;

/// Say which datasets and adapters hold a session, and keep it out of everything from now on
#[derive(Debug, Args)]
pub struct Forget {
    /// The session, as source/session or by an id that only it has
    session: String,
    /// Only say what holds it
    #[arg(long, conflicts_with = "undo")]
    dry_run: bool,
    /// Let it in again
    #[arg(long)]
    undo: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Forget {
    pub(super) fn execute(self) -> Result<Outcome> {
        let config = self.settings.layers(&[])?.resolve(&[])?;
        let file = config.path("FORGET").with_context(|| {
            format!("{}: FORGET names no file to keep it in", config.provenance("FORGET"))
        })?;
        refuse_tracked(&file)?;
        let mut list = Forgotten::read(&file)?;
        if self.undo {
            let known = list.remove(&self.session);
            ensure!(known, "{} does not hold `{}`", file.display(), self.session);
            list.write(&file)?;
            eprintln!("{}: taken off the list in {}", self.session, file.display());
            return Ok(Outcome::Done);
        }
        let parent = config.path("RUNS_DIR").unwrap_or_else(|| PathBuf::from("."));
        let in_use = config.path("CHAMPION").map(Trained::open).transpose()?;
        let held = holders(&self.session, &runs(&parent)?, in_use.as_ref())?;
        let news = !self.dry_run && list.add(&held.session, held.marks.clone());
        if news {
            list.write(&file)?;
        }
        if self.json {
            let forgotten = list.contains(&held.session);
            print(&format!("{}\n", json!({"forgotten": forgotten, "held": held})))?;
        } else {
            print(&visible(&held.to_string()))?;
        }
        let told = match (self.dry_run, news) {
            (true, _) => "nothing was changed".to_string(),
            (false, true) => format!("kept out from now on: {}", file.display()),
            (false, false) => format!("it was forgotten already: {}", file.display()),
        };
        eprintln!("{told}");
        if !held.datasets.is_empty() || !held.adapters.is_empty() {
            eprintln!("what holds it was not touched: delete those folders and train again");
        }
        Ok(Outcome::Done)
    }
}
