//! What an adapter was made of and what became of it; and the same of a whole run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use super::{Decision, Run, Setting, Trained, called, counts, listed};
use crate::dataset::Part;
use crate::dataset::verify::each_row;
use crate::trace::FileDigest;

/// Where an adapter came from and how it was judged.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdapterStory {
    /// Its folder.
    pub folder: PathBuf,
    /// The digest of its files.
    pub digest: String,
    /// The digest of its base; none where it came from elsewhere, and nobody knows.
    pub base: Option<String>,
    /// The base as its run was told.
    pub base_name: Option<String>,
    /// The digest of the manifest it was trained on.
    pub dataset: Option<String>,
    /// The run that holds that dataset.
    pub run: Option<String>,
    /// The sessions it was trained on: with their source where the dataset is there.
    pub sessions: Vec<String>,
    /// How many components those are.
    pub components: u64,
    /// Settings of its run that are not the shipped ones.
    pub settings: Vec<Setting>,
    /// What gates said of it.
    pub decisions: Vec<Decision>,
}

/// The story of an adapter, with the runs that may know more of it.
pub fn why_adapter(adapter: &Trained, runs: &[Run]) -> Result<AdapterStory> {
    let wanted = adapter.lineage.as_ref().map(|l| l.dataset.as_str());
    let home = runs.iter().find(|run| {
        run.dataset.as_ref().is_some_and(|dataset| Some(dataset.digest.as_str()) == wanted)
    });
    let dataset = home.and_then(|run| run.dataset.as_ref());
    let mut sessions: Vec<String> = match (dataset, &adapter.lineage) {
        (Some(dataset), _) => {
            let mut keys = Vec::new();
            each_row(&dataset.folder, Part::Train, &mut |_, row| {
                keys.push(row.session_key());
                Ok(())
            })?;
            keys
        }
        (None, Some(lineage)) => lineage.sessions.iter().cloned().collect(),
        (None, None) => Vec::new(),
    };
    sessions.sort();
    sessions.dedup();
    let name = |setting: &str| dataset.and_then(|d| d.manifest.config[setting].as_str());
    let judged = runs.iter().filter_map(|run| run.decision.clone());
    Ok(AdapterStory {
        folder: adapter.folder.clone(),
        digest: adapter.digest.clone(),
        base: adapter.lineage.as_ref().map(|l| l.base.clone()),
        base_name: name("BASE_MODEL").map(String::from),
        dataset: wanted.map(String::from),
        run: home.map(|run| run.name.clone()),
        sessions,
        components: adapter.lineage.as_ref().map_or(0, |l| l.components.len() as u64),
        settings: dataset.map(|d| d.settings()).unwrap_or_default(),
        decisions: judged.filter(|d| d.candidate.as_ref() == Some(&adapter.digest)).collect(),
    })
}

impl std::fmt::Display for AdapterStory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "adapter {} ({})", self.folder.display(), self.digest)?;
        match &self.dataset {
            None => writeln!(f, "  it has no lineage: it came from elsewhere, and nobody knows")?,
            Some(dataset) => {
                let run = self
                    .run
                    .as_deref()
                    .map_or("no run that is here".into(), |r| format!("run {r}"));
                writeln!(f, "  dataset {dataset}, of {run}")?;
            }
        }
        if let Some(base) = &self.base {
            let name = self.base_name.as_deref().unwrap_or("name unknown");
            writeln!(f, "  base {name} ({base})")?;
        }
        let (sessions, components) = (self.sessions.len(), self.components);
        writeln!(f, "  trained on {sessions} sessions in {components} components")?;
        settings(f, &self.settings)?;
        if self.decisions.is_empty() {
            writeln!(f, "  no decision about it is here")?;
        }
        self.decisions.iter().try_for_each(|decision| decided(f, decision))
    }
}

/// What a run was made of and came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunStory {
    /// Its name.
    pub run: String,
    /// The digest of its manifest.
    pub dataset: Option<String>,
    /// What was read.
    pub inputs: Vec<FileDigest>,
    /// Sessions by part.
    pub sessions: BTreeMap<String, Vec<String>>,
    /// Stage by stage: what came in, what went out, why the rest was dropped.
    pub stages: Vec<String>,
    /// Dataset gates that failed.
    pub failed: Vec<String>,
    /// Settings that are not the shipped ones.
    pub settings: Vec<Setting>,
    /// Its adapters.
    pub adapters: Vec<AdapterStory>,
    /// What its gate said, and of which adapter.
    pub decision: Option<Decision>,
}

/// The story of a run.
pub fn why_run(run: &Run, runs: &[Run]) -> Result<RunStory> {
    let manifest = run.dataset.as_ref().map(|dataset| &dataset.manifest);
    let mut sessions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    if let Some(dataset) = &run.dataset {
        for part in super::PARTS {
            let keys = sessions.entry(part.as_str().into()).or_default();
            each_row(&dataset.folder, part, &mut |_, row| {
                keys.push(row.session_key());
                Ok(())
            })?;
            keys.sort();
            keys.dedup();
        }
    }
    let failed = manifest.map(|m| m.gates.failed()).unwrap_or_default();
    let adapters = run.adapters.iter().map(|adapter| why_adapter(adapter, runs));
    Ok(RunStory {
        run: run.name.clone(),
        dataset: run.dataset.as_ref().map(|dataset| dataset.digest.clone()),
        inputs: manifest.map(|m| m.inputs.clone()).unwrap_or_default(),
        sessions,
        stages: manifest.iter().flat_map(|m| m.stages.iter().map(|s| s.line())).collect(),
        failed: failed.into_iter().map(String::from).collect(),
        settings: run.dataset.as_ref().map(|d| d.settings()).unwrap_or_default(),
        adapters: adapters.collect::<Result<_>>()?,
        decision: run.decision.clone(),
    })
}

impl std::fmt::Display for RunStory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "run {}", self.run)?;
        if let Some(dataset) = &self.dataset {
            writeln!(f, "  dataset {dataset}")?;
        }
        for input in &self.inputs {
            writeln!(f, "  read {}: {} lines ({})", input.file, input.lines, input.sha256)?;
        }
        let parts = self.sessions.iter().map(|(part, keys)| (part.clone(), keys.len() as u64));
        writeln!(f, "  sessions: {}", counts(&parts.collect()))?;
        for stage in &self.stages {
            writeln!(f, "  {stage}")?;
        }
        if !self.failed.is_empty() {
            writeln!(f, "  did not pass {}", listed(&self.failed))?;
        }
        settings(f, &self.settings)?;
        if let Some(decision) = &self.decision {
            decided(f, decision)?;
        }
        self.adapters.iter().try_for_each(|adapter| write!(f, "{adapter}"))
    }
}

fn settings(f: &mut std::fmt::Formatter<'_>, settings: &[Setting]) -> std::fmt::Result {
    for Setting { key, value, default } in settings {
        match default {
            Some(default) => writeln!(f, "  {key}={value} (shipped: {default})")?,
            None => writeln!(f, "  {key}={value} (the script's own)")?,
        }
    }
    Ok(())
}

fn decided(f: &mut std::fmt::Formatter<'_>, decision: &Decision) -> std::fmt::Result {
    writeln!(f, "  {} in run {}", decision.verdict, decision.run)?;
    decision.reasons.iter().try_for_each(|reason| writeln!(f, "    {reason}"))
}

/// The folder of the run that a file or folder inside it belongs to, with the adapter or run that
/// is meant; none where `path` is neither.
pub fn meant(path: &Path) -> Result<Option<Meant>> {
    if path.join(super::ADAPTER).is_file() {
        let home = path.parent().map(Run::open).transpose()?.flatten();
        return Ok(Some(Meant::Adapter(Trained::open(path.into())?, home)));
    }
    if path.is_dir() {
        return Ok(Run::open(path)?.map(Meant::Run));
    }
    if !path.is_file() {
        return Ok(None);
    }
    let absolute = std::path::absolute(path).context("cannot find this folder")?;
    // `eval/gate_decision.json`, `dataset/dataset_manifest.json`, `run.json`.
    for folder in absolute.ancestors().skip(1).take(2) {
        if let Some(run) = Run::open(folder)?.filter(|run| called(folder) == run.name) {
            return Ok(Some(Meant::Run(run)));
        }
    }
    Ok(None)
}

/// What a path names.
#[derive(Debug)]
pub enum Meant {
    /// An adapter, and the run around it.
    Adapter(Trained, Option<Run>),
    /// A run.
    Run(Run),
}
