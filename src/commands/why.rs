//! `proto why`: from a row, an adapter or a decision back to the sessions.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;

use super::layers::Settings;
use super::{Outcome, print};
use crate::lineage::adapter::{Meant, meant, why_adapter, why_run};
use crate::lineage::row::why_row;
use crate::lineage::runs;
use crate::review::page::visible;

/// Show where a row, an adapter or a decision came from, back to the sessions, and what became of
/// it
#[derive(Debug, Args)]
pub struct Why {
    /// The beginning of a row's id, an adapter's folder, a run's folder or its gate_decision.json
    #[arg(value_name = "ROW|ADAPTER|RUN")]
    what: String,
    /// Print JSON, with every session
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Why {
    pub(super) fn execute(self) -> Result<Outcome> {
        let config = self.settings.layers(&[])?.resolve(&[])?;
        let parent = config.path("RUNS_DIR").unwrap_or_else(|| PathBuf::from("."));
        let mut all = runs(&parent)?;
        match meant(Path::new(&self.what))? {
            Some(Meant::Adapter(adapter, home)) => {
                let home = home.filter(|home| all.iter().all(|run| run.name != home.name));
                all.extend(home);
                self.tell(&why_adapter(&adapter, &all)?)?;
            }
            Some(Meant::Run(run)) => {
                if all.iter().all(|known| known.name != run.name) {
                    all.push(run.clone());
                }
                self.tell(&why_run(&run, &all)?)?;
            }
            None => {
                let story = why_row(&all, &self.what)?.with_context(|| {
                    format!(
                        "`{}` is no folder of a run or an adapter, and no row under {} has an id \
                         that begins so; set RUNS_DIR where runs lie elsewhere",
                        self.what,
                        parent.display()
                    )
                })?;
                self.tell(&story)?;
            }
        }
        Ok(Outcome::Done)
    }

    fn tell(&self, story: &(impl Serialize + std::fmt::Display)) -> Result<()> {
        match self.json {
            true => print(&format!("{}\n", serde_json::to_string(story)?)),
            false => print(&visible(&story.to_string())),
        }
    }
}
