//! Labels and train flags of what was read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::example::{identity, number_repeats};
use super::{Example, Held, Kind, Rows, Stage};
use crate::label::reviews::{Applied, Reviews, Verdict};
use crate::label::{self, Policy};
use crate::trace::catalogue::Generation;
use crate::trace::intake::{Got, Intake};
use crate::trace::{Message, Role, Trace};

/// Verdicts of a person and what became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reviewed {
    /// The SHA-256 of the file that held them, in hex; empty where there was none.
    pub sha256: String,
    /// Those applied, as `good`, `bad` and `fix`; `changed` are those whose answer says something
    /// else by now, `absent` those whose session was not read, `unsayable` corrections that cannot
    /// be said in the terms of this run's calls.
    pub counts: BTreeMap<String, u64>,
}

impl Reviewed {
    pub(super) fn and(&mut self, other: &Reviewed) {
        if self.sha256.is_empty() {
            self.sha256.clone_from(&other.sha256);
        }
        for (what, n) in &other.counts {
            *self.counts.entry(what.clone()).or_default() += n;
        }
    }
}

/// What became of one row.
#[derive(Default)]
struct Judged {
    /// The row, and those with a corrected answer.
    rows: Vec<Held>,
    /// What it was given.
    got: Option<Got>,
    /// The labels of its answers.
    labels: Vec<&'static str>,
    /// Why messages lost their train flag.
    masked: Vec<&'static str>,
    applied: Applied,
}

/// Labels every turn of the real rows, a person's verdicts first, and takes the loss from what
/// the policy does not train; a stage `label` that drops nothing.
///
/// A corrected answer adds a row: the session up to there with the answer as the person wrote it,
/// and only that is trained. It is a counterexample, because that is what is written against a
/// past mistake: nobody had this session, so it may not count as one where rows are counted or
/// answers judged, and its session leaves validation, where the mistake would be the reference.
///
/// With `intake` each row is first given what its agent did not store, and its calls are said in
/// one version's terms.
pub fn judge(
    mut rows: Rows,
    intake: Option<(&Intake, Option<Generation>)>,
    policy: &Policy,
    reviews: &Reviews,
) -> Result<Rows> {
    let pager = rows.pager.clone();
    let input = rows.len() as u64;
    let held = Arc::unwrap_or_clone(std::mem::take(&mut rows.examples));
    let one = |row: Held| -> Result<Judged> {
        if row.kind != Kind::Real {
            return Ok(Judged { rows: vec![row], ..Judged::default() });
        }
        let mut judged = row.take()?;
        let got = intake.map(|(intake, target)| intake.apply(&mut judged.trace, target));
        if got.as_ref().is_some_and(|got| got.changed) {
            judged.id = identity(judged.kind, &judged.trace, 0);
        }
        let trace = &mut judged.trace;
        let applied = reviews.apply(trace);
        label::label(trace);
        let mut masked = policy.mask(trace);
        let answers = trace.messages.iter().filter(|m| m.role == Role::Assistant);
        let labels = answers.filter_map(|m| Some(m.label.as_ref()?.outcome.as_str())).collect();
        let mut fixes = Vec::new();
        for (at, fix) in &applied.fixes {
            let mut trace = corrected(&judged.trace, *at, fix);
            masked.extend(policy.mask(&mut trace));
            let fixed = Example::generated(Kind::Counterexample, &judged, trace, *at as u64);
            fixes.push(pager.hold(fixed)?);
        }
        let rows = [vec![pager.hold(judged)?], fixes].concat();
        Ok(Judged { rows, got, labels, masked, applied })
    };
    let judged: Vec<Result<Judged>> = held.into_par_iter().map(one).collect();
    let judged = judged.into_iter().collect::<Result<Vec<_>>>()?;
    let (mut masked, mut counted) = (BTreeMap::new(), BTreeMap::new());
    let (mut found, mut changed) = (BTreeSet::new(), BTreeSet::new());
    let mut catalogue = BTreeMap::new();
    for Judged { got, masked: reasons, labels, applied, .. } in &judged {
        got.iter().for_each(|got| got.count(&mut catalogue));
        for reason in reasons {
            *masked.entry(reason.to_string()).or_default() += 1;
        }
        for label in labels {
            *counted.entry(label.to_string()).or_default() += 1;
        }
        found.extend(&applied.found);
        changed.extend(&applied.changed);
    }
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for review in reviews.iter() {
        let about = review.about();
        let what = match review.verdict {
            // Where several rows hold a session, one that holds the answer is enough.
            _ if !found.contains(&about) && changed.contains(&about) => "changed",
            _ if !found.contains(&about) => "absent",
            Verdict::Fix if review.message.is_none() => "unsayable",
            verdict => verdict.as_str(),
        };
        *counts.entry(what.into()).or_default() += 1;
    }
    let mut examples: Vec<_> = judged.into_iter().flat_map(|judged| judged.rows).collect();
    number_repeats(&mut examples);
    let stage = Stage {
        name: "label".into(),
        input,
        added: examples.len() as u64 - input,
        output: examples.len() as u64,
        ..Stage::default()
    };
    Ok(rows.after(examples, stage).noting(|account| {
        if intake.is_some() {
            account.catalogue = catalogue;
        }
        account.masked = masked;
        account.labels = counted;
        account.reviews = Reviewed { sha256: reviews.sha256.clone(), counts };
    }))
}

/// A session up to an answer, with that answer corrected.
fn corrected(trace: &Trace, at: usize, fix: &Message) -> Trace {
    let mut messages = trace.messages[..at].to_vec();
    messages.iter_mut().for_each(|message| message.train = false);
    messages.push(fix.clone());
    // How the session ended says nothing about the correction.
    Trace { outcome: None, keywords: Vec::new(), ..trace.saying(messages) }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{chat, read};
    use super::*;
    use crate::config::Layers;
    use crate::label::Review;
    use crate::trace::Outcome;

    fn policy(settings: &[&str]) -> Policy {
        let mut layers = Layers::new();
        for setting in settings {
            layers.command_line(setting).unwrap();
        }
        Policy::from_config(&layers.resolve(&[]).unwrap()).unwrap()
    }

    fn one(verdict: Verdict, fix: Option<&str>) -> (Rows, Reviews) {
        let row = chat("s", "rename it", "Renamed the wrong one.");
        let review = Review::of(&row.trace, 1, verdict, 0).unwrap();
        let message = fix.map(|text| Message::text(Role::Assistant, text));
        let mut reviews = Reviews::default();
        reviews.note(Review { message, ..review });
        (Rows::new(vec![row], Stage::made("made", 1)), reviews)
    }

    /// The trained answers.
    fn trained(rows: &Rows) -> Vec<String> {
        let rows = read(&rows.examples);
        let messages = rows.iter().flat_map(|e| &e.trace.messages);
        messages.filter(|m| m.train).map(|m| m.content.clone()).collect()
    }

    #[test]
    fn a_verdict_changes_what_is_trained() {
        let (rows, good) = one(Verdict::Good, None);
        let (_, bad) = one(Verdict::Bad, None);
        let only_good = policy(&["TRAIN_OUTCOMES=good"]);
        assert_eq!(
            trained(&judge(rows.clone(), None, &only_good, &Reviews::default()).unwrap()).len(),
            0
        );
        assert_eq!(trained(&judge(rows.clone(), None, &only_good, &good).unwrap()).len(), 1);
        let usual = policy(&[]);
        assert_eq!(
            trained(&judge(rows.clone(), None, &usual, &Reviews::default()).unwrap()).len(),
            1
        );
        let judged = judge(rows.clone(), None, &usual, &bad).unwrap();
        assert_eq!(trained(&judged).len(), 0);
        assert_eq!((judged.account.masked["label_bad"], judged.account.labels["bad"]), (1, 1));
        assert_eq!(judged.account.reviews.counts, BTreeMap::from([("bad".into(), 1)]));
    }

    #[test]
    fn a_correction_is_trained_in_place_of_the_answer() {
        let (rows, reviews) = one(Verdict::Fix, Some("Renamed the right one."));
        let judged = judge(rows.clone(), None, &policy(&[]), &reviews).unwrap();
        assert_eq!(trained(&judged), ["Renamed the right one."]);
        assert!(judged.stages.iter().all(Stage::adds_up));
        let [original, fix] = &judged.examples[..] else { panic!("{judged}") };
        assert_eq!(fix.derived_from.as_ref(), Some(&original.id));
        assert_eq!((fix.kind, fix.session_key()), (Kind::Counterexample, original.session_key()));
        let fix = fix.read().unwrap();
        let last = fix.trace.messages.last().unwrap();
        assert_eq!(last.author.as_deref(), Some("human"));
        assert_eq!(last.label.as_ref().unwrap().outcome, Outcome::Good);
        assert_eq!(fix.trace.messages.len(), 2);
    }

    #[test]
    fn verdicts_that_find_nothing_are_counted() {
        let (_, reviews) = one(Verdict::Good, None);
        let count = |row: Example| {
            let rows = Rows::new(vec![row], Stage::made("made", 1));
            judge(rows.clone(), None, &policy(&[]), &reviews)
                .unwrap()
                .account
                .reviews
                .counts
                .clone()
        };
        assert_eq!(count(chat("s", "rename it", "Another.")), [("changed".into(), 1)].into());
        assert_eq!(count(chat("t", "rename it", "Another.")), [("absent".into(), 1)].into());
    }
}
