//! From paths to traces: find, recognise, read, each session once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::raw::feed::feed;
use super::raw::{Pedigree, Row};
use super::shelf::{Shelf, Shelves};
use super::store::{Heading, Reading, Records, Store};
use super::{Origin, Trace, find};
use crate::files;
use crate::progress::Observer;

/// A line that gave no trace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BadLine {
    /// The file, named as in [`Origin::file`].
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong with it; never what it contains.
    pub problem: String,
}

impl std::fmt::Display for BadLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.problem)
    }
}

/// A file that was read, as the manifest names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileDigest {
    /// The file, named as in [`Origin::file`].
    pub file: String,
    /// The SHA-256 of its bytes, in hex; for a store of sessions, of the sessions that were read,
    /// since a database's own bytes change while what it says does not.
    pub sha256: String,
    /// Its size; for a store, the size of the sessions read.
    pub bytes: u64,
    /// Its lines that are not blank; for a store, its sessions.
    pub lines: u64,
}

/// A file that was found but gave no line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unread {
    /// The file, named as in [`Origin::file`].
    pub file: String,
    /// Why: empty, not a regular file, no permission.
    pub problem: String,
}

/// What the named files hold: `lines = traces + Σ reasons`.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The traces, ordered by session, origin and content, whatever the order of the files.
    pub traces: Vec<Trace>,
    /// What a dataset row says of itself beside its trace; one for each trace.
    pub pedigrees: Vec<Pedigree>,
    /// What could have been a trace: lines of raw traces that are not blank, and sessions.
    pub lines: u64,
    /// Lines that gave no trace, and damaged records inside sessions.
    pub bad: Vec<BadLine>,
    /// How many lines and sessions gave no trace, by reason.
    pub reasons: BTreeMap<String, u64>,
    /// What became of the records inside the agents' sessions.
    pub records: Records,
    /// The agents' sessions by place, agent and form of storage.
    pub shelves: Vec<Shelf>,
    /// The files that were read.
    pub files: Vec<FileDigest>,
    /// Files that were found and gave nothing.
    pub unread: Vec<Unread>,
    /// What was asked for, as it was named.
    pub asked: Vec<String>,
}

impl Loaded {
    /// Fails when there is no trace at all, saying what was looked at and what to do.
    pub fn refuse_empty(self) -> Result<Loaded> {
        let empty = self.traces.is_empty();
        self.refuse(empty)
    }

    /// [`Self::refuse_empty`] for whoever took the traces as they were read and knows whether
    /// there were none.
    pub fn refuse(self, empty: bool) -> Result<Loaded> {
        if !empty {
            return Ok(self);
        }
        let asked = self.asked.join(", ");
        let mut message = format!("no trace in {asked}");
        if self.files.is_empty() && self.unread.is_empty() {
            message +=
                ": there is no *.jsonl, *.jsonl.zst or *.parquet file and no agent's session";
        }
        for unread in self.unread.iter().take(3) {
            message += &format!("; {}: {}", unread.file, unread.problem);
        }
        if let Some(first) = self.bad.first() {
            message += &format!("; {} bad lines, the first at {first}", self.bad.len());
        }
        message += ". Put files with one JSON object a line (`messages` with `role` and `content`, \
                    or `user` and `assistant`) there, or name others with TRACES";
        bail!(message)
    }
}

/// Reads traces from files, folders and globs: raw traces (every `*.jsonl`, `*.jsonl.zst`
/// and `*.parquet` below a folder) and the agents' own sessions, each recognised by its content.
///
/// A path that does not exist or a named file that cannot be read is an error; whatever else is
/// wrong is reported in the result. `project` is the folder that file names are relative to.
pub fn load(paths: &[PathBuf], project: &Path, observer: &dyn Observer) -> Result<Loaded> {
    let mut rows = Vec::new();
    let mut loaded = stream(paths, project, &|_| None, observer, &mut |row| {
        rows.push(row);
        Ok(())
    })?;
    fn place(row: &Row) -> (&str, &Origin) {
        (&row.trace.session, &row.trace.origin)
    }
    let content = |row: &Row| files::digest(&serde_json::to_vec(&row.trace).unwrap_or_default());
    // Content decides where two files of one name hold the same session.
    rows.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| content(a).cmp(&content(b))));
    for row in rows {
        loaded.traces.push(row.trace);
        loaded.pedigrees.push(row.pedigree);
    }
    Ok(loaded)
}

/// Like [`load`], but hands over each trace as it is read: only some are in memory at a time.
/// `Loaded::traces` stays empty.
pub fn each(
    paths: &[PathBuf],
    project: &Path,
    observer: &dyn Observer,
    take: &mut dyn FnMut(Trace) -> Result<()>,
) -> Result<Loaded> {
    chosen(paths, project, &|_| None, observer, take)
}

/// Like [`each`], without the agents' sessions for which `leave` gives a reason.
pub fn chosen(
    paths: &[PathBuf],
    project: &Path,
    leave: Leave,
    observer: &dyn Observer,
    take: &mut dyn FnMut(Trace) -> Result<()>,
) -> Result<Loaded> {
    stream(paths, project, leave, observer, &mut |row| take(row.trace))
}

/// Why a session is left out, in one word, if it is.
pub type Leave<'a> = &'a dyn Fn(&Heading) -> Option<&'static str>;

/// Like [`chosen`], but hands over each row with what it says of itself. The rows of files come
/// in an order that only the files decide, not the one they stand in; little of a file is in
/// memory at a time, and while `take` works the next rows are read and parsed.
pub fn stream(
    paths: &[PathBuf],
    project: &Path,
    leave: Leave,
    observer: &dyn Observer,
    take: &mut dyn FnMut(Row) -> Result<()>,
) -> Result<Loaded> {
    let asked = paths.iter().map(|p| p.display().to_string()).collect();
    let found = find::places(paths, project)?;
    let mut loaded = Loaded { asked, unread: found.unread, ..Loaded::default() };
    let total = found.files.iter().map(|f| f.bytes).sum();
    observer.begin("load", Some(total), "bytes");
    let read = feed(&found.files, &mut loaded, observer, take);
    observer.end();
    read?;
    let mut stores = Vec::new();
    for (place, reader) in &found.stores {
        match (reader.open)(place) {
            Ok(store) => stores.push((place, store)),
            Err(e) if place.named => return Err(e),
            Err(e) => loaded.unread(place, &e),
        }
    }
    for_each_session(&stores, leave, &mut loaded, observer, &mut |trace| {
        take(Row { trace, pedigree: Pedigree::default() })
    })?;
    loaded.files.sort();
    loaded.bad.sort();
    loaded.unread.sort();
    Ok(loaded)
}

/// How many traces are hashed side by side.
const TOGETHER: usize = 8;

/// The SHA-256 of a trace, in hex. The texts are hashed as they are: to write them as JSON takes
/// longer than to read them.
fn digest(trace: &mut Trace) -> String {
    let mut hasher = Sha256::new();
    let mut texts = Vec::new();
    for message in &mut trace.messages {
        let text = std::mem::take(&mut message.content);
        hasher.update(text.len().to_le_bytes());
        hasher.update(&text);
        texts.push(text);
    }
    hasher.update(serde_json::to_vec(trace).unwrap_or_default());
    for (message, text) in trace.messages.iter_mut().zip(texts) {
        message.content = text;
    }
    files::hex(&hasher.finalize())
}

/// Reads every session of the stores once: where several hold it, from the newest generation, and
/// among those from where there is most of it.
fn for_each_session(
    stores: &[(&find::Place, Box<dyn Store>)],
    leave: Leave,
    loaded: &mut Loaded,
    observer: &dyn Observer,
    each: &mut dyn FnMut(Trace) -> Result<()>,
) -> Result<()> {
    let mut listed: Vec<Vec<Heading>> = Vec::new();
    for (place, store) in stores {
        let mut records = Records::default();
        let headings = match store.headings(&mut records, &mut loaded.bad) {
            Ok(headings) => headings,
            Err(e) if place.named => return Err(e),
            Err(e) => {
                loaded.unread(place, &e);
                Vec::new()
            }
        };
        loaded.records.add(records);
        loaded.lines += headings.len() as u64;
        listed.push(headings);
    }
    let mut best: BTreeMap<(&str, &str), (u8, u64, usize, usize)> = BTreeMap::new();
    for (s, headings) in listed.iter().enumerate() {
        for (h, heading) in headings.iter().enumerate() {
            let key = (heading.agent, heading.session.as_str());
            // Of equals the first stays, whatever the order of the files: they are sorted.
            let this = (heading.generation, heading.bytes, usize::MAX - s, usize::MAX - h);
            let kept = best.entry(key).or_insert(this);
            *kept = this.max(*kept);
        }
    }
    let total = listed.iter().flatten().map(|h| h.bytes).sum();
    observer.begin("sessions", Some(total), "bytes");
    let mut done = 0;
    for (s, ((place, store), headings)) in stores.iter().zip(&listed).enumerate() {
        let mut wanted = Vec::new();
        let mut shelves = Shelves::of(&place.shown);
        for (h, heading) in headings.iter().enumerate() {
            let (_, _, from_s, from_h) = best[&(heading.agent, heading.session.as_str())];
            let kept = (usize::MAX - from_s, usize::MAX - from_h) == (s, h);
            let skip = match kept {
                false => Some("found_again"),
                true => heading.skip.or_else(|| leave(heading)),
            };
            match skip {
                Some(reason) => {
                    loaded.drop(reason);
                    shelves.skipped(heading, reason);
                }
                None => wanted.push(heading),
            }
        }
        let mut digests = Vec::new();
        let mut held = Vec::new();
        let mut hand_over = |held: &mut Vec<Trace>| -> Result<()> {
            digests.par_extend(held.par_iter_mut().map(digest));
            held.drain(..).try_for_each(&mut *each)
        };
        let mut read = wanted.iter();
        let result = store.read(&wanted, &mut |reading| {
            observer.check()?;
            let Some(heading) = read.next() else { bail!("a store gave more than was asked for") };
            done += heading.bytes;
            observer.advance(done, "");
            let Reading { trace, records, bad } = reading;
            loaded.records.add(records);
            loaded.bad.extend(bad);
            match trace {
                Ok(trace) => {
                    shelves.read(heading, &trace);
                    held.push(trace);
                    if held.len() == TOGETHER {
                        hand_over(&mut held)?;
                    }
                }
                Err(reason) => {
                    loaded.drop(reason);
                    shelves.skipped(heading, reason);
                }
            }
            Ok(())
        });
        result.with_context(|| format!("cannot read {}", place.shown))?;
        hand_over(&mut held)?;
        loaded.shelves.extend(shelves.take());
        digests.sort();
        loaded.files.push(FileDigest {
            file: place.shown.clone(),
            sha256: files::digest(digests.concat().as_bytes()),
            bytes: wanted.iter().map(|h| h.bytes).sum(),
            lines: headings.len() as u64,
        });
    }
    observer.end();
    Ok(())
}

impl Loaded {
    pub(super) fn drop(&mut self, reason: &str) {
        *self.reasons.entry(reason.into()).or_default() += 1;
    }

    fn unread(&mut self, place: &find::Place, error: &anyhow::Error) {
        self.unread.push(Unread { file: place.shown.clone(), problem: format!("{error:#}") });
    }
}
