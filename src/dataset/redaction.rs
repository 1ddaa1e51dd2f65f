//! Redaction of rows, a session at a time, and what it found.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What redaction found in the rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Redaction {
    /// Rows that went through it.
    pub rows: u64,
    /// Rows in which something was replaced.
    pub changed: u64,
    /// How many values were replaced, by class.
    pub counts: BTreeMap<String, u64>,
}

impl Redaction {
    /// Both together.
    pub fn and(mut self, other: &Redaction) -> Redaction {
        self.rows += other.rows;
        self.changed += other.changed;
        for (class, n) in &other.counts {
            *self.counts.entry(class.clone()).or_default() += n;
        }
        self
    }
}
