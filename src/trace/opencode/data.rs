//! OpenCode's data folder as a whole: its databases and JSON trees, and nothing else that lies
//! there. Keys, logs, clones and work trees of the person's repositories are not looked at.

use std::cell::RefCell;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{database, listed, tree};
use crate::trace::BadLine;
use crate::trace::find::Place;
use crate::trace::store::{Each, Heading, Reader, Records, Store};

pub(in crate::trace) const READER: Reader = Reader { folder: recognise, file: |_, _| false, open };

/// What OpenCode makes in its data folder beside its sessions: without some of it, a folder that
/// holds a database or a tree is looked through like every other.
const BESIDE: &[&str] = &["log", "snapshot", "bin", "auth.json", "repos", "tool-output"];

/// Everything of sessions in the folder, by name.
fn parts(folder: &Path) -> Vec<String> {
    let mut parts = Vec::new();
    for name in listed(folder) {
        let path = folder.join(&name);
        match name.as_str() {
            "storage" if tree::recognise(&path) => parts.push(name),
            "project" => {
                let storage = listed(&path).into_iter().map(|slug| format!("{slug}/storage"));
                let trees = storage.filter(|name| tree::recognise(&path.join(name)));
                parts.extend(trees.map(|tree| format!("{name}/{tree}")));
            }
            _ if name.ends_with(".db") && is_database(&path) => parts.push(name),
            _ => {}
        }
    }
    parts
}

fn is_database(path: &Path) -> bool {
    let head = || -> std::io::Result<Vec<u8>> {
        let mut head = Vec::new();
        if path.metadata()?.is_file() {
            File::open(path)?.take(64 << 10).read_to_end(&mut head)?;
        }
        Ok(head)
    };
    head().is_ok_and(|head| database::recognise(path, &head))
}

fn recognise(folder: &Path) -> bool {
    let beside = BESIDE.iter().filter(|name| folder.join(name).exists());
    beside.count() >= 2 && !parts(folder).is_empty()
}

fn open(place: &Place) -> Result<Box<dyn Store>> {
    let part = |name: String| {
        let path = place.path.join(&name);
        let shown = format!("{}/{name}", place.shown);
        let opened = open_part(&path, &shown);
        Part { shown, opened: opened.map_err(|e| format!("{e:#}")) }
    };
    let parts = parts(&place.path).into_iter().map(part).collect();
    Ok(Box::new(Data { parts, keys: RefCell::default() }))
}

fn open_part(path: &Path, shown: &str) -> Result<Box<dyn Store>> {
    let bytes = path.metadata()?.len();
    let place = Place { path: PathBuf::from(path), shown: shown.into(), bytes, named: false };
    if path.is_dir() { tree::open(&place) } else { database::open(&place) }
}

struct Part {
    shown: String,
    opened: Result<Box<dyn Store>, String>,
}

struct Data {
    parts: Vec<Part>,
    /// By a heading's key: the part it came from, and its key there.
    keys: RefCell<Vec<(usize, u64)>>,
}

impl Store for Data {
    fn headings(&self, records: &mut Records, bad: &mut Vec<BadLine>) -> Result<Vec<Heading>> {
        let mut keys = self.keys.borrow_mut();
        let mut all = Vec::new();
        for (nth, part) in self.parts.iter().enumerate() {
            let headings = match &part.opened {
                Ok(store) => store.headings(records, bad).map_err(|e| format!("{e:#}")),
                Err(problem) => Err(problem.clone()),
            };
            match headings {
                Ok(headings) => all.extend(headings.into_iter().map(|heading| {
                    keys.push((nth, heading.key));
                    Heading { key: keys.len() as u64 - 1, ..heading }
                })),
                Err(problem) => bad.push(BadLine { file: part.shown.clone(), line: 0, problem }),
            }
        }
        Ok(all)
    }

    fn read(&self, wanted: &[&Heading], each: Each) -> Result<()> {
        let keys = self.keys.borrow();
        let part_of = |heading: &Heading| keys[heading.key as usize].0;
        for run in wanted.chunk_by(|a, b| part_of(a) == part_of(b)) {
            let part = &self.parts[part_of(run[0])];
            let store = part.opened.as_ref().ok().context("the sessions were not listed")?;
            let inner: Vec<Heading> = run
                .iter()
                .map(|&heading| Heading { key: keys[heading.key as usize].1, ..heading.clone() })
                .collect();
            store.read(&inner.iter().collect::<Vec<_>>(), each)?;
        }
        Ok(())
    }
}
