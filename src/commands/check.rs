//! `proto check`: what is wrong with a script, without running it.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::{Outcome, print};
use crate::redact::fit_to_show;
use crate::script::{self, Script, ScriptFailure};

/// Look for mistakes in scripts and gate policies without running anything
#[derive(Debug, Args)]
pub struct Check {
    /// The scripts
    #[arg(required = true)]
    scripts: Vec<PathBuf>,
}

impl Check {
    pub(super) fn execute(self) -> Result<Outcome> {
        let mut count = 0;
        for path in &self.scripts {
            let problems = match Script::read(path) {
                Ok(script) => script::check(&script),
                Err(error) => vec![error.downcast::<ScriptFailure>()?],
            };
            count += problems.len();
            for problem in &problems {
                print(&fit_to_show(&format!("{problem}\n")))?;
            }
            if problems.is_empty() {
                eprintln!("{}: nothing wrong found", path.display());
            }
        }
        match count {
            0 => Ok(Outcome::Done),
            1 => bail!("1 problem found"),
            count => bail!("{count} problems found"),
        }
    }
}
