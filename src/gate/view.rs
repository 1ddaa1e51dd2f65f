//! The evidence as a tree of names, for policies that walk it by path.

use serde_json::{Map, Value, json};

use super::evidence::{Deltas, Evidence};

impl Evidence {
    /// `metrics.<name>.{baseline, adapter, champion, delta, lower, upper, p, pairs, sessions}`,
    /// the same differences under `suites.<name>.metrics` and `tools.<name>.metrics`, the loss,
    /// the thresholds as `settings`, and the rest under `dataset`, `training` and `evaluation`.
    /// What was not measured is absent.
    pub fn tree(&self) -> Value {
        let mut tree = Map::new();
        let mut add = |name: &str, value: Value| {
            tree.insert(name.into(), value);
        };
        let thresholds = self.thresholds.iter();
        let settings = thresholds.map(|(name, t)| (name.clone(), t.value.into())).collect();
        add("settings", Value::Object(settings));
        let dataset = serde_json::to_value(&self.dataset).unwrap_or_default();
        add("dataset", present(dataset));
        if let Some(training) = &self.training {
            add("training", present(serde_json::to_value(training).unwrap_or_default()));
        }
        if let Some(judged) = self.judged {
            add("judged", judged.into());
        }
        let Some(e) = &self.evaluation else {
            return Value::Object(tree);
        };
        add(
            "evaluation",
            present(json!({
                "pairs": e.pairs,
                "sessions": e.sessions,
                "regressions": e.regressions,
                "fixes": e.fixes,
                "self_written": e.self_written,
                "adapter_active": e.adapter_active,
            })),
        );
        let mut metrics = differences(&e.delta);
        for (column, name) in
            [("base", "baseline"), ("champion", "champion"), ("candidate", "adapter")]
        {
            for (metric, mean) in e.means.get(column).into_iter().flatten() {
                let entry = metrics.entry(metric.clone()).or_insert_with(|| json!({}));
                entry[name] = (*mean).into();
            }
        }
        for (metric, delta) in e.champion_delta.iter().flatten() {
            let entry = metrics.entry(metric.clone()).or_insert_with(|| json!({}));
            entry["champion_delta"] = delta.delta.into();
        }
        add("metrics", Value::Object(metrics));
        for (name, slices) in [("suites", &e.suite), ("tools", &e.tool)] {
            let slice = |deltas: &Deltas| json!({ "metrics": differences(deltas) });
            let slices = slices.iter().map(|(name, deltas)| (name.clone(), slice(deltas)));
            add(name, Value::Object(slices.collect()));
        }
        add("loss", json!(e.loss));
        Value::Object(tree)
    }
}

fn differences(deltas: &Deltas) -> Map<String, Value> {
    let entry = |d: &crate::evaluate::Delta| {
        present(json!({
            "delta": d.delta,
            "lower": d.low,
            "upper": d.high,
            "p": d.p,
            "pairs": d.pairs,
            "sessions": d.sessions,
        }))
    };
    deltas.iter().map(|(metric, delta)| (metric.clone(), entry(delta))).collect()
}

/// An object without its nulls.
fn present(value: Value) -> Value {
    match value {
        Value::Object(map) => map.into_iter().filter(|(_, v)| !v.is_null()).collect(),
        other => other,
    }
}
