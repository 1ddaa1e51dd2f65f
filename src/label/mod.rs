//! What each turn of a session is worth, by what the session itself shows, and so which messages
//! the loss covers.
//!
//! A turn is what the model does between two messages of the person. Most turns stay *unknown*: a
//! clean stop proves nothing. What counts, the strongest first:
//!
//! | seen | label |
//! |---|---|
//! | the person said so in a review (see [`reviews`]) | as they say |
//! | the person undid the turn, in the agent or through git | bad |
//! | the source says how the whole session ended (see [`crate::trace::WORDS`]) | as it says |
//! | the last test or build after an edit passed, and no test was edited | good |
//! | it failed | bad |
//! | the next message praises | good |
//! | a call with wrong arguments, an unknown tool, an edit that does not match, a denied or stopped call, an answer cut off or lost to the server, the same call again and again | that step bad |
//! | OpenClaw put stars in place of a secret: the call is not what the model wrote | that step bad |
//! | the next message corrects, or asks the same again | the last step bad |
//! | the agent says the turn succeeded, failed or was interrupted | noted, decides nothing |
//!
//! A bad step stays in the context with its loss masked, and the corrected step that follows is
//! trained (step rejection, arXiv:2605.10674): of a failed run most steps are fine.

use anyhow::{Result, bail};

use crate::config::Config;
use crate::trace::{Evidence, Label, Message, Outcome, Role, Signal, Trace};

mod checks;
mod questions;
pub mod reviews;
mod teachers;
mod words;

pub use questions::{Question, questions};
pub use reviews::{Review, Reviews, Verdict};
pub use teachers::Teachers;

use checks::{Check, undoes};
use words::Said;

/// The outcomes that `TRAIN_OUTCOMES` trains.
pub fn outcomes(config: &Config) -> Result<Vec<Outcome>> {
    let all = [Outcome::Good, Outcome::Unknown, Outcome::Bad];
    let given = config.list("TRAIN_OUTCOMES");
    let place = || config.provenance("TRAIN_OUTCOMES");
    if given.is_empty() {
        bail!(
            "{}: TRAIN_OUTCOMES is empty, so nothing would be trained; name some of good, \
             unknown, bad",
            place()
        );
    }
    let outcome = |word: &String| match all.into_iter().find(|o| o.as_str() == word) {
        Some(outcome) => Ok(outcome),
        None => bail!("{}: TRAIN_OUTCOMES: `{word}` is none of good, unknown, bad", place()),
    };
    given.iter().map(outcome).collect()
}

/// Which of the model's messages are trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The labels that are trained.
    pub outcomes: Vec<Outcome>,
    /// Whose messages are.
    pub teachers: Teachers,
}

impl Policy {
    /// From `TRAIN_OUTCOMES`, `TEACHERS` and `BASE_MODEL`.
    pub fn from_config(config: &Config) -> Result<Policy> {
        Ok(Policy { outcomes: outcomes(config)?, teachers: Teachers::from_config(config)? })
    }

    /// Takes the train flag from every message whose label or author the policy does not train;
    /// it never gives one. Says how many lost it, by reason.
    pub fn mask(&self, trace: &mut Trace) -> Vec<&'static str> {
        let mut masked = Vec::new();
        for message in trace.messages.iter_mut().filter(|m| m.train) {
            if let Some(reason) = self.objection(message) {
                message.train = false;
                masked.push(reason);
            }
        }
        masked
    }

    /// Why an answer is not trained, if so.
    pub fn objection(&self, message: &Message) -> Option<&'static str> {
        let outcome = message.label.as_ref().map_or(Outcome::Unknown, |l| l.outcome);
        if self.outcomes.contains(&outcome) {
            return self.teachers.objection(message, outcome);
        }
        Some(match outcome {
            Outcome::Good => "label_good",
            Outcome::Unknown => "label_unknown",
            Outcome::Bad => "label_bad",
        })
    }
}

/// Labels every message of the model that has no label yet.
pub fn label(trace: &mut Trace) {
    let whole = trace.outcome.as_deref().map_or(Outcome::Unknown, |word| Outcome::of(Some(word)));
    let starts: Vec<usize> =
        (0..trace.messages.len()).filter(|i| asks(&trace.messages[*i])).collect();
    for (n, start) in starts.iter().enumerate() {
        let end = starts.get(n + 1).copied().unwrap_or(trace.messages.len());
        let steps = steps(&trace.messages, *start + 1, end);
        let Some(last) = steps.last() else { continue };
        let row = |i: usize| trace.messages[i].row;
        let noted = |fact: &str, at: usize| Evidence { fact: fact.into(), row: row(at) };
        let mut turn = Outcome::Unknown;
        let mut evidence = Vec::new();
        let mut decide = |outcome: Outcome, found: Evidence| {
            if turn == Outcome::Unknown {
                turn = outcome;
            }
            evidence.push(found);
        };
        let undone = (*start..end).find(|i| trace.messages[*i].signals.contains(&Signal::Reverted));
        if let Some(at) = undone {
            decide(Outcome::Bad, noted("reverted", at));
        }
        let edited = checks::edited(&trace.messages[*start..end]);
        if let Some(at) = undoes(&trace.messages[*start..], end - start, &edited) {
            decide(Outcome::Bad, noted("undone_by_git", start + at));
        }
        if whole != Outcome::Unknown {
            decide(whole, noted("session_outcome", last.at));
        }
        match checks::last(&trace.messages[*start..end]) {
            Some((Check::Passed, at)) => decide(Outcome::Good, noted("checks_passed", start + at)),
            Some((Check::Failed, at)) => decide(Outcome::Bad, noted("checks_failed", start + at)),
            Some((Check::TestsEdited, at)) => {
                decide(Outcome::Unknown, noted("checks_passed_but_tests_edited", start + at));
            }
            None => {}
        }
        let said = match starts.get(n + 1) {
            Some(next) => {
                words::of(&trace.messages[*next].content, &trace.messages[*start].content)
            }
            None => Said::Nothing,
        };
        if said == Said::Praise {
            decide(Outcome::Good, noted("praised", end));
        }
        for (signal, fact) in [
            (Signal::TurnSucceeded, "turn_succeeded"),
            (Signal::TurnFailed, "turn_failed"),
            (Signal::TurnInterrupted, "turn_interrupted"),
        ] {
            if trace.messages[last.at].signals.contains(&signal) {
                decide(Outcome::Unknown, noted(fact, last.at));
            }
        }
        let mut labels = Vec::new();
        for step in &steps {
            let mut own = step_evidence(&trace.messages, step);
            if step.at == last.at {
                match said {
                    Said::Correction => own.push(noted("corrected", end)),
                    Said::SameAgain => own.push(noted("asked_again", end)),
                    _ => {}
                }
            }
            if trace.source == "openclaw" && words::starred(&trace.messages[step.at]) {
                own.push(noted("starred_by_the_agent", step.at));
            }
            if repeats(&trace.messages, &steps, step) {
                own.push(noted("repeated_call", step.at));
            }
            let outcome = if own.is_empty() { turn } else { Outcome::Bad };
            own.extend(evidence.iter().cloned());
            labels.push((step.at, Label { outcome, evidence: own }));
        }
        for (at, label) in labels {
            trace.messages[at].label.get_or_insert(label);
        }
    }
}

/// Whether a message begins a turn: a command the person ran by hand does not.
fn asks(message: &Message) -> bool {
    message.role == Role::User && !message.signals.contains(&Signal::Shell)
}

/// One message of the model and the results of its calls.
struct Step {
    at: usize,
    results: Vec<usize>,
}

fn steps(messages: &[Message], from: usize, to: usize) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (at, message) in messages.iter().enumerate().take(to).skip(from) {
        match (message.role, steps.last_mut()) {
            (Role::Assistant, _) => steps.push(Step { at, results: Vec::new() }),
            (Role::Tool, Some(step)) => step.results.push(at),
            _ => {}
        }
    }
    steps
}

/// Signals that say that a step itself went wrong.
const BAD: [Signal; 8] = [
    Signal::Schema,
    Signal::UnknownTool,
    Signal::EditMismatch,
    Signal::Denied,
    Signal::Aborted,
    Signal::ProviderError,
    Signal::Length,
    Signal::ContentFilter,
];

fn step_evidence(messages: &[Message], step: &Step) -> Vec<Evidence> {
    let places = std::iter::once(&step.at).chain(&step.results);
    let facts = places.flat_map(|at| {
        let message = &messages[*at];
        let bad = message.signals.iter().filter(|signal| BAD.contains(signal));
        bad.map(|signal| Evidence { fact: signal.as_str().into(), row: message.row })
    });
    let mut evidence: Vec<Evidence> = Vec::new();
    for fact in facts {
        if !evidence.contains(&fact) {
            evidence.push(fact);
        }
    }
    evidence
}

/// Whether a step only makes the calls that the two steps before it, or after it, or both sides,
/// make as well, and is not the first of them: three or more in a row are a loop.
fn repeats(messages: &[Message], steps: &[Step], step: &Step) -> bool {
    let calls = |s: &Step| &messages[s.at].tool_calls;
    let same = |a: &Step, b: &Step| {
        let (a, b) = (calls(a), calls(b));
        !a.is_empty()
            && a.len() == b.len()
            && a.iter().zip(b).all(|(a, b)| a.name == b.name && a.arguments == b.arguments)
    };
    let Some(n) = steps.iter().position(|s| s.at == step.at) else { return false };
    let before = steps[..n].iter().rev().take_while(|s| same(s, step)).count();
    let after = steps[n + 1..].iter().take_while(|s| same(s, step)).count();
    before > 0 && before + after >= 2
}

#[cfg(test)]
mod tests;
