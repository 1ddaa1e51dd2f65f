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

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use crate::trace::Trace;

mod canary;
mod chase;
mod decode;
mod dropping;
mod explain;
pub mod gitleaks;
mod keywords;
mod placeholders;
mod policy;
mod proof;
mod rules;
mod scan;
pub mod second;
mod session;
mod team;
mod walk;
mod wrapped;

pub use canary::canaries;
pub use dropping::Dropping;
pub use explain::{Explained, explain, explain_json};
pub use placeholders::placeholders;
pub use policy::{Class, Policy};
pub use proof::{Canaries, Proof, Recall};
pub use session::{Known, Redactor};
pub use team::{Search, TeamRule};

/// A text that is about to be shown or logged, without secrets and contact data. User and host
/// names stay: they are part of every path.
pub fn fit_to_show(text: &str) -> String {
    static REDACTOR: LazyLock<Option<Redactor>> = LazyLock::new(|| {
        let mut policy = Policy::default();
        policy.classes.retain(|class| !matches!(class, Class::User | Class::Host | Class::Ip));
        Redactor::new(policy).ok()
    });
    let redacted = REDACTOR.as_ref().and_then(|redactor| redactor.text(text).ok());
    redacted.unwrap_or_else(|| "(not shown: it could not be redacted)".into())
}

/// A trace after redaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Redacted {
    /// The trace: the same messages, roles and ids.
    pub trace: Trace,
    /// What was found in it.
    pub account: Account,
}

/// What redaction did to a trace or a text. Holds no value that was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Account {
    /// How many places each rule redacted.
    pub counts: BTreeMap<String, u64>,
    /// What stands behind each placeholder that was put in.
    pub found: BTreeMap<String, BTreeSet<Find>>,
    total: usize,
    redacted: usize,
}

/// What found the value behind a placeholder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Find {
    /// Its class.
    pub class: Class,
    /// The rule's name.
    pub rule: String,
}

impl Account {
    /// The share of the text that was redacted.
    pub fn share(&self) -> f64 {
        match self.total {
            0 => 0.0,
            total => (self.redacted as f64 / total as f64).min(1.0),
        }
    }
}
