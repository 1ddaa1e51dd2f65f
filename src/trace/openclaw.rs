//! Sessions of OpenClaw, in files and in databases.
//!
//! An agent's folder `agents/<id>` holds `sessions/` (files, to 2026.7.1; see [`files`]) and
//! `agent/openclaw-agent.sqlite` (from 2026.7.2 on; see [`database`]); after an upgrade both. The
//! lines are pi's ([`super::pi`]) in either. All of it is one generation here: of a session that
//! stands in several places the fullest copy is read, since an import may have been cut short and
//! a compaction may have deleted rows. Credentials (`auth-profiles.json`, `openclaw.json`,
//! `credentials/`) are never opened.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, Result};
use regex::bytes::Regex;

use super::find::Place;
use super::pi::entry::Dialect;
use super::pi::file::header;
use super::store::{Each, Heading, Reader, Records, Store, side_by_side};
use super::{BadLine, sqlite};
use database::Database;
use files::{Files, INDEX, Kind, kind};
use index::Index;

mod database;
mod envelope;
mod files;
mod index;
mod trajectory;

pub(super) const READER: Reader =
    Reader { folder, file, open: |place| Ok(Box::new(OpenClaw::open(place)?)) };

const DIALECT: Dialect = Dialect { agent: "openclaw", own_words: envelope::own_words };

const GENERATION: u8 = 1;

const DATABASE: &str = "openclaw-agent.sqlite";

/// Where an upgrade puts the files it has taken into the database.
const IMPORTED: &str = "session-sqlite-import-archive";

/// What is met while places are listed.
#[derive(Default)]
struct Listing {
    records: Records,
    bad: Vec<BadLine>,
}

impl Listing {
    fn bad(&mut self, file: String, problem: String) {
        self.bad.push(BadLine { file, line: 1, problem });
    }
}

fn folder(path: &Path) -> bool {
    is_root(path) || is_agent(path) || is_sessions(path) || is_database(&path.join(DATABASE))
}

fn is_root(path: &Path) -> bool {
    folders(&path.join("agents")).iter().any(|agent| is_agent(agent))
}

fn is_agent(path: &Path) -> bool {
    is_sessions(&path.join("sessions")) || is_database(&path.join("agent").join(DATABASE))
}

/// Whether a folder holds sessions and something that only OpenClaw puts beside them.
fn is_sessions(path: &Path) -> bool {
    let Ok(entries) = fs::read_dir(path) else { return false };
    let (mut beside, mut sessions) = (false, false);
    for entry in entries.flatten() {
        let name = entry.file_name();
        match kind(&name.to_string_lossy()) {
            Kind::Beside("index") => beside |= is_index(&entry.path()),
            Kind::Beside("trajectory" | "checkpoint") | Kind::Deleted => beside = true,
            Kind::Transcript if !sessions || !beside => {
                let head = head_of(&entry.path()).unwrap_or_default();
                sessions |= header(&head).is_some();
                beside |= says_openclaw(&head);
            }
            _ => {}
        }
        if beside && sessions {
            return true;
        }
    }
    false
}

/// Whether a `sessions.json` is OpenClaw's: a map from keys to entries.
fn is_index(path: &Path) -> bool {
    let head = head_of(path).unwrap_or_default();
    head.trim_ascii_start().starts_with(b"{")
        && (head.trim_ascii() == b"{}" || find(&head, br#""sessionId""#))
}

fn find(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|window| window == what)
}

fn head_of(path: &Path) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    // A pipe would wait for a writer.
    path.metadata().ok().filter(|m| m.is_file())?;
    File::open(path).ok()?.take(64 << 10).read_to_end(&mut head).ok()?;
    Some(head)
}

/// Whether lines of a session are OpenClaw's own; in a message's text quotes are escaped.
fn says_openclaw(head: &[u8]) -> bool {
    static OWN: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let own = r#"[{,:\[] ?"(__openclaw"|openclaw[":.]|model-snapshot"|openclaw-trajectory")"#;
        Regex::new(&format!(r#"{own}|"cwd": ?"[^"]*[/\\]\.openclaw[/\\"]"#)).ok()
    });
    OWN.as_ref().is_some_and(|own| own.is_match(head))
}

fn file(path: &Path, head: &[u8]) -> bool {
    if sqlite::is_database(head) {
        return is_database(path);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match kind(&name) {
        Kind::Beside("trajectory") => says_openclaw(head),
        Kind::Transcript | Kind::Deleted | Kind::Beside("checkpoint" | "corrupt") => {
            let siblings = || path.parent().is_some_and(|parent| is_index(&parent.join(INDEX)));
            let packed = name.ends_with(".zst") && siblings();
            packed || (header(head).is_some() && (says_openclaw(head) || siblings()))
        }
        _ => false,
    }
}

fn is_database(path: &Path) -> bool {
    path.is_file() && database::is_store(path)
}

/// The folders in a folder, in the order of their names.
fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|e| e.path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    folders
}

/// Where a session stands.
enum At {
    File(usize, (usize, usize)),
    Database(usize, database::At),
}

struct OpenClaw {
    databases: Vec<Database>,
    files: Vec<Files>,
    found: Vec<(Heading, At)>,
    listing: Listing,
}

impl OpenClaw {
    fn open(place: &Place) -> Result<OpenClaw> {
        let (databases, files) = (Vec::new(), Vec::new());
        let listing = Listing::default();
        let mut all = OpenClaw { databases, files, found: Vec::new(), listing };
        let path = &place.path;
        let shown = |inside: &str| match inside {
            "" => place.shown.clone(),
            _ => format!("{}/{inside}", place.shown),
        };
        if path.is_file() {
            if database::is_sqlite(path) {
                let beside =
                    path.parent().and_then(Path::parent).map(|agent| agent.join("sessions"));
                all.add_database(path, place.shown.clone(), beside.as_deref())?;
            } else if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
                let name = name.to_string_lossy();
                let folder = place.shown.strip_suffix(&*name).unwrap_or_default().to_string();
                all.add_files(parent, folder, Some(&name), Index::default())?;
            }
        } else if is_root(path) {
            for agent in folders(&path.join("agents")) {
                let name = agent.file_name().unwrap_or_default().to_string_lossy().into_owned();
                all.add_agent(&agent, shown(&format!("agents/{name}")))?;
            }
        } else if is_agent(path) {
            all.add_agent(path, shown(""))?;
        } else if is_database(&path.join(DATABASE)) {
            let beside = path.parent().map(|agent| agent.join("sessions"));
            all.add_database(&path.join(DATABASE), shown(DATABASE), beside.as_deref())?;
        } else {
            all.add_files(path, shown("") + "/", None, Index::default())?;
        }
        let databases = all.databases.iter().enumerate().flat_map(|(n, database)| {
            database.headings().into_iter().map(move |(heading, at)| (heading, At::Database(n, at)))
        });
        let files = all.files.iter().enumerate().flat_map(|(n, files)| {
            files.headings().into_iter().map(move |(heading, at)| (heading, At::File(n, at)))
        });
        all.found = databases.chain(files).collect();
        all.found.iter_mut().enumerate().for_each(|(n, (heading, _))| heading.key = n as u64);
        Ok(all)
    }

    fn add_agent(&mut self, agent: &Path, shown: String) -> Result<()> {
        let database = agent.join("agent").join(DATABASE);
        let sessions = agent.join("sessions");
        let mut index = Index::default();
        if is_database(&database) {
            let shown = format!("{shown}/agent/{DATABASE}");
            match self.add_database(&database, shown.clone(), Some(&sessions)) {
                Ok(()) => {
                    index = self.databases.last().map(|d| d.index.clone()).unwrap_or_default()
                }
                // The files beside it may still be read.
                Err(e) => {
                    self.listing.records.left("unreadable");
                    self.listing.bad(shown, format!("{e:#}"));
                }
            }
        }
        for (name, folder) in [("sessions", sessions), (IMPORTED, agent.join(IMPORTED))] {
            if folder.is_dir() {
                self.add_files(&folder, format!("{shown}/{name}/"), None, index.clone())?;
            }
        }
        Ok(())
    }

    fn add_files(
        &mut self,
        folder: &Path,
        shown: String,
        only: Option<&str>,
        known: Index,
    ) -> Result<()> {
        let files = Files::open(folder, shown, only, known, &mut self.listing)
            .with_context(|| format!("cannot list {}", folder.display()))?;
        self.files.push(files);
        Ok(())
    }

    fn add_database(&mut self, path: &Path, shown: String, sessions: Option<&Path>) -> Result<()> {
        self.databases.push(Database::open(path, shown, sessions, &mut self.listing)?);
        Ok(())
    }
}

impl Store for OpenClaw {
    fn headings(&self, records: &mut Records, bad: &mut Vec<BadLine>) -> Result<Vec<Heading>> {
        records.add(self.listing.records.clone());
        bad.extend(self.listing.bad.iter().cloned());
        Ok(self.found.iter().map(|(heading, _)| heading.clone()).collect())
    }

    fn read(&self, wanted: &[&Heading], each: Each) -> Result<()> {
        let at = |heading: &Heading| &self.found[heading.key as usize].1;
        let place = |heading: &Heading| match at(heading) {
            At::File(..) => None,
            At::Database(n, _) => Some(*n),
        };
        for run in wanted.chunk_by(|a, b| place(a) == place(b)) {
            match run.first().and_then(|first| place(first)) {
                Some(n) => {
                    let rows = run.iter().filter_map(|heading| match at(heading) {
                        At::Database(_, at) => Some((*heading, *at)),
                        At::File(..) => None,
                    });
                    self.databases[n].read(&rows.collect::<Vec<_>>(), each)?;
                }
                None => {
                    let files = &self.files;
                    let places = self.found.iter().map(|(_, at)| match at {
                        At::File(n, at) => Some((*n, *at)),
                        At::Database(..) => None,
                    });
                    let places = places.collect::<Vec<_>>();
                    side_by_side(run, each, |heading| {
                        let (n, at) = places[heading.key as usize].unwrap_or_default();
                        files[n].read(heading, at)
                    })?;
                }
            }
        }
        Ok(())
    }
}
