//! What an adapter was trained on, so that it is never judged on that.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::dataset::Held;
use crate::files;

/// Some hundred bytes a row of training data; a larger file is none of ours.
const MOST: u64 = 64 << 20;
const FILE: &str = "lineage.json";

/// The training rows of an adapter, by session and component.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// The digest of the base.
    pub base: String,
    /// The digest of the dataset's manifest.
    pub dataset: String,
    /// The sessions of its rows.
    pub sessions: BTreeSet<String>,
    /// The components of its rows.
    pub components: BTreeSet<String>,
}

impl Lineage {
    /// The lineage of an adapter trained on these rows.
    pub fn of(base: &str, dataset: &str, rows: &[Held]) -> Self {
        Lineage {
            base: base.into(),
            dataset: dataset.into(),
            sessions: rows.iter().map(|row| row.session.to_string()).collect(),
            components: rows
                .iter()
                .filter_map(|row| Some(row.component.as_ref()?.to_string()))
                .collect(),
        }
    }

    /// Every session and component.
    pub fn seen(&self) -> impl Iterator<Item = String> + '_ {
        self.sessions.iter().chain(&self.components).cloned()
    }

    /// Writes it beside the adapter.
    pub fn save(&self, folder: &Path) -> Result<()> {
        files::write_json(&folder.join(FILE), self)
    }

    /// Reads it; none where the adapter came from elsewhere.
    pub fn load(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        let bytes = match files::read_small(&path, MOST) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let lineage = serde_json::from_slice(&bytes);
        lineage.map(Some).with_context(|| format!("{} is damaged", path.display()))
    }
}
