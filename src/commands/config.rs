//! `proto config`: every key, its value, where it came from and what it means.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value, json};

use super::layers::Settings;
use super::{Outcome, print};
use crate::config::{Config as Resolved, KEYS};
use crate::script::Script;

/// Show every configuration key, its value, where that came from and what it means
#[derive(Debug, Args)]
pub struct Config {
    #[command(flatten)]
    settings: Settings,
    /// Also show the parameters that this script declares
    #[arg(long, value_name = "SCRIPT")]
    script: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Config {
    pub(super) fn execute(self) -> Result<Outcome> {
        let params = match &self.script {
            Some(path) => Script::read(path)?.params()?,
            None => Vec::new(),
        };
        let config = self.settings.layers(&[])?.resolve(&params)?;
        // The table's own order groups what belongs together.
        let mut names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
        names.extend(params.iter().map(|param| param.name.as_str()));
        let entries = names.iter().filter_map(|name| config.entries().find(|(n, ..)| n == name));
        let entries: Vec<_> = entries.collect();
        match self.json {
            true => {
                let all: Map<String, Value> = entries
                    .iter()
                    .map(|(name, value, from)| {
                        let (from, doc) = (from.to_string(), config.doc(name));
                        (name.to_string(), json!({"value": value, "from": from, "doc": doc}))
                    })
                    .collect();
                print(&format!("{}\n", serde_json::to_string_pretty(&all)?))?;
            }
            false => print(&table(&config, &names))?,
        }
        Ok(Outcome::Done)
    }
}

/// Key, value and provenance in columns, the meaning below.
fn table(config: &Resolved, names: &[&str]) -> String {
    let shown = |name: &str| {
        let value = config.entries().find(|(n, ..)| *n == name).map(|(_, value, _)| value);
        match value {
            Some(Value::String(text)) if text.is_empty() => "(empty)".to_string(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        }
    };
    let wide = |texts: Vec<String>| texts.iter().map(|t| t.chars().count()).max().unwrap_or(0);
    let key_width = wide(names.iter().map(|name| name.to_string()).collect());
    let value_width = wide(names.iter().map(|name| shown(name)).collect()).min(40);
    let mut text = String::new();
    for name in names {
        let (value, from) = (shown(name), config.provenance(name));
        text += &format!("{name:key_width$}  {value:value_width$}  {from}\n");
        text += &format!("    {}\n", config.doc(name));
    }
    text
}
