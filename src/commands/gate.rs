//! `proto gate`: a run's verdict again, another policy's on the same evidence, and how often a
//! policy errs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use super::layers::Settings;
use super::terminal::Terminal;
use super::{Outcome, print};
use crate::config::{Config, Provenance};
use crate::dataset::manifest::Manifest;
use crate::dataset::snapshot::MANIFEST;
use crate::evaluate::Evaluation;
use crate::files;
use crate::gate::plan::{Plan, TWO_SIDED, items_for};
use crate::gate::{Decision, Evidence, Verdict};
use crate::protocol::{DECISION, EVIDENCE, Judgement};
use crate::report::{Account, summary};
use crate::review::page::visible;
use crate::script::policy::{self, PolicySource};
use crate::simulate::{Characteristic, Effort, GAINS, Invented, Simulation, World};

/// Judge a run's evidence again, with the policies it had or with others; or simulate how often a
/// policy errs
///
/// The same evidence and policies give the same decision, byte for byte. Every verdict is noted in
/// the run and in the ledger, and every decision lists those before it.
#[derive(Debug, Args)]
pub struct Gate {
    /// The run's folder; with --simulate its outputs stand in for invented ones
    #[arg(required_unless_present = "simulate")]
    run: Option<PathBuf>,
    /// Ask this policy instead of the run's own; may be repeated, and then all must agree.
    /// proto/gates is the shipped one
    #[arg(long, value_name = "FILE")]
    policy: Vec<PathBuf>,
    /// Keep the decision as the run's gate_decision.json
    #[arg(long)]
    write: bool,
    /// Say how many items and days it would take to see gains of some sizes
    #[arg(long, conflicts_with = "simulate")]
    plan: bool,
    /// Simulate nights whose truth is known, judged by this policy (proto/gates: the shipped one)
    #[arg(long, value_name = "POLICY", conflicts_with_all = ["policy", "write"])]
    simulate: Option<PathBuf>,
    #[command(flatten)]
    simulated: Simulated,
    /// Print JSON: the decision, the plan or the rates
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// What --simulate simulates.
#[derive(Debug, Args)]
struct Simulated {
    /// Validation items a night
    #[arg(long, default_value_t = 200, requires = "simulate", conflicts_with = "run")]
    items: usize,
    /// Sessions they come from
    #[arg(long, default_value_t = 60, requires = "simulate", conflicts_with = "run")]
    sessions: usize,
    /// Share of items that one side answers right and the other wrong
    #[arg(long, default_value_t = 0.2, requires = "simulate", conflicts_with = "run")]
    changed: f64,
    /// Single nights simulated at each true gain
    #[arg(long, default_value_t = 400, requires = "simulate")]
    runs: u64,
    /// Streams of nights with useless adapters
    #[arg(long, default_value_t = 400, requires = "simulate")]
    streams: u64,
    /// Nights in a stream
    #[arg(long, default_value_t = 30, requires = "simulate")]
    nights: u64,
}

impl Gate {
    pub(super) fn execute(self) -> Result<Outcome> {
        let config = self.settings.layers(&[])?.resolve(&[])?;
        if let Some(policy) = &self.simulate {
            return self.simulate(policy, &config);
        }
        let Some(run) = &self.run else { bail!("name a run's folder") };
        let evidence = with_thresholds(evidence_of(run)?, &config)?;
        if self.plan {
            return self.tell_plan(&evidence);
        }
        let evaluation = Evaluation::read(&run.join("eval"))?;
        let manifest = Manifest::read(&run.join("dataset").join(MANIFEST))?;
        let ledger = config.path("LEDGER");
        let judgement = Judgement {
            val: manifest.val_digest(),
            candidate: &evaluation.candidate.digest,
            ledger: ledger.as_deref(),
        };
        let files = match self.policy.is_empty() {
            true => policies_of(run)?,
            false => self.policy.clone(),
        };
        let decision = judgement.decide(run, &evidence, policy::ask_all(&files, &evidence))?;
        let path = run.join(DECISION);
        if self.write {
            files::write_json(&path, &decision)?;
        }
        self.tell(&decision, &evaluation, &path)?;
        Ok(match decision.verdict {
            Verdict::Promote => Outcome::Done,
            _ => Outcome::NotPassed,
        })
    }

    fn tell(&self, decision: &Decision, evaluation: &Evaluation, path: &Path) -> Result<()> {
        let kept = std::fs::read(path).unwrap_or_default();
        let kept = match kept == files::json(decision)? {
            true => "the same bytes as the run's gate_decision.json".to_string(),
            false => "not the run's gate_decision.json; --write keeps it there".to_string(),
        };
        if self.json {
            eprintln!("{kept}");
            return print(&format!("{}\n", serde_json::to_string_pretty(decision)?));
        }
        let account = Account {
            title: "",
            manifest: None,
            training: None,
            evaluation: Some(evaluation),
            records: &[],
            past: None,
            decision: Some(decision),
            decision_path: &format!("{} ({kept})", path.display()),
        };
        print(&summary(&account, 100))
    }

    fn tell_plan(&self, evidence: &Evidence) -> Result<Outcome> {
        let e = evidence.evaluation.as_ref().context("nothing was evaluated in this run")?;
        let metric = "exact_match";
        let delta = e.delta.get(metric).context("exact match was not measured in this run")?;
        let night = evidence.nights.clone().unwrap_or_default();
        let budget = evidence.threshold("GATE_ALPHA").map_err(anyhow::Error::msg)?;
        let p = night.allowed(budget).min(TWO_SIDED);
        let rows: Vec<(f64, Option<Plan>)> = GAINS[1..]
            .iter()
            .map(|gain| {
                let more = items_for(evidence, metric, *gain, p).map(|n| n - e.pairs as f64);
                let plan = more.map(|more| Plan::for_items(evidence, more.max(0.0).ceil() as u64));
                (*gain, plan)
            })
            .collect();
        if self.json {
            let rows: Vec<_> = rows
                .iter()
                .map(|(gain, plan)| serde_json::json!({"gain": gain, "more": plan}))
                .collect();
            print(&format!("{}\n", serde_json::to_string_pretty(&rows)?))?;
            return Ok(Outcome::Done);
        }
        let mut text = format!(
            "{} items from {} sessions; exact match changed by {:+.1} points\n",
            e.pairs,
            e.sessions,
            delta.delta * 100.0
        );
        if let Some(detectable) = delta.detectable {
            text +=
                &format!("smallest gain seen in four of five: {:.1} points\n", detectable * 100.0);
        }
        text += &format!("look {} may promote at p <= {p:.6}\n", night.look());
        for (gain, plan) in rows {
            let points = format!("{:+.0} points", gain * 100.0);
            text += &match plan {
                None => format!("{points}: unknown, since no two sessions differ\n"),
                Some(Plan { items: 0, .. }) => format!("{points}: these items are enough\n"),
                Some(plan) => format!("{points}: {}\n", plan.line()),
            };
        }
        print(&text)?;
        Ok(Outcome::Done)
    }

    fn simulate(&self, policy: &Path, config: &Config) -> Result<Outcome> {
        // A policy that cannot be read would promote nothing, and that is no figure.
        PolicySource::named(policy)?;
        let Simulated { items, sessions, changed, runs, streams, nights } = self.simulated;
        ensure!(items > 0 && sessions > 0, "--items and --sessions must be above 0");
        ensure!(sessions <= items, "--sessions {sessions} is more than --items {items}");
        ensure!((0.0..=1.0).contains(&changed), "--changed {changed} is no share between 0 and 1");
        let world = match &self.run {
            Some(run) => {
                let evidence = with_thresholds(evidence_of(run)?, config)?;
                World::real(&Evaluation::read_records(&run.join("eval"))?, evidence)?
            }
            None => {
                let suite = items / 4;
                World::Invented(Invented { items, sessions, suite, right: 0.5, changed })
            }
        };
        let observer = Terminal::new()?;
        let files = [policy.to_path_buf()];
        let seed = config.size("SEED") as u64;
        let effort = Effort { runs, streams, nights, seed };
        let ask = |evidence: &Evidence| policy::ask_all(&files, evidence);
        let found = Simulation { world: &world, ask: &ask, effort }.run(observer.as_ref())?;
        match self.json {
            true => print(&format!("{}\n", serde_json::to_string_pretty(&found)?))?,
            false => print(&told(&found))?,
        }
        Ok(Outcome::Done)
    }
}

/// The rates as a person reads them.
fn told(found: &Characteristic) -> String {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let between = |(low, high): (f64, f64)| format!("{} to {}", percent(low), percent(high));
    let mut text = String::from("true gain   promotes   (95 %)              blocks\n");
    for rates in &found.one_night {
        let gain = match rates.gain {
            0.0 => "none".to_string(),
            gain => format!("{:+.0} points", gain * 100.0),
        };
        text += &format!(
            "{gain:<11} {:>8}   {:<19} {:>6}\n",
            percent(rates.promoted),
            between(rates.interval),
            percent(rates.blocked)
        );
    }
    text += &format!(
        "useless adapters for {} nights: one is promoted in {} of {} such streams ({}), in {} of \
         nights\n",
        found.nights,
        percent(found.any_dud),
        found.streams,
        between(found.any_dud_interval),
        percent(found.dud_nights)
    );
    text
}

fn evidence_of(run: &Path) -> Result<Evidence> {
    let path = run.join(EVIDENCE);
    ensure!(
        path.exists(),
        "{} has no {EVIDENCE}: nothing was evaluated there, so there is nothing to judge",
        visible(&run.display().to_string())
    );
    files::read_json(&path)
}

/// The evidence with the thresholds that the command line sets.
fn with_thresholds(mut evidence: Evidence, config: &Config) -> Result<Evidence> {
    for (name, value, from) in config.entries() {
        let (Provenance::CommandLine, Some(value)) = (from, value.as_f64()) else { continue };
        if let Some(threshold) = evidence.thresholds.get_mut(name) {
            threshold.value = value;
        }
    }
    Ok(evidence)
}

/// The policies that a run was judged by, as far as they are still what they were.
fn policies_of(run: &Path) -> Result<Vec<PathBuf>> {
    let path = run.join(DECISION);
    let decision: Decision = files::read_json(&path)
        .with_context(|| "name the policy with --policy, proto/gates is the shipped one")?;
    ensure!(!decision.policies.is_empty(), "{}: no policy was asked", path.display());
    for used in &decision.policies {
        let remedy = "name it with --policy to judge by it as it is now";
        let now = PolicySource::named(Path::new(&used.name)).context(remedy)?.digest();
        ensure!(
            now == used.digest,
            "the gate policy {} has changed since this run was judged; {remedy}",
            used.name
        );
    }
    Ok(decision.policies.iter().map(|used| PathBuf::from(&used.name)).collect())
}
