//! `run.json`.

use std::path::Path;
use std::sync::Mutex;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::files;

/// The version of `run.json`'s layout.
const SCHEMA_VERSION: u32 = 1;

/// What `run.json` says.
#[derive(Debug)]
pub struct Record(Mutex<Map<String, Value>>);

impl Record {
    pub(super) fn new(folder: &Path, args: &[String], now: Timestamp) -> Record {
        let absolute = |path: &Path| {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
            path.display().to_string()
        };
        let cores = std::thread::available_parallelism().map(usize::from).unwrap_or(1);
        let fields = json!({
            "schema_version": SCHEMA_VERSION,
            "started": now.to_string(),
            "folder": absolute(folder),
            "working_directory": absolute(Path::new(".")),
            "args": args.iter().map(|a| without_secret(a)).collect::<Vec<_>>(),
            "version": env!("CARGO_PKG_VERSION"),
            "host": {
                "name": host_name(),
                "system": std::env::consts::OS,
                "architecture": std::env::consts::ARCH,
                "cores": cores,
            },
        });
        let Value::Object(map) = fields else { unreachable!("an object literal") };
        Record(Mutex::new(map))
    }

    pub(super) fn note(&self, name: &str, value: Value) {
        self.fields().insert(name.into(), value);
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        files::write_json(path, &*self.fields())
    }

    fn fields(&self) -> std::sync::MutexGuard<'_, Map<String, Value>> {
        // A panic elsewhere leaves the map whole.
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// An argument without the value of a name that tells of a secret.
fn without_secret(argument: &str) -> String {
    let telling = |name: &str| {
        let name = name.to_ascii_lowercase();
        let last = name.rsplit(['_', '-']).next().unwrap_or("");
        ["key", "token", "secret", "password", "passwd", "credentials"].contains(&last)
    };
    match argument.split_once('=') {
        Some((name, _)) if telling(name) => format!("{name}=***"),
        _ => argument.to_string(),
    }
}

fn host_name() -> Option<String> {
    let from_file = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let from_environment =
        || ["HOSTNAME", "COMPUTERNAME"].iter().find_map(|name| std::env::var(name).ok());
    let name = from_file.or_else(from_environment)?.trim().to_string();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::without_secret;

    #[test]
    fn only_telling_names_lose_their_value() {
        assert_eq!(without_secret("HUB_TOKEN=abc=d"), "HUB_TOKEN=***");
        assert_eq!(without_secret("EVAL_MAX_NEW_TOKENS=8"), "EVAL_MAX_NEW_TOKENS=8");
        assert_eq!(without_secret("scripts/daily.rhai"), "scripts/daily.rhai");
    }
}
