//! The layers of configuration that every command with settings shares.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use crate::config::Layers;

/// What is used when `--protocol-env` is not given, where it exists.
const PROTOCOL_ENV: &str = "configs/protocol.env";

/// Settings from files and the command line.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// The protocol's settings [default: configs/protocol.env, where it exists]
    #[arg(long, value_name = "FILE")]
    protocol_env: Option<PathBuf>,
    /// The training profile, read after the protocol's settings; instead of QLORA_ENV
    #[arg(long, value_name = "FILE")]
    qlora_env: Option<PathBuf>,
    /// Sets a configuration key; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Settings {
    /// The layers, lowest first: `protocol.env`, the training profile, the environment, `--set`
    /// and whatever `more` assignments the command took.
    pub fn layers(&self, more: &[String]) -> Result<Layers> {
        let mut protocol = Layers::new();
        match &self.protocol_env {
            Some(file) => {
                protocol.env_file(file)?;
            }
            None if Path::new(PROTOCOL_ENV).exists() => {
                protocol.env_file(Path::new(PROTOCOL_ENV))?;
            }
            None => {}
        }
        let mut above = Layers::new();
        above.environment();
        for assignment in self.set.iter().chain(more) {
            above.command_line(assignment)?;
        }
        let profile = match &self.qlora_env {
            Some(file) => Some(file.clone()),
            None => above.peek("QLORA_ENV").or(protocol.peek("QLORA_ENV")).map(PathBuf::from),
        };
        match profile.filter(|file| !file.as_os_str().is_empty()) {
            Some(file) => {
                protocol.env_file(&file)?;
            }
            // The built-in profile is part of a checkout, not of an installed program.
            None => {
                let built_in = Path::new(built_in_profile());
                if built_in.exists() {
                    protocol.env_file(built_in)?;
                }
            }
        }
        if let Some(file) = &self.qlora_env {
            above.command_line(&format!("QLORA_ENV={}", file.display()))?;
        }
        Ok(above.over(protocol))
    }
}

fn built_in_profile() -> &'static str {
    let key = crate::config::KEYS.iter().find(|key| key.name == "QLORA_ENV");
    key.map_or("", |key| key.default)
}
