//! Whatever names a dataset's manifest by its digest: adapters, evidence, decisions.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use super::{Run, json};
use crate::dataset::verify::{Finding, Verified, each_row};
use crate::dataset::{Part, verify};
use crate::files;

/// Adds to `verified` what in a run's folder does not go with the dataset.
pub fn check(run: &Path, verified: &mut Verified) -> Result<()> {
    let mut findings = Vec::new();
    let mut wrong = |file: &str, field: &str, wanted: &str, found: &str| {
        if wanted != found {
            findings.push(Finding::damaged(file, field, wanted, found));
        }
    };
    let Some(opened) = Run::open(run)? else { return Ok(()) };
    let (mut sessions, mut components) = (BTreeSet::new(), BTreeSet::new());
    if !opened.adapters.is_empty() {
        let folder = verify::dataset_folder(run);
        each_row(&folder, Part::Train, &mut |_, row| {
            sessions.insert(row.trace.session);
            components.extend(row.component);
            Ok(())
        })?;
    }
    let mut named = 0;
    for adapter in &opened.adapters {
        let Some(lineage) = &adapter.lineage else { continue };
        let file = format!("{}/lineage.json", super::called(&adapter.folder));
        wrong(&file, "dataset", &verified.manifest, &lineage.dataset);
        let count = |all: &BTreeSet<String>, of: &BTreeSet<String>| {
            (
                format!("{}, those of train", of.len()),
                match all == of {
                    true => format!("{}, those of train", of.len()),
                    false => format!("{}, others", all.len()),
                },
            )
        };
        let (wanted, found) = count(&lineage.sessions, &sessions);
        wrong(&file, "sessions", &wanted, &found);
        let (wanted, found) = count(&lineage.components, &components);
        wrong(&file, "components", &wanted, &found);
        named += 1;
    }
    let evidence = json(&run.join("eval/evidence.json"))?;
    if let Some(evidence) = &evidence {
        let found = evidence["dataset"]["digest"].as_str().unwrap_or("none");
        wrong("eval/evidence.json", "dataset.digest", &verified.manifest, found);
        named += 1;
    }
    if let (Some(decision), Some(evidence)) =
        (json(&run.join("eval/gate_decision.json"))?, &evidence)
    {
        let digest = files::digest(serde_json::to_string(evidence)?.as_bytes());
        let found = decision["evidence"].as_str().unwrap_or("none");
        wrong("eval/gate_decision.json", "evidence", &digest, found);
        named += 1;
    }
    verified.findings.extend(findings);
    if named > 0 {
        verified.checked.push(format!("the manifest's digest in {named} files of the run"));
    }
    Ok(())
}
