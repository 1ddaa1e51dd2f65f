//! Asks every subject every item and draws the figures from the answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use rayon::prelude::*;

use super::cache::{Cache, Shelf};
use super::evaluation::{
    Authors, Call, Changes, Column, Conditions, Counts, Evaluation, Mean, Output, Record,
    SCHEMA_VERSION, Slices, SuiteUsed, lines,
};
use super::item::Items;
use super::metrics::Scores;
use super::outputs::{self, References, RowLoss};
use super::{
    Answer, Comparison, Contender, Delta, Item, Loss, Metric, Nats, metrics, rounded, secrets,
    statistics,
};
use crate::chance::Chance;
use crate::dataset::{Example, Kind};
use crate::files;
use crate::progress::Observer;
use crate::trace::Role;

/// One subject's answers, scores and losses while the comparison runs.
struct Asked {
    outputs: Vec<Output>,
    /// The loss on each item's reference, where it was measured.
    nats: Vec<Option<Nats>>,
    /// The loss on each row by group.
    losses: BTreeMap<String, Vec<RowLoss>>,
}

pub(super) fn compare(
    task: &Comparison,
    found: Items,
    observer: &dyn Observer,
) -> Result<(Evaluation, Vec<Record>)> {
    let Items { items, mut left_out } = found;
    let references = references(task, &items)?;
    let too_long: u64 = references.iter().map(|r| r.too_long).sum();
    if too_long > 0 {
        left_out.insert(format!("loss: row over {} tokens", task.settings.context), too_long);
    }
    let rows = references.iter().flat_map(|group| group.rows.iter().map(|row| row.ids.len()));
    let longest = rows.chain(items.iter().map(|item| item.prompt.len())).max().unwrap_or(0);
    task.base.subject.prepare(longest, task.settings.decoding.max_new, observer)?;
    let ask = |name: &str, contender: &Contender, shelf: Option<&Shelf>| {
        ask(task, name, contender, shelf, &items, &references, observer)
    };
    let shelf = task.cache.as_ref();
    let mut base = ask("base", &task.base, shelf)?;
    let champion = task.champion.as_ref().map(|c| ask("champion", c, shelf));
    let mut champion = champion.transpose()?;
    let mut candidate = ask("candidate", &task.candidate, None)?;
    let secrets = match task.redactor {
        Some(redactor) => {
            let mut columns = vec![&mut base.outputs];
            columns.extend(champion.as_mut().map(|c| &mut c.outputs));
            columns.push(&mut candidate.outputs);
            Some(secrets::search(&items, &mut columns, redactor, task.settings.seed)?)
        }
        None => None,
    };

    let column = |asked: &Asked, contender: &Contender| Column {
        digest: contender.digest.clone(),
        loss: asked
            .losses
            .iter()
            .filter_map(|(group, rows)| Some((group.clone(), Loss::of(rows)?)))
            .collect(),
        metrics: slices(&items, |members| means(members, asked)),
    };
    let against = |other: &Asked, label: &str| {
        let chance = Chance::new(task.settings.seed, label);
        slices(&items, |members| {
            deltas(members, &items, other, &candidate, task.settings.resamples, &chance)
        })
    };
    let paired = against(&base, "paired with the base");
    let evidence: Vec<&Item> =
        items.iter().filter(|i| i.suite.is_none() && i.kind == Kind::Real).collect();
    let mut evaluation = Evaluation {
        schema_version: SCHEMA_VERSION,
        delta: paired.overall.iter().map(|(name, d)| (name.clone(), d.delta)).collect(),
        counts: Counts {
            pairs: evidence.len() as u64,
            sessions: evidence.iter().map(|i| &i.session).collect::<BTreeSet<_>>().len() as u64,
            generated: count_by(
                items.iter().filter(|i| i.suite.is_none() && i.kind != Kind::Real),
                |i| i.kind.as_str(),
            ),
            left_out,
            days: days(&evidence),
        },
        secrets,
        adapter_active: active(&base, &candidate),
        paired,
        paired_champion: champion.as_ref().map(|c| against(c, "paired with the champion")),
        changes: changes(&items, &base, champion.as_ref(), &candidate),
        references: authors(&evidence, task.own_names),
        base: column(&base, &task.base),
        champion: champion.as_ref().zip(task.champion.as_ref()).map(|(asked, c)| column(asked, c)),
        candidate: column(&candidate, &task.candidate),
        suites: task
            .suites
            .iter()
            .map(|s| {
                let n = items.iter().filter(|i| i.suite.as_ref() == Some(&s.name)).count() as u64;
                (s.name.clone(), SuiteUsed { digest: s.digest.clone(), items: n })
            })
            .collect(),
        conditions: Conditions {
            decoding: if task.settings.decoding.temperature == 0.0 { "greedy" } else { "sampled" }
                .into(),
            temperature: task.settings.decoding.temperature,
            top_p: task.settings.decoding.top_p,
            repeats: task.settings.repeats as u64,
            max_new_tokens: task.settings.decoding.max_new as u64,
            resamples: task.settings.resamples as u64,
            confidence: statistics::CONFIDENCE,
            seed: task.settings.seed,
        },
        items_digest: String::new(),
    };
    let changes = &evaluation.changes;
    let placed = [&changes.regressions, &changes.persistent].into_iter().enumerate();
    let place: BTreeMap<&String, usize> =
        placed.flat_map(|(place, ids)| ids.iter().map(move |id| (id, place))).collect();
    let mut champions = champion.map(|c| c.outputs.into_iter());
    let mut records: Vec<Record> = items
        .iter()
        .zip(base.nats)
        .zip(base.outputs.into_iter().zip(candidate.outputs))
        .map(|((item, nats), (base, candidate))| {
            let champion = champions.as_mut().and_then(Iterator::next);
            let tokens = nats.map_or(0, |nats| nats.tokens);
            Record { reference_tokens: tokens, ..record(item, base, champion, candidate) }
        })
        .collect();
    // What needs a person comes first.
    records.sort_by_key(|record| place.get(&record.id).copied().unwrap_or(2));
    evaluation.items_digest = files::digest(&lines(&records)?);
    observer.say(&evaluation.line());
    Ok((evaluation, records))
}

/// The rows behind the real items, validation first, then suite by suite.
fn references(task: &Comparison, items: &[Item]) -> Result<Vec<References>> {
    let mut groups: BTreeMap<Option<&str>, BTreeMap<&str, &Arc<Example>>> = BTreeMap::new();
    for item in items.iter().filter(|i| i.suite.is_some() || i.kind == Kind::Real) {
        let group = groups.entry(item.suite.as_deref()).or_default();
        group.insert(&item.example.id, &item.example);
    }
    let encode = |(group, examples): (Option<&str>, BTreeMap<&str, &Arc<Example>>)| {
        let examples: Vec<_> = examples.into_values().cloned().collect();
        References::encode(
            group.unwrap_or(outputs::VALIDATION),
            &examples,
            task.chat,
            &task.settings,
        )
    };
    groups.into_iter().map(encode).collect()
}

fn ask(
    task: &Comparison,
    name: &str,
    contender: &Contender,
    shelf: Option<&Shelf>,
    items: &[Item],
    references: &[References],
    observer: &dyn Observer,
) -> Result<Asked> {
    let Comparison { chat, settings, .. } = task;
    let (subject, digest) = (contender.subject, &contender.digest);
    let mut cache =
        shelf.map(|shelf| Cache::open(shelf, digest, settings, chat.stop_ids(), observer));
    let mut column = outputs::Column { name, subject, cache: cache.as_mut() };
    let (mut losses, mut turns) = (BTreeMap::new(), BTreeMap::new());
    for group in references {
        let rows = column.losses(group, settings, observer)?;
        for (example, row) in group.examples.iter().zip(&rows) {
            let turn = |(message, nats)| ((&*group.group, &**example, message), nats);
            turns.extend(row.turns.clone().into_iter().map(turn));
        }
        losses.insert(group.group.clone(), rows);
    }
    let answers = column.answers(items, *chat, settings, observer)?;
    if let Some(cache) = cache {
        cache.close(observer);
    }
    let nats = |item: &Item| {
        let group = item.suite.as_deref().unwrap_or(outputs::VALIDATION);
        turns.get(&(group, &*item.example.id, item.message)).copied()
    };
    let nats: Vec<Option<Nats>> = items.iter().map(nats).collect();
    let scores = scores(task, items, &answers)?;
    let outputs =
        answers.into_iter().zip(scores).zip(&nats).map(|((answers, mut scores), nats)| {
            let loss = nats.and_then(Nats::mean).map(rounded);
            for scores in &mut scores {
                scores.extend(loss.map(|loss| (Metric::Loss.name().to_string(), loss)));
            }
            Output::of(answers.into_iter().next().unwrap_or_default(), scores)
        });
    Ok(Asked { outputs: outputs.collect(), nats, losses })
}

/// The scores of every answer, those of a team's own metrics too.
fn scores(task: &Comparison, items: &[Item], answers: &[Vec<Answer>]) -> Result<Vec<Vec<Scores>>> {
    let asked = || items.iter().zip(answers);
    let pairs: Vec<(&Item, &Answer)> =
        asked().flat_map(|(item, answers)| answers.iter().map(move |a| (item, a))).collect();
    let mut scores: Vec<Scores> = pairs.par_iter().map(|(i, a)| metrics::scores(i, a)).collect();
    for custom in task.metrics {
        let given = (custom.scores)(&pairs)?;
        ensure!(given.len() == pairs.len(), "metric `{}` did not score every answer", custom.name);
        for ((score, scores), (item, _)) in given.into_iter().zip(&mut scores).zip(&pairs) {
            let Some(score) = score else { continue };
            if !score.is_finite() {
                bail!("metric `{}`, item {}: {score} is no score", custom.name, item.id);
            }
            scores.insert(custom.name.clone(), rounded(score));
        }
    }
    let mut scores = scores.into_iter();
    Ok(asked().map(|(_, answers)| scores.by_ref().take(answers.len()).collect()).collect())
}

/// Splits the items (by index) into slices and computes a figure for each.
fn slices<T>(items: &[Item], figure: impl Fn(&[usize]) -> T) -> Slices<T> {
    let by = |keys: &dyn Fn(&Item) -> Vec<String>| -> BTreeMap<String, T> {
        let mut members: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (i, item) in items.iter().enumerate() {
            for key in keys(item) {
                members.entry(key).or_default().push(i);
            }
        }
        members.into_iter().map(|(key, members)| (key, figure(&members))).collect()
    };
    let real = |item: &Item| item.suite.is_none() && item.kind == Kind::Real;
    let evidence: Vec<usize> = (0..items.len()).filter(|i| real(&items[*i])).collect();
    let when = |holds: bool, keys: Vec<String>| if holds { keys } else { Vec::new() };
    Slices {
        overall: figure(&evidence),
        source: by(&|i| when(real(i), vec![i.source.clone()])),
        task_category: by(&|i| when(real(i), i.task_category.iter().cloned().collect())),
        tool: by(&|i| when(real(i), i.tools.iter().cloned().collect())),
        language: by(&|i| when(real(i), i.language.iter().cloned().collect())),
        repository: by(&|i| when(real(i), i.example.trace.repository.iter().cloned().collect())),
        author: by(&|i| when(real(i), i.author.iter().cloned().collect())),
        generated: by(&|i| when(i.suite.is_none() && !real(i), vec![i.kind.as_str().to_string()])),
        suite: by(&|i| i.suite.iter().cloned().collect()),
    }
}

fn means(members: &[usize], asked: &Asked) -> BTreeMap<String, Mean> {
    let mut sums: BTreeMap<&str, (f64, u64)> = BTreeMap::new();
    for i in members {
        for (name, score) in &asked.outputs[*i].scores {
            let sum = sums.entry(name).or_default();
            *sum = (sum.0 + score, sum.1 + 1);
        }
    }
    let mean = |(sum, n): (f64, u64)| Mean { mean: rounded(sum / n as f64), n };
    let mut means: BTreeMap<String, Mean> =
        sums.into_iter().map(|(name, sum)| (name.to_string(), mean(sum))).collect();
    let measured: Vec<Nats> = members.iter().filter_map(|i| asked.nats[*i]).collect();
    if let Some(loss) = measured.iter().copied().fold(Nats::default(), Nats::and).mean() {
        let perplexity = Mean { mean: rounded(libm::exp(loss)), n: measured.len() as u64 };
        if perplexity.mean.is_finite() {
            means.insert(Metric::Perplexity.name().into(), perplexity);
        }
    }
    means
}

fn deltas(
    members: &[usize],
    items: &[Item],
    before: &Asked,
    after: &Asked,
    resamples: usize,
    chance: &Chance,
) -> BTreeMap<String, Delta> {
    let scores = |i: usize| (&before.outputs[i].scores, &after.outputs[i].scores);
    let names: BTreeSet<&String> = members.iter().flat_map(|i| scores(*i).0.keys()).collect();
    let differences = |name: &String| {
        members
            .iter()
            .filter_map(|i| {
                let (before, after) = scores(*i);
                Some((items[*i].session.as_str(), after.get(name)? - before.get(name)?))
            })
            .collect::<Vec<_>>()
    };
    let delta = |name| statistics::paired(differences(name), resamples, chance);
    names.into_iter().filter_map(|name| Some((name.clone(), delta(name)?))).collect()
}

/// Days from the first to the last beginning of the items' sessions.
fn days(evidence: &[&Item]) -> Option<f64> {
    let begun = || evidence.iter().filter_map(|i| i.example.trace.started_ms);
    let span = begun().max()?.checked_sub(begun().min()?)?;
    Some(rounded(span as f64 / 86_400_000.0))
}

/// Whether the loss differs at all, on any turn of any row.
fn active(base: &Asked, candidate: &Asked) -> Option<bool> {
    let bits = |asked: &Asked| -> Vec<(u64, u64)> {
        let rows = asked.losses.values().flatten();
        let parts = rows.flat_map(|row| [row.all].into_iter().chain(row.turns.values().copied()));
        parts.map(|nats| (nats.sum.to_bits(), nats.tokens)).collect()
    };
    let base = bits(base);
    (!base.is_empty()).then(|| base != bits(candidate))
}

fn changes(items: &[Item], base: &Asked, champion: Option<&Asked>, candidate: &Asked) -> Changes {
    let mut changes = Changes::default();
    for (i, item) in items.iter().enumerate() {
        let id = item.id.clone();
        match (base.outputs[i].is_right(), candidate.outputs[i].is_right()) {
            (true, false) => changes.regressions.push(id),
            (false, true) => changes.fixes.push(id),
            (false, false) if !champion.is_some_and(|c| c.outputs[i].is_right()) => {
                changes.persistent.push(id);
            }
            _ => {}
        }
    }
    changes
}

fn count_by<'a, T: 'a>(
    items: impl Iterator<Item = &'a T>,
    key: impl Fn(&'a T) -> &'a str,
) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for item in items {
        *counts.entry(key(item).to_string()).or_default() += 1;
    }
    counts
}

/// Model names are compared without owner, extension, case and punctuation:
/// `HuggingFaceTB/SmolLM2-135M` is `smollm2-135m.gguf`.
fn plain_name(name: &str) -> String {
    let last = name.trim_end_matches('/').rsplit(['/', '\\']).next().unwrap_or(name);
    let lower = last.to_lowercase();
    let stem = lower.strip_suffix(".gguf").unwrap_or(&lower);
    stem.chars().filter(|c| c.is_alphanumeric()).collect()
}

fn authors(evidence: &[&Item], own_names: &[String]) -> Authors {
    let author = |item: &Item| item.author.clone().unwrap_or_else(|| "unknown".into());
    let own: BTreeSet<String> =
        own_names.iter().map(|n| plain_name(n)).filter(|n| !n.is_empty()).collect();
    let mut by_author = BTreeMap::new();
    let mut self_written = 0u64;
    for item in evidence {
        *by_author.entry(author(item)).or_default() += 1;
        let is_own = item.author.as_ref().is_some_and(|a| own.contains(&plain_name(a)));
        self_written += u64::from(is_own);
    }
    let share = self_written as f64 / evidence.len().max(1) as f64;
    Authors { by_author, self_written: rounded(share) }
}

pub(super) fn record(
    item: &Item,
    base: Output,
    champion: Option<Output>,
    candidate: Output,
) -> Record {
    let messages = &item.example.trace.messages[..item.message];
    let request = messages.iter().rev().find(|m| m.role == Role::User);
    let bytes: Vec<u8> = item.prompt.iter().flat_map(|id| id.to_le_bytes()).collect();
    Record {
        id: item.id.clone(),
        session: item.session.clone(),
        component: item.component.clone(),
        suite: item.suite.clone(),
        kind: item.kind,
        source: item.source.clone(),
        task_category: item.task_category.clone(),
        language: item.language.clone(),
        repository: item.example.trace.repository.clone(),
        author: item.author.clone(),
        request: request.map(|m| m.content.clone()).unwrap_or_default(),
        prompt_digest: files::digest(&bytes),
        prompt_tokens: item.prompt.len() as u64,
        reference_tokens: 0,
        keywords: item.keywords.clone(),
        reference: Output {
            content: item.reference.content.clone(),
            calls: item.reference.tool_calls.iter().map(Call::of).collect(),
            ..Output::default()
        },
        base,
        champion,
        candidate,
    }
}
