//! What a person reads at the end of a run: a compact table for the terminal and one
//! self-contained `report.html`. Computes no figure; every number was made elsewhere.

use serde_json::Value;

use crate::evaluate::{Evaluation, Record};
use crate::gate::Decision;

mod chart;
mod facts;
mod figures;
mod page;
mod sides;
mod table;
mod view;

pub use page::html;
pub use table::summary;

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
