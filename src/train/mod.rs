//! From encoded examples to trained weights: an adapter on a frozen base, or every weight of a
//! fresh model. The same loop serves both.

mod batches;
pub mod full;
mod optimizer;
mod plan;
pub mod qlora;
mod record;
mod run;
mod schedule;
mod settings;

pub use batches::{Batch, Loader};
pub use optimizer::AdamW;
pub use plan::Plan;
pub use record::TrainingRecord;
pub use run::{Trainee, train, tune_loss};
pub use schedule::Schedule;
pub use settings::Settings;
