//! What a person reads at the end of a run: a compact table for the terminal and one
//! self-contained `report.html`. Computes no figure; every number was made elsewhere.

use serde_json::Value;

use crate::evaluate::{Evaluation, Past, Record};
use crate::gate::Decision;
use crate::train::TrainingRecord;

mod chart;
mod facts;
mod figures;
mod page;
mod sides;
mod table;
mod view;

pub use page::html;
pub use sides::said;
pub use table::{aligned, summary};

/// A run as its reader is told of it. Whatever was skipped is absent.
#[derive(Debug, Clone, Copy)]
pub struct Account<'a> {
    /// The run's name.
    pub title: &'a str,
    /// `dataset_manifest.json`.
    pub manifest: Option<&'a Value>,
    /// What training did.
    pub training: Option<&'a Training>,
    /// The comparison.
    pub evaluation: Option<&'a Evaluation>,
    /// Its items.
    pub records: &'a [Record],
    /// Past mistakes asked again.
    pub past: Option<&'a Past>,
    /// The verdict.
    pub decision: Option<&'a Decision>,
    /// Where the verdict lies.
    pub decision_path: &'a str,
}

/// What training did, as far as a reader asks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Training {
    /// Labels and values: base, steps, trained tokens, trainable parameters, …
    pub facts: Vec<(String, String)>,
    /// The loss by step.
    pub losses: Vec<(u64, f64)>,
    /// The loss on `tune` by step.
    pub tune_losses: Vec<(u64, f64)>,
}

impl Training {
    /// What a training record says, after `facts` of the caller's own (the base, the profile).
    pub fn of(record: &TrainingRecord, mut facts: Vec<(String, String)>) -> Training {
        let mut say = |label: &str, value: String| facts.push((label.to_string(), value));
        say("examples", grouped(record.examples as u64));
        if record.without_targets > 0 {
            say("examples with nothing to train", grouped(record.without_targets as u64));
        }
        say("trainable parameters", grouped(record.parameters as u64));
        match record.steps == record.planned_steps {
            true => say("steps", grouped(record.steps as u64)),
            false => say("steps", format!("{} of {} planned", record.steps, record.planned_steps)),
        }
        say("trained tokens", grouped(record.trained_tokens));
        say("kept the weights of step", grouped(record.kept_step as u64));
        let steps = record.losses.iter().enumerate().map(|(i, loss)| (i as u64 + 1, *loss));
        let tune = record.tune_losses.iter().map(|(step, loss)| (*step as u64, *loss));
        Training { losses: steps.collect(), tune_losses: tune.collect(), facts }
    }
}

/// A whole number with its thousands apart.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
