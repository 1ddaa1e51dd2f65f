//! Base, champion and candidate on the same prompts: metrics and paired statistics.
//!
//! [`item`] makes the questions, [`outputs`] asks them (or finds the answers in the [`cache`]),
//! [`metrics`] scores each answer, [`statistics`] says how sure a difference is, [`evaluation`] is
//! what remains of it all.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::config::Config;
use crate::dataset::source::{Recent, from_traces};
use crate::dataset::{Kind, Rows};
use crate::model::{Base, Decoding, Generator, Prompt};
use crate::progress::Observer;
use crate::redact::Redactor;
use crate::tokens::{Encoded, Reply};
use crate::trace::{self, Message};

pub mod cache;
mod compare;
pub mod distributions;
pub mod edits;
pub mod evaluation;
pub mod item;
pub mod keywords;
pub mod metrics;
pub mod outputs;
pub mod past;
pub mod rules;
pub mod secrets;
pub mod statistics;
mod subject;
#[cfg(test)]
mod testing;

pub use cache::Shelf;
pub use evaluation::{Evaluation, Output, Record};
pub use item::Item;
pub use metrics::Metric;
pub use outputs::{Answer, Loss, Nats};
pub use past::Past;
pub use statistics::Delta;

/// A model that can be asked: the base alone or the base with an adapter.
pub trait Subject: Sync {
    /// Says what it takes to answer prompts of at most `longest` tokens with at most `max_new`
    /// each, and refuses where there is less.
    fn prepare(&self, longest: usize, max_new: usize, observer: &dyn Observer) -> Result<()> {
        let _ = (longest, max_new, observer);
        Ok(())
    }

    /// Answers each prompt: the new token ids of each, without the stop token that ended it; the
    /// flag tells whether it ended with a stop token (rather than at the length limit). What is
    /// drawn for a prompt depends on its own seed alone. It forms its own batches and tells the
    /// observer how many prompts are done.
    fn generate(
        &self,
        prompts: &[Prompt],
        decoding: &Decoding,
        stop: &[u32],
        observer: &dyn Observer,
    ) -> Result<Vec<(Vec<u32>, bool)>>;

    /// For each row, the negative log-likelihood (nats) of each of its trained tokens.
    fn loss(&self, rows: &[&Encoded]) -> Result<Vec<Vec<f64>>>;
}

/// How messages become token ids and back; a tokenizer with its chat template.
pub trait Chat: Sync {
    /// The ids after which the model answers.
    fn prompt(&self, history: &[Message], tools: &[serde_json::Value]) -> Result<Vec<u32>>;
    /// A whole conversation with its loss mask, in as many sequences as its template needs.
    fn encode(&self, messages: &[Message], tools: &[serde_json::Value]) -> Result<Vec<Encoded>>;
    /// An answer taken apart.
    fn parse(&self, ids: &[u32]) -> Reply;
    /// The ids that end an answer.
    fn stop_ids(&self) -> &[u32];
}

/// A model under comparison.
pub struct Contender<'a> {
    /// The model.
    pub subject: &'a dyn Subject,
    /// The digest of everything that makes it what it is.
    pub digest: String,
}

/// A fixed set of questions beside validation.
#[derive(Debug, Clone)]
pub struct Suite {
    /// Its name, unique within a run.
    pub name: String,
    /// The digest of its file.
    pub digest: String,
    /// Its rows.
    pub rows: Rows,
}

/// The suites of these files, each named after its file.
pub fn suites(files: &[String], project: &Path, observer: &dyn Observer) -> Result<Vec<Suite>> {
    let mut suites: Vec<Suite> = Vec::new();
    for file in files {
        let loaded = trace::load(&[PathBuf::from(file)], project, observer)?.refuse_empty()?;
        let name = Path::new(file).file_stem().map(|n| n.to_string_lossy().into_owned());
        let name = name.unwrap_or_else(|| file.clone());
        if suites.iter().any(|s| s.name == name) {
            bail!("EVAL_FILES names two suites `{name}`; rename one of the files");
        }
        let digests: Vec<&str> = loaded.files.iter().map(|f| f.sha256.as_str()).collect();
        let digest = digests.join("+");
        suites.push(Suite {
            name,
            digest,
            rows: from_traces(loaded, Kind::Real, &Recent::default()),
        });
    }
    Ok(suites)
}

/// Gives each answer to its item a score, or none.
pub type Scored<'a> = dyn Fn(&[(&Item, &Answer)]) -> Result<Vec<Option<f64>>> + 'a;

/// A metric of a team's own, by name.
pub struct Custom<'a> {
    /// Its name; none of the built-in ones.
    pub name: String,
    /// The score of each answer to its item; `None` where it does not apply.
    pub scores: &'a Scored<'a>,
}

/// How the comparison is run.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Reference rows measured at once.
    pub batch: usize,
    /// How answers are chosen, and how long they may be.
    pub decoding: Decoding,
    /// Answers to each item; scores are means over them.
    pub repeats: usize,
    /// At most this many validation items; 0 takes all.
    pub max_items: usize,
    /// The model's longest context, in tokens; 0 sets no limit.
    pub context: usize,
    /// Draws behind each interval.
    pub resamples: usize,
    /// The seed of everything random.
    pub seed: u64,
}

impl Settings {
    /// The settings of a configuration, for a model with this longest context.
    pub fn of(config: &Config, context: usize) -> Settings {
        Settings {
            batch: config.size("EVAL_BATCH_SIZE"),
            decoding: Decoding {
                max_new: config.size("EVAL_MAX_NEW_TOKENS"),
                temperature: config.float("EVAL_TEMPERATURE"),
                top_p: config.float("EVAL_TOP_P"),
            },
            repeats: config.size("EVAL_REPEATS"),
            max_items: config.size("EVAL_MAX_ITEMS"),
            context,
            resamples: 2000,
            seed: config.size("SEED") as u64,
        }
    }
}

/// Everything a comparison needs.
pub struct Comparison<'a> {
    /// The validation rows.
    pub val: &'a Rows,
    /// Fixed suites beside them.
    pub suites: &'a [Suite],
    /// Sessions and components that a compared adapter was trained on.
    pub seen: &'a BTreeSet<String>,
    /// Names under which the base itself may have written references.
    pub own_names: &'a [String],
    /// Tokenizer and chat template.
    pub chat: &'a dyn Chat,
    /// The base without adapter.
    pub base: Contender<'a>,
    /// The adapter in use, where there is one.
    pub champion: Option<Contender<'a>>,
    /// The adapter to be judged.
    pub candidate: Contender<'a>,
    /// A team's own metrics.
    pub metrics: &'a [Custom<'a>],
    /// Finds secrets in what the models answer; without it nobody looks.
    pub redactor: Option<&'a Redactor>,
    /// Where answers of base and champion are kept for the next comparison.
    pub cache: Option<Shelf<'a>>,
    /// How it is run.
    pub settings: Settings,
}

impl Comparison<'_> {
    /// Asks every subject every item and measures. The records are the items one by one.
    pub fn run(&self, observer: &dyn Observer) -> Result<(Evaluation, Vec<Record>)> {
        for (i, custom) in self.metrics.iter().enumerate() {
            let taken = self.metrics[..i].iter().any(|other| other.name == custom.name);
            if taken || Metric::parse(&custom.name).is_ok() {
                bail!("there is already a metric `{}`; choose another name", custom.name);
            }
        }
        for (i, suite) in self.suites.iter().enumerate() {
            let taken = self.suites[..i].iter().any(|other| other.name == suite.name);
            if taken || suite.name == outputs::VALIDATION {
                bail!("two sets of items are called `{}`; rename a file of EVAL_FILES", suite.name);
            }
        }
        let found = item::items(self.val, self.suites, self.seen, self.chat, &self.settings)?;
        if found.items.is_empty() {
            let reasons: Vec<_> = found.left_out.iter().map(|(r, n)| format!("{r}: {n}")).collect();
            bail!(
                "nothing to evaluate: no trained assistant turn is left in the validation rows{}",
                if reasons.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", reasons.join(", "))
                }
            );
        }
        compare::compare(self, found, observer)
    }
}

/// The share of the rows' trained turns that a base answers exactly.
pub fn exact_share(
    base: &Base,
    rows: &Rows,
    config: &Config,
    observer: &dyn Observer,
) -> Result<f64> {
    let mut settings = Settings::of(config, base.decoder.max_positions());
    settings.decoding.temperature = 0.0;
    settings.repeats = 1;
    let found = item::items(rows, &[], &BTreeSet::new(), &base.codec, &settings)?;
    let generator = Generator { decoder: &base.decoder, lora: None, batch: settings.batch };
    let items = &found.items;
    let mut column = outputs::Column { name: "base", subject: &generator, cache: None };
    let answers = column.answers(items, &base.codec, &settings, observer)?;
    let answers = items.iter().zip(answers.iter().flatten());
    let scores = answers.filter_map(|(i, a)| Metric::ExactMatch.score(i, a));
    Ok(scores.sum::<f64>() / items.len().max(1) as f64)
}

/// A number as it is written: nine decimals, so that the last bits of a sum do not show.
pub fn rounded(x: f64) -> f64 {
    let scaled = x * 1e9;
    // Above 2^52 there are no decimals to round away.
    if scaled.abs() < 4.5e15 { scaled.round() / 1e9 + 0.0 } else { x }
}
