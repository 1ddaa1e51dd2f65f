//! What each subject answers to each item, and its loss on the references.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::cache::Cache;
use super::{Chat, Item, Prompt, Settings, Subject};
use crate::chance::Chance;
use crate::dataset::Example;
use crate::progress::Observer;
use crate::tokens::{Encoded, Turn};
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

/// A column that is asked: its model, and the cache its answers come from where it has one.
pub struct Column<'a> {
    /// Its name in messages.
    pub name: &'a str,
    /// The model.
    pub subject: &'a dyn Subject,
    /// What was measured of it before.
    pub cache: Option<&'a mut Cache>,
}

impl Column<'_> {
    /// Its answers in the order of the items, [`Settings::repeats`] of each. The subject gets all
    /// prompts at once, the longest first, and forms its own batches: so memory peaks at the start,
    /// and a sequence that ends makes room for the next.
    pub fn answers(
        &mut self,
        items: &[Item],
        chat: &dyn Chat,
        settings: &Settings,
        observer: &dyn Observer,
    ) -> Result<Vec<Vec<Answer>>> {
        let name = self.name;
        let asked: Vec<Prompt> = items.iter().flat_map(|item| prompts(item, settings)).collect();
        observer.begin(&format!("evaluate {name}"), Some(asked.len() as u64), "answers");
        let known = |prompt: &Prompt| self.cache.as_mut().and_then(|cache| cache.answer(prompt));
        let mut replies: Vec<Option<(Vec<u32>, bool)>> = asked.iter().map(known).collect();
        let mut open: Vec<usize> = (0..asked.len()).filter(|i| replies[*i].is_none()).collect();
        open.sort_by_key(|i| (std::cmp::Reverse(asked[*i].ids.len()), *i));
        let (n, batch) = (open.len(), settings.batch);
        let kept = match asked.len() - n {
            0 => String::new(),
            kept => format!("; {kept} are known from an earlier run"),
        };
        observer.say(&format!("evaluate: {n} answers of {name}, {batch} at a time{kept}"));
        let prompts: Vec<Prompt> = open.iter().map(|i| asked[*i]).collect();
        let new = self
            .subject
            .generate(&prompts, &settings.decoding, chat.stop_ids(), observer)
            .with_context(|| format!("cannot evaluate the {name} model"))?;
        ensure!(new.len() == n, "the {name} model answered {} of {n} prompts", new.len());
        for (i, reply) in open.into_iter().zip(new) {
            if let Some(cache) = &mut self.cache {
                cache.put_answer(&asked[i], &reply);
            }
            replies[i] = Some(reply);
        }
        observer.end();
        let mut answers = replies.into_iter().flatten().map(|(ids, stopped)| {
            let reply = chat.parse(&ids);
            Answer {
                ids,
                stopped,
                content: reply.content,
                reasoning: reply.reasoning,
                calls: reply.calls,
                malformed: reply.malformed,
            }
        });
        Ok(items.iter().map(|_| answers.by_ref().take(settings.repeats).collect()).collect())
    }

    /// Its loss on each row of a group.
    pub fn losses(
        &mut self,
        references: &References,
        settings: &Settings,
        observer: &dyn Observer,
    ) -> Result<Vec<RowLoss>> {
        let rows = &references.rows;
        let stage = format!("loss {} {}", self.name, references.group);
        observer.begin(&stage, Some(rows.len() as u64), "rows");
        let known = |row: &Encoded| self.cache.as_mut().and_then(|cache| cache.loss(row));
        let mut losses: Vec<Option<RowLoss>> = rows.iter().map(known).collect();
        let open: Vec<usize> = (0..rows.len()).filter(|i| losses[*i].is_none()).collect();
        let mut done = rows.len() - open.len();
        for batch in open.chunks(settings.batch.max(1)) {
            observer.check()?;
            let asked: Vec<&Encoded> = batch.iter().map(|i| &rows[*i]).collect();
            let measured = self.subject.loss(&asked).with_context(|| stage.clone())?;
            let whole = measured.len() == asked.len()
                && asked.iter().zip(&measured).all(|(row, nats)| row.targets() == nats.len());
            ensure!(whole, "{stage}: not every token was measured");
            for (i, nats) in batch.iter().zip(measured) {
                let loss = RowLoss::of(&rows[*i], &nats);
                if let Some(cache) = &mut self.cache {
                    cache.put_loss(&rows[*i], &loss);
                }
                losses[*i] = Some(loss);
            }
            done += batch.len();
            observer.advance(done as u64, "");
        }
        observer.end();
        Ok(losses.into_iter().flatten().collect())
    }
}

/// The prompts of an item, each repeat with a seed of its own, so that neither the other items nor
/// the batches change what is drawn.
fn prompts<'a>(item: &'a Item, settings: &Settings) -> impl Iterator<Item = Prompt<'a>> {
    let seed = settings.seed;
    (0..settings.repeats).map(move |nth| Prompt {
        ids: &item.prompt,
        seed: Chance::new(seed, &format!("answer {nth} to {}", item.id)).state(),
    })
}

/// The references of a group (validation, or one suite), encoded once for every subject.
#[derive(Debug)]
pub struct References {
    /// `val`, or the suite's name.
    pub group: String,
    /// The rows, longest first.
    pub rows: Vec<Encoded>,
    /// The id of each row's example.
    pub examples: Vec<String>,
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
        let mut all = Vec::with_capacity(examples.len());
        let mut too_long = 0;
        for example in examples {
            let trace = &example.trace;
            let encoded = chat
                .encode(&trace.messages, &trace.tools)
                .with_context(|| format!("{}: session {}", trace.origin, trace.session))?;
            for row in encoded {
                match settings.context > 0 && row.ids.len() > settings.context {
                    true => too_long += 1,
                    false => all.push((row, example.id.clone())),
                }
            }
        }
        all.sort_by_key(|(row, _)| std::cmp::Reverse(row.ids.len()));
        let (rows, examples) = all.into_iter().unzip();
        Ok(References { group: group.into(), rows, examples, too_long })
    }
}

/// Negative log-likelihood of some tokens, and how many they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Nats {
    /// The sum over the tokens.
    pub sum: f64,
    /// How many tokens.
    pub tokens: u64,
}

impl Nats {
    fn of(nats: &[f64]) -> Nats {
        Nats { sum: nats.iter().sum(), tokens: nats.len() as u64 }
    }

    /// Nats per token; `None` without tokens or where the sum is not a number.
    pub fn mean(self) -> Option<f64> {
        Some(self.sum / self.tokens as f64).filter(|mean| mean.is_finite())
    }

    /// Both together.
    pub fn and(self, other: Nats) -> Nats {
        Nats { sum: self.sum + other.sum, tokens: self.tokens + other.tokens }
    }
}

/// The loss on one row, and on each trained turn of it by its message's index.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RowLoss {
    /// All trained tokens.
    pub all: Nats,
    /// Turn by turn.
    pub turns: BTreeMap<usize, Nats>,
}

impl RowLoss {
    /// Sums up what was measured at each trained token of a row.
    fn of(row: &Encoded, nats: &[f64]) -> RowLoss {
        let trained: Vec<usize> = (1..row.ids.len()).filter(|at| row.trained[*at]).collect();
        let part = |turn: &Turn| {
            let from = trained.partition_point(|at| *at < turn.tokens.start);
            let to = trained.partition_point(|at| *at < turn.tokens.end);
            (from < to).then(|| (turn.message, Nats::of(&nats[from..to])))
        };
        RowLoss { all: Nats::of(nats), turns: row.turns.iter().filter_map(part).collect() }
    }
}

impl Loss {
    /// The mean over the rows, weighted by tokens; `None` without tokens or with a row whose loss
    /// is not a number.
    pub fn of(rows: &[RowLoss]) -> Option<Loss> {
        let all = rows.iter().fold(Nats::default(), |sum, row| sum.and(row.all));
        let mean = super::rounded(all.mean()?);
        Some(Loss { mean, tokens: all.tokens, rows: rows.len() as u64 })
    }
}
