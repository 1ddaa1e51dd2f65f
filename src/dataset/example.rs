//! One row of the dataset: a trace with its pedigree.

use serde::{Deserialize, Serialize};

use crate::trace::Trace;

/// Where an example comes from; only [`Kind::Real`] counts as evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A session someone really had.
    Real,
    /// Generated from tool schemas or by slot substitution.
    Synthetic,
    /// Generated to exercise a failure: injection, unknown tool, malformed result, …
    Adversarial,
    /// Written by hand against a past mistake.
    Counterexample,
    /// General data mixed in against forgetting.
    Replay,
}

impl Kind {
    /// The name used in files and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Real => "real",
            Kind::Synthetic => "synthetic",
            Kind::Adversarial => "adversarial",
            Kind::Counterexample => "counterexample",
            Kind::Replay => "replay",
        }
    }
}

/// One row of the dataset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// Unique within a run and stable across runs: derived from session and content.
    pub id: String,
    /// Real or generated.
    pub kind: Kind,
    /// The id of the example this one was generated from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived_from: Option<String>,
    /// The connected component (session, copies, derivations) it is split with; set by the split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The session itself.
    #[serde(flatten)]
    pub trace: Trace,
}
