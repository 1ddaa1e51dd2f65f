//! Which files a list of paths names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Unread;

/// A file to read.
pub(super) struct Found {
    pub path: PathBuf,
    /// Its name in reports: see [`super::Origin::file`].
    pub shown: String,
    pub bytes: u64,
    /// Whether it was named itself, not found in a folder or through a pattern.
    pub named: bool,
}

#[derive(Default)]
pub(super) struct Finding {
    pub files: Vec<Found>,
    pub unread: Vec<Unread>,
    /// Canonical paths of files and folders already seen, so that overlapping paths give a file
    /// once and a symlink loop ends.
    seen: BTreeSet<PathBuf>,
}

/// The regular files that `paths` name, each once, in the order of their names.
pub(super) fn files(paths: &[PathBuf], project: &Path) -> Result<Finding> {
    let mut finding = Finding::default();
    for path in paths {
        let full = if path.is_absolute() { path.clone() } else { project.join(path) };
        if full.symlink_metadata().is_ok() {
            finding.add(&full, project, true)?;
        } else if let Some(matches) = expand(path, project)? {
            if matches.is_empty() {
                bail!("{}: no file matches this pattern", path.display());
            }
            for found in matches {
                finding.add(&found, project, false)?;
            }
        } else {
            bail!("{}: there is no such file or folder", path.display());
        }
    }
    finding.files.sort_by(|a, b| (&a.shown, &a.path).cmp(&(&b.shown, &b.path)));
    Ok(finding)
}

/// The paths a glob matches, or `None` when it is none.
fn expand(path: &Path, project: &Path) -> Result<Option<Vec<PathBuf>>> {
    let Some(given) = path.to_str().filter(|p| p.contains(['*', '?', '['])) else {
        return Ok(None);
    };
    let pattern = match project.to_str() {
        // Only what the user wrote is a pattern; the project's own path is not.
        Some(root) if path.is_relative() => format!("{}/{given}", glob::Pattern::escape(root)),
        _ => given.to_string(),
    };
    let matches = glob::glob(&pattern).with_context(|| format!("{given}: not a valid pattern"))?;
    // A folder that cannot be listed while matching hides nothing that was named.
    Ok(Some(matches.filter_map(Result::ok).collect()))
}

impl Finding {
    fn add(&mut self, path: &Path, project: &Path, named: bool) -> Result<()> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(e) if named => {
                return Err(e).with_context(|| format!("cannot read {}", path.display()));
            }
            Err(e) => {
                self.report(path, project, &e.to_string());
                return Ok(());
            }
        };
        let canonical = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        if !self.seen.insert(canonical.clone()) {
            return Ok(());
        }
        if metadata.is_dir() {
            self.walk(path, project, named)
        } else if metadata.is_file() {
            let shown = shown(&canonical, project);
            let path = path.to_path_buf();
            self.files.push(Found { path, shown, bytes: metadata.len(), named });
            Ok(())
        } else if named {
            bail!("{}: not a regular file; a pipe or device cannot be read twice", path.display())
        } else {
            self.report(path, project, "not a regular file");
            Ok(())
        }
    }

    /// Adds every `*.jsonl` below a folder.
    fn walk(&mut self, folder: &Path, project: &Path, named: bool) -> Result<()> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(e) if named => {
                return Err(e).with_context(|| format!("cannot list {}", folder.display()));
            }
            Err(e) => {
                self.report(folder, project, &e.to_string());
                return Ok(());
            }
        };
        let mut entries: Vec<_> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        entries.sort();
        for entry in entries {
            let is_dir = fs::metadata(&entry).is_ok_and(|m| m.is_dir());
            if is_dir || entry.extension().is_some_and(|e| e == "jsonl") {
                self.add(&entry, project, false)?;
            }
        }
        Ok(())
    }

    fn report(&mut self, path: &Path, project: &Path, problem: &str) {
        self.unread.push(Unread { file: shown(path, project), problem: problem.into() });
    }
}

/// A file's name relative to the project, else its last part, with forward slashes.
fn shown(path: &Path, project: &Path) -> String {
    let root = project.canonicalize().unwrap_or_else(|_| project.to_path_buf());
    let relative = match path.strip_prefix(&root).or_else(|_| path.strip_prefix(project)) {
        Ok(inside) => inside.to_path_buf(),
        Err(_) => path.file_name().map(PathBuf::from).unwrap_or_else(|| path.to_path_buf()),
    };
    let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}
