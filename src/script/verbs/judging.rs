//! From a dataset to a decision: train_qlora, evaluate, gate.

use std::path::PathBuf;

use rhai::plugin::*;
use rhai::{FnPtr, Map};

use super::{host, scoring};
use crate::dataset::snapshot::Snapshot;
use crate::evaluate::{Answer, Custom, Item, Scored};
use crate::gate::Verdict;
use crate::protocol::{Candidate, Compared};
use crate::script::options::Options;
use crate::script::policy;
use crate::script::{RhaiResultOf, fail};

/// Registers the steps.
pub fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Candidate>("Adapter");
    engine.register_type_with_name::<Compared>("Evaluation");
    engine.register_global_module(exported_module!(verbs).into());
}

/// Configuration keys that `train_qlora` takes as options, in lower case.
const TRAINING: [&str; 16] = [
    "LORA_R",
    "LORA_ALPHA",
    "LORA_DROPOUT",
    "LORA_TARGET_MODULES",
    "LEARNING_RATE",
    "LR_SCHEDULER_TYPE",
    "WARMUP_RATIO",
    "WEIGHT_DECAY",
    "MAX_GRAD_NORM",
    "PER_DEVICE_TRAIN_BATCH_SIZE",
    "GRADIENT_ACCUMULATION_STEPS",
    "NUM_TRAIN_EPOCHS",
    "MAX_STEPS",
    "EVAL_STEPS",
    "EARLY_STOPPING_PATIENCE",
    "SEED",
];

#[export_module]
mod verbs {
    /// Trains an adapter on the dataset. With `--skip-train` it is ADAPTER or the champion; where
    /// a dataset gate failed nothing is trained, and the gate will say why.
    #[rhai_fn(name = "train_qlora", pure, return_raw)]
    pub fn train(ctx: NativeCallContext, dataset: &mut Snapshot) -> RhaiResultOf<Candidate> {
        train_with(ctx, dataset, Map::new())
    }

    /// Trains an adapter with some settings changed: `learning_rate`, `lora_r`, `max_steps`, …
    #[rhai_fn(name = "train_qlora", pure, return_raw)]
    pub fn train_with(
        ctx: NativeCallContext,
        dataset: &mut Snapshot,
        options: Map,
    ) -> RhaiResultOf<Candidate> {
        let overrides = Options::overrides("train_qlora", options, &TRAINING)?;
        let host = host(&ctx)?;
        let config = host.config.with(&overrides).map_err(fail)?;
        host.protocol(|p| p.train(dataset, &config)).map_err(fail)
    }

    /// Asks base and adapter every validation item and every fixed suite.
    #[rhai_fn(name = "evaluate", pure, return_raw)]
    pub fn evaluate(
        ctx: NativeCallContext,
        dataset: &mut Snapshot,
        adapter: Candidate,
    ) -> RhaiResultOf<Compared> {
        evaluate_with(ctx, dataset, adapter, Map::new())
    }

    /// The same with metrics of your own: `#{metrics: #{short: |item, output| output.tokens < 50}}`.
    /// Each closure gives a number, true or false, or `()` where the metric does not apply to an
    /// item.
    #[rhai_fn(name = "evaluate", pure, return_raw)]
    pub fn evaluate_with(
        ctx: NativeCallContext,
        dataset: &mut Snapshot,
        adapter: Candidate,
        options: Map,
    ) -> RhaiResultOf<Compared> {
        let closures = Options::read("evaluate", options, &["metrics"])?.closures("metrics")?;
        let scores = |name: &str, closure: &FnPtr, asked: &[(&Item, &Answer)]| {
            scoring::scores(&ctx, name, closure, asked).map_err(|e| anyhow::Error::new(*e))
        };
        let scored: Vec<Box<Scored>> = closures
            .iter()
            .map(|(name, closure)| -> Box<Scored> {
                Box::new(move |asked: &[(&Item, &Answer)]| scores(name, closure, asked))
            })
            .collect();
        let metrics: Vec<Custom> = closures
            .iter()
            .zip(&scored)
            .map(|((name, _), scores)| Custom { name: name.clone(), scores: scores.as_ref() })
            .collect();
        let compared = host(&ctx)?.protocol(|p| p.evaluate(dataset, &adapter, &metrics));
        // What a closure raised goes on as it was, with its place.
        compared.map_err(|error| error.downcast::<EvalAltResult>().map_or_else(fail, Box::new))
    }

    /// Judges: GATE_SCRIPT's policies, or the shipped one, and then the checks nothing can loosen.
    /// Writes the decision and the report; the run's exit status follows the verdict.
    #[rhai_fn(pure, return_raw)]
    pub fn gate(
        ctx: NativeCallContext,
        dataset: &mut Snapshot,
        adapter: Candidate,
        evaluation: Compared,
    ) -> RhaiResultOf<()> {
        let host = host(&ctx)?;
        let named: Vec<PathBuf> =
            host.config.list("GATE_SCRIPT").iter().map(PathBuf::from).collect();
        let asked = |evidence: &_| policy::ask_all(&named, evidence);
        let verdict = host.protocol(|p| p.judge(dataset, &adapter, &evaluation, asked));
        if let Some(verdict) = verdict.map_err(fail)? {
            host.set_passed(verdict == Verdict::Promote);
        }
        Ok(())
    }

    /// The best loss on `tune`, in nats per token: what a sweep compares.
    #[rhai_fn(get = "tune_loss", pure, return_raw)]
    pub fn tune_loss(adapter: &mut Candidate) -> RhaiResultOf<f64> {
        adapter.tune_loss().map_err(fail)
    }

    /// How many steps were taken.
    #[rhai_fn(get = "steps", pure)]
    pub fn steps(adapter: &mut Candidate) -> i64 {
        adapter.record().map_or(0, |r| r.steps as i64)
    }

    /// The difference of a metric, adapter minus base, as a fraction.
    #[rhai_fn(pure, return_raw)]
    pub fn delta(evaluation: &mut Compared, metric: &str) -> RhaiResultOf<f64> {
        evaluation.delta(metric).map_err(fail)
    }

    /// One line: what it is.
    #[rhai_fn(name = "to_string", name = "to_debug", name = "print", name = "debug", pure)]
    pub fn show_adapter(adapter: &mut Candidate) -> String {
        adapter.to_string()
    }

    /// One line: what came out.
    #[rhai_fn(name = "to_string", name = "to_debug", name = "print", name = "debug", pure)]
    pub fn show_evaluation(evaluation: &mut Compared) -> String {
        evaluation.to_string()
    }
}
