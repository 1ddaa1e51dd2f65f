//! What a training run did, for the evidence and the report. No times: those differ between two
//! identical runs and belong into `run.json`.

use serde::{Deserialize, Serialize};

/// The account of a training run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingRecord {
    /// Rows trained on.
    pub examples: usize,
    /// Rows left out because no token of theirs is trained.
    pub without_targets: usize,
    /// Trainable numbers.
    pub parameters: usize,
    /// Steps the schedule was laid out for. With a time budget this is the budget in steps, and
    /// `MAX_STEPS` set to it replays the run.
    pub planned_steps: usize,
    /// Steps taken; fewer than planned after an early stop.
    pub steps: usize,
    /// Tokens that went through the model.
    pub tokens: u64,
    /// Tokens the loss covered.
    pub trained_tokens: u64,
    /// The mean loss (nats per trained token) of each step, from step 1.
    pub losses: Vec<f64>,
    /// (step, mean loss on tune).
    pub tune_losses: Vec<(usize, f64)>,
    /// The step whose weights were kept.
    pub kept_step: usize,
}
