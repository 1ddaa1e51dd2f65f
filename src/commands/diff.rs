//! `proto diff`: what changed from one run to another.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::layers::Settings;
use super::{Outcome, print};
use crate::history::{diff, find};
use crate::review::page::visible;

/// Show what changed from one run to another: data, configuration, metrics, and the items that one
/// adapter answers right and the other wrong
#[derive(Debug, Args)]
pub struct Diff {
    /// The first run: its folder, or its name under RUNS_DIR
    #[arg(value_name = "RUN")]
    first: PathBuf,
    /// The second run
    #[arg(value_name = "RUN")]
    second: PathBuf,
    /// Print JSON, with every row and item
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Diff {
    pub(super) fn execute(self) -> Result<Outcome> {
        let config = self.settings.layers(&[])?.resolve(&[])?;
        let parent = config.path("RUNS_DIR").unwrap_or_else(|| PathBuf::from("."));
        let (first, second) = (find(&self.first, &parent)?, find(&self.second, &parent)?);
        let diff = diff::Diff::of([&first, &second])?;
        match self.json {
            true => print(&format!("{}\n", serde_json::to_string(&diff)?))?,
            false => print(&visible(&diff.to_string()))?,
        }
        Ok(Outcome::Done)
    }
}
