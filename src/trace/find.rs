//! Which files a list of paths names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::recognise::Content;
use super::store::Reader;
use super::{Unread, recognise};

/// A file or folder to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where it is.
    pub path: PathBuf,
    /// Its name in reports: see [`super::Origin::file`].
    pub shown: String,
    /// Its size; 0 for a folder.
    pub bytes: u64,
    /// Whether it was named itself, not found in a folder or through a pattern.
    pub named: bool,
}

/// How files that may hold sessions are called; others are looked at only where they are named.
const ENDINGS: &[&str] = &["jsonl", "json", "db", "sqlite", "sqlite3", "zst", "parquet"];

/// How those of them are called that may hold rows.
const ROWS: &[&str] = &[".jsonl", ".jsonl.zst", ".parquet"];

const COMPRESSED: &str =
    "an agent's session, compressed: only rows are read from zstd; decompress it (zstd -d)";

/// Files beside the sessions that hold keys: they are not even opened.
const CREDENTIALS: &[&str] = &[
    "auth.json",
    "mcp-auth.json",
    "auth-profiles.json",
    "openclaw.json",
    ".credentials.json",
    "credentials.json",
];

impl Place {
    fn by_name(&self, other: &Place) -> std::cmp::Ordering {
        (&self.shown, &self.path).cmp(&(&other.shown, &other.path))
    }
}

#[derive(Default)]
pub(super) struct Finding {
    /// Files with a row a line.
    pub files: Vec<Place>,
    /// Places where an agent keeps its sessions.
    pub stores: Vec<(Place, &'static Reader)>,
    pub unread: Vec<Unread>,
    /// Canonical paths of files and folders already seen, so that overlapping paths give a file
    /// once and a symlink loop ends.
    seen: BTreeSet<PathBuf>,
}

/// The places that `paths` name, each once, in the order of their names.
pub(super) fn places(paths: &[PathBuf], project: &Path) -> Result<Finding> {
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
    finding.files.sort_by(Place::by_name);
    finding.stores.sort_by(|(a, _), (b, _)| a.by_name(b));
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
        let place = |bytes| Place {
            path: path.to_path_buf(),
            shown: shown(&canonical, project),
            bytes,
            named,
        };
        if metadata.is_dir() {
            match recognise::folder(path) {
                Some(reader) => self.stores.push((place(0), reader)),
                None => return self.walk(path, project, named),
            }
            Ok(())
        } else if metadata.is_file() {
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            let rows = named || ROWS.iter().any(|end| name.ends_with(end));
            match recognise::file(path) {
                Content::Sessions(reader) => self.stores.push((place(metadata.len()), reader)),
                Content::Compressed if named => bail!("{}: {COMPRESSED}", path.display()),
                Content::Compressed => self.report(path, project, COMPRESSED),
                Content::Rows if rows => self.files.push(place(metadata.len())),
                // A folder holds many files that are nobody's session.
                Content::Rows => {}
            }
            Ok(())
        } else if named {
            bail!("{}: not a regular file; a pipe or device cannot be read twice", path.display())
        } else {
            self.report(path, project, "not a regular file");
            Ok(())
        }
    }

    /// Adds what may hold sessions below a folder.
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
            let end = entry.extension().and_then(|e| e.to_str()).unwrap_or_default();
            let name = entry.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if is_dir || (ENDINGS.contains(&end) && !CREDENTIALS.contains(&name)) {
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
