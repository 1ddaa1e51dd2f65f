//! `proto test`: a script's `test_*` functions.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::terminal::Terminal;
use super::{Outcome, print};
use crate::script::{Script, run_tests};

/// Run the test_* functions of scripts
#[derive(Debug, Args)]
pub struct Test {
    /// Scripts, or folders of scripts
    #[arg(required = true)]
    targets: Vec<PathBuf>,
}

impl Test {
    pub(super) fn execute(self) -> Result<Outcome> {
        let observer = Terminal::new()?;
        let (mut passed, mut failed) = (0, 0);
        for path in scripts(&self.targets)? {
            for verdict in run_tests(&Script::read(&path)?, observer.clone())? {
                match &verdict.failure {
                    None => {
                        passed += 1;
                        print(&format!("pass {}::{}\n", verdict.file, verdict.name))?;
                    }
                    Some(failure) => {
                        failed += 1;
                        print(&format!("FAIL {}::{}\n{failure}\n", verdict.file, verdict.name))?;
                    }
                }
            }
        }
        eprintln!("{passed} passed, {failed} failed");
        if passed + failed == 0 {
            bail!("there is no function `test_…` without parameters to run");
        }
        Ok(if failed == 0 { Outcome::Done } else { Outcome::NotPassed })
    }
}

/// The scripts that were named, and those in the folders that were, sorted.
fn scripts(targets: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for target in targets {
        match target.is_dir() {
            true => inside(target, &mut found)?,
            false => found.push(target.clone()),
        }
    }
    Ok(found)
}

fn inside(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let reading = || format!("cannot read the folder {}", folder.display());
    let mut entries = std::fs::read_dir(folder)
        .and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>())
        .with_context(reading)?;
    entries.sort_by_key(|entry| entry.path());
    for entry in entries {
        let path = entry.path();
        // A link is not followed: it could lead back up.
        if entry.file_type().with_context(reading)?.is_dir() {
            inside(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "rhai") {
            found.push(path);
        }
    }
    Ok(())
}
