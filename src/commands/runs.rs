//! `proto runs`: all runs at a glance.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::layers::Settings;
use super::{Outcome, print};
use crate::history::table::{rows, table};
use crate::review::page::visible;

/// List the runs under RUNS_DIR, the newest last: status, rows, adapter, deltas in percentage
/// points, counterexamples solved, verdict
#[derive(Debug, Args)]
pub struct Runs {
    /// Print JSON: a list with an object for each run
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Runs {
    pub(super) fn execute(self) -> Result<Outcome> {
        let config = self.settings.layers(&[])?.resolve(&[])?;
        let parent = config.path("RUNS_DIR").unwrap_or_else(|| PathBuf::from("."));
        let rows = rows(&parent)?;
        if self.json {
            print(&format!("{}\n", serde_json::to_string(&rows)?))?;
        } else if rows.is_empty() {
            eprintln!("no run under {}; set RUNS_DIR where they lie elsewhere", parent.display());
        } else {
            print(&visible(&table(&rows)))?;
        }
        Ok(Outcome::Done)
    }
}
