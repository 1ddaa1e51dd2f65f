//! The training settings, out of the configuration.

use crate::config::Config;
use crate::model::Keep;

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
    /// What the rate of an adapter's B is multiplied by.
    pub b_ratio: f64,
    /// Whether the optimiser's states are kept in 8 bits.
    pub eight_bits: bool,
    /// Nats that the smoothed loss may rise above its lowest; 0 watches nothing.
    pub watchdog: f64,
    /// Examples in a micro-batch.
    pub batch_size: usize,
    /// Micro-batches in a step.
    pub accumulation: usize,
    /// What is held of each layer until its gradients are computed.
    pub keep: Keep,
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
    /// A checkpoint every so many steps; 0 only when interrupted.
    pub save_steps: usize,
    /// Answers that evaluation generates at once and tokens of each, for the memory plan.
    pub evaluation: (usize, usize),
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
            b_ratio: config.float("LORAPLUS_LR_RATIO"),
            eight_bits: config.text("OPTIM") == "adamw_8bit",
            watchdog: config.float("LOSS_WATCHDOG"),
            batch_size: config.size("PER_DEVICE_TRAIN_BATCH_SIZE"),
            accumulation: config.size("GRADIENT_ACCUMULATION_STEPS"),
            keep: match (
                config.flag("GRADIENT_CHECKPOINTING"),
                config.flag("ACTIVATION_OFFLOADING"),
            ) {
                (false, _) => Keep::Activations,
                (true, false) => Keep::Inputs,
                (true, true) => Keep::InputsOnHost,
            },
            epochs: config.float("NUM_TRAIN_EPOCHS"),
            max_steps: config.size("MAX_STEPS"),
            time_budget_minutes: config.float("TIME_BUDGET_MINUTES"),
            eval_steps: config.size("EVAL_STEPS"),
            patience: config.size("EARLY_STOPPING_PATIENCE"),
            seed: config.size("SEED") as u64,
            save_steps: config.size("SAVE_STEPS"),
            evaluation: (config.size("EVAL_BATCH_SIZE"), config.size("EVAL_MAX_NEW_TOKENS")),
            workers: config.size("DATALOADER_NUM_WORKERS"),
            prefetch: config.size("DATALOADER_PREFETCH_FACTOR"),
            persistent_workers: config.flag("DATALOADER_PERSISTENT_WORKERS"),
        }
    }
    /// The settings that decide the course of a training, by their keys.
    pub fn course(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LEARNING_RATE", self.learning_rate.to_string()),
            ("LR_SCHEDULER_TYPE", format!("{:?}", self.schedule)),
            ("WARMUP_RATIO", self.warmup_ratio.to_string()),
            ("WEIGHT_DECAY", self.weight_decay.to_string()),
            ("MAX_GRAD_NORM", self.max_grad_norm.to_string()),
            ("OPTIM", format!("8 bits: {}", self.eight_bits)),
            ("LORAPLUS_LR_RATIO", self.b_ratio.to_string()),
            ("PER_DEVICE_TRAIN_BATCH_SIZE", self.batch_size.to_string()),
            ("GRADIENT_ACCUMULATION_STEPS", self.accumulation.to_string()),
            ("NUM_TRAIN_EPOCHS", self.epochs.to_string()),
            ("MAX_STEPS", self.max_steps.to_string()),
            ("TIME_BUDGET_MINUTES", self.time_budget_minutes.to_string()),
            ("EVAL_STEPS", self.eval_steps.to_string()),
            ("EARLY_STOPPING_PATIENCE", self.patience.to_string()),
            ("SEED", self.seed.to_string()),
        ]
    }
}
