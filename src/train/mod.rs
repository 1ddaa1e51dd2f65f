//! From encoded examples to trained weights: an adapter on a frozen base, or every weight of a
//! fresh model. The same loop serves both.

mod batches;
mod checkpoint;
pub mod full;
pub mod memory;
mod optimizer;
mod plan;
mod preflight;
pub mod qlora;
mod record;
pub mod resident;
mod run;
mod schedule;
mod settings;
mod tokenised;
mod watchdog;

pub use batches::{Batch, Loader};
pub use checkpoint::{Checkpoints, Identity};
pub use memory::Memory;
pub use optimizer::AdamW;
pub use plan::Plan;
pub use record::TrainingRecord;
pub use run::{Trainee, Training, train, tune_loss};
pub use schedule::Schedule;
pub use settings::Settings;
