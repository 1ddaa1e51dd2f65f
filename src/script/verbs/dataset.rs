//! From rows to a dataset on disk: redact, filter, deduplicate, split, mix, write.

use std::sync::Arc;

use anyhow::Context;
use rhai::plugin::*;
use rhai::{Array, FnPtr, Map};

use super::host;
use crate::dataset::decontaminate::{self, Suite};
use crate::dataset::generate::{generate as make, generator};
use crate::dataset::ledger::Ledger;
use crate::dataset::quality::{Bounds, filter, rule, standard};
use crate::dataset::similarity::Limits;
use crate::dataset::snapshot::{self, Shards, Snapshot};
use crate::dataset::split::{self, Parts};
use crate::dataset::windows::windows as cut;
use crate::dataset::{Dataset, Example, Kind, Rows, TokenCount, mix, redaction};
use crate::evaluate::suites;
use crate::model::Base;
use crate::progress::Observer;
use crate::redact::{Known, TeamRule};
use crate::script::closures::each_row;
use crate::script::compare::named;
use crate::script::host::Host;
use crate::script::{RhaiResultOf, fail};
use crate::trace::Message;

/// Registers the steps.
pub fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Parts>("Parts");
    engine.register_type_with_name::<Dataset>("Mixed");
    engine.register_type_with_name::<Snapshot>("Dataset");
    engine.register_global_module(exported_module!(verbs).into());
}

/// Lengths in tokens, as the trainer will see them.
struct Tokens {
    base: Arc<Base>,
    observer: Arc<dyn Observer>,
}

impl TokenCount for Tokens {
    fn count(&self, e: &Example) -> anyhow::Result<usize> {
        self.base.codec.length(&e.trace.messages, &e.trace.tools)
    }

    fn adds(&self, piece: &[Message]) -> anyhow::Result<Option<usize>> {
        self.base.codec.adds(piece)
    }

    fn prove(&self, sample: &[Arc<Example>]) {
        let sample = sample.iter().map(|e| (e.trace.messages.as_slice(), e.trace.tools.as_slice()));
        if let Some(reason) = self.base.codec.prove(sample) {
            self.observer.say(reason);
        }
    }
}

fn tokens(host: &Host) -> anyhow::Result<Tokens> {
    Ok(Tokens { base: host.base()?, observer: host.observer.clone() })
}

fn seed(host: &Host) -> u64 {
    host.config.size("SEED") as u64
}

fn told<T>(host: &Host, line: Option<String>, value: T) -> T {
    line.iter().for_each(|line| host.observer.say(line));
    value
}

/// What a redaction rule's closure returned.
fn values(answer: Dynamic) -> Result<Vec<String>, String> {
    let wrong = |found: &Dynamic| {
        format!(
            "the closure must return an array of the values that have to go, not {}",
            named(found)
        )
    };
    let list = answer.as_array_ref().map_err(|_| wrong(&answer))?;
    list.iter().map(|item| item.clone().into_string().map_err(|_| wrong(item))).collect()
}

#[export_module]
mod verbs {
    /// Examples made from the real rows by the generators of these names, up to `times` from each
    /// row by each; these alone, to be added to the rows. Of more than a thousand rows only so many
    /// are parents as give twice what the ratio of that kind can take. An unknown name lists the
    /// known ones.
    #[rhai_fn(pure, return_raw)]
    pub fn generate(
        ctx: NativeCallContext,
        rows: &mut Rows,
        names: Array,
        times: i64,
    ) -> RhaiResultOf<Rows> {
        let host = host(&ctx)?;
        let names = names.into_iter().map(Dynamic::into_string).collect::<Result<Vec<_>, _>>();
        let names =
            names.map_err(|found| format!("a generator's name is a string, not {found}"))?;
        let run = || -> anyhow::Result<Rows> {
            let generators = names.iter().map(|n| generator(n)).collect::<Result<Vec<_>, _>>()?;
            let observer = host.observer.as_ref();
            let pool = host.pool(rows)?;
            let times = u64::try_from(times).context("a number of examples is 0 or more")?;
            let ratios = mix::Options::from_config(&host.config)?;
            let real = rows.count(Kind::Real);
            let made = generators.iter().map(|g| {
                let alike = generators.iter().filter(|other| other.kind == g.kind).count();
                let most = ratios.parents(g.kind, real, alike as u64 * times);
                let made = make(rows, g, &pool, (times, most), seed(&host), observer);
                made.map(|rows| host.told(rows))
            });
            made.reduce(|all, more| Ok(all?.and(&more?))).unwrap_or_else(|| Ok(Rows::default()))
        };
        run().map_err(fail)
    }

    /// Replaces every secret and every piece of personal data by a numbered placeholder, session
    /// by session, and plants canaries in shadow copies to measure what would be missed.
    #[rhai_fn(pure, return_raw)]
    pub fn redact(ctx: NativeCallContext, rows: &mut Rows) -> RhaiResultOf<Rows> {
        let host = host(&ctx)?;
        let observer = host.observer.as_ref();
        let done = host.redactor().and_then(|r| redaction::redact(rows, &r, seed(&host), observer));
        done.map(|rows| host.told(rows)).map_err(fail)
    }

    /// The same with rules of the team's own besides: a map from a rule's name to a pattern (as
    /// `fancy-regex` reads it; its first group goes where it has one, else the match), or to a
    /// closure that is given a row and returns an array of the values in it that have to go. What
    /// is found becomes `<SECRET_TEAM_{NAME}_1>` everywhere in the session. Patterns also apply to
    /// TRAIN_FILES and VAL_FILES; closures see only the rows at hand.
    #[rhai_fn(name = "redact", pure, return_raw)]
    pub fn redact_with(ctx: NativeCallContext, rows: &mut Rows, rules: Map) -> RhaiResultOf<Rows> {
        let host = host(&ctx)?;
        let mut patterns = Vec::new();
        let mut known: Vec<Vec<Known>> = vec![Vec::new(); rows.len()];
        for (name, rule) in rules {
            if let Some(closure) = rule.clone().try_cast::<FnPtr>() {
                let values = each_row(&ctx, rows, &format!("redact: {name}"), closure, values)?;
                for (row, values) in known.iter_mut().zip(values) {
                    let known = |value| Known { rule: name.to_string(), value };
                    row.extend(values.into_iter().map(known));
                }
            } else if rule.is_string() {
                patterns.push(TeamRule::pattern(&name, &rule.to_string()));
            } else {
                let found = named(&rule);
                return Err(format!(
                    "redaction rule `{name}`: a pattern or a closure is expected, not {found}"
                )
                .into());
            }
        }
        host.redact_also(patterns);
        let run = || {
            let observer = host.observer.as_ref();
            redaction::redact_knowing(rows, &host.redactor()?, &known, seed(&host), observer)
        };
        run().map(|rows| host.told(rows)).map_err(fail)
    }

    /// Every quality rule in turn, then the length limit MAX_SEQ_LENGTH; the first rule that
    /// objects drops the row and is counted.
    #[rhai_fn(pure, return_raw)]
    pub fn filter_quality(ctx: NativeCallContext, rows: &mut Rows) -> RhaiResultOf<Rows> {
        let host = host(&ctx)?;
        let run = || -> anyhow::Result<Rows> {
            let bounds = Bounds::from_config(&host.config)?;
            standard(rows, &bounds, Some(&tokens(&host)?), host.observer.as_ref())
        };
        run().map(|rows| host.told(rows)).map_err(fail)
    }

    /// Cuts sessions that are longer than MAX_SEQ_LENGTH into windows that fit; each answer is
    /// trained in one of them.
    #[rhai_fn(pure, return_raw)]
    pub fn windows(ctx: NativeCallContext, rows: &mut Rows) -> RhaiResultOf<Rows> {
        let host = host(&ctx)?;
        let run = || -> anyhow::Result<Rows> {
            let limit = host.config.size("MAX_SEQ_LENGTH");
            cut(rows, limit, &tokens(&host)?, host.observer.as_ref())
        };
        run().map(|rows| host.told(rows)).map_err(fail)
    }

    /// One quality rule by its name.
    #[rhai_fn(name = "filter", pure, return_raw)]
    pub fn filter_rule(ctx: NativeCallContext, rows: &mut Rows, name: &str) -> RhaiResultOf<Rows> {
        let host = host(&ctx)?;
        let run = || -> anyhow::Result<Rows> {
            let bounds = Bounds::from_config(&host.config)?;
            filter(rows, name, &[rule(name)?], &bounds, None, host.observer.as_ref())
        };
        run().map(|rows| host.told(rows)).map_err(fail)
    }

    /// Drops exact copies, near copies and sessions that another one contains.
    #[rhai_fn(pure, return_raw)]
    pub fn dedup(ctx: NativeCallContext, rows: &mut Rows) -> RhaiResultOf<Rows> {
        let host = host(&ctx)?;
        let run = || -> anyhow::Result<Rows> {
            let limits = Limits::from_config(&host.config)?;
            crate::dataset::dedup::dedup(rows, &limits, host.observer.as_ref())
        };
        run().map(|rows| host.told(rows)).map_err(fail)
    }

    /// Splits whole components into train, tune and val, and takes out of train what holds items of
    /// EVAL_FILES.
    #[rhai_fn(name = "split", pure, return_raw)]
    pub fn split_rows(ctx: NativeCallContext, rows: &mut Rows) -> RhaiResultOf<Parts> {
        let host = host(&ctx)?;
        let run = || -> anyhow::Result<Parts> {
            let options = split::Options::from_config(&host.config)?;
            let ledger = host.config.path("LEDGER").map(|path| Ledger::read(&path)).transpose()?;
            let observer = host.observer.as_ref();
            let parts = split::split(rows, &options, ledger.as_ref(), observer)?;
            let search = decontaminate::Options::from_config(&host.config);
            let files = if search.n == 0 { Vec::new() } else { host.config.list("EVAL_FILES") };
            let suites = suites(&files, &host.project, observer)?;
            let suites: Vec<_> = suites
                .iter()
                .map(|s| Suite { name: &s.name, digest: &s.digest, rows: &s.rows.examples })
                .collect();
            decontaminate::decontaminate(&parts, &suites, &search, observer)
        };
        let parts = run().map_err(fail)?;
        let new = parts.stages.iter().skip(rows.stages.len());
        new.for_each(|stage| host.observer.say(&stage.line()));
        Ok(parts)
    }

    /// Mixes generated and general rows into the training part, by the configured ratios.
    #[rhai_fn(name = "mix", pure, return_raw)]
    pub fn mix_parts(ctx: NativeCallContext, parts: &mut Parts) -> RhaiResultOf<Dataset> {
        let host = host(&ctx)?;
        let run = || -> anyhow::Result<Dataset> {
            let options = mix::Options::from_config(&host.config)?;
            mix::mix(parts, &options, &tokens(&host)?, host.observer.as_ref())
        };
        let mixed = run().map_err(fail)?;
        Ok(told(&host, mixed.stages.last().map(|s| s.line()), mixed.clone()))
    }

    /// Scans every row once more and writes the dataset and its manifest into the run. With
    /// TRAIN_FILES and VAL_FILES those are read, proven and written instead.
    #[rhai_fn(pure, return_raw)]
    pub fn write(ctx: NativeCallContext, dataset: &mut Dataset) -> RhaiResultOf<Snapshot> {
        let host = host(&ctx)?;
        let run = || -> anyhow::Result<Snapshot> {
            let (config, observer) = (&host.config, host.observer.as_ref());
            let redactor = host.redactor()?;
            let replaced = Shards::from_config(config)
                .map(|s| s.read(&host.project, &redactor, config, &tokens(&host)?, observer))
                .transpose()?;
            let dataset = replaced.as_ref().unwrap_or(dataset);
            let folder = host.run_folder()?.join("dataset");
            let provenance = host.provenance()?;
            snapshot::write(dataset, &folder, config, redactor.policy(), provenance, observer)
        };
        let written = run().map_err(fail)?;
        let away = host.pager().paged_out();
        if away > 0 {
            let away = away as f64 / f64::from(1 << 20);
            host.observer.say(&format!("{away:.1} MiB of rows waited on disk, compressed"));
        }
        Ok(told(&host, Some(written.to_string()), written.clone()))
    }

    /// One line: how many rows in each part.
    #[rhai_fn(name = "to_string", name = "to_debug", name = "print", name = "debug", pure)]
    pub fn show_parts(parts: &mut Parts) -> String {
        parts.to_string()
    }

    /// One line: how many rows in each part.
    #[rhai_fn(name = "to_string", name = "to_debug", name = "print", name = "debug", pure)]
    pub fn show_mixed(dataset: &mut Dataset) -> String {
        dataset.to_string()
    }

    /// One line: how many rows in each part, and where they lie.
    #[rhai_fn(name = "to_string", name = "to_debug", name = "print", name = "debug", pure)]
    pub fn show_dataset(dataset: &mut Snapshot) -> String {
        dataset.to_string()
    }
}
