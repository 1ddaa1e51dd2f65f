//! Examples on their way through the protocol, with the account of what happened to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Example, Kind};

/// What one stage did: `input + added = output + Σ dropped`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// The stage's name: `load`, `redact`, a filter's name, …
    pub name: String,
    /// Rows that came in.
    pub input: u64,
    /// Rows the stage made.
    pub added: u64,
    /// Rows that went out.
    pub output: u64,
    /// Rows dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
}

impl Stage {
    /// Whether no row is unaccounted for.
    pub fn adds_up(&self) -> bool {
        self.input + self.added == self.output + self.dropped.values().sum::<u64>()
    }

    /// One line: what came in, what went out and why the rest was dropped.
    pub fn line(&self) -> String {
        let mut line = format!("{}: {} in", self.name, self.input);
        if self.added > 0 {
            line += &format!(", {} added", self.added);
        }
        line += &format!(", {} out", self.output);
        if !self.dropped.is_empty() {
            let reasons: Vec<_> = self.dropped.iter().map(|(r, n)| format!("{r} {n}")).collect();
            line += &format!("; dropped: {}", reasons.join(", "));
        }
        line
    }
}

/// An immutable set of examples with the stages that led to it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// The examples, in a fixed order.
    pub examples: Arc<Vec<Arc<Example>>>,
    /// What happened so far, in order.
    pub stages: Arc<Vec<Stage>>,
}

impl Rows {
    /// Examples fresh from a source, with that source's account.
    pub fn new(examples: Vec<Arc<Example>>, stage: Stage) -> Self {
        debug_assert!(stage.adds_up());
        Rows { examples: Arc::new(examples), stages: Arc::new(vec![stage]) }
    }

    /// The rows after a stage that kept, changed or dropped some of them.
    pub fn after(&self, examples: Vec<Arc<Example>>, stage: Stage) -> Self {
        debug_assert!(stage.adds_up());
        let mut stages = self.stages.as_ref().clone();
        stages.push(stage);
        Rows { examples: Arc::new(examples), stages: Arc::new(stages) }
    }

    /// Both sets together, first these, then `other`'s; the accounts follow each other.
    pub fn and(&self, other: &Rows) -> Self {
        let examples = self.examples.iter().chain(other.examples.iter()).cloned().collect();
        let stages = self.stages.iter().chain(other.stages.iter()).cloned().collect();
        Rows { examples: Arc::new(examples), stages: Arc::new(stages) }
    }

    /// Keeps the rows for which `verdict` gives no reason to drop them.
    pub fn keep(&self, name: &str, mut verdict: impl FnMut(&Example) -> Option<String>) -> Self {
        let mut stage =
            Stage { name: name.into(), input: self.examples.len() as u64, ..Stage::default() };
        let mut kept = Vec::with_capacity(self.examples.len());
        for example in self.examples.iter() {
            match verdict(example) {
                Some(reason) => *stage.dropped.entry(reason).or_default() += 1,
                None => kept.push(example.clone()),
            }
        }
        stage.output = kept.len() as u64;
        self.after(kept, stage)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.examples.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.examples.is_empty()
    }

    /// How many rows of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.examples.iter().filter(|e| e.kind == kind).count()
    }
}

impl std::fmt::Display for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rows({}: {} real", self.len(), self.count(Kind::Real))?;
        for kind in [Kind::Synthetic, Kind::Adversarial, Kind::Counterexample, Kind::Replay] {
            let n = self.count(kind);
            if n > 0 {
                write!(f, ", {n} {}", kind.as_str())?;
            }
        }
        f.write_str(")")
    }
}
