//! Labels and train flags of what was read.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;

use super::{Example, Kind, Rows, Stage};
use crate::label::{self, Policy};
use crate::trace::Role;

/// Labels every turn of the real rows and takes the loss from what the policy does not train; a
/// stage `label` that drops nothing.
pub fn judge(rows: &Rows, policy: &Policy) -> Rows {
    let judged: Vec<(Arc<Example>, Vec<&str>)> = rows
        .examples
        .par_iter()
        .map(|example| {
            if example.kind != Kind::Real {
                return (example.clone(), Vec::new());
            }
            let mut trace = example.trace.clone();
            label::label(&mut trace);
            let masked = policy.mask(&mut trace);
            let judged = Example { trace, ..example.as_ref().clone() };
            (Arc::new(judged), masked)
        })
        .collect();
    let (mut masked, mut labels) = (BTreeMap::new(), BTreeMap::new());
    for (example, reasons) in &judged {
        for reason in reasons {
            *masked.entry(reason.to_string()).or_default() += 1;
        }
        for message in example.trace.messages.iter().filter(|m| m.role == Role::Assistant) {
            if let Some(label) = &message.label {
                *labels.entry(label.outcome.as_str().to_string()).or_default() += 1;
            }
        }
    }
    let examples = judged.into_iter().map(|(example, _)| example).collect();
    let stage = Stage::passed("label", rows.len(), BTreeMap::new());
    rows.after(examples, stage).noting(|account| {
        account.masked = masked;
        account.labels = labels;
    })
}
