//! Evidence as policies see it: read-only, typed, and strict about names.

use std::sync::Arc;

use rhai::plugin::*;
use rhai::{Array, ImmutableString, Map};
use serde_json::Value;

use crate::script::RhaiResultOf;
use crate::script::failure::nearest;

/// A view on evidence, or on one suite within it.
#[derive(Debug, Clone)]
pub struct Evidence {
    value: Arc<Value>,
    suite: Option<ImmutableString>,
}

impl Evidence {
    /// All of it.
    pub fn new(value: Arc<Value>) -> Self {
        Evidence { value, suite: None }
    }

    /// How a figure of this view is called in a check.
    pub fn label(&self, figure: &str, metric: &str) -> String {
        match &self.suite {
            Some(suite) => format!("{suite}.{figure}.{metric}"),
            None => format!("{figure}.{metric}"),
        }
    }

    /// A figure of a metric.
    pub fn figure(&self, metric: &str, figure: &str) -> Result<f64, String> {
        let of = match &self.suite {
            Some(suite) => format!("suite `{suite}`"),
            None => "the evidence".to_string(),
        };
        let metrics = self.value.get("metrics").ok_or_else(|| format!("{of} has no metrics"))?;
        let found = member(metrics, metric, &format!("metric in {of}"))?;
        match member(found, figure, &format!("figure of metric `{metric}`"))?.as_f64() {
            Some(number) if number.is_finite() => Ok(number),
            _ => Err(format!("`{figure}` of metric `{metric}` in {of} is not a number")),
        }
    }
}

/// A member of an object, or what there is instead.
fn member<'a>(object: &'a Value, name: &str, what: &str) -> Result<&'a Value, String> {
    let members = object.as_object().ok_or_else(|| format!("there is no {what}"))?;
    if let Some(found) = members.get(name).filter(|value| !value.is_null()) {
        return Ok(found);
    }
    let mut known: Vec<&str> =
        members.iter().filter(|(_, v)| !v.is_null()).map(|(k, _)| k.as_str()).collect();
    known.sort_unstable();
    let hint = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? "),
        None => String::new(),
    };
    let known = if known.is_empty() { "none".into() } else { known.join(", ") };
    Err(format!("no {what} is called `{name}`; {hint}there is {known}"))
}

/// Registers the view.
pub fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Evidence>("Evidence");
    engine.register_global_module(exported_module!(view).into());
}

/// Registers evidence written out in a test.
pub fn register_for_tests(engine: &mut Engine) {
    engine.register_global_module(exported_module!(made).into());
}

#[export_module]
mod view {
    /// What the adapter reached on a metric, as a fraction.
    #[rhai_fn(pure, return_raw)]
    pub fn metric(evidence: &mut Evidence, name: &str) -> RhaiResultOf<f64> {
        Ok(evidence.figure(name, "adapter")?)
    }

    /// What the base without adapter reached.
    #[rhai_fn(pure, return_raw)]
    pub fn baseline(evidence: &mut Evidence, name: &str) -> RhaiResultOf<f64> {
        Ok(evidence.figure(name, "baseline")?)
    }

    /// Adapter minus base.
    #[rhai_fn(pure, return_raw)]
    pub fn delta(evidence: &mut Evidence, name: &str) -> RhaiResultOf<f64> {
        Ok(evidence.figure(name, "delta")?)
    }

    /// The lower end of the delta's confidence interval.
    #[rhai_fn(pure, return_raw)]
    pub fn lower(evidence: &mut Evidence, name: &str) -> RhaiResultOf<f64> {
        Ok(evidence.figure(name, "lower")?)
    }

    /// The upper end of the delta's confidence interval.
    #[rhai_fn(pure, return_raw)]
    pub fn upper(evidence: &mut Evidence, name: &str) -> RhaiResultOf<f64> {
        Ok(evidence.figure(name, "upper")?)
    }

    /// The names of the metrics.
    #[rhai_fn(pure)]
    pub fn metrics(evidence: &mut Evidence) -> Array {
        names(evidence.value.get("metrics"))
    }

    /// A fixed suite; it has metrics of its own.
    #[rhai_fn(pure, return_raw)]
    pub fn suite(evidence: &mut Evidence, name: &str) -> RhaiResultOf<Evidence> {
        let none = Value::Object(serde_json::Map::new());
        let suites = evidence.value.get("suites").unwrap_or(&none);
        let found = member(suites, name, "suite")?;
        Ok(Evidence { value: Arc::new(found.clone()), suite: Some(name.into()) })
    }

    /// The names of the fixed suites.
    #[rhai_fn(pure)]
    pub fn suites(evidence: &mut Evidence) -> Array {
        names(evidence.value.get("suites"))
    }

    /// The value of a configuration key, as it was resolved for this run.
    #[rhai_fn(pure, return_raw)]
    pub fn setting(evidence: &mut Evidence, key: &str) -> RhaiResultOf<Dynamic> {
        let none = Value::Object(serde_json::Map::new());
        let settings = evidence.value.get("settings").unwrap_or(&none);
        scalar(key, member(settings, key, "setting")?)
    }

    /// Any other value by its path: `evidence.value("dataset.min_example_ok")`. It must be a
    /// number, a string or a flag.
    #[rhai_fn(pure, return_raw)]
    pub fn value(evidence: &mut Evidence, path: &str) -> RhaiResultOf<Dynamic> {
        let mut at: &Value = &evidence.value;
        for part in path.split('.') {
            at = member(at, part, &format!("value on the way to `{path}`"))?;
        }
        scalar(path, at)
    }

    /// One line.
    #[rhai_fn(name = "to_string", name = "to_debug", pure)]
    pub fn show(evidence: &mut Evidence) -> String {
        let metrics = evidence.value.get("metrics").and_then(Value::as_object);
        format!("Evidence({} metrics)", metrics.map_or(0, serde_json::Map::len))
    }
}

#[export_module]
mod made {
    /// Evidence for testing a policy: `evidence(#{metrics: #{exact_match: #{delta: 0.1}}})`.
    #[rhai_fn(return_raw)]
    pub fn evidence(map: Map) -> RhaiResultOf<Evidence> {
        let value = rhai::serde::from_dynamic::<Value>(&Dynamic::from(map))?;
        Ok(Evidence::new(Arc::new(value)))
    }
}

fn names(object: Option<&Value>) -> Array {
    let mut names: Vec<&str> = object
        .and_then(Value::as_object)
        .map(|members| members.keys().map(String::as_str).collect())
        .unwrap_or_default();
    names.sort_unstable();
    names.into_iter().map(|name| name.into()).collect()
}

fn scalar(path: &str, value: &Value) -> RhaiResultOf<Dynamic> {
    match value {
        Value::Bool(flag) => Ok((*flag).into()),
        Value::String(text) => Ok(text.as_str().into()),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Ok(whole.into()),
            (None, Some(number)) if number.is_finite() => Ok(number.into()),
            _ => Err(format!("`{path}` is not a number a policy can read").into()),
        },
        _ => Err(format!("`{path}` is not a number, a string or a flag").into()),
    }
}
