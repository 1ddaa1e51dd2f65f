//! Metrics and slices as rows of words.

use serde::Serialize;

use crate::evaluate::evaluation::{Column, Mean};
use crate::evaluate::{Delta, Evaluation, Metric};

#[derive(Debug, Serialize)]
pub(super) struct MetricRow {
    pub name: String,
    pub base: String,
    pub champion: String,
    pub candidate: String,
    pub delta: String,
    pub interval: String,
    pub p: String,
    pub pairs: String,
}

#[derive(Debug, Serialize)]
pub(super) struct SliceRow {
    pub family: &'static str,
    pub name: String,
    pub row: MetricRow,
}

/// Shares are shown as per cent, lengths and losses as they are.
fn is_share(metric: &str) -> bool {
    Metric::parse(metric).is_ok_and(Metric::is_share)
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn value(metric: &str, x: f64) -> String {
    if is_share(metric) { percent(x) } else { format!("{x:.2}") }
}

fn change(metric: &str, x: f64) -> String {
    let scaled = if is_share(metric) { x * 100.0 } else { x };
    let digits = if is_share(metric) { 1 } else { 2 };
    // A change that rounds to nothing has no sign.
    let text = format!("{scaled:+.digits$}");
    if text.trim_start_matches(['+', '-', '0', '.']).is_empty() {
        text.replace(['+', '-'], "±")
    } else {
        text.replace('-', "−")
    }
}

fn metric_row(name: &str, means: [Option<Mean>; 3], delta: Option<&Delta>) -> MetricRow {
    let shown = |mean: Option<Mean>| mean.map_or("–".into(), |m| value(name, m.mean));
    let ends = delta.and_then(|d| d.low.zip(d.high));
    MetricRow {
        name: name.replace('_', " "),
        base: shown(means[0]),
        champion: shown(means[1]),
        candidate: shown(means[2]),
        delta: delta.map_or("–".into(), |d| change(name, d.delta)),
        interval: ends.map_or("–".into(), |(low, high)| {
            format!("{} … {}", change(name, low), change(name, high))
        }),
        p: delta.map_or("–".into(), |d| match d.p {
            p if p < 0.001 => "< 0.001".into(),
            p => format!("{p:.3}"),
        }),
        pairs: delta.map_or("–".into(), |d| d.pairs.to_string()),
    }
}

/// The built-in metrics first, in their own order, then a team's.
fn metric_names(column: &Column) -> Vec<String> {
    let measured = &column.metrics.overall;
    let built_in = Metric::ALL.map(|m| m.name().to_string()).into_iter();
    let own = measured.keys().filter(|name| Metric::parse(name).is_err()).cloned();
    built_in.filter(|name| measured.contains_key(name)).chain(own).collect()
}

pub(super) fn metric_rows(evaluation: &Evaluation) -> Vec<MetricRow> {
    let columns = columns(evaluation);
    let mut rows: Vec<MetricRow> = metric_names(&evaluation.candidate)
        .iter()
        .map(|name| {
            let means = columns.map(|c| c.and_then(|c| c.metrics.overall.get(name).copied()));
            metric_row(name, means, evaluation.paired.overall.get(name))
        })
        .collect();
    let groups = evaluation.candidate.loss.keys();
    rows.extend(groups.map(|group| {
        let loss = columns.map(|c| c.and_then(|c| c.loss.get(group)));
        let shown = loss.map(|l| l.map_or("–".to_string(), |l| format!("{:.3}", l.mean)));
        let [base, champion, candidate] = shown;
        let none = String::new;
        MetricRow {
            name: format!("loss on {group}, nats per token"),
            base,
            champion,
            candidate,
            delta: none(),
            interval: none(),
            p: none(),
            pairs: none(),
        }
    }));
    rows
}

pub(super) fn slice_rows(evaluation: &Evaluation) -> Vec<SliceRow> {
    let name = Metric::ExactMatch.name();
    let mut rows = Vec::new();
    for (place, (family, slices)) in evaluation.paired.families().into_iter().enumerate() {
        for (slice, deltas) in slices {
            let mean = |column: &'_ Column| {
                column.metrics.families()[place].1.get(slice)?.get(name).copied()
            };
            let means = columns(evaluation).map(|c| c.and_then(mean));
            let row = metric_row(name, means, deltas.get(name));
            rows.push(SliceRow { family, name: slice.clone(), row });
        }
    }
    rows
}

fn columns(evaluation: &Evaluation) -> [Option<&Column>; 3] {
    [Some(&evaluation.base), evaluation.champion.as_ref(), Some(&evaluation.candidate)]
}
