//! Sessions without secrets and personal data, and the proof.
//!
//! [`Redactor::session`] takes all traces of one session together. Every string of them is
//! decoded ([`decode`]), searched ([`scan`], with the tables in [`rules`]), and what was found is
//! replaced in place, in the encoding it stood in, by typed and numbered placeholders
//! ([`placeholders`]); then each value found is chased through the whole session ([`chase`]).
//! This is repeated until nothing more is found, so that redacting twice changes nothing.
//!
//! The [`Proof`] does not trust any of that: [`canaries`] plants invented secrets in shadow copies
//! of real rows and counts how many come out, and [`second`] reads the written rows with code and
//! patterns of its own. No value found is ever written, logged or put into an error.

use std::collections::BTreeMap;

use crate::trace::Trace;

mod canary;
mod chase;
mod decode;
mod placeholders;
mod policy;
mod proof;
mod rules;
mod scan;
pub mod second;
mod session;
mod walk;
mod wrapped;

pub use canary::canaries;
pub use placeholders::placeholders;
pub use policy::{Class, Policy, TeamRule};
pub use proof::{Proof, Recall};
pub use session::Redactor;

/// A trace after redaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Redacted {
    /// The trace: the same messages, roles and ids.
    pub trace: Trace,
    /// How many places each rule redacted.
    pub counts: BTreeMap<String, u64>,
    /// The share of the trace's text that was redacted.
    pub share: f64,
}
