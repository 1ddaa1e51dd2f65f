//! `proto doc`: what scripts can use.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{Outcome, print};
use crate::script;

/// Show what scripts can call, or describe one module or script
#[derive(Debug, Args)]
pub struct Doc {
    /// A module such as proto/gates, or a script
    target: Option<String>,
    /// Write .d.rhai definition files for editors into this folder instead
    #[arg(long, value_name = "DIR", conflicts_with = "target")]
    definitions: Option<PathBuf>,
}

impl Doc {
    pub(super) fn execute(self) -> Result<Outcome> {
        match &self.definitions {
            Some(folder) => {
                for path in script::definitions(folder)? {
                    print(&format!("{}\n", path.display()))?;
                }
            }
            None => print(&script::describe(self.target.as_deref())?)?,
        }
        Ok(Outcome::Done)
    }
}
