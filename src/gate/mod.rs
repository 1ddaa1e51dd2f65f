//! A decision from evidence. Pure: no file, no clock, no chance, so that the same evidence gives
//! the same bytes on any machine.
//!
//! [`evidence`] is all a gate may know of a run, [`policy`] the comparisons a policy is made of,
//! [`nights`] how sure a night must be after those before it, [`decision`] adds the rules no
//! policy can loosen and draws the verdict, [`plan`] says what would decide an open one.

pub mod decision;
pub mod evidence;
pub mod nights;
pub mod plan;
pub mod policy;

pub use decision::{Decision, Policy, Verdict, judge};
pub use evidence::{DatasetEvidence, EvaluationEvidence, Evidence, Threshold, TrainingEvidence};
pub use nights::{Earlier, Nights};
pub use policy::Check;
