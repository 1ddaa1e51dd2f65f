//! The second half of a run: an adapter from a dataset, the comparison with the base, the
//! decision, and what a person reads of it.
//!
//! Each step takes what the one before it made, a refusal included: where a dataset gate failed
//! nothing is trained or asked, and a blocking decision is written all the same.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::adapter::{Adapter, Lineage};
use crate::config::Config;
use crate::dataset::rows::each;
use crate::dataset::snapshot::Snapshot;
use crate::dataset::{Example, Held, Rows};
use crate::evaluate::{
    Comparison, Contender, Custom, Evaluation, Past, Record, Settings, Shelf, suites,
};
use crate::files;
use crate::gate::{self, DatasetEvidence, Decision, Evidence, TrainingEvidence, Verdict};
use crate::model::{Base, Generator};
use crate::progress::Observer;
use crate::redact::Redactor;
use crate::report::{self, Account, Training};
use crate::train::qlora::qlora;
use crate::train::{Checkpoints, TrainingRecord};

mod verdict;

pub use verdict::{DECISION, EVIDENCE, Judgement};

/// Where a run happens and how.
pub struct Protocol<'a> {
    /// The resolved configuration.
    pub config: &'a Config,
    /// The project's folder.
    pub project: &'a Path,
    /// The run's folder.
    pub folder: &'a Path,
    /// Opens the base model, once.
    pub base: &'a (dyn Fn() -> Result<Arc<Base>> + Sync),
    /// Makes the redactor, which also looks at what the models answer.
    pub redactor: &'a (dyn Fn() -> Result<Redactor> + Sync),
    /// Whether an existing adapter is judged instead of a new one.
    pub skip_train: bool,
    /// Whether nothing is judged.
    pub skip_eval: bool,
    /// The trainings that this run keeps, and those it resumes.
    pub checkpoints: &'a Checkpoints,
    /// Hears of progress.
    pub observer: &'a dyn Observer,
}

/// The adapter that a run is about.
#[derive(Debug, Clone)]
pub struct Candidate(Arc<State>);

#[derive(Debug)]
enum State {
    /// Trained in this run, or given.
    Here(Box<Present>),
    /// Not trained, for this reason.
    Withheld(String),
}

#[derive(Debug)]
struct Present {
    adapter: Adapter,
    lineage: Option<Lineage>,
    record: Option<TrainingRecord>,
    digest: String,
    name: String,
}

impl Candidate {
    fn of(present: Present) -> Self {
        Candidate(Arc::new(State::Here(Box::new(present))))
    }

    fn present(&self) -> Option<&Present> {
        match self.0.as_ref() {
            State::Here(present) => Some(present),
            State::Withheld(_) => None,
        }
    }

    /// The account of its training, where it was trained in this run.
    pub fn record(&self) -> Option<&TrainingRecord> {
        self.present()?.record.as_ref()
    }

    /// The loss on `tune` of the weights that were kept, in nats per token.
    pub fn tune_loss(&self) -> Result<f64> {
        let record = self.record().context("this adapter was not trained in this run")?;
        let kept = record.tune_losses.iter().rfind(|(step, _)| *step == record.kept_step);
        let loss = kept.map(|(_, loss)| *loss);
        loss.context("no loss on tune was measured: the dataset has no tune rows")
    }
}

impl std::fmt::Display for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_ref() {
            State::Withheld(reason) => write!(f, "Adapter(none: {reason})"),
            State::Here(present) => {
                let (r, n) = (present.adapter.card.r, present.adapter.lora.pairs.len());
                write!(f, "Adapter({}: r {r} on {n} linears)", present.name)
            }
        }
    }
}

/// The comparison of candidate and base.
#[derive(Debug, Clone)]
pub struct Compared(Option<Arc<(Evaluation, Vec<Record>)>>);

impl Compared {
    /// The difference of a metric, candidate minus base, as a fraction.
    pub fn delta(&self, metric: &str) -> Result<f64> {
        let done = self.0.as_ref().context("nothing was evaluated in this run")?;
        done.0.metric(metric).map(|d| d.delta).map_err(anyhow::Error::msg)
    }
}

impl std::fmt::Display for Compared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            None => f.write_str("Evaluation(skipped)"),
            Some(done) => write!(f, "Evaluation({})", done.0.line()),
        }
    }
}

impl Protocol<'_> {
    /// Trains an adapter with the settings of `config`, or takes the one to be judged.
    pub fn train(&self, dataset: &Snapshot, config: &Config) -> Result<Candidate> {
        let failed = dataset.manifest.gates.failed();
        if !failed.is_empty() {
            let reason = format!("the dataset did not pass {}", failed.join(", "));
            self.observer.say(&format!("{reason}: nothing is trained"));
            return Ok(Candidate(Arc::new(State::Withheld(reason))));
        }
        let base = (self.base)()?;
        if self.skip_train {
            let path =
                [config.path("ADAPTER"), config.path("CHAMPION")].into_iter().flatten().next();
            let Some(path) = path else {
                bail!("--skip-train needs an adapter to judge: set ADAPTER or CHAMPION");
            };
            return Ok(Candidate::of(existing(&path, &base)?));
        }
        let folder = self.unused("adapter");
        let lineage = Lineage::of(&base.digest, &dataset.digest, &dataset.dataset.train);
        let read = |rows: &[Held]| each(rows, |_, example| Ok(example.clone()));
        let (train, tune) = (read(&dataset.dataset.train)?, read(&dataset.dataset.tune)?);
        let trained = qlora(
            &base,
            config,
            &examples_of(&train),
            &examples_of(&tune),
            &folder,
            self.checkpoints,
            self.observer,
        )?;
        lineage.save(&folder)?;
        files::write_json(&folder.join("training_record.json"), &trained.record)?;
        Ok(Candidate::of(Present {
            adapter: trained.adapter,
            lineage: Some(lineage),
            record: Some(trained.record),
            digest: trained.digest,
            name: name(&folder),
        }))
    }

    /// The first of `name`, `name-2`, … that does not exist in the run.
    fn unused(&self, name: &str) -> PathBuf {
        let mut folder = self.folder.join(name);
        for nth in 2.. {
            if !folder.exists() {
                break;
            }
            folder = self.folder.join(format!("{name}-{nth}"));
        }
        folder
    }

    /// Asks base, champion and candidate every item, scores the answers with a team's own metrics
    /// as well, and writes what came out.
    pub fn evaluate(
        &self,
        dataset: &Snapshot,
        candidate: &Candidate,
        metrics: &[Custom],
    ) -> Result<Compared> {
        let Some(judged) = candidate.present() else { return Ok(Compared(None)) };
        if self.skip_eval {
            self.observer.say("evaluation and gate are skipped, as asked");
            return Ok(Compared(None));
        }
        let base = (self.base)()?;
        let settings = Settings::of(self.config, base.decoder.max_positions());
        let generator = |lora| Generator { decoder: &base.decoder, lora, batch: settings.batch };
        let champion = self.config.path("CHAMPION").map(|p| existing(&p, &base)).transpose()?;
        let mut seen: BTreeSet<String> = BTreeSet::new();
        for adapter in champion.iter().chain([judged]) {
            seen.extend(adapter.lineage.iter().flat_map(Lineage::seen));
        }
        let in_use = champion.as_ref().map(|c| (generator(Some(&c.adapter.lora)), &c.digest));
        let suites = suites(&self.config.list("EVAL_FILES"), self.project, self.observer)?;
        let (plain, adapted) = (generator(None), generator(Some(&judged.adapter.lora)));
        let val = Rows::of(&dataset.dataset.val);
        let redactor = (self.redactor)()?;
        let cache = self.config.path("CACHE_DIR");
        let comparison = Comparison {
            val: &val,
            suites: &suites,
            seen: &seen,
            own_names: std::slice::from_ref(&base.name),
            chat: &base.codec,
            base: Contender { subject: &plain, digest: base.digest.clone() },
            champion: in_use
                .as_ref()
                .map(|(subject, digest)| Contender { subject, digest: digest.to_string() }),
            candidate: Contender { subject: &adapted, digest: judged.digest.clone() },
            metrics,
            redactor: Some(&redactor),
            cache: cache.as_deref().and_then(|folder| self.shelf(folder, &base)),
            settings: settings.clone(),
        };
        let (evaluation, records) = comparison.run(self.observer)?;
        let folder = self.folder.join("eval");
        evaluation.write(&folder, &records)?;
        let train = &dataset.dataset.train;
        let past =
            Past::ask(train, &base.codec, &plain, &adapted, &redactor, &settings, self.observer)?;
        past.map_or(Ok(()), |past| past.write(&folder))?;
        Ok(Compared(Some(Arc::new((evaluation, records)))))
    }

    /// Where outputs are kept: named by this very program, since any change of it may change what
    /// a model computes.
    fn shelf<'a>(&self, folder: &'a Path, base: &Base) -> Option<Shelf<'a>> {
        let program = std::env::current_exe().map_err(anyhow::Error::from);
        match program.and_then(|path| files::digest_file(&path)) {
            Ok(program) => {
                Some(Shelf { folder, conditions: [program, base.arithmetic()].join("\n") })
            }
            Err(error) => {
                self.observer.say(&format!("outputs are not kept (CACHE_DIR): {error:#}"));
                None
            }
        }
    }

    /// Judges the evidence with the policies and writes decision and report. Gives the verdict, or
    /// none where evaluation was skipped on request.
    pub fn judge(
        &self,
        dataset: &Snapshot,
        candidate: &Candidate,
        compared: &Compared,
        policies: impl FnOnce(&Evidence) -> Vec<gate::Policy>,
    ) -> Result<Option<Verdict>> {
        let manifest = serde_json::to_value(dataset.manifest.as_ref())?;
        let evidence = |evaluation: Option<&Evaluation>| {
            let training = candidate.record().map(TrainingEvidence::of);
            let dataset = DatasetEvidence::read(&manifest, &dataset.digest);
            Evidence::new(dataset, evaluation, training, self.config)
        };
        let done = compared.0.as_deref();
        let decision = match (candidate.0.as_ref(), done) {
            (State::Withheld(reason), _) => Some(Decision::withheld(reason, &evidence(None))),
            (State::Here(present), Some((evaluation, _))) => {
                let (ledger, val) = (self.config.path("LEDGER"), dataset.manifest.val_digest());
                let candidate = &present.digest;
                let judgement = Judgement { val, candidate, ledger: ledger.as_deref() };
                let evidence = judgement.with_nights(evidence(Some(evaluation)))?;
                files::write_json(&self.folder.join(EVIDENCE), &evidence)?;
                Some(judgement.decide(self.folder, &evidence, policies(&evidence))?)
            }
            (State::Here(_), None) => None,
        };
        let path = self.folder.join(DECISION);
        if let Some(decision) = &decision {
            files::write_json(&path, decision)?;
        }
        self.report(&manifest, candidate, done, decision.as_ref(), &path)?;
        Ok(decision.map(|d| d.verdict))
    }

    fn report(
        &self,
        manifest: &Value,
        candidate: &Candidate,
        done: Option<&(Evaluation, Vec<Record>)>,
        decision: Option<&Decision>,
        path: &Path,
    ) -> Result<()> {
        let base = self.config.text("BASE_MODEL").to_string();
        let training = candidate.record().map(|r| Training::of(r, vec![("base".into(), base)]));
        let shown = path.display().to_string();
        let past = done.map_or(Ok(None), |_| Past::read(&self.folder.join("eval")))?;
        let account = Account {
            title: &name(self.folder),
            manifest: Some(manifest),
            training: training.as_ref(),
            evaluation: done.map(|d| &d.0),
            records: done.map_or(&[], |d| d.1.as_slice()),
            past: past.as_ref(),
            decision,
            decision_path: &shown,
        };
        let page = self.folder.join("report.html");
        files::write_bytes(&page, report::html(&account)?.as_bytes())?;
        self.observer.say(&report::summary(&account, 100));
        self.observer.say(&format!("report: {}", page.display()));
        Ok(())
    }
}

fn examples_of(rows: &[Arc<Example>]) -> Vec<&Example> {
    rows.iter().map(Arc::as_ref).collect()
}

fn name(folder: &Path) -> String {
    folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// An adapter from an earlier run, or from elsewhere: then nobody knows what it was trained on.
fn existing(folder: &Path, base: &Base) -> Result<Present> {
    let mut adapter = Adapter::load(folder, &base.decoder.linears())?;
    adapter.lora = adapter.lora.to_device(base.decoder.device())?;
    Ok(Present {
        adapter,
        lineage: Lineage::load(folder)?,
        record: None,
        digest: Adapter::digest(folder)?,
        name: name(folder),
    })
}
