//! Whether what a dataset was made from is still there.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Finding, Sort, Verified};
use crate::dataset::manifest::Manifest;
use crate::files;
use crate::progress::Observer;
use crate::trace;

/// Looks for every input. One that is gone or says something else by now is no damage.
pub(super) fn check(
    manifest: &Manifest,
    places: &[PathBuf],
    out: &mut Verified,
    observer: &dyn Observer,
) -> Result<()> {
    let mut wrong = |file: &str, field: &str, wanted: &str, found: &str| {
        let sort = Sort::CannotBeRebuilt;
        out.findings.push(Finding { sort, ..Finding::new(file, field, wanted, found) });
    };
    let mut doubtful = Vec::new();
    for input in &manifest.inputs {
        let there: Vec<PathBuf> = candidates(&input.file, places);
        if there.is_empty() {
            wrong(&input.file, "input", "there", "missing");
        } else if !there.iter().any(|path| {
            path.is_file() && files::digest_file(path).is_ok_and(|found| found == input.sha256)
        }) {
            doubtful.push((input, there));
        }
    }
    // The digest of a store of sessions is that of what was read from it.
    let paths: Vec<PathBuf> = doubtful.iter().flat_map(|(_, there)| there.clone()).collect();
    let read = match paths.is_empty() {
        true => Vec::new(),
        false => {
            let project = places.first().map_or(Path::new("."), PathBuf::as_path);
            trace::each(&paths, project, observer, &mut |_| Ok(()))?.files
        }
    };
    for (input, _) in doubtful {
        if !read.iter().any(|now| now.sha256 == input.sha256) {
            let now = read.iter().find(|now| now.file == input.file);
            let found = now.map_or("something else", |now| now.sha256.as_str());
            wrong(&input.file, "input, sha256", &input.sha256, found);
        }
    }
    out.checked.push(format!("{} inputs", manifest.inputs.len()));
    Ok(())
}

/// Where a file of this name may be: below one of the places, or one of them itself.
fn candidates(file: &str, places: &[PathBuf]) -> Vec<PathBuf> {
    let name = Path::new(file);
    let below = places.iter().map(|place| place.join(name));
    let same = places.iter().filter(|place| place.file_name() == name.file_name()).cloned();
    let mut there: Vec<PathBuf> = below.chain(same).filter(|path| path.exists()).collect();
    there.dedup();
    there
}
