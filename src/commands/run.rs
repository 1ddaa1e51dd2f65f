//! `proto run`: a protocol from its script to its decision.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::Outcome;
use super::layers::Settings;
use super::terminal::Terminal;
use crate::progress::Observer;
use crate::script::{Host, Script};

/// Run a protocol script
#[derive(Debug, Args)]
pub struct Run {
    /// The script
    script: PathBuf,
    /// Values for the parameters that the script declares
    #[arg(value_name = "NAME=VALUE")]
    params: Vec<String>,
    #[command(flatten)]
    settings: Settings,
    /// Do not train: evaluate ADAPTER or the champion
    #[arg(long)]
    skip_train: bool,
    /// Do not evaluate: write no eval/ and no decision
    #[arg(long)]
    skip_eval: bool,
    /// Go on from the checkpoints of this interrupted run: everything before them is made again,
    /// the same to the byte
    #[arg(long, value_name = "RUN", conflicts_with = "skip_train")]
    resume: Option<PathBuf>,
    /// The folder that the run's own folder is made in
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Run {
    pub(super) fn execute(self) -> Result<Outcome> {
        if let Some(run) = &self.resume {
            ensure!(
                run.join("run.json").exists(),
                "--resume names {}, which is not the folder of a run",
                run.display()
            );
        }
        let script = Script::read(&self.script)?;
        let declared = script.params()?;
        let mut more = self.params.clone();
        if let Some(out) = &self.out {
            more.push(format!("RUNS_DIR={}", out.display()));
        }
        let config = self.settings.layers(&more)?.resolve(&declared)?;
        threads(config.size("THREADS"))?;
        // A disk that is missing is better told now than after hours.
        crate::dataset::layout::check(&config)?;
        let observer = Terminal::new()?;
        let args: Vec<String> = std::env::args().collect();
        let parent = config.path("RUNS_DIR").unwrap_or_default();
        let folder = crate::run::Run::create(&parent, &args)?;
        folder.note("threads", rayon::current_num_threads())?;
        let mut host = Host::new(config, Path::new("."), observer.clone());
        host.set_run_folder(folder.folder().to_path_buf());
        host.skip_train = self.skip_train;
        host.skip_eval = self.skip_eval;
        host.resume = self.resume;
        let host = Arc::new(host);
        let ended = script.run(&host);
        observer.end();
        folder.finish(if ended.is_ok() { "done" } else { "failed" })?;
        ended?;
        host.checkpoints()?.remove()?;
        Ok(match host.passed() {
            Some(false) => Outcome::NotPassed,
            _ => Outcome::Done,
        })
    }
}

/// Limits the worker threads; 0 takes every core.
fn threads(count: usize) -> Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(count)
        // Scripts' closures nest deeper than the default stack likes.
        .stack_size(8 << 20)
        .build_global()
        .context("cannot start the worker threads")
}
