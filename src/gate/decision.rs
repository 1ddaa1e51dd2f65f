//! The verdict: a policy's checks, the host's own after them, and what follows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::evidence::{Evidence, Threshold};
use super::nights::Earlier;
use super::plan::Plan;
use super::policy::{Check, at_least, at_most, better, beyond_chance, enough};

/// The version of `gate_decision.json`.
pub const SCHEMA_VERSION: u32 = 2;

/// Who asks for the checks no policy can loosen.
const HOST: &str = "host";

/// The metric whose interval must exclude zero.
const PRIMARY: &str = "exact_match";

/// What becomes of the adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every check passed.
    Promote,
    /// A check failed.
    Block,
    /// None failed, but there is too little evidence.
    Inconclusive,
}

impl Verdict {
    /// The name used in files and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Promote => "promote",
            Verdict::Block => "block",
            Verdict::Inconclusive => "inconclusive",
        }
    }
}

/// What a policy said.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The policy's name, as configured.
    pub name: String,
    /// The digest of its text, imports included.
    pub digest: String,
    /// Its checks, or the error it ended with.
    pub checks: Result<Vec<Check>, String>,
}

/// A policy as the decision names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyUsed {
    /// The policy's name.
    pub name: String,
    /// The digest of its text.
    pub digest: String,
}

/// The decision, as `gate_decision.json` holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The version of this form.
    pub schema_version: u32,
    /// What becomes of the adapter.
    pub verdict: Verdict,
    /// Why not `promote`: one line for each thing that stands against it.
    pub reasons: Vec<String>,
    /// Every check, the policy's first, then the host's.
    pub checks: Vec<Check>,
    /// The thresholds that differ from the shipped ones.
    pub changed_thresholds: BTreeMap<String, Threshold>,
    /// What would decide an inconclusive verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Every verdict that the same adapter got before on the same validation rows: who asks often
    /// enough gets any answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Earlier>,
    /// The policies, all of which had to agree; none when nobody was asked.
    pub policies: Vec<PolicyUsed>,
    /// The digest of the evidence.
    pub evidence: String,
}

/// Judges the evidence. All policies must agree, and the host's checks follow theirs whatever
/// those are: a policy can only tighten. One that ended with an error, or that checks nothing,
/// fails. `earlier` are verdicts that this evidence got before in the same run.
pub fn judge(evidence: &Evidence, policies: Vec<Policy>, earlier: Vec<Earlier>) -> Decision {
    let mut checks: Vec<Check> = Vec::new();
    let mut used = Vec::new();
    for policy in policies {
        let failure = |note: String| {
            let wanted = "a list of checks".into();
            let check = Check { name: "policy".into(), wanted, note, ..Check::default() };
            vec![check.by(&policy.name)]
        };
        let asked = match policy.checks {
            Ok(checks) if checks.is_empty() => failure("the policy checks nothing".into()),
            Ok(checks) => checks.into_iter().map(distrusted).collect(),
            Err(error) => failure(error),
        };
        // What another policy already checked to the letter is not shown twice.
        let same = |a: &Check, b: &Check| a.clone().by("") == b.clone().by("");
        let news: Vec<Check> =
            asked.into_iter().filter(|check| !checks.iter().any(|c| same(c, check))).collect();
        checks.extend(news);
        used.push(PolicyUsed { name: policy.name, digest: policy.digest });
    }
    let unasked = used.is_empty().then(|| "no gate policy was asked".to_string());
    add_host_checks(evidence, &mut checks);
    let frozen = evidence.nights.iter().flat_map(|n| n.earlier.iter().cloned());
    let earlier = frozen.chain(earlier).collect();
    Decision { earlier, ..Decision::of(evidence, unasked.into_iter().collect(), checks, used) }
}

/// A check from outside, kept to the rule that what was not measured does not pass.
fn distrusted(mut check: Check) -> Check {
    let measured = check.measured.is_some_and(f64::is_finite);
    let interval = check.interval.is_none_or(|(low, high)| low.is_finite() && high.is_finite());
    if !measured {
        check.measured = None;
        if check.passed {
            check.note = "nothing was measured".into();
        }
    }
    if !interval {
        check.interval = None;
    }
    check.passed &= measured && interval && !check.undecided;
    check
}

fn add_host_checks(evidence: &Evidence, checks: &mut Vec<Check>) {
    let data = &evidence.dataset;
    let wanted = |name: &str| evidence.threshold(name).unwrap_or(f64::NAN);
    let figure = |name: &str| evidence.find(name).unwrap_or(None);
    let gate = |name: &str, holds: Option<bool>, note: String| Check {
        name: name.into(),
        wanted: "true".into(),
        measured: holds.map(|h| f64::from(u8::from(h))),
        passed: holds == Some(true),
        note,
        ..Check::default()
    };
    let count = |n: Option<f64>| n.map_or("unknown".into(), |n| n.to_string());
    let mut own = vec![
        at_least(
            "delta.exact_match",
            figure("delta.exact_match"),
            wanted("GATE_MIN_DELTA_EXACT_MATCH"),
        ),
        at_least(
            "delta.keyword_recall",
            figure("delta.keyword_recall"),
            wanted("GATE_MIN_DELTA_KEYWORD_RECALL"),
        ),
        gate(
            "min_example_ok",
            data.min_example_ok,
            format!(
                "real rows: train {} of {}, val {} of {}",
                count(data.train),
                wanted("MIN_TRAIN_EXAMPLES"),
                count(data.val),
                wanted("MIN_VAL_EXAMPLES"),
            ),
        ),
        gate(
            "redaction_ok",
            data.redaction_ok,
            format!(
                "canary recall {}, rows with residue {}",
                count(data.canary_recall),
                count(data.residue),
            ),
        ),
        gate("leak_ok", data.leak_ok, "no session or component on both sides".into()),
        at_most("dataset.leakage", data.leakage, wanted("MAX_LEAK")),
    ];
    if evidence.evaluation.is_some() {
        own.push(at_least("adapter.active", figure("adapter.active"), 1.0));
        let sufficient = [
            enough(evidence, "pairs", wanted("GATE_MIN_PAIRS")),
            enough(evidence, "sessions", wanted("GATE_MIN_SESSIONS")),
            better(evidence, PRIMARY),
            beyond_chance(evidence, PRIMARY, wanted("GATE_ALPHA")),
        ];
        // These names are known to every evidence.
        own.extend(sufficient.into_iter().flatten());
    }
    // What a policy already checked to the letter is not shown twice.
    let same = |a: &Check, b: &Check| a.clone().by("") == b.clone().by("");
    own.retain(|check| !checks.iter().any(|other| same(check, other)));
    checks.extend(own.into_iter().map(|check| check.by(HOST)));
}

impl Decision {
    /// The blocking decision of a run whose training and evaluation were withheld, because a
    /// dataset gate or the leak limit failed.
    pub fn withheld(reason: &str, evidence: &Evidence) -> Decision {
        let mut checks = Vec::new();
        add_host_checks(evidence, &mut checks);
        Decision::of(evidence, vec![reason.to_string()], checks, Vec::new())
    }

    fn of(
        evidence: &Evidence,
        mut reasons: Vec<String>,
        checks: Vec<Check>,
        policies: Vec<PolicyUsed>,
    ) -> Decision {
        let verdict = if !reasons.is_empty() || checks.iter().any(Check::failed) {
            Verdict::Block
        } else if checks.iter().any(|c| !c.passed) {
            Verdict::Inconclusive
        } else {
            Verdict::Promote
        };
        let (failed, open): (Vec<_>, Vec<_>) =
            checks.iter().filter(|c| !c.passed).partition(|c| c.failed());
        reasons.extend(failed.into_iter().chain(open).map(Check::line));
        let changed = |(_, t): &(&String, &Threshold)| t.value != t.default;
        let thresholds = evidence.thresholds.iter().filter(changed);
        Decision {
            schema_version: SCHEMA_VERSION,
            verdict,
            reasons,
            changed_thresholds: thresholds.map(|(name, t)| (name.clone(), *t)).collect(),
            plan: match verdict {
                Verdict::Inconclusive => Plan::of(evidence, &checks),
                _ => None,
            },
            checks,
            earlier: Vec::new(),
            policies,
            evidence: evidence.digest(),
        }
    }

    /// What a reader is told beside the checks: the reasons, what would decide, what was said
    /// before.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = self.reasons.clone();
        remarks.extend(self.plan.as_ref().map(Plan::line));
        if !self.earlier.is_empty() {
            let said: Vec<&str> = self.earlier.iter().map(|e| e.verdict.as_str()).collect();
            remarks.push(format!(
                "the same adapter was judged on these rows before: {}",
                said.join(", ")
            ));
        }
        remarks
    }

    /// One line for the reader.
    pub fn line(&self) -> String {
        let passed = self.checks.iter().filter(|c| c.passed).count();
        let first = self.reasons.first().map(|r| format!("; {r}")).unwrap_or_default();
        format!(
            "gate: {}: {passed} of {} checks passed{first}",
            self.verdict.as_str(),
            self.checks.len()
        )
    }
}
