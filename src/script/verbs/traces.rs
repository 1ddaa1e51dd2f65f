//! `load_traces` and its kin: rows from files outside the run.

use std::path::PathBuf;

use rhai::plugin::*;

use super::host;
use crate::dataset::labels::judge;
use crate::dataset::source::{self, Recent, counterexamples};
use crate::dataset::{Kind, Rows};
use crate::label::{Policy, Reviews};
use crate::script::host::Host;
use crate::script::{RhaiResultOf, fail};
use crate::trace::catalogue::Generation;
use crate::trace::intake::Intake;
use crate::trace::{Trace, places};

/// Registers the readers.
pub fn register(engine: &mut Engine) {
    engine.register_global_module(exported_module!(verbs).into());
}

fn read(host: &Host, paths: &[PathBuf]) -> anyhow::Result<Rows> {
    let intake = Intake::from_config(&host.config)?;
    let mut newest = None;
    let recent = host.recent()?;
    let leave = host.forgotten()?;
    let observer = host.observer.as_ref();
    let rows = source::read(
        paths,
        &host.project,
        Kind::Real,
        &recent,
        &host.pager(),
        observer,
        &mut |trace| {
            newest = newest.max(Generation::of(trace));
            leave(trace)
        },
    )?;
    let rows = host.told(rows);
    let mut reviews = match host.config.path("REVIEWS") {
        Some(path) => Reviews::read(&host.project.join(path))?,
        None => Reviews::default(),
    };
    let target = intake.target(newest);
    if let Some(target) = target {
        reviews.say_in(target);
    }
    judge(rows, Some((&intake, target)), &Policy::from_config(&host.config)?, &reviews)
}

#[export_module]
mod verbs {
    /// The raw traces that TRACES names; where it names none, `data/raw_traces`, or the shipped
    /// sample as long as that folder is empty.
    #[rhai_fn(return_raw)]
    pub fn load_traces(ctx: NativeCallContext) -> RhaiResultOf<Rows> {
        let host = host(&ctx)?;
        let paths = host.trace_paths().map_err(fail)?;
        read(&host, &paths).map_err(fail)
    }

    /// The traces of a file, a folder or a glob inside the project or the run, or an agent's own
    /// sessions where it keeps them: `load_traces("opencode")`, `"openclaw"`, `"claude-code"`,
    /// `"codex"`, `"pi"`.
    #[rhai_fn(name = "load_traces", return_raw)]
    pub fn load_traces_from(ctx: NativeCallContext, path: &str) -> RhaiResultOf<Rows> {
        let host = host(&ctx)?;
        let paths = match places::sessions(path) {
            Some(places) => places.map_err(fail)?,
            None => vec![host.readable(path).map_err(fail)?],
        };
        read(&host, &paths).map_err(fail)
    }

    /// The hand-written examples against past mistakes, from the folder COUNTEREXAMPLES; none
    /// where it does not exist.
    #[rhai_fn(return_raw)]
    pub fn load_counterexamples(ctx: NativeCallContext) -> RhaiResultOf<Rows> {
        let host = host(&ctx)?;
        let folder = host.config.path("COUNTEREXAMPLES").unwrap_or_default();
        let leave = |loaded| host.leave(loaded);
        let rows = counterexamples(&folder, &host.project, &leave, host.observer.as_ref());
        rows.map(|rows| host.told(rows)).map_err(fail)
    }

    /// The general examples of REPLAY_FILES, mixed in against forgetting; none where it is empty.
    #[rhai_fn(return_raw)]
    pub fn load_replay(ctx: NativeCallContext) -> RhaiResultOf<Rows> {
        let host = host(&ctx)?;
        let paths: Vec<PathBuf> =
            host.config.list("REPLAY_FILES").into_iter().map(PathBuf::from).collect();
        if paths.is_empty() {
            return Ok(Rows::default());
        }
        let (project, observer) = (&host.project, host.observer.as_ref());
        let pager = host.pager();
        let read = || {
            let (all, leave) = (Recent::default(), host.forgotten()?);
            let leave = &mut |trace: &Trace| leave(trace);
            source::read(&paths, project, Kind::Replay, &all, &pager, observer, leave)
        };
        read().map(|rows| host.told(rows)).map_err(fail)
    }
}
