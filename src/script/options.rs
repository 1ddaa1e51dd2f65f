//! Option maps with strict keys: `rows.split(#{by: "session"})`.

use rhai::{Dynamic, FnPtr, Map};

use super::RhaiResultOf;
use super::compare::named;
use super::failure::nearest;

/// The options of one call, checked against the keys its verb knows.
#[derive(Debug)]
pub struct Options {
    verb: &'static str,
    map: Map,
}

impl Options {
    /// Takes a map as the options of `verb`; a key that is not `known` is an error.
    pub fn read(verb: &'static str, map: Map, known: &[&str]) -> RhaiResultOf<Self> {
        if let Some(key) = map.keys().find(|key| !known.contains(&key.as_str())) {
            let hint = match nearest(key, known.iter().copied()) {
                Some(name) => format!("did you mean `{name}`?"),
                None if known.is_empty() => "it takes none".into(),
                None => format!("it takes {}", known.join(", ")),
            };
            return Err(format!("{verb}: unknown option `{key}`; {hint}").into());
        }
        Ok(Options { verb, map })
    }

    fn get<T>(
        &self,
        key: &str,
        wanted: &str,
        read: impl FnOnce(&Dynamic) -> Option<T>,
    ) -> RhaiResultOf<Option<T>> {
        let Some(value) = self.map.get(key).filter(|value| !value.is_unit()) else {
            return Ok(None);
        };
        read(value).map(Some).ok_or_else(|| {
            let verb = self.verb;
            format!("{verb}: option `{key}` must be {wanted}, not {}", named(value)).into()
        })
    }

    /// A text, where given.
    pub fn text(&self, key: &str) -> RhaiResultOf<Option<String>> {
        self.get(key, "a string", |v| v.clone().into_string().ok())
    }

    /// A whole number, where given.
    pub fn int(&self, key: &str) -> RhaiResultOf<Option<i64>> {
        self.get(key, "a whole number", |v| v.as_int().ok())
    }

    /// A finite number, where given.
    pub fn float(&self, key: &str) -> RhaiResultOf<Option<f64>> {
        self.get(key, "a number", |v| {
            let number = v.as_float().or_else(|_| v.as_int().map(|n| n as f64)).ok();
            number.filter(|n| n.is_finite())
        })
    }

    /// Yes or no, where given.
    pub fn flag(&self, key: &str) -> RhaiResultOf<Option<bool>> {
        self.get(key, "true or false", |v| v.as_bool().ok())
    }

    /// A list of texts, where given.
    pub fn texts(&self, key: &str) -> RhaiResultOf<Option<Vec<String>>> {
        self.get(key, "an array of strings", |v| {
            let list = v.clone().into_array().ok()?;
            list.into_iter().map(|item| item.into_string().ok()).collect()
        })
    }

    /// Closures by name, where given.
    pub fn closures(&self, key: &str) -> RhaiResultOf<Vec<(String, FnPtr)>> {
        let closures = self.get(key, "a map of names and closures", |v| {
            let map = v.read_lock::<Map>()?;
            map.iter().map(|(name, v)| Some((name.to_string(), v.clone().try_cast()?))).collect()
        })?;
        Ok(closures.unwrap_or_default())
    }

    /// A handle of another kind, where given; `wanted` names it.
    pub fn handle<T: Clone + Send + Sync + 'static>(
        &self,
        key: &str,
        wanted: &str,
    ) -> RhaiResultOf<Option<T>> {
        self.get(key, wanted, |v| v.clone().try_cast::<T>())
    }

    /// Options that override configuration keys for this call: `learning_rate` for
    /// `LEARNING_RATE`. Only `keys` may be named; feed the result to `Config::with`.
    pub fn overrides(
        verb: &'static str,
        map: Map,
        keys: &[&str],
    ) -> RhaiResultOf<Vec<(String, String)>> {
        let lower: Vec<String> = keys.iter().map(|key| key.to_lowercase()).collect();
        let known: Vec<&str> = lower.iter().map(String::as_str).collect();
        let options = Options::read(verb, map, &known)?;
        let mut found = Vec::new();
        for (key, name) in lower.iter().zip(keys) {
            let scalar = options.get(key, "a number, a string or a flag", |v| {
                let scalar = v.is_int() || v.is_float() || v.is_bool() || v.is_string();
                scalar.then(|| v.to_string())
            })?;
            found.extend(scalar.map(|value| (name.to_string(), value)));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, Dynamic)]) -> Map {
        pairs.iter().map(|(key, value)| ((*key).into(), value.clone())).collect()
    }

    #[test]
    fn unknown_keys_and_wrong_types_are_errors() {
        let error = Options::read("split", map(&[("form", 1.into())]), &["from", "by"]);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("split: unknown option `form`; did you mean `from`?"), "{error}");
        let options = Options::read("split", map(&[("by", 1.into())]), &["by"]).unwrap();
        let error = options.text("by").unwrap_err().to_string();
        assert!(error.contains("`by` must be a string, not the number 1"), "{error}");
        let nan = Options::read("x", map(&[("a", f64::NAN.into())]), &["a"]).unwrap();
        assert!(nan.float("a").is_err());
    }

    #[test]
    fn options_override_configuration_keys() {
        let options = map(&[("learning_rate", 0.001.into()), ("lora_r", 8.into())]);
        let keys = ["LEARNING_RATE", "LORA_R", "MAX_STEPS"];
        let found = Options::overrides("train_qlora", options, &keys).unwrap();
        assert_eq!(
            found,
            [("LEARNING_RATE".into(), "0.001".into()), ("LORA_R".into(), "8".into())]
        );
        assert!(Options::overrides("train_qlora", map(&[("lr", 1.into())]), &keys).is_err());
    }
}
