//! The account as the rows and words both forms of the report show.

use serde::Serialize;
use serde_json::Value;

use super::Account;
use super::chart::Chart;
use super::facts::{Facts, StageRow, Table, dataset, stages, tables};
use super::figures::{MetricRow, SliceRow, metric_rows, percent, slice_rows};
use super::sides::{Changes, Side, changes, examples, past};
use crate::evaluate::{Evaluation, Metric, Past};
use crate::gate::{Check, Decision, Verdict};

#[derive(Debug, Serialize)]
pub(super) struct View {
    pub title: String,
    pub verdict: Option<&'static str>,
    pub sentence: String,
    pub reasons: Vec<String>,
    pub decision_path: String,
    pub champion: bool,
    pub scope: String,
    pub notes: Vec<String>,
    pub metrics: Vec<MetricRow>,
    pub slices: Vec<SliceRow>,
    pub checks: Vec<CheckRow>,
    pub examples: Vec<Side>,
    pub changes: Vec<Changes>,
    pub past_line: String,
    pub past: Vec<Changes>,
    pub training: Vec<(String, String)>,
    pub chart: Option<Chart>,
    pub stages: Vec<StageRow>,
    pub tables: Vec<Table>,
    pub dataset: Vec<Facts>,
    pub thresholds: Vec<(String, f64, f64)>,
    pub digests: Vec<(String, String)>,
}

#[derive(Debug, Serialize)]
pub(super) struct CheckRow {
    pub name: String,
    pub wanted: String,
    pub measured: String,
    pub outcome: &'static str,
    pub note: String,
    pub author: String,
}

impl View {
    pub fn of(account: &Account) -> View {
        let evaluation = account.evaluation;
        let decision = account.decision;
        let champion = evaluation.is_some_and(|e| e.champion.is_some());
        let empty = Value::Null;
        let manifest = account.manifest.unwrap_or(&empty);
        View {
            title: account.title.into(),
            verdict: decision.map(|d| d.verdict.as_str()),
            sentence: sentence(account),
            reasons: decision.map(Decision::remarks).unwrap_or_default(),
            decision_path: account.decision_path.into(),
            champion,
            scope: evaluation.map(scope).unwrap_or_default(),
            notes: evaluation.map(notes).unwrap_or_default(),
            metrics: evaluation.map(metric_rows).unwrap_or_default(),
            slices: evaluation.map(slice_rows).unwrap_or_default(),
            checks: decision.iter().flat_map(|d| &d.checks).map(check_row).collect(),
            examples: examples(account.records),
            changes: evaluation.map(|e| changes(e, account.records)).unwrap_or_default(),
            past_line: account.past.map(Past::line).unwrap_or_default(),
            past: account.past.map(past).unwrap_or_default(),
            training: account.training.map(|t| t.facts.clone()).unwrap_or_default(),
            chart: account.training.and_then(Chart::of),
            stages: stages(manifest),
            tables: tables(manifest),
            dataset: dataset(manifest),
            thresholds: decision
                .iter()
                .flat_map(|d| &d.changed_thresholds)
                .map(|(name, t)| (name.clone(), t.value, t.default))
                .collect(),
            digests: digests(evaluation, decision),
        }
    }
}

fn sentence(account: &Account) -> String {
    match (account.decision.map(|d| d.verdict), account.evaluation) {
        (Some(Verdict::Promote), _) => {
            "Every check passed: the adapter is better than the model it was made from.".into()
        }
        (Some(Verdict::Block), None) => {
            "The dataset did not pass, so nothing was trained or evaluated.".into()
        }
        (Some(Verdict::Block), Some(_)) => {
            "At least one check failed: the adapter must not be used.".into()
        }
        (Some(Verdict::Inconclusive), _) => {
            "Nothing failed, but there is too little evidence to tell.".into()
        }
        (None, Some(_)) => "Evaluated; no decision was asked for.".into(),
        (None, None) => "No evaluation was asked for.".into(),
    }
}

fn scope(evaluation: &Evaluation) -> String {
    let counts = &evaluation.counts;
    let plural = |n: u64| if n == 1 { "" } else { "s" };
    format!(
        "{} paired item{} from {} session{}",
        counts.pairs,
        plural(counts.pairs),
        counts.sessions,
        plural(counts.sessions)
    )
}

/// What a reader must know to trust the figures.
fn notes(evaluation: &Evaluation) -> Vec<String> {
    let mut notes = Vec::new();
    if evaluation.adapter_active == Some(false) {
        notes.push(
            "The adapter changes nothing: its loss equals the base's on every row, bit for bit."
                .to_string(),
        );
    }
    if let Some(detectable) =
        evaluation.paired.overall.get(Metric::ExactMatch.name()).and_then(|d| d.detectable)
    {
        let points = detectable * 100.0;
        notes.push(format!("A true change in exact match of {points:.1} points or more would show in four of five cases."));
    }
    let own = evaluation.references.self_written;
    if own > 0.0 {
        notes.push(format!(
            "{} of the references were written by the base itself, which pulls every difference down.",
            percent(own)
        ));
    }
    for (reason, n) in &evaluation.counts.left_out {
        notes.push(format!("Left out: {n} ({reason})."));
    }
    notes
}

fn check_row(check: &Check) -> CheckRow {
    CheckRow {
        name: check.name.clone(),
        wanted: check.wanted.clone(),
        measured: check.measured.map_or("nothing".into(), |m| m.to_string()),
        outcome: match (check.passed, check.undecided) {
            (true, _) => "passed",
            (false, true) => "open",
            (false, false) => "failed",
        },
        note: check.note.clone(),
        author: check.author.clone(),
    }
}

fn digests(evaluation: Option<&Evaluation>, decision: Option<&Decision>) -> Vec<(String, String)> {
    let mut digests = Vec::new();
    let mut add = |name: &str, digest: &str| {
        if !digest.is_empty() {
            digests.push((name.to_string(), digest.to_string()));
        }
    };
    if let Some(evaluation) = evaluation {
        add("base", &evaluation.base.digest);
        if let Some(champion) = &evaluation.champion {
            add("champion", &champion.digest);
        }
        add("adapter", &evaluation.candidate.digest);
        add("items.jsonl", &evaluation.items_digest);
        for (suite, used) in &evaluation.suites {
            add(&format!("suite {suite}"), &used.digest);
        }
    }
    if let Some(decision) = decision {
        for policy in &decision.policies {
            add(&format!("policy {}", policy.name), &policy.digest);
        }
        add("evidence", &decision.evidence);
    }
    digests
}
