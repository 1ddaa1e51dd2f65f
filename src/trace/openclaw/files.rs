//! The era of files (to 2026.7.1): a folder with a JSONL file for each session, the archives of
//! earlier ones, and other files that are no transcripts.
//!
//! From src/config/sessions/artifacts.ts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::index::{Facts, Index};
use super::trajectory::{self, Compiled};
use super::{DIALECT, Listing};
use crate::trace::BadLine;
use crate::trace::pi::entry::Header;
use crate::trace::pi::file::{self, Listed};
use crate::trace::pi::session::{Known, Session};
use crate::trace::pi::{changed_ms, header_of, part_name};
use crate::trace::store::{Heading, Reading, Records};

pub(super) const INDEX: &str = "sessions.json";

/// What a file is by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A session, now or as it was when it was archived.
    Transcript,
    /// A session the user deleted.
    Deleted,
    /// OpenClaw's own, but no transcript; the reason to count it under.
    Beside(&'static str),
    Other,
}

pub(super) fn kind(name: &str) -> Kind {
    if name == INDEX {
        return Kind::Beside("index");
    }
    if name.starts_with("sessions.json.") || name.ends_with(".lock") || name.ends_with(".tmp") {
        return Kind::Beside("side_file");
    }
    let Some((stem, rest)) = name.split_once(".jsonl") else {
        let path = name.ends_with(".trajectory-path.json");
        return if path { Kind::Beside("side_file") } else { Kind::Other };
    };
    if stem.ends_with(".trajectory") {
        Kind::Beside("trajectory")
    } else if stem.contains(".checkpoint.") {
        Kind::Beside("checkpoint")
    } else if stem.contains(".corrupt-") || rest.contains(".corrupt-") {
        Kind::Beside("corrupt")
    } else if rest.starts_with(".deleted.") {
        Kind::Deleted
    } else if [".reset.", ".bak."].iter().any(|archive| rest.starts_with(archive))
        || ["", ".zst"].contains(&rest)
        || [".migrated", ".pre-doctor-"].iter().any(|kept| rest.starts_with(kept))
    {
        Kind::Transcript
    } else {
        Kind::Other
    }
}

/// A folder of sessions.
pub(super) struct Files {
    folder: PathBuf,
    /// The folder's name in reports, with a slash, or empty.
    shown: String,
    index: Index,
    items: Vec<Item>,
    moved: Option<PathBuf>,
}

struct Item {
    path: PathBuf,
    name: String,
    session: String,
    deleted: bool,
    listed: Listed,
}

impl Files {
    /// Lists a folder; of `only` one file, where that was named. `known` is what a database says
    /// of the same sessions.
    pub fn open(
        folder: &Path,
        shown: String,
        only: Option<&str>,
        known: Index,
        listing: &mut Listing,
    ) -> io::Result<Files> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if only.is_none_or(|only| only == name) {
                names.push(name);
            }
        }
        names.sort();
        let mut index = known;
        if let Some(more) = read_index(&folder.join(INDEX), &shown, listing) {
            for (id, facts) in more.0 {
                index.0.entry(id).or_insert(facts);
            }
        }
        let moved = std::env::var_os("OPENCLAW_TRAJECTORY_DIR").filter(|dir| !dir.is_empty());
        let mut files = Files {
            folder: folder.to_path_buf(),
            shown,
            index,
            items: Vec::new(),
            moved: moved.map(PathBuf::from),
        };
        let mut wanted = Vec::new();
        for name in names {
            match kind(&name) {
                // Read with the session it belongs to.
                Kind::Beside("trajectory" | "index") | Kind::Other => {}
                Kind::Beside(reason) => listing.records.left(reason),
                kind => wanted.push((name, kind == Kind::Deleted)),
            }
        }
        let listed = wanted.into_par_iter().map(|(name, deleted)| files.list(name, deleted));
        for item in listed.collect::<Vec<_>>() {
            match item {
                Ok(item) => files.items.push(item),
                Err((name, e)) => {
                    listing.records.left("unreadable");
                    listing.bad(format!("{}{name}", files.shown), format!("cannot read: {e}"));
                }
            }
        }
        Ok(files)
    }

    fn list(&self, name: String, deleted: bool) -> Result<Item, (String, io::Error)> {
        let path = self.folder.join(&name);
        // What was deleted is not looked into.
        let listed = match deleted {
            true => Listed { parts: vec![file::Part::default()], ..Listed::default() },
            false => match file::list(&file::open(&path)) {
                Ok(listed) => listed,
                Err(e) => return Err((name, e)),
            },
        };
        let stem = name.split(".jsonl").next().unwrap_or_default();
        let stem = stem.split("-topic-").next().unwrap_or_default();
        let session = listed.header.as_ref().and_then(|h| h.session.clone());
        let session = session.unwrap_or_else(|| stem.to_string());
        Ok(Item { path, name, session, deleted, listed })
    }

    fn facts(&self, session: &str) -> Facts {
        self.index.0.get(session).cloned().unwrap_or_default()
    }

    /// The sessions, each with where it stands: file and part.
    pub fn headings(&self) -> Vec<(Heading, (usize, usize))> {
        let parts = self.items.iter().enumerate().flat_map(|(i, item)| {
            let facts = self.facts(&item.session);
            let skip = item.deleted.then_some("deleted").or(facts.skip(&item.session));
            let updated_ms = facts.updated_ms.or_else(|| changed_ms(&item.path));
            item.listed.parts.iter().enumerate().map(move |(n, part)| {
                let heading = Heading {
                    agent: DIALECT.agent,
                    session: part_name(&item.session, n),
                    generation: super::GENERATION,
                    // Any copy that was not deleted counts for more.
                    bytes: if item.deleted { 0 } else { part.bytes },
                    updated_ms,
                    skip,
                    key: 0,
                };
                (heading, (i, n))
            })
        });
        parts.collect()
    }

    pub fn read(&self, heading: &Heading, (item, n): (usize, usize)) -> Reading {
        let item = &self.items[item];
        let part = item.listed.parts[n];
        let mut session = Session::new(&format!("{}{}", self.shown, item.name));
        let header = header_of(item.listed.header.as_ref(), part);
        let last = n + 1 == item.listed.parts.len();
        let (mut records, mut bad) = (Records::default(), Vec::new());
        let compiled = self.compiled(&item.session, &mut records, &mut bad);
        // The sidecar is the file's, and counted once.
        if n == 0 {
            session.records.add(records);
            session.bad.append(&mut bad);
        }
        let known = known(heading, header, &self.facts(&item.session), &self.index, last);
        let known = compiled.complete(known);
        file::read(&file::open(&item.path), part, session, known, &DIALECT)
    }

    /// What a session's sidecar says; one that cannot be read takes nothing from the session.
    pub fn compiled(
        &self,
        session: &str,
        records: &mut Records,
        bad: &mut Vec<BadLine>,
    ) -> Compiled {
        let places = trajectory::places(&self.folder, self.moved.as_deref(), session);
        let Some(path) = places.iter().find(|path| path.is_file()) else {
            return Compiled::default();
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let shown = format!("{}{name}", self.shown);
        Compiled::read(path, &shown, records, bad).unwrap_or_default()
    }
}

/// What is known of a session beside its lines and its sidecar.
pub(super) fn known(
    heading: &Heading,
    mut header: Header,
    facts: &Facts,
    index: &Index,
    last: bool,
) -> Known {
    let began = header.time_ms.or(facts.started_ms);
    let starter = facts.spawned_by.as_deref().and_then(|key| index.holder(key, began));
    header.parent = header.parent.or_else(|| starter.map(str::to_string));
    let ending = facts.ending().filter(|_| last);
    Known { session: heading.session.clone(), header, ending, ..Known::default() }
}

/// Reads `sessions.json`, where it is one.
fn read_index(path: &Path, shown: &str, listing: &mut Listing) -> Option<Index> {
    const MOST: u64 = 64 << 20;
    let about = path.metadata().ok().filter(|m| m.is_file() && m.len() <= MOST)?;
    let text = fs::read(path).ok().filter(|_| about.len() > 0)?;
    let file = format!("{shown}{INDEX}");
    match Index::read(&text) {
        Ok((index, damaged)) => {
            if damaged > 0 {
                listing.bad(file, format!("{damaged} entries are not a session's"));
            }
            Some(index)
        }
        Err(_) => {
            listing.bad(file, "not a map from keys to sessions".into());
            None
        }
    }
}
