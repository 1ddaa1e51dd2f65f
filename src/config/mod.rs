//! The resolved configuration: built-in default < `.env` files in order < environment
//! `PROTO_<KEY>` < `--set`. Every key is declared once in [`keys`]; an unknown key, a bad value or
//! a contradiction is an error that names file, line, key and the nearest known name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

mod keys;

pub use keys::{KEYS, Key, Kind};

/// A key that a script declares with `param()`.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Its name, as the script wrote it.
    pub name: String,
    /// Its default; the type of the default is the type of the parameter.
    pub default: Value,
    /// What it means.
    pub doc: String,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Provenance {
    /// The built-in default.
    Default,
    /// A line of an `.env` file.
    File {
        /// The file as it was named.
        path: String,
        /// The line, from 1.
        line: usize,
    },
    /// The environment variable `PROTO_<KEY>`.
    Environment,
    /// `--set KEY=VALUE` or `NAME=VALUE` on the command line.
    CommandLine,
}

impl std::fmt::Display for Provenance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Provenance::Default => f.write_str("default"),
            Provenance::File { path, line } => write!(f, "{path}:{line}"),
            Provenance::Environment => f.write_str("environment"),
            Provenance::CommandLine => f.write_str("command line"),
        }
    }
}

/// One `KEY=VALUE` before it is checked.
#[derive(Debug, Clone)]
struct Setting {
    key: String,
    value: String,
    from: Provenance,
}

/// Everything the configuration is resolved from, lowest priority first.
#[derive(Debug, Default)]
pub struct Layers {
    settings: Vec<Setting>,
}

impl Layers {
    /// No layer yet: built-in defaults only.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the lines of an `.env` file. A missing file or a malformed line is an error.
    pub fn env_file(&mut self, path: &Path) -> Result<&mut Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the settings file {}", path.display()))?;
        let shown = path.display().to_string();
        for (index, raw) in text.lines().enumerate() {
            let line = index + 1;
            let body = raw.trim();
            let body = body.strip_prefix("export ").unwrap_or(body).trim_start();
            if body.is_empty() || body.starts_with('#') {
                continue;
            }
            let Some((key, value)) = body.split_once('=') else {
                bail!("{shown}:{line}: expected KEY=VALUE, a comment or an empty line");
            };
            let value = unquote(value).with_context(|| format!("{shown}:{line}"))?;
            let from = Provenance::File { path: shown.clone(), line };
            self.settings.push(Setting { key: key.trim().into(), value, from });
        }
        Ok(self)
    }

    /// Adds every `PROTO_<KEY>` of the environment, in the order of their names.
    pub fn environment(&mut self) -> &mut Self {
        let mut found: Vec<_> = std::env::vars()
            .filter_map(|(name, value)| Some((name.strip_prefix("PROTO_")?.to_string(), value)))
            .collect();
        found.sort();
        for (key, value) in found {
            self.settings.push(Setting { key, value, from: Provenance::Environment });
        }
        self
    }

    /// Adds one `KEY=VALUE` from the command line.
    pub fn command_line(&mut self, assignment: &str) -> Result<&mut Self> {
        let Some((key, value)) = assignment.split_once('=') else {
            bail!("`{assignment}`: expected KEY=VALUE");
        };
        let from = Provenance::CommandLine;
        self.settings.push(Setting { key: key.trim().into(), value: value.into(), from });
        Ok(self)
    }

    /// The value a key has in these layers, before anything is checked: for finding the
    /// training profile, whose own layer lies below the protocol's overrides.
    pub fn peek(&self, key: &str) -> Option<&str> {
        self.settings.iter().rev().find(|s| s.key == key).map(|s| s.value.as_str())
    }

    /// Puts the layers of `lower` below these.
    pub fn over(mut self, mut lower: Layers) -> Layers {
        lower.settings.append(&mut self.settings);
        lower
    }

    /// Checks every setting against the known keys and the script's parameters.
    pub fn resolve(&self, params: &[Param]) -> Result<Config> {
        let mut values = BTreeMap::new();
        for key in KEYS {
            // The table is part of the program: one that does not parse fails every test.
            let value = key.kind.parse(key.default).expect("built-in defaults parse");
            values.insert(key.name.to_string(), Entry { value, from: Provenance::Default });
        }
        for param in params {
            let entry = Entry { value: param.default.clone(), from: Provenance::Default };
            if values.insert(param.name.clone(), entry).is_some() {
                bail!("the script's parameter `{}` has the name of a built-in key", param.name);
            }
        }
        for Setting { key, value, from } in &self.settings {
            let parsed = if let Some(known) = KEYS.iter().find(|k| k.name == key) {
                known.kind.parse(value)
            } else if let Some(param) = params.iter().find(|p| &p.name == key) {
                parse_like(&param.default, value)
            } else {
                return Err(unknown(key, from, params));
            };
            let value = parsed.map_err(|e| anyhow!("{from}: {key}={value}: {e}"))?;
            values.insert(key.clone(), Entry { value, from: from.clone() });
        }
        let config = Config { values, params: params.to_vec() };
        config.reject_contradictions()?;
        Ok(config)
    }
}

fn unknown(key: &str, from: &Provenance, params: &[Param]) -> anyhow::Error {
    let names = KEYS.iter().map(|k| k.name).chain(params.iter().map(|p| p.name.as_str()));
    let upper = key.to_uppercase();
    let nearest = names
        .map(|name| (strsim::jaro_winkler(&upper, &name.to_uppercase()), name))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((score, name)) if score > 0.8 => {
            anyhow!("{from}: unknown key `{key}`; did you mean `{name}`?")
        }
        _ => anyhow!("{from}: unknown key `{key}`; `proto config` lists every key"),
    }
}

/// Comma-separated paths without the folders that belong to this machine.
fn portable(paths: &str) -> String {
    let one = |path: &str| match Path::new(path).file_name() {
        Some(name) if Path::new(path).is_absolute() => name.to_string_lossy().into_owned(),
        _ => path.to_string(),
    };
    paths.split(',').map(|path| one(path.trim())).collect::<Vec<_>>().join(",")
}

/// Takes quotes off a value; an unquoted value ends at ` #`.
fn unquote(value: &str) -> Result<String> {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            let Some(end) = rest.find(quote) else { bail!("the quote {quote} is not closed") };
            let tail = rest[end + 1..].trim();
            if !(tail.is_empty() || tail.starts_with('#')) {
                bail!("unexpected text after the closing quote");
            }
            return Ok(rest[..end].to_string());
        }
    }
    Ok(value.split(" #").next().unwrap_or("").trim().to_string())
}

/// Parses `text` as the type of a parameter's default.
fn parse_like(default: &Value, text: &str) -> Result<Value, String> {
    match default {
        Value::Bool(_) => Kind::Bool.parse(text),
        Value::Number(n) if n.is_i64() => Kind::Int(i64::MIN, i64::MAX).parse(text),
        Value::Number(_) => Kind::Float(f64::MIN, f64::MAX).parse(text),
        _ => Ok(Value::String(text.into())),
    }
}

#[derive(Debug, Clone)]
struct Entry {
    value: Value,
    from: Provenance,
}

/// The resolved configuration. Asking for a key that [`KEYS`] does not declare is a bug in the
/// program and panics; users' mistakes were refused by [`Layers::resolve`].
#[derive(Debug, Clone)]
pub struct Config {
    values: BTreeMap<String, Entry>,
    params: Vec<Param>,
}

impl Config {
    fn get(&self, key: &str) -> &Value {
        match self.values.get(key) {
            Some(entry) => &entry.value,
            None => panic!("no configuration key `{key}` is declared"),
        }
    }

    /// A whole number.
    pub fn int(&self, key: &str) -> i64 {
        self.get(key).as_i64().unwrap_or_else(|| panic!("{key} is not a whole number"))
    }

    /// A whole number that its declaration keeps at zero or above.
    pub fn size(&self, key: &str) -> usize {
        usize::try_from(self.int(key)).unwrap_or_else(|_| panic!("{key} can be negative"))
    }

    /// A number.
    pub fn float(&self, key: &str) -> f64 {
        self.get(key).as_f64().unwrap_or_else(|| panic!("{key} is not a number"))
    }

    /// Yes or no.
    pub fn flag(&self, key: &str) -> bool {
        self.get(key).as_bool().unwrap_or_else(|| panic!("{key} is not a yes or no"))
    }

    /// A text; empty when unset.
    pub fn text(&self, key: &str) -> &str {
        self.get(key).as_str().unwrap_or_else(|| panic!("{key} is not a text"))
    }

    /// The comma-separated entries of a text, trimmed, empty ones left out.
    pub fn list(&self, key: &str) -> Vec<String> {
        let text = self.text(key);
        text.split(',').map(str::trim).filter(|s| !s.is_empty()).map(String::from).collect()
    }

    /// A path, or `None` when unset.
    pub fn path(&self, key: &str) -> Option<PathBuf> {
        Some(self.text(key)).filter(|t| !t.is_empty()).map(PathBuf::from)
    }

    /// The value of a parameter the script declared, if it did.
    pub fn param(&self, name: &str) -> Option<&Value> {
        self.params.iter().find(|p| p.name == name)?;
        Some(&self.values.get(name)?.value)
    }

    /// Where a key's value came from.
    pub fn provenance(&self, key: &str) -> &Provenance {
        &self.values[key].from
    }

    /// Every key with value and provenance, by name.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Value, &Provenance)> {
        self.values.iter().map(|(name, e)| (name.as_str(), &e.value, &e.from))
    }

    /// What a key or parameter means.
    pub fn doc(&self, key: &str) -> &str {
        let known = KEYS.iter().find(|k| k.name == key).map(|k| k.doc);
        known
            .or_else(|| self.params.iter().find(|p| p.name == key).map(|p| p.doc.as_str()))
            .unwrap_or("")
    }

    /// A copy with some keys changed: how a script's options override a key for one call.
    pub fn with(&self, overrides: &[(String, String)]) -> Result<Config> {
        let mut config = self.clone();
        for (name, text) in overrides {
            let Some(key) = KEYS.iter().find(|k| k.name == name) else {
                return Err(unknown(name, &Provenance::CommandLine, &self.params));
            };
            let value = key.kind.parse(text).map_err(|e| anyhow!("{name}={text}: {e}"))?;
            config.values.insert(name.clone(), Entry { value, from: Provenance::CommandLine });
        }
        config.reject_contradictions()?;
        Ok(config)
    }

    /// The configuration as it enters the manifest: values by name, keys that only differ
    /// between machines left out, and of an absolute path only the last part.
    pub fn fingerprint(&self) -> Value {
        let key = |name: &str| KEYS.iter().find(|k| k.name == name);
        let kept = self.values.iter().filter(|(name, _)| !key(name).is_some_and(|k| k.machine));
        let shown = |(name, entry): (&String, &Entry)| {
            let value = match (key(name).map(|k| k.kind), &entry.value) {
                (Some(Kind::Paths), Value::String(paths)) => portable(paths).into(),
                (_, value) => value.clone(),
            };
            (name.clone(), value)
        };
        Value::Object(kept.map(shown).collect())
    }

    fn reject_contradictions(&self) -> Result<()> {
        let at = |key: &str| format!("{} ({key})", self.provenance(key));
        let held_out = self.float("VAL_FRACTION") + self.float("TUNE_FRACTION");
        if held_out >= 0.9 {
            bail!(
                "{}: VAL_FRACTION + TUNE_FRACTION is {held_out}; leave at least a tenth to train on",
                at("VAL_FRACTION")
            );
        }
        if self.text("TRAIN_FILES").is_empty() != self.text("VAL_FILES").is_empty() {
            bail!(
                "{}: TRAIN_FILES and VAL_FILES replace the run's own split together; set both or neither",
                at("TRAIN_FILES")
            );
        }
        if self.flag("ACTIVATION_OFFLOADING") && !self.flag("GRADIENT_CHECKPOINTING") {
            bail!(
                "{}: ACTIVATION_OFFLOADING moves what GRADIENT_CHECKPOINTING keeps; set that too",
                at("ACTIVATION_OFFLOADING")
            );
        }
        if self.size("EVAL_REPEATS") > 1 && self.float("EVAL_TEMPERATURE") == 0.0 {
            bail!(
                "{}: without EVAL_TEMPERATURE every repeat is the same answer; set that too",
                at("EVAL_REPEATS")
            );
        }
        Ok(())
    }
}
