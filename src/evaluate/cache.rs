//! What base and champion answered and lost before, so that a night asks only what is new.
//!
//! One file a model and way of asking, named by a digest of all that shapes an answer: the model,
//! the machine's arithmetic, how tokens are chosen, what ends an answer. In it, by digests of
//! token ids, what the model said to redacted prompts and its loss on redacted references; no
//! prompt and no reference. A file is checked before it is believed; what is damaged is measured
//! anew. What no run has used for [`DAYS`] days is removed, and of files above [`MOST_BYTES`] in
//! all the least recently used.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::outputs::RowLoss;
use super::{Prompt, Settings};
use crate::files;
use crate::progress::Observer;
use crate::tokens::Encoded;

/// What is not used for so long is removed.
pub const DAYS: u64 = 30;
/// The most bytes of all files together.
pub const MOST_BYTES: u64 = 256 << 20;

const PREFIX: &str = "outputs-";
const FORMAT: &str = "1";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Where outputs are kept, and what shapes them beside the model's own digest and the settings.
#[derive(Debug, Clone)]
pub struct Shelf<'a> {
    /// The folder.
    pub folder: &'a Path,
    /// The machine's arithmetic, tokenizer, template: all that a comparison's columns share.
    pub conditions: String,
}

/// The outputs of one model.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    key: String,
    drawn: bool,
    today: u64,
    kept: Kept,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    key: String,
    answers: BTreeMap<String, Entry<(Vec<u32>, bool)>>,
    losses: BTreeMap<String, Entry<RowLoss>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry<T> {
    /// The day of its last use, since 1970.
    used: u64,
    value: T,
}

impl Cache {
    /// What is kept of the model of this digest, asked in this way. A damaged file is as none, and
    /// a line to the observer.
    pub fn open(
        shelf: &Shelf,
        model: &str,
        settings: &Settings,
        stop: &[u32],
        observer: &dyn Observer,
    ) -> Cache {
        let asked = format!("{:?} {stop:?}", settings.decoding);
        let key = files::digest([FORMAT, model, &shelf.conditions, &asked].join("\n").as_bytes());
        let path = shelf.folder.join(format!("{PREFIX}{key}"));
        let kept = match path.exists().then(|| read(&path, &key)) {
            Some(Ok(kept)) => kept,
            Some(Err(error)) => {
                observer.say(&format!(
                    "{} cannot be used and its outputs are measured anew: {error:#}",
                    path.display()
                ));
                Kept::default()
            }
            None => Kept::default(),
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let today = now.as_secs() / DAY.as_secs();
        Cache { path, key, drawn: settings.decoding.temperature != 0.0, today, kept }
    }

    /// The answer to a prompt, and whether it ended by itself.
    pub fn answer(&mut self, prompt: &Prompt) -> Option<(Vec<u32>, bool)> {
        let key = self.key_of(prompt);
        used(self.today, self.kept.answers.get_mut(&key))
    }

    /// Keeps the answer to a prompt.
    pub fn put_answer(&mut self, prompt: &Prompt, answer: &(Vec<u32>, bool)) {
        let entry = Entry { used: self.today, value: answer.clone() };
        self.kept.answers.insert(self.key_of(prompt), entry);
    }

    /// The loss on a row.
    pub fn loss(&mut self, row: &Encoded) -> Option<RowLoss> {
        used(self.today, self.kept.losses.get_mut(&key_of_row(row)))
    }

    /// Keeps the loss on a row.
    pub fn put_loss(&mut self, row: &Encoded, loss: &RowLoss) {
        let entry = Entry { used: self.today, value: loss.clone() };
        self.kept.losses.insert(key_of_row(row), entry);
    }

    fn key_of(&self, prompt: &Prompt) -> String {
        let seed = if self.drawn { prompt.seed } else { 0 };
        let seed = seed.to_le_bytes().into_iter();
        let ids = prompt.ids.iter().flat_map(|id| id.to_le_bytes());
        files::digest(&seed.chain(ids).collect::<Vec<u8>>())
    }

    /// Writes it for the next run and removes what is old. Where that is not possible a line to
    /// the observer is all: the comparison does not need it.
    pub fn close(mut self, observer: &dyn Observer) {
        let fresh = |used: u64| used + DAYS >= self.today;
        self.kept.answers.retain(|_, entry| fresh(entry.used));
        self.kept.losses.retain(|_, entry| fresh(entry.used));
        self.kept.key.clone_from(&self.key);
        let write = || -> Result<()> {
            let mut bytes = rmp_serde::to_vec(&self.kept)?;
            bytes.extend(xxh3_64(&bytes).to_le_bytes());
            files::write_bytes(&self.path, &bytes)
        };
        if let Err(error) = write() {
            observer.say(&format!("the outputs are not kept (CACHE_DIR): {error:#}"));
        }
        if let Some(folder) = self.path.parent() {
            prune(folder, MOST_BYTES);
        }
    }
}

fn used<T: Clone>(today: u64, entry: Option<&mut Entry<T>>) -> Option<T> {
    let entry = entry?;
    entry.used = today;
    Some(entry.value.clone())
}

/// Which tokens of a row are trained, and in which turn, shapes its loss too.
fn key_of_row(row: &Encoded) -> String {
    let mut bytes: Vec<u8> = row.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    bytes.extend(row.trained.iter().map(|trained| u8::from(*trained)));
    for turn in &row.turns {
        let numbers = [turn.message, turn.tokens.start, turn.tokens.end];
        bytes.extend(numbers.into_iter().flat_map(|n| (n as u64).to_le_bytes()));
    }
    files::digest(&bytes)
}

fn read(path: &Path, key: &str) -> Result<Kept> {
    let bytes = files::read_small(path, MOST_BYTES)?;
    let (content, checksum) = bytes.split_last_chunk::<8>().context("it is cut short")?;
    ensure!(xxh3_64(content).to_le_bytes() == *checksum, "its checksum is wrong");
    let kept: Kept = rmp_serde::from_slice(content)?;
    ensure!(kept.key == key, "it belongs to another model");
    Ok(kept)
}

/// Removes files that are too old, and the oldest while all have more than `most` bytes.
fn prune(folder: &Path, most: u64) {
    let Ok(entries) = folder.read_dir() else { return };
    let ours = entries.flatten().filter(|e| e.file_name().to_string_lossy().starts_with(PREFIX));
    let mut found: Vec<_> = ours
        .filter_map(|e| {
            let metadata = e.metadata().ok()?;
            Some((metadata.modified().ok()?, metadata.len(), e.path()))
        })
        .collect();
    // The newest first.
    found.sort_by(|a, b| b.cmp(a));
    let mut total = 0;
    for (changed, bytes, path) in found {
        total += bytes;
        let age = SystemTime::now().duration_since(changed).unwrap_or_default();
        if total > most || age > DAY * DAYS as u32 {
            // What cannot be removed stays.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_files_and_those_above_the_bound_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, days: u64, bytes: usize| {
            let path = folder.path().join(name);
            fs::write(&path, vec![0; bytes]).unwrap();
            let file = fs::File::open(&path).unwrap();
            file.set_modified(SystemTime::now() - DAY * days as u32).unwrap();
        };
        put("outputs-new", 0, 60);
        put("outputs-second", 1, 30);
        put("outputs-third", 2, 20);
        put("outputs-old", DAYS + 1, 1);
        put("weights.nf4", DAYS + 1, 100);
        prune(folder.path(), 100);
        let left = folder.path().read_dir().unwrap();
        let mut left: Vec<_> = left.map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["outputs-new", "outputs-second", "weights.nf4"]);
    }
}
