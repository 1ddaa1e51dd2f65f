//! What verbs act on: configuration, run, observer.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::config::Config;
use crate::progress::Observer;

/// The context of one script's run. Verbs reach it through the call they serve.
pub struct Host {
    /// The resolved configuration, the script's parameters included.
    pub config: Config,
    /// The project's folder, which relative paths start from.
    pub project: PathBuf,
    /// Where progress goes and where the wish to stop comes from.
    pub observer: Arc<dyn Observer>,
    /// Whether `--skip-train` was given.
    pub skip_train: bool,
    /// Whether `--skip-eval` was given.
    pub skip_eval: bool,
    run: OnceLock<PathBuf>,
    passed: Mutex<Option<bool>>,
}

impl Host {
    /// A host without a run folder: for tests, checks and scripts that write nothing.
    pub fn new(config: Config, project: impl Into<PathBuf>, observer: Arc<dyn Observer>) -> Self {
        Host {
            config,
            project: project.into(),
            observer,
            skip_train: false,
            skip_eval: false,
            run: OnceLock::new(),
            passed: Mutex::new(None),
        }
    }

    /// Names the folder of this run; the first name stays.
    pub fn set_run_folder(&self, folder: PathBuf) {
        // A second folder for one run would be a bug in the caller; the first one holds the lock.
        let _ = self.run.set(folder);
    }

    /// The folder of this run.
    pub fn run_folder(&self) -> anyhow::Result<&Path> {
        match self.run.get() {
            Some(folder) => Ok(folder),
            None => anyhow::bail!("nothing can be written here: this script has no run folder"),
        }
    }

    /// Records whether a gate passed. A script with several gates passes when all did.
    pub fn set_passed(&self, passed: bool) {
        let mut recorded = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        *recorded = Some(recorded.unwrap_or(true) && passed);
    }

    /// Whether the gates passed; `None` where no gate was asked.
    pub fn passed(&self) -> Option<bool> {
        *self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
