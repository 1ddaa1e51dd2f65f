//! What verbs act on: configuration, run, observer.

use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use anyhow::{Context, Result, ensure};

use super::library::Library;
use crate::config::Config;
use crate::dataset::generate::Pool;
use crate::dataset::ledger::Ledger;
use crate::dataset::manifest::Provenance;
use crate::dataset::source::Recent;
use crate::dataset::{Held, Pager, Rows};
use crate::ingest::Forgotten;
use crate::ingest::forgotten::REASON;
use crate::model::Base;
use crate::progress::Observer;
use crate::protocol::Protocol;
use crate::redact::{Policy, Redactor, TeamRule};
use crate::trace::{Loaded, Trace, places};
use crate::train::Checkpoints;

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
    /// The folder of the interrupted run that `--resume` named.
    pub resume: Option<PathBuf>,
    run: OnceLock<PathBuf>,
    checkpoints: OnceLock<Checkpoints>,
    passed: Mutex<Option<bool>>,
    base: Mutex<Option<Arc<Base>>>,
    library: OnceLock<Library>,
    team_rules: Mutex<Vec<TeamRule>>,
    pager: OnceLock<Arc<Pager>>,
    pool: Mutex<Option<Collected>>,
}

/// Values of rows, and whose.
type Collected = (Weak<Vec<Held>>, Arc<Pool>);

/// Where raw traces lie when TRACES names none, and what stands in while that folder is empty.
const OWN_TRACES: &str = "data/raw_traces";
const SAMPLE: &str = "data/sample/house.jsonl";

/// Where a run keeps its trainings while it is going on.
const CHECKPOINTS: &str = "checkpoints";

impl Host {
    /// A host without a run folder: for tests, checks and scripts that write nothing.
    pub fn new(config: Config, project: impl Into<PathBuf>, observer: Arc<dyn Observer>) -> Self {
        Host {
            config,
            project: project.into(),
            observer,
            skip_train: false,
            skip_eval: false,
            resume: None,
            run: OnceLock::new(),
            checkpoints: OnceLock::new(),
            passed: Mutex::new(None),
            base: Mutex::new(None),
            library: OnceLock::new(),
            team_rules: Mutex::default(),
            pager: OnceLock::new(),
            pool: Mutex::default(),
        }
    }

    /// The base model as configured, opened once.
    pub fn base(&self) -> Result<Arc<Base>> {
        let mut base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(base) = base.as_ref() {
            return Ok(base.clone());
        }
        let opened = Arc::new(Base::open(&self.config, self.observer.as_ref())?);
        *base = Some(opened.clone());
        Ok(opened)
    }

    /// Says of a trace why it is left out: because somebody wants it forgotten.
    pub fn forgotten(&self) -> Result<impl Fn(&Trace) -> Result<Option<&'static str>> + use<>> {
        let list = Forgotten::from_config(&self.config, &self.project)?;
        let redactor = self.redactor()?;
        Ok(move |trace: &Trace| Ok(list.holds(trace, &redactor)?.then_some(REASON)))
    }

    /// Which sessions are taken: those of TRACE_DAYS, and what the ledger holds out.
    pub fn recent(&self) -> Result<Recent> {
        let ledger = self.config.path("LEDGER").map(|path| Ledger::read(&path)).transpose()?;
        let days = self.config.size("TRACE_DAYS") as u64;
        Ok(Recent { days, or_held_out: ledger.unwrap_or_default() })
    }

    /// Where rows go that do not fit in memory.
    pub fn pager(&self) -> Arc<Pager> {
        let folder = || self.run.get().cloned().unwrap_or_else(std::env::temp_dir);
        let budget = (self.config.size("ROWS_IN_MEMORY_MB") as u64) << 20;
        self.pager.get_or_init(|| Pager::new(budget, &folder())).clone()
    }

    /// Goes on with the second half of the protocol, in this run.
    pub fn protocol<T>(&self, step: impl FnOnce(&Protocol) -> Result<T>) -> Result<T> {
        step(&Protocol {
            config: &self.config,
            project: &self.project,
            folder: self.run_folder()?,
            base: &|| self.base(),
            redactor: &|| self.redactor(),
            skip_train: self.skip_train,
            skip_eval: self.skip_eval,
            checkpoints: self.checkpoints()?,
            observer: self.observer.as_ref(),
        })
    }

    /// Where trainings are kept until the run has ended.
    pub fn checkpoints(&self) -> Result<&Checkpoints> {
        let folder = self.run_folder()?.join(CHECKPOINTS);
        let resumed = self.resume.as_ref().map(|run| run.join(CHECKPOINTS));
        Ok(self.checkpoints.get_or_init(|| Checkpoints::new(folder, resumed)))
    }

    /// What a dataset written now is made with.
    pub fn provenance(&self) -> Result<Provenance> {
        let base = self.base()?;
        Ok(Provenance {
            program: env!("CARGO_PKG_VERSION").into(),
            scripts: self.library.get().map(Library::digests).unwrap_or_default(),
            tokenizer: base.codec.digest()?,
            chat_template: base.codec.template_digest(),
            forgotten: Forgotten::from_config(&self.config, &self.project)?.sha256,
        })
    }

    /// The redactor as configured, with the rules that the script has added so far.
    pub fn redactor(&self) -> Result<Redactor> {
        let mut policy = Policy::from_config(&self.config)?;
        let team = self.team_rules.lock().unwrap_or_else(PoisonError::into_inner);
        policy.extra.extend(team.iter().cloned());
        Redactor::new(policy)
    }

    /// What generators borrow from the real rows, collected once as long as the rows are the same.
    pub fn pool(&self, rows: &Rows) -> Result<Arc<Pool>> {
        let mut known = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, pool)) = known.as_ref()
            && of.upgrade().is_some_and(|of| Arc::ptr_eq(&of, &rows.examples))
        {
            return Ok(pool.clone());
        }
        let pool = Arc::new(Pool::new(rows, &self.redactor()?, self.observer.as_ref())?);
        *known = Some((Arc::downgrade(&rows.examples), pool.clone()));
        Ok(pool)
    }

    /// Takes out of what was read the sessions that FORGET lists.
    pub fn leave(&self, loaded: Loaded) -> Result<Loaded> {
        let forgotten = Forgotten::from_config(&self.config, &self.project)?;
        if forgotten.is_empty() { Ok(loaded) } else { forgotten.leave(loaded, &self.redactor()?) }
    }

    /// Adds rules to every redaction from here on; one of the same name gives way.
    pub fn redact_also(&self, rules: Vec<TeamRule>) {
        *self.pool.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mut team = self.team_rules.lock().unwrap_or_else(PoisonError::into_inner);
        team.retain(|old| rules.iter().all(|new| new.name != old.name));
        team.extend(rules);
    }

    /// Where this run's scripts come from; the first library stays.
    pub(super) fn set_library(&self, library: &Library) {
        let _ = self.library.set(library.clone());
    }

    /// Says what the newest stage did, and gives the rows back.
    pub fn told(&self, rows: Rows) -> Rows {
        if let Some(stage) = rows.stages.last() {
            self.observer.say(&stage.line());
        }
        rows
    }

    /// The files and folders that raw traces come from.
    pub fn trace_paths(&self) -> Result<Vec<PathBuf>> {
        let named = self.config.list("TRACES");
        if !named.is_empty() {
            return places::named(&named);
        }
        let own = self.project.join(OWN_TRACES);
        let has_traces = own.read_dir().is_ok_and(|entries| {
            entries.flatten().any(|e| e.path().extension().is_some_and(|x| x == "jsonl"))
        });
        if has_traces {
            return Ok(vec![PathBuf::from(OWN_TRACES)]);
        }
        self.observer.say(&format!(
            "{OWN_TRACES} holds no *.jsonl: taking the shipped sample {SAMPLE}, an invented team"
        ));
        Ok(vec![PathBuf::from(SAMPLE)])
    }

    /// A path that a script names: inside the project, or inside the run.
    pub fn readable(&self, path: &str) -> Result<PathBuf> {
        let given = Path::new(path);
        let inside =
            given.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if inside {
            return Ok(given.to_path_buf());
        }
        let run = self.run.get().is_some_and(|run| given.starts_with(run));
        let climbs = given.components().any(|c| c == Component::ParentDir);
        ensure!(
            run && !climbs,
            "a script reads files inside the project and the run only, not {path}; name it in the \
             configuration (TRACES, TRAIN_FILES, …) or on the command line"
        );
        Ok(given.to_path_buf())
    }

    /// Where a script may write `name`: a new place inside the run.
    pub fn writable(&self, name: &str) -> Result<PathBuf> {
        let plain = Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
        ensure!(plain && !name.is_empty(), "`{name}` is no name for a file inside the run");
        Ok(self.run_folder().context("scripts write into their run")?.join(name))
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
