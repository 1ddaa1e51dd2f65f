//! `proto verify`: whether a dataset is still what its manifest says.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};

use super::layers::Settings;
use super::terminal::Terminal;
use super::{Outcome, print};
use crate::config::Config;
use crate::dataset::manifest::Manifest;
use crate::dataset::snapshot::MANIFEST;
use crate::dataset::verify::{Beside, dataset_folder, verify};
use crate::dataset::{Example, TokenCount};
use crate::lineage::named;
use crate::review::page::visible;
use crate::tokens::Codec;
use crate::trace::places;

/// Compute everything again that a dataset's manifest states, and say what does not hold
#[derive(Debug, Args)]
pub struct Verify {
    /// A run's folder, or its dataset's
    run: PathBuf,
    /// Also fail where an input is gone or changed: the dataset could not be made again
    #[arg(long)]
    inputs: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Keys that name inputs.
const INPUTS: [&str; 5] = ["TRACES", "COUNTEREXAMPLES", "REPLAY_FILES", "TRAIN_FILES", "VAL_FILES"];

impl Verify {
    pub(super) fn execute(self) -> Result<Outcome> {
        let config = self.settings.layers(&[])?.resolve(&[])?;
        let observer = Terminal::new()?;
        let folder = dataset_folder(&self.run);
        let run = if folder == self.run { folder.parent() } else { Some(self.run.as_path()) };
        let manifest = Manifest::read(&folder.join(MANIFEST))?;
        let codec = codec(&config, &manifest);
        let count = |example: &Example| -> Result<usize> {
            let codec = codec.as_ref().map_err(|e| anyhow::anyhow!("{e:#}"))?;
            codec.length(&example.trace.messages, &example.trace.tools)
        };
        let count: &dyn TokenCount = &count;
        let beside = Beside {
            count: codec.is_ok().then_some(count),
            no_count: codec.as_ref().err().map(|e| format!("{e:#}")).unwrap_or_default(),
            places: places_of(&config, run),
        };
        let mut verified = verify(&folder, &beside, observer.as_ref())?;
        if let Some(run) = run {
            named::check(run, &mut verified)?;
        }
        let holds = verified.holds() && (verified.can_be_rebuilt() || !self.inputs);
        if self.json {
            let mut value = serde_json::to_value(&verified)?;
            value["ok"] = holds.into();
            print(&format!("{value}\n"))?;
        } else {
            for finding in &verified.findings {
                print(&format!("{}\n", visible(&finding.to_string())))?;
            }
            verified.checked.iter().for_each(|what| eprintln!("checked: {}", visible(what)));
            for skipped in &verified.unchecked {
                eprintln!("not checked: {}: {}", skipped.what, visible(&skipped.why));
            }
        }
        Ok(if holds { Outcome::Done } else { Outcome::NotPassed })
    }
}

/// The tokenizer that counted the lengths, where it is the configured one.
fn codec(config: &Config, manifest: &Manifest) -> Result<Codec> {
    let base = config.path("BASE_MODEL").context("BASE_MODEL names no model")?;
    let template = Some(config.text("CHAT_TEMPLATE")).filter(|t| !t.is_empty());
    let codec = Codec::open(&base, template)?;
    let provenance = &manifest.provenance;
    let same = codec.digest()? == provenance.tokenizer
        && codec.template_digest() == provenance.chat_template;
    anyhow::ensure!(
        same,
        "BASE_MODEL ({}) has another tokenizer or chat template than the manifest names",
        base.display()
    );
    Ok(codec)
}

/// Where inputs may lie: here, where the run was started, and what the configuration names.
fn places_of(config: &Config, run: Option<&Path>) -> Vec<PathBuf> {
    let mut all = vec![PathBuf::from(".")];
    let record = run.and_then(|run| std::fs::read(run.join("run.json")).ok());
    let record: Value = record.and_then(|r| serde_json::from_slice(&r).ok()).unwrap_or(json!({}));
    all.extend(record["working_directory"].as_str().map(PathBuf::from));
    for key in INPUTS {
        all.extend(places::named(&config.list(key)).unwrap_or_default());
    }
    all
}
