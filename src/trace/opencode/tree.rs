//! The JSON tree OpenCode kept before its database (`storage/storage.ts`), and the older one in
//! each project's folder.
//!
//! Ids are those of the paths: earlier migrations moved files without changing what they say.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Session, SessionInfo, Stored, generation, listed, problem, v1};
use crate::files;
use crate::trace::BadLine;
use crate::trace::find::Place;
use crate::trace::lines::MAX_LINE;
use crate::trace::store::{Each, Heading, Reader, Reading, Records, Store, side_by_side};

pub(in crate::trace) const READER: Reader = Reader { folder: recognise, file: |_, _| false, open };

/// How the folders of a tree lie.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Layout {
    /// `session/<project>/<session>.json`, `message/<session>/<message>.json`,
    /// `part/<message>/<part>.json`
    Shared,
    /// `session/info/<session>.json`, `session/message/<session>/<message>.json`,
    /// `session/part/<session>/<message>/<part>.json`
    PerProject,
}

fn layout(folder: &Path) -> Option<Layout> {
    let all = |names: &[&str]| names.iter().all(|name| folder.join(name).is_dir());
    if all(&["session/info", "session/message"]) {
        Some(Layout::PerProject)
    } else if all(&["session", "message", "part"]) {
        Some(Layout::Shared)
    } else {
        None
    }
}

/// The folders that hold files of sessions, in a shared tree one for each project.
fn shelves(folder: &Path, layout: Layout) -> Vec<PathBuf> {
    let session = folder.join("session");
    let names = match layout {
        Layout::PerProject => vec!["info".to_owned()],
        Layout::Shared => listed(&session),
    };
    let names = names.into_iter().filter(|name| name != "quarantine" && !name.starts_with('.'));
    names.map(|name| session.join(name)).filter(|path| path.is_dir()).collect()
}

pub(super) fn recognise(folder: &Path) -> bool {
    // Such names are common; one of the ids must be as OpenCode makes them.
    layout(folder).is_some_and(|layout| {
        let shelves = shelves(folder, layout);
        let messages =
            folder.join(if layout == Layout::Shared { "message" } else { "session/message" });
        let names = shelves.iter().flat_map(|shelf| listed(shelf)).chain(listed(&messages));
        names.into_iter().any(|name| name.starts_with("ses_"))
    })
}

pub(super) fn open(place: &Place) -> Result<Box<dyn Store>> {
    let layout = layout(&place.path).unwrap_or(Layout::Shared);
    let mut tree = Tree {
        root: place.path.clone(),
        shown: place.shown.clone(),
        layout,
        entries: Vec::new(),
        records: Records::default(),
        bad: Vec::new(),
    };
    tree.list();
    Ok(Box::new(tree))
}

struct Tree {
    root: PathBuf,
    shown: String,
    layout: Layout,
    entries: Vec<Entry>,
    /// What belongs to no session.
    records: Records,
    bad: Vec<BadLine>,
}

/// A session and the files it is made of.
struct Entry {
    session: Session,
    /// Its file, relative to the tree.
    file: String,
    messages: Vec<MessageFile>,
    bytes: u64,
}

struct MessageFile {
    id: String,
    file: String,
    /// Ids and files.
    parts: Vec<(String, String)>,
}

impl Tree {
    /// The JSON files of a folder by id, relative to the tree. Files that are being written, or
    /// were when the agent ended, are counted.
    fn files(&mut self, folder: &str) -> Vec<(String, String)> {
        let mut files = Vec::new();
        for name in listed(&self.root.join(folder)) {
            let path = format!("{folder}/{name}");
            if name.starts_with('.') || name.ends_with(".tmp") {
                self.records.left("temporary");
            } else if let Some(id) = name.strip_suffix(".json") {
                files.push((id.to_owned(), path));
            }
        }
        files
    }

    fn list(&mut self) {
        let (messages, parts) = match self.layout {
            Layout::Shared => ("message", "part"),
            Layout::PerProject => ("session/message", "session/part"),
        };
        let mut seen: BTreeSet<String> = BTreeSet::new();
        for shelf in shelves(&self.root, self.layout) {
            let shelf = relative(&shelf, &self.root);
            for (id, file) in self.files(&shelf) {
                let session = self.session(&id, &file);
                // A session whose file is damaged still has its messages.
                let Some(session) = session.or_else(|| {
                    let messages = self.root.join(messages).join(&id);
                    messages.is_dir().then(|| Session { id: id.clone(), ..Session::default() })
                }) else {
                    continue;
                };
                let mut bytes = 0;
                let mut list = Vec::new();
                for (message, file) in self.files(&format!("{messages}/{id}")) {
                    let folder = match self.layout {
                        Layout::Shared => format!("{parts}/{message}"),
                        Layout::PerProject => format!("{parts}/{id}/{message}"),
                    };
                    let parts = self.files(&folder);
                    for file in parts.iter().map(|(_, file)| file).chain([&file]) {
                        bytes += fs::metadata(self.root.join(file)).map_or(0, |m| m.len());
                    }
                    if self.layout == Layout::Shared {
                        seen.insert(message.clone());
                    }
                    list.push(MessageFile { id: message, file, parts });
                }
                seen.insert(id);
                self.entries.push(Entry { session, file, messages: list, bytes });
            }
        }
        self.orphans(messages, parts, &seen);
    }

    /// Counts the files of messages and sessions that are not there.
    fn orphans(&mut self, messages: &str, parts: &str, seen: &BTreeSet<String>) {
        let missing = [(messages, "message: its session"), (parts, "part: its message")];
        for (folder, what) in missing {
            for name in listed(&self.root.join(folder)) {
                if seen.contains(&name) || name == "quarantine" || name.starts_with('.') {
                    continue;
                }
                for (_, file) in self.files(&format!("{folder}/{name}")) {
                    self.records.left("orphan");
                    let problem = format!("{what} is missing");
                    self.bad.push(BadLine { file: self.shown(&file), line: 1, problem });
                }
            }
        }
    }

    fn session(&mut self, id: &str, file: &str) -> Option<Session> {
        let read = read(&self.root.join(file)).map_err(|e| e.to_string());
        let parsed = read.and_then(|bytes| {
            let info: SessionInfo = serde_json::from_slice(&bytes).map_err(|e| problem(&e))?;
            Ok(info.into_session(id.to_owned(), 1))
        });
        match parsed {
            Ok(session) => {
                self.records.used();
                Some(session)
            }
            Err(problem) => {
                self.records.left("damaged");
                let problem = format!("session: {problem}");
                self.bad.push(BadLine { file: self.shown(file), line: 1, problem });
                None
            }
        }
    }

    fn shown(&self, file: &str) -> String {
        format!("{}/{file}", self.shown)
    }

    fn read_session(&self, entry: &Entry) -> Reading {
        let file = |file: &String| File {
            shown: self.shown(file),
            json: read(&self.root.join(file)).map_err(|e| e.to_string()),
        };
        // What is parsed borrows from the files' content.
        let files: Vec<(File, Vec<File>)> = entry
            .messages
            .iter()
            .map(|m| (file(&m.file), m.parts.iter().map(|(_, part)| file(part)).collect()))
            .collect();
        let messages = entry.messages.iter().zip(&files).map(|(message, (info, parts))| {
            let ids = message.parts.iter().map(|(id, _)| id);
            v1::Entry {
                info: info.stored("message", &message.id),
                parts: ids.zip(parts).map(|(id, part)| part.stored("part", id)).collect(),
            }
        });
        let shown = self.shown(&entry.file);
        v1::read(&entry.session, &shown, &messages.collect::<Vec<_>>())
    }
}

/// A file's content, or why there is none.
struct File {
    shown: String,
    json: Result<Vec<u8>, String>,
}

impl File {
    fn stored<'a>(&'a self, what: &'static str, id: &'a str) -> Stored<'a> {
        let json = self.json.as_deref().map_err(String::as_str);
        Stored { what, id, row: 1, file: Some(&self.shown), json }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe would never end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    files::read_small(path, MAX_LINE as u64)
}

fn relative(path: &Path, root: &Path) -> String {
    let parts = path.strip_prefix(root).unwrap_or(path).iter();
    parts.map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}

impl Store for Tree {
    fn headings(&self, records: &mut Records, bad: &mut Vec<BadLine>) -> Result<Vec<Heading>> {
        records.add(self.records.clone());
        bad.extend(self.bad.iter().cloned());
        let heading = |(key, entry): (usize, &Entry)| Heading {
            agent: super::AGENT,
            session: entry.session.id.clone(),
            generation: match self.layout {
                _ if entry.messages.is_empty() => 0,
                Layout::Shared => generation::TREE,
                Layout::PerProject => generation::OLD_TREE,
            },
            bytes: entry.bytes,
            updated_ms: entry.session.updated,
            skip: None,
            key: key as u64,
        };
        Ok(self.entries.iter().enumerate().map(heading).collect())
    }

    fn read(&self, wanted: &[&Heading], each: Each) -> Result<()> {
        side_by_side(wanted, each, |heading| self.read_session(&self.entries[heading.key as usize]))
    }
}
