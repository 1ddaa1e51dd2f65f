//! What each subject answers to each item, and its loss on the references.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use super::{Chat, Item, Settings, Subject};
use crate::dataset::Example;
use crate::progress::Observer;
use crate::tokens::Encoded;
use crate::trace::ToolCall;

/// The name of validation among the groups of references.
pub const VALIDATION: &str = "val";

/// One answer, taken apart.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// The new tokens.
    pub ids: Vec<u32>,
    /// Whether it ended by itself.
    pub stopped: bool,
    /// The text around reasoning and calls.
    pub content: String,
    /// The reasoning, where there was some.
    pub reasoning: Option<String>,
    /// The calls that parsed.
    pub calls: Vec<ToolCall>,
    /// What was wrong with a call that did not parse.
    pub malformed: Option<String>,
}

/// The loss of a subject on a set of references.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// Mean negative log-likelihood, nats per token.
    pub mean: f64,
    /// Tokens it covers.
    pub tokens: u64,
    /// Rows they come from.
    pub rows: u64,
}

/// A subject's answers, in the order of the items. The subject gets all prompts at once, the
/// longest first, and forms its own batches: so memory peaks at the start, and a sequence that
/// ends makes room for the next.
pub fn answers(
    column: &str,
    subject: &dyn Subject,
    items: &[Item],
    chat: &dyn Chat,
    settings: &Settings,
    observer: &dyn Observer,
) -> Result<Vec<Answer>> {
    observer.begin(&format!("evaluate {column}"), Some(items.len() as u64), "answers");
    let (answers, batch) = (items.len(), settings.batch);
    observer.say(&format!("evaluate: {answers} answers of {column}, {batch} at a time"));
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|i| (std::cmp::Reverse(items[*i].prompt.len()), *i));
    let prompts: Vec<Vec<u32>> = order.iter().map(|i| items[*i].prompt.clone()).collect();
    let replies = subject
        .generate(&prompts, settings.max_new, chat.stop_ids(), observer)
        .with_context(|| format!("cannot evaluate the {column} model"))?;
    ensure!(
        replies.len() == prompts.len(),
        "the {column} model answered {} of {} prompts",
        replies.len(),
        prompts.len()
    );
    let mut answers = vec![Answer::default(); items.len()];
    for (i, (ids, stopped)) in order.into_iter().zip(replies) {
        let reply = chat.parse(&ids);
        answers[i] = Answer {
            ids,
            stopped,
            content: reply.content,
            reasoning: reply.reasoning,
            calls: reply.calls,
            malformed: reply.malformed,
        };
    }
    observer.end();
    Ok(answers)
}

/// The references of a group (validation, or one suite), encoded once for every subject.
#[derive(Debug)]
pub struct References {
    /// `val`, or the suite's name.
    pub group: String,
    /// The rows, longest first.
    pub rows: Vec<Encoded>,
    /// Rows too long for the model.
    pub too_long: u64,
}

impl References {
    /// Encodes the examples behind a group of items.
    pub fn encode(
        group: &str,
        examples: &[Arc<Example>],
        chat: &dyn Chat,
        settings: &Settings,
    ) -> Result<References> {
        let mut rows = Vec::with_capacity(examples.len());
        let mut too_long = 0;
        for example in examples {
            let trace = &example.trace;
            let encoded = chat
                .encode(&trace.messages, &trace.tools)
                .with_context(|| format!("{}: session {}", trace.origin, trace.session))?;
            for row in encoded {
                match settings.context > 0 && row.ids.len() > settings.context {
                    true => too_long += 1,
                    false => rows.push(row),
                }
            }
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.ids.len()));
        Ok(References { group: group.into(), rows, too_long })
    }
}

/// A subject's loss on each row of a group, as summed nats and tokens.
pub fn losses(
    column: &str,
    subject: &dyn Subject,
    references: &References,
    settings: &Settings,
    observer: &dyn Observer,
) -> Result<Vec<(f64, usize)>> {
    let rows = &references.rows;
    let stage = format!("loss {column} {}", references.group);
    observer.begin(&stage, Some(rows.len() as u64), "rows");
    let mut losses = Vec::with_capacity(rows.len());
    for batch in rows.chunks(settings.batch.max(1)) {
        observer.check()?;
        let measured = subject.loss(batch).with_context(|| stage.clone())?;
        ensure!(
            measured.len() == batch.len(),
            "{stage}: {} of {} rows",
            measured.len(),
            batch.len()
        );
        losses.extend(measured);
        observer.advance(losses.len() as u64, "");
    }
    observer.end();
    Ok(losses)
}

impl Loss {
    /// The mean over the rows, weighted by tokens; `None` without tokens or with a row whose loss
    /// is not a number.
    pub fn of(rows: &[(f64, usize)]) -> Option<Loss> {
        let tokens: usize = rows.iter().map(|(_, n)| n).sum();
        let mean = rows.iter().map(|(nats, _)| nats).sum::<f64>() / tokens as f64;
        let rows = rows.len() as u64;
        mean.is_finite().then(|| Loss { mean: super::rounded(mean), tokens: tokens as u64, rows })
    }
}
