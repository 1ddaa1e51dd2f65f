//! Sessions that nobody takes any more: a file that `proto forget` writes and every reader of
//! sessions honours.
//!
//! A session is known by source and id. Redaction gives a new name to one that is named after a
//! person or after its own text, so that the name in a dataset is not the one in the traces; such
//! a session is known by what is left of its text as well: hashes of the words of its longer
//! messages once redacted. They follow neither the numbers of placeholders nor labels.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::config::Config;
use crate::files;
use crate::redact::Redactor;
use crate::trace::{Loaded, Role, Trace};

/// The reason that counts what was left out.
pub const REASON: &str = "forgotten";

/// The version of the file's layout.
const SCHEMA_VERSION: u32 = 1;

/// Messages with fewer words are said in many sessions.
const LONG: usize = 8;

/// The share of a session's marks that makes another one the same.
const SAME: f64 = 0.8;

/// Hashes of what a session says.
pub type Marks = BTreeSet<String>;

/// The sessions to leave out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// By source and session, with the marks of those whose name redaction changed.
    sessions: BTreeMap<String, Marks>,
    /// The SHA-256 of the file, in hex; empty where there is none.
    pub sha256: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    schema_version: u32,
    sessions: BTreeMap<String, Marks>,
}

/// Whether redaction may have given a session this name: one made from its text, or one with a
/// placeholder in it.
pub fn is_renamed(session: &str) -> bool {
    let digest = session.strip_prefix("raw-").unwrap_or_default();
    let made = digest.len() == 16 && digest.bytes().all(|b| b.is_ascii_hexdigit());
    made || (session.contains('<') && session.contains('>'))
}

/// What a redacted session says, as hashes.
pub fn marks(trace: &Trace) -> Marks {
    let spoken = trace.messages.iter().filter(|m| m.role != Role::System);
    let texts: Vec<Vec<String>> = spoken.map(|m| words(&m.content)).collect();
    let long = texts.iter().filter(|words| words.len() >= LONG);
    let marks: Marks = long.map(|words| mark(words)).collect();
    if marks.is_empty() { [mark(&texts.concat())].into() } else { marks }
}

/// Words in lower case without numbers: those of placeholders may differ.
fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric());
    let telling = |w: &&str| !w.is_empty() && !w.bytes().all(|b| b.is_ascii_digit());
    words.filter(telling).map(str::to_lowercase).collect()
}

fn mark(words: &[String]) -> String {
    format!("{:016x}", xxh3_64(words.join(" ").as_bytes()))
}

impl Forgotten {
    /// The list in a file; empty where there is none yet.
    pub fn read(path: &Path) -> Result<Forgotten> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Forgotten::default()),
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
        };
        // To go on without it would bring back what was to be forgotten.
        let wire: Wire = serde_json::from_slice(&bytes).with_context(|| {
            format!("{} is no list of forgotten sessions; restore it from a copy", path.display())
        })?;
        if wire.schema_version != SCHEMA_VERSION {
            bail!(
                "{}: the list has layout {}, this program knows {SCHEMA_VERSION}",
                path.display(),
                wire.schema_version
            );
        }
        Ok(Forgotten { sessions: wire.sessions, sha256: files::digest(&bytes) })
    }

    /// The list that `FORGET` names.
    pub fn from_config(config: &Config, project: &Path) -> Result<Forgotten> {
        match config.path("FORGET") {
            Some(path) => Forgotten::read(&project.join(path)),
            None => Ok(Forgotten::default()),
        }
    }

    /// Writes it, for the owner only.
    pub fn write(&self, path: &Path) -> Result<()> {
        let sessions = self.sessions.clone();
        files::write_json(path, &Wire { schema_version: SCHEMA_VERSION, sessions })
    }

    /// Adds a session by its key, `source/session`, with its marks where its name is not enough;
    /// whether that is news.
    pub fn add(&mut self, key: &str, marks: Marks) -> bool {
        let news = !self.sessions.contains_key(key);
        let known = self.sessions.entry(key.into()).or_default();
        let before = known.len();
        known.extend(marks);
        news || known.len() > before
    }

    /// Takes a session off the list; whether it was on it.
    pub fn remove(&mut self, key: &str) -> bool {
        self.sessions.remove(key).is_some()
    }

    /// Whether a session of this key is on the list.
    pub fn contains(&self, key: &str) -> bool {
        self.sessions.contains_key(key)
    }

    /// How many sessions are on the list.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Whether a session, as it was read, is to be left out. So is one that it started.
    pub fn holds(&self, trace: &Trace, redactor: &Redactor) -> Result<bool> {
        let key = |session: &str| format!("{}/{session}", trace.source);
        let mut names = [Some(&trace.session), trace.parent.as_ref()].into_iter().flatten();
        if self.is_empty() || names.any(|name| self.contains(&key(name))) {
            return Ok(!self.is_empty());
        }
        let marked: Vec<&Marks> = self.sessions.values().filter(|m| !m.is_empty()).collect();
        if marked.is_empty() {
            return Ok(false);
        }
        let name = redactor.text(&trace.session)?;
        if self.contains(&key(&name)) {
            return Ok(true);
        }
        if !is_renamed(&name) {
            return Ok(false);
        }
        let place = || format!("{}: cannot redact it", trace.origin);
        let redacted = redactor.session(&[trace]).with_context(place)?.pop();
        let own = marks(&redacted.with_context(place)?.trace);
        let shared = |marks: &Marks| marks.intersection(&own).count() as f64 / marks.len() as f64;
        Ok(marked.into_iter().any(|marks| shared(marks) >= SAME))
    }

    /// Takes the forgotten sessions out of what was read, and counts them.
    pub fn leave(&self, mut loaded: Loaded, redactor: &Redactor) -> Result<Loaded> {
        if self.is_empty() {
            return Ok(loaded);
        }
        let gone: Vec<bool> =
            loaded.traces.par_iter().map(|t| self.holds(t, redactor)).collect::<Result<_>>()?;
        let count = gone.iter().filter(|gone| **gone).count() as u64;
        if count > 0 {
            *loaded.reasons.entry(REASON.into()).or_default() += count;
        }
        let mut kept = gone.iter();
        loaded.traces.retain(|_| !kept.next().is_some_and(|gone| *gone));
        let mut kept = gone.iter();
        loaded.pedigrees.retain(|_| !kept.next().is_some_and(|gone| *gone));
        Ok(loaded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Policy;
    use crate::trace::Message;

    fn redactor() -> Redactor {
        Redactor::new(Policy::default()).unwrap()
    }

    fn session(name: &str, texts: &[&str]) -> Trace {
        let messages = texts.iter().map(|text| Message::text(Role::User, *text)).collect();
        Trace { session: name.into(), source: "raw".into(), messages, ..Trace::default() }
    }

    fn mail(name: &str) -> String {
        format!("please write to {name}@quarry-mail.com about the leaking roof of the old barn")
    }

    #[test]
    fn a_session_is_left_out_with_those_it_started() {
        let mut list = Forgotten::default();
        assert!(list.add("raw/a", Marks::new()) && !list.add("raw/a", Marks::new()));
        let mut child = session("b", &["hi"]);
        child.parent = Some("a".into());
        let traces = vec![session("a", &["hi"]), child, session("c", &["hi"])];
        let pedigrees = vec![Default::default(); 3];
        let loaded = Loaded { traces, pedigrees, lines: 3, ..Loaded::default() };
        let left = list.leave(loaded, &redactor()).unwrap();
        assert_eq!((left.traces.len(), left.pedigrees.len(), left.reasons[REASON]), (1, 1, 2));
        assert_eq!(left.traces[0].session, "c");
    }

    #[test]
    fn what_redaction_renamed_is_known_by_what_is_left_of_it() {
        let before = session("raw-0123456789abcdef", &[&mail("mira.holt"), "yes", &mail("tom")]);
        let mut after = redactor().session(&[&before]).unwrap().pop().unwrap().trace;
        after.session = "raw-fedcba9876543210".into();
        assert_ne!(after.messages, before.messages);
        let mut list = Forgotten::default();
        list.add("raw/raw-fedcba9876543210", marks(&after));
        assert!(list.holds(&before, &redactor()).unwrap());
        let other = session("raw-1123456789abcdef", &["a word about something else, long enough"]);
        assert!(!list.holds(&other, &redactor()).unwrap());

        let named = session("mira.holt@quarry-mail.com/7", &["hello", "what a day it is"]);
        let shown = redactor().text(&named.session).unwrap();
        list.add(&format!("raw/{shown}"), marks(&named));
        assert!(is_renamed(&shown) && list.holds(&named, &redactor()).unwrap());
    }

    #[test]
    fn the_list_reads_back_and_a_broken_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("forgotten.json");
        assert!(Forgotten::read(&path).unwrap().is_empty());
        let mut list = Forgotten::default();
        list.add("raw/a", ["1".to_string()].into());
        list.write(&path).unwrap();
        let read = Forgotten::read(&path).unwrap();
        assert_eq!((&read.sessions, read.sha256.len()), (&list.sessions, 64));
        for text in ["", "{}", "{\"schema_version\": 2, \"sessions\": {}}"] {
            std::fs::write(&path, text).unwrap();
            let error = format!("{:#}", Forgotten::read(&path).unwrap_err());
            assert!(error.contains("forgotten.json"), "{error}");
        }
    }
}
