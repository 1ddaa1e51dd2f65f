//! The rows of a dataset that was written, whatever its format and wherever its shards lie.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::vec::IntoIter;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::manifest::{Manifest, Stored, Written};
use super::snapshot::MANIFEST;
use super::{Example, Part};
use crate::files;
use crate::trace::raw::Texts;

/// The name of the file that says where the shards lie: from a text's name in the manifest to
/// the paths of its files.
pub const SHARDS: &str = "shards.json";

/// Where the shards of every text lie, by its name.
pub(super) type Places = BTreeMap<String, Vec<PathBuf>>;

/// The name of a part's text in the manifest.
pub fn text_name(part: Part) -> String {
    format!("{}.jsonl", part.as_str())
}

/// The files that hold a part of the dataset in `folder`, in order, with what the manifest says
/// of each.
pub fn files(folder: &Path, manifest: &Manifest, part: Part) -> Result<Vec<(PathBuf, Stored)>> {
    let name = text_name(part);
    let text = manifest.files.get(&name);
    let text = text.with_context(|| format!("the manifest names no {name}"))?;
    if text.stored.is_empty() {
        let Written { sha256, rows, bytes, .. } = text.clone();
        return Ok(vec![(folder.join(&name), Stored { name, sha256, rows, bytes })]);
    }
    let list = folder.join(SHARDS);
    let places: Places = match fs::read(&list) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("{} does not say where shards lie", list.display()))?,
        Err(e) if e.kind() == ErrorKind::NotFound => Places::new(),
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", list.display())),
    };
    let mut found = Vec::new();
    for stored in &text.stored {
        let path = match places.get(&name) {
            None => folder.join(&stored.name),
            Some(paths) => {
                let named = |path: &&PathBuf| path.file_name().is_some_and(|n| *n == *stored.name);
                let path = paths.iter().find(named).cloned();
                path.with_context(|| format!("{} names no {}", list.display(), stored.name))?
            }
        };
        found.push((path, stored.clone()));
    }
    Ok(found)
}

/// The rows of a part of the dataset in `folder`: each line as it stands in the part's JSONL, and
/// the example it is. After the last row of a file comes an error if the file is not the one
/// that the manifest describes, and after the last of all if the text is not.
pub fn rows(folder: &Path, part: Part) -> Result<Rows> {
    let manifest = Manifest::read(&folder.join(MANIFEST))?;
    let files = files(folder, &manifest, part)?.into_iter();
    let wanted = manifest.files.get(&text_name(part)).cloned().unwrap_or_default();
    Ok(Rows { files, open: None, hasher: Sha256::new(), wanted: Some(wanted) })
}

/// The rows of a part, one after the other.
pub struct Rows {
    files: IntoIter<(PathBuf, Stored)>,
    open: Option<Open>,
    hasher: Sha256,
    /// What the text has to be; none once that has been judged.
    wanted: Option<Written>,
}

struct Open {
    texts: Texts,
    path: PathBuf,
    stored: Stored,
    rows: u64,
}

impl Open {
    fn new((path, stored): (PathBuf, Stored)) -> Result<Self> {
        Ok(Open { texts: Texts::open(&path)?, path, stored, rows: 0 })
    }

    fn next(&mut self) -> Result<Option<(String, Example)>> {
        let place = || format!("cannot read {}", self.path.display());
        let Some((number, line)) = self.texts.next_row().with_context(place)? else {
            return Ok(None);
        };
        self.rows += 1;
        // What the row holds does not belong into a message.
        let Ok(example) = serde_json::from_str(&line) else {
            bail!("{}:{number}: not a row of a dataset", self.path.display());
        };
        Ok(Some((line, example)))
    }

    fn check(self) -> Result<()> {
        let (sha256, bytes) = self.texts.finish()?;
        let Stored { name, sha256: wanted, rows, bytes: size } = &self.stored;
        ensure!(
            (&sha256, bytes, self.rows) == (wanted, *size, *rows),
            "{}: not the {name} of the manifest, which has {rows} rows, {size} bytes and the \
             digest {wanted}; here are {} rows, {bytes} bytes and {sha256}",
            self.path.display(),
            self.rows
        );
        Ok(())
    }
}

impl Rows {
    fn step(&mut self) -> Result<Option<(String, Example)>> {
        loop {
            if let Some(open) = &mut self.open
                && let Some((line, example)) = open.next()?
            {
                self.hasher.update(&line);
                self.hasher.update(b"\n");
                return Ok(Some((line, example)));
            }
            if let Some(read) = self.open.take() {
                read.check()?;
            }
            match self.files.next() {
                Some(file) => self.open = Some(Open::new(file)?),
                None => break,
            }
        }
        let Some(wanted) = self.wanted.take() else { return Ok(None) };
        let sha256 = files::hex(&std::mem::take(&mut self.hasher).finalize());
        ensure!(sha256 == wanted.sha256, "the files do not hold the text of the manifest");
        Ok(None)
    }
}

impl Iterator for Rows {
    type Item = Result<(String, Example)>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            // Nothing follows an error.
            *self = Rows {
                files: Vec::new().into_iter(),
                open: None,
                wanted: None,
                hasher: Sha256::new(),
            };
        }
        step.transpose()
    }
}
