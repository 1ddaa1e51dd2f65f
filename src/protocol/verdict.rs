//! From a comparison to a verdict, and again from the evidence a run left: what the gate is asked,
//! and where its answers are kept.
//!
//! `eval/evidence.json` holds all that a decision depends on, `eval/verdicts.json` every verdict
//! that was ever drawn from it. So the same evidence and policy give the same decision wherever
//! the run's folder lies, and asking policy after policy shows.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::dataset::ledger::{Judged, Ledger};
use crate::files;
use crate::gate::{self, Decision, Earlier, Evidence, Nights, Policy};

/// Where a run's evidence lies, in its folder.
pub const EVIDENCE: &str = "eval/evidence.json";
/// Where its decision lies.
pub const DECISION: &str = "eval/gate_decision.json";
/// Where every verdict on its evidence lies.
const VERDICTS: &str = "eval/verdicts.json";

/// Every verdict drawn from one run's measurements, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Verdicts {
    /// The digest of what was measured.
    measured: String,
    /// The verdicts, each once.
    verdicts: Vec<Earlier>,
}

/// What is judged: an adapter by its digest, on validation rows by theirs.
#[derive(Debug, Clone, Copy)]
pub struct Judgement<'a> {
    /// The digest of `val.jsonl`.
    pub val: &'a str,
    /// The digest of the adapter.
    pub candidate: &'a str,
    /// The ledger, where one is kept.
    pub ledger: Option<&'a Path>,
}

impl Judgement<'_> {
    /// The evidence with what the ledger says of earlier nights frozen into it.
    pub fn with_nights(&self, evidence: Evidence) -> Result<Evidence> {
        let Some(path) = self.ledger else { return Ok(evidence) };
        let ledger = Ledger::read(path)?;
        let (before, promoted) = ledger.looks_before(self.val, self.candidate);
        let earlier = |v: &Judged| Earlier {
            verdict: v.verdict.clone(),
            policies: v.policies.clone(),
            evidence: v.evidence.clone(),
        };
        let earlier = ledger.earlier(self.val, self.candidate).map(earlier).collect();
        let judged = Some(ledger.judged(self.val, self.candidate));
        Ok(Evidence { judged, nights: Some(Nights { before, promoted, earlier }), ..evidence })
    }

    /// Judges, and notes the verdict in the run and in the ledger. The decision itself is the
    /// caller's to keep.
    pub fn decide(
        &self,
        run: &Path,
        evidence: &Evidence,
        policies: Vec<Policy>,
    ) -> Result<Decision> {
        let path = run.join(VERDICTS);
        let measured = evidence.measured();
        let known: Verdicts = match path.exists() {
            true => files::read_json(&path).with_context(|| {
                format!("{} lists the verdicts on this run; restore it", path.display())
            })?,
            false => Verdicts::default(),
        };
        let mut verdicts = if known.measured == measured { known.verdicts } else { Vec::new() };
        // A verdict's own place in the list is where it was first drawn.
        let asked: Vec<String> = policies.iter().map(|p| p.digest.clone()).collect();
        let digest = evidence.judged_digest();
        let same = |v: &Earlier| v.policies == asked && v.evidence == digest;
        let before = verdicts.iter().position(same).unwrap_or(verdicts.len());
        let decision = gate::judge(evidence, policies, verdicts[..before].to_vec());
        let verdict = decision.verdict.as_str().to_string();
        if before == verdicts.len() {
            let (policies, evidence) = (asked.clone(), digest.clone());
            verdicts.push(Earlier { verdict: verdict.clone(), policies, evidence });
            files::write_json(&path, &Verdicts { measured, verdicts })?;
        }
        if let Some(path) = self.ledger {
            let judged = Judged {
                val: self.val.into(),
                candidate: self.candidate.into(),
                evidence: digest,
                verdict,
                policies: asked,
                look: evidence.sufficient(),
            };
            Ledger::note(path, judged)?;
        }
        Ok(decision)
    }
}
