//! Evidence as policies see it: read-only, typed, and strict about names.

use std::collections::BTreeMap;
use std::sync::Arc;

use rhai::plugin::*;
use rhai::{Array, ImmutableString, Map};

use super::read;
use crate::evaluate::metrics::unknown as unknown_name;
use crate::evaluate::{Delta, Metric, rounded};
use crate::gate::evidence::Deltas;
use crate::gate::{self, DatasetEvidence, EvaluationEvidence, Evidence as Whole};
use crate::script::RhaiResultOf;
use crate::script::check::defaults;
use crate::script::compare::named;
use crate::simulate::fixtures;

/// A view on evidence, or on one slice of it (a suite, a tool) or one comparison in it.
#[derive(Debug, Clone)]
pub struct Evidence {
    whole: Arc<Whole>,
    figures: Arc<BTreeMap<String, Option<f64>>>,
    /// What the names of the differences in view begin with: `suite.general`.
    scope: Option<ImmutableString>,
}

impl Evidence {
    /// All of it.
    pub fn new(whole: Whole) -> Self {
        let figures = Arc::new(whole.figures());
        Evidence { whole: Arc::new(whole), figures, scope: None }
    }

    /// What the view looks at.
    pub fn whole(&self) -> &Whole {
        &self.whole
    }

    /// What the view is narrowed to.
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    /// The full name of a difference within this view.
    pub fn difference(&self, metric: &str) -> String {
        format!("{}.{metric}", self.scope.as_deref().unwrap_or("delta"))
    }

    /// The view narrowed to a slice of a family.
    fn narrowed(&self, family: &str, slice: &str, slices: Vec<String>) -> RhaiResultOf<Evidence> {
        if !slices.iter().any(|known| known == slice) {
            let known = if slices.is_empty() { "none".into() } else { slices.join(", ") };
            return Err(format!("unknown {family} `{slice}`; there is {known}").into());
        }
        Ok(Evidence { scope: Some(format!("{family}.{slice}").into()), ..self.clone() })
    }

    /// A figure by its full name; one that is unknown or was not measured is an error.
    fn figure(&self, name: &str) -> RhaiResultOf<f64> {
        match self.figures.get(name) {
            Some(Some(figure)) if figure.is_finite() => Ok(*figure),
            _ => Ok(self.whole.lookup(name)?),
        }
    }

    /// A column's mean of a metric.
    fn mean(&self, column: &str, metric: &str) -> RhaiResultOf<f64> {
        if let Some(scope) = &self.scope {
            let known = "ask its `delta`, `lower` or `upper`";
            return Err(format!("of `{scope}` only differences are known; {known}").into());
        }
        self.figure(&format!("{column}.{metric}"))
    }
}

/// Registers the view.
pub fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Evidence>("Evidence");
    engine.register_global_module(exported_module!(view).into());
}

/// Registers evidence written out in a test.
pub fn register_for_tests(engine: &mut Engine) {
    engine.register_global_module(exported_module!(made).into());
}

#[export_module]
mod view {
    /// What the candidate reached on a metric.
    #[rhai_fn(pure, return_raw)]
    pub fn metric(evidence: &mut Evidence, name: &str) -> RhaiResultOf<f64> {
        evidence.mean("candidate", name)
    }

    /// What the base without adapter reached.
    #[rhai_fn(pure, return_raw)]
    pub fn baseline(evidence: &mut Evidence, name: &str) -> RhaiResultOf<f64> {
        evidence.mean("base", name)
    }

    /// What the adapter now in use reached; see `has_champion`.
    #[rhai_fn(pure, return_raw)]
    pub fn champion(evidence: &mut Evidence, name: &str) -> RhaiResultOf<f64> {
        evidence.mean("champion", name)
    }

    /// Whether there was an adapter in use to compare with.
    #[rhai_fn(pure)]
    pub fn has_champion(evidence: &mut Evidence) -> bool {
        evidence.whole.has_champion()
    }

    /// Candidate minus base.
    #[rhai_fn(pure, return_raw)]
    pub fn delta(evidence: &mut Evidence, name: &str) -> RhaiResultOf<f64> {
        evidence.figure(&evidence.difference(name))
    }

    /// The lower end of the difference's 95 % interval.
    #[rhai_fn(pure, return_raw)]
    pub fn lower(evidence: &mut Evidence, name: &str) -> RhaiResultOf<f64> {
        evidence.figure(&(evidence.difference(name) + ".low"))
    }

    /// The upper end of the difference's 95 % interval.
    #[rhai_fn(pure, return_raw)]
    pub fn upper(evidence: &mut Evidence, name: &str) -> RhaiResultOf<f64> {
        evidence.figure(&(evidence.difference(name) + ".high"))
    }

    /// A fixed suite; it has differences of its own.
    #[rhai_fn(pure, return_raw)]
    pub fn suite(evidence: &mut Evidence, name: &str) -> RhaiResultOf<Evidence> {
        evidence.narrowed("suite", name, evidence.whole.suites())
    }

    /// The items whose reference calls a tool; they have differences of their own.
    #[rhai_fn(pure, return_raw)]
    pub fn tool(evidence: &mut Evidence, name: &str) -> RhaiResultOf<Evidence> {
        evidence.narrowed("tool", name, evidence.whole.tools())
    }

    /// The comparison with the adapter now in use; see `has_champion`.
    #[rhai_fn(pure, return_raw)]
    pub fn against_champion(evidence: &mut Evidence) -> RhaiResultOf<Evidence> {
        if !evidence.whole.has_champion() {
            return Err("there was no adapter in use to compare with; ask `has_champion`".into());
        }
        Ok(Evidence { scope: Some("champion_delta".into()), ..evidence.clone() })
    }

    /// The names of the fixed suites.
    #[rhai_fn(pure)]
    pub fn suites(evidence: &mut Evidence) -> Array {
        evidence.whole.suites().into_iter().map(Dynamic::from).collect()
    }

    /// The names of the tools that the references call: `evidence.tool("read").delta("exact_match")`.
    #[rhai_fn(pure)]
    pub fn tools(evidence: &mut Evidence) -> Array {
        evidence.whole.tools().into_iter().map(Dynamic::from).collect()
    }

    /// Any figure by its full name, such as `loss.val.delta` or `dataset.leakage`.
    #[rhai_fn(pure, return_raw)]
    pub fn value(evidence: &mut Evidence, name: &str) -> RhaiResultOf<f64> {
        evidence.figure(name)
    }

    /// Whether a figure was measured in this run; its name must be known.
    #[rhai_fn(pure, return_raw)]
    pub fn measured(evidence: &mut Evidence, name: &str) -> RhaiResultOf<bool> {
        Ok(evidence.whole.find(name)?.is_some())
    }

    /// A threshold in force, by its configuration key: every `GATE_…` number and the limits of
    /// the dataset.
    #[rhai_fn(pure, return_raw)]
    pub fn threshold(evidence: &mut Evidence, key: &str) -> RhaiResultOf<f64> {
        Ok(evidence.whole.threshold(key)?)
    }

    /// One line.
    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn show(evidence: &mut Evidence) -> String {
        let measured = evidence.figures.values().flatten().count();
        format!("Evidence({measured} figures)")
    }
}

#[export_module]
mod made {
    /// Evidence for testing a policy, from figures by name:
    /// `evidence(#{"delta.exact_match": 0.2, "delta.exact_match.low": 0.1, pairs: 60})`.
    /// Thresholds are the shipped ones unless named: `GATE_MAX_SUITE_DROP: 0.1`.
    #[rhai_fn(return_raw)]
    pub fn evidence(figures: Map) -> RhaiResultOf<Evidence> {
        let mut whole = Whole::new(DatasetEvidence::default(), None, None, &defaults());
        for (name, value) in figures {
            set(&mut whole, &name, figure_of(&name, &value)?)?;
        }
        Ok(Evidence::new(whole))
    }

    /// Evidence as it comes out of a whole run, for testing a policy: `good` (a clear gain),
    /// `dud` (no better), `harmful`, `few` (too few sessions), `late` (a small gain after a
    /// hundred nights), `champion` (behind the adapter in use), `leaky` (a secret in an answer).
    /// Their tools are read, edit and bash, their suite is general.
    #[rhai_fn(return_raw)]
    pub fn fixture(name: &str) -> RhaiResultOf<Evidence> {
        Ok(Evidence::new(fixtures::fixture(name)?))
    }

    /// The same evidence with a tool, a suite or a metric that fares worse by so much:
    /// `fixture("good").slip("bash", 0.10)`. Of tools and suites it is exact match.
    #[rhai_fn(return_raw)]
    pub fn slip(evidence: &mut Evidence, what: &str, by: Dynamic) -> RhaiResultOf<Evidence> {
        let by = figure_of(what, &by)?;
        let mut whole = evidence.whole.as_ref().clone();
        let Some(e) = &mut whole.evaluation else {
            return Err("this evidence has no evaluation".into());
        };
        let (tools, suites) = (evidence.whole.tools(), evidence.whole.suites());
        let metric = Metric::ExactMatch.name();
        let delta = match e.tool.get_mut(what).or(e.suite.get_mut(what)) {
            Some(deltas) => deltas.get_mut(metric),
            None => e.delta.get_mut(what),
        };
        let Some(delta) = delta else {
            let metrics = evidence.whole.evaluation.iter().flat_map(|e| e.delta.keys().cloned());
            let known: Vec<String> = tools.into_iter().chain(suites).chain(metrics).collect();
            let known = known.iter().map(String::as_str);
            return Err(unknown_name("tool, suite or metric", what, known).into());
        };
        delta.delta = rounded(delta.delta - by);
        delta.low = delta.low.map(|low| rounded(low - by));
        delta.high = delta.high.map(|high| rounded(high - by));
        Ok(Evidence::new(whole))
    }

    /// The same evidence with one figure or threshold changed:
    /// `fixture("good").having("pairs", 40).having("GATE_MIN_PAIRS", 30)`.
    #[rhai_fn(return_raw)]
    pub fn having(evidence: &mut Evidence, name: &str, value: Dynamic) -> RhaiResultOf<Evidence> {
        let mut whole = evidence.whole.as_ref().clone();
        set(&mut whole, name, figure_of(name, &value)?)?;
        Ok(Evidence::new(whole))
    }

    /// The verdict on some evidence where a policy answers with these checks: `promote`, `block`
    /// or `inconclusive`. The program's own checks take part as they do in a run.
    pub fn verdict(evidence: Evidence, checks: Array) -> String {
        let policy = gate::Policy {
            name: "tested".into(),
            digest: String::new(),
            checks: read("the test", Dynamic::from(checks)).map_err(|e| format!("{e:#}")),
        };
        let decision = gate::judge(evidence.whole(), vec![policy], Vec::new());
        decision.verdict.as_str().into()
    }
}

/// A figure as a script writes it; flags count as 0 and 1.
fn figure_of(name: &str, value: &Dynamic) -> Result<f64, String> {
    let flag = value.as_bool().map(|flag| f64::from(u8::from(flag)));
    let whole_number = value.as_int().map(|n| n as f64);
    let number = value.as_float().or(whole_number).or(flag);
    number.map_err(|_| format!("figure `{name}` must be a number, not {}", named(value)))
}

/// Puts a figure where it is looked up.
fn set(whole: &mut Whole, name: &str, number: f64) -> Result<(), String> {
    if let Some(threshold) = whole.thresholds.get_mut(name) {
        threshold.value = number;
        return Ok(());
    }
    let data = &mut whole.dataset;
    match name {
        "dataset.min_example_ok" => data.min_example_ok = Some(number != 0.0),
        "dataset.redaction_ok" => data.redaction_ok = Some(number != 0.0),
        "dataset.train" => data.train = Some(number),
        "dataset.val" => data.val = Some(number),
        "dataset.leakage" => data.leakage = Some(number),
        "redaction.canary_recall" => data.canary_recall = Some(number),
        "redaction.residue" => data.residue = Some(number),
        _ => {
            let evaluation = whole.evaluation.get_or_insert_default();
            return set_measured(evaluation, name, number);
        }
    }
    Ok(())
}

fn set_measured(e: &mut EvaluationEvidence, name: &str, number: f64) -> Result<(), String> {
    let parts: Vec<&str> = name.split('.').collect();
    let slices = match parts[0] {
        "suite" => Some(&mut e.suite),
        "tool" => Some(&mut e.tool),
        "source" => Some(&mut e.source),
        "task_category" => Some(&mut e.task_category),
        _ => None,
    };
    if let (Some(slices), [_, slice, rest @ ..]) = (slices, parts.as_slice()) {
        let deltas = slices.entry(slice.to_string()).or_default();
        return set_difference(deltas, rest, number).ok_or_else(|| unknown(name));
    }
    let deltas = match parts[0] {
        "delta" => Some(&mut e.delta),
        "champion_delta" => Some(e.champion_delta.get_or_insert_default()),
        _ => None,
    };
    if let Some(deltas) = deltas {
        return set_difference(deltas, &parts[1..], number).ok_or_else(|| unknown(name));
    }
    match parts.as_slice() {
        ["pairs"] => e.pairs = number as u64,
        ["sessions"] => e.sessions = number as u64,
        ["regressions"] => e.regressions = number as u64,
        ["fixes"] => e.fixes = number as u64,
        ["days"] => e.days = Some(number),
        ["references", "self_written"] => e.self_written = number,
        ["secrets", "candidate"] => e.secrets = Some(number as u64),
        ["secrets", "canary_recall"] => e.canary_recall = Some(number),
        ["adapter", "active"] => e.adapter_active = Some(number != 0.0),
        [column @ ("base" | "champion" | "candidate"), metric] => {
            let means = e.means.entry(column.to_string()).or_default();
            means.insert(metric.to_string(), number);
        }
        ["loss", group, column @ ("base" | "champion" | "candidate")] => {
            e.loss.entry(group.to_string()).or_default().insert(column.to_string(), number);
        }
        _ => return Err(unknown(name)),
    }
    Ok(())
}

/// Sets `metric` or `metric.detail`; `None` where the name says neither.
fn set_difference(deltas: &mut Deltas, name: &[&str], number: f64) -> Option<()> {
    let (metric, detail) = match name {
        [metric] => (metric, ""),
        [metric, detail] => (metric, *detail),
        _ => return None,
    };
    let delta = deltas.entry(metric.to_string()).or_insert_with(no_difference);
    match detail {
        "" => delta.delta = number,
        "low" => delta.low = Some(number),
        "high" => delta.high = Some(number),
        "p" => delta.p = number,
        "p_greater" => delta.p_greater = number,
        "p_less" => delta.p_less = number,
        "sign_p" => delta.sign_p = number,
        "detectable" => delta.detectable = Some(number),
        _ => return None,
    }
    Some(())
}

/// A difference of nothing, to be filled in.
fn no_difference() -> Delta {
    Delta {
        delta: 0.0,
        low: None,
        high: None,
        interval: "given".into(),
        p: 1.0,
        p_greater: 1.0,
        p_less: 1.0,
        sign_p: 1.0,
        rose: 0,
        fell: 0,
        pairs: 0,
        sessions: 0,
        detectable: None,
    }
}

fn unknown(name: &str) -> String {
    format!(
        "no evidence has a figure `{name}`; name figures as policies look them up: delta.METRIC, \
         delta.METRIC.low, suite.NAME.METRIC, candidate.METRIC, dataset.leakage, pairs, GATE_…"
    )
}
