//! The training settings, out of the configuration.

use crate::config::Config;

use super::schedule::Schedule;

/// How to train; each field is the configuration key of the same name.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Peak learning rate.
    pub learning_rate: f64,
    /// How the rate falls.
    pub schedule: Schedule,
    /// Share of the steps over which the rate rises.
    pub warmup_ratio: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest gradient norm; 0 does not clip.
    pub max_grad_norm: f64,
    /// Examples in a micro-batch.
    pub batch_size: usize,
    /// Micro-batches in a step.
    pub accumulation: usize,
    /// Keep only the layers' inputs and compute the rest again for the gradients.
    pub checkpointing: bool,
    /// Passes over the rows.
    pub epochs: f64,
    /// Steps at most; 0 is no limit.
    pub max_steps: usize,
    /// Minutes at most; 0 is no limit.
    pub time_budget_minutes: f64,
    /// Evaluate on tune every so many steps; 0 only at the end.
    pub eval_steps: usize,
    /// Stop after so many evaluations without a better loss; 0 never.
    pub patience: usize,
    /// Seed of order and dropout.
    pub seed: u64,
    /// Threads that prepare batches ahead.
    pub workers: usize,
    /// Batches each prepares ahead.
    pub prefetch: usize,
    /// Whether they live on between epochs.
    pub persistent_workers: bool,
}

impl Settings {
    /// Reads the settings.
    pub fn new(config: &Config) -> Self {
        Settings {
            learning_rate: config.float("LEARNING_RATE"),
            schedule: Schedule::named(config.text("LR_SCHEDULER_TYPE")),
            warmup_ratio: config.float("WARMUP_RATIO"),
            weight_decay: config.float("WEIGHT_DECAY"),
            max_grad_norm: config.float("MAX_GRAD_NORM"),
            batch_size: config.size("PER_DEVICE_TRAIN_BATCH_SIZE"),
            accumulation: config.size("GRADIENT_ACCUMULATION_STEPS"),
            checkpointing: config.flag("GRADIENT_CHECKPOINTING"),
            epochs: config.float("NUM_TRAIN_EPOCHS"),
            max_steps: config.size("MAX_STEPS"),
            time_budget_minutes: config.float("TIME_BUDGET_MINUTES"),
            eval_steps: config.size("EVAL_STEPS"),
            patience: config.size("EARLY_STOPPING_PATIENCE"),
            seed: config.size("SEED") as u64,
            workers: config.size("DATALOADER_NUM_WORKERS"),
            prefetch: config.size("DATALOADER_PREFETCH_FACTOR"),
            persistent_workers: config.flag("DATALOADER_PERSISTENT_WORKERS"),
        }
    }
}
