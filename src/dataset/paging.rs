//! Rows that do not fit in memory.
//!
//! A step hands every row it makes to a [`Pager`]. Up to a budget rows stay in memory; beyond it
//! what they say goes to a file that has no name, compressed, and encrypted with a key that only
//! this process ever knew: rows are paged out before redaction too, and unredacted text may lie
//! readable nowhere but where the agents keep it. However the process ends, neither a name nor a
//! key is left behind.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::File;
use std::ops::Deref;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result};
use chacha20::ChaCha12;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::print::Sketch;
use super::{Example, Kind, TokenCount};
use crate::trace::{Message, Origin, Trace};

/// How large a file of paged-out rows grows before the next one begins. One of which no row is
/// left gives its space back.
const SEGMENT: u64 = 256 << 20;

/// What packing leaves allocated, at most: a row beyond it is rare.
const KEPT: usize = 4 << 20;

thread_local! {
    // Kept, since new memory has to be cleared by the system first.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Where a thread packs and unpacks rows.
#[derive(Default)]
struct Scratch {
    plain: Vec<u8>,
    packed: Vec<u8>,
    table: CompressTable,
}

impl Scratch {
    /// What `work` makes with this thread's own.
    fn with<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
        SCRATCH.with_borrow_mut(|scratch| {
            let made = work(scratch);
            for buffer in [&mut scratch.plain, &mut scratch.packed] {
                buffer.truncate(KEPT);
                buffer.shrink_to(KEPT);
            }
            made
        })
    }
}

/// What a message takes in memory beside its text, about.
const MESSAGE: u64 = 400;

/// What is known of a row without reading it.
#[derive(Debug, Clone)]
pub struct Heading {
    /// See [`Example::id`].
    pub id: String,
    /// See [`Example::kind`].
    pub kind: Kind,
    /// See [`Example::derived_from`].
    pub derived_from: Option<String>,
    /// See [`Example::component`].
    pub component: Option<Arc<str>>,
    /// See [`Trace::session`].
    pub session: Arc<str>,
    /// See [`Trace::source`].
    pub source: Arc<str>,
    /// See [`Trace::repository`].
    pub repository: Option<Arc<str>>,
    /// See [`Trace::started_ms`].
    pub started_ms: Option<i64>,
    /// The file and line it was read from.
    pub origin: (Arc<str>, u64),
    /// Bytes of text in it: messages, calls and tools.
    pub bytes: u64,
    /// How many messages it has.
    pub messages: u64,
}

impl Heading {
    /// What identifies the session among all sources.
    pub fn session_key(&self) -> String {
        format!("{}/{}", self.source, self.session)
    }

    /// What the row takes in memory, about.
    fn weight(&self) -> u64 {
        self.bytes + MESSAGE * (self.messages + 1)
    }

    /// File, line and session, for messages about this row.
    pub fn place(&self) -> String {
        format!("{}:{} (session {})", self.origin.0, self.origin.1, self.session)
    }
}

/// A row: its heading, and where the rest is. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Held(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    heading: Heading,
    body: Arc<Body>,
    tokens: OnceLock<u32>,
    sketch: OnceLock<Arc<Sketch>>,
}

#[derive(Debug)]
enum Body {
    Here(Arc<Example>, Charge),
    Away(Away),
}

/// Where a trace lies that was paged out.
#[derive(Debug)]
struct Away {
    segment: Arc<Segment>,
    at: u64,
    len: u32,
    /// Its length before it was compressed.
    plain: u32,
}

impl Away {
    /// The trace, or a part of it.
    fn read<T: DeserializeOwned>(&self) -> Result<T> {
        Scratch::with(|Scratch { plain, packed, .. }| {
            packed.resize(self.len as usize, 0);
            self.segment.file.read_exact_at(packed, self.at)?;
            self.segment.cipher(self.at, packed);
            plain.resize(self.plain as usize, 0);
            let unpacked = decompress_into(packed, plain)?;
            Ok(rmp_serde::from_slice(&plain[..unpacked])?)
        })
    }
}

/// What is said in a row; see [`Held::messages`].
#[derive(Debug)]
pub enum Said {
    /// The row is in memory.
    Here(Arc<Example>),
    /// It was read for this.
    Away(Vec<Message>),
}

impl AsRef<[Message]> for Said {
    fn as_ref(&self) -> &[Message] {
        match self {
            Said::Here(example) => &example.trace.messages,
            Said::Away(messages) => messages,
        }
    }
}

/// Memory that counts against a budget for as long as this lives.
#[derive(Debug)]
struct Charge(u64, Arc<AtomicU64>);

impl Drop for Charge {
    fn drop(&mut self) {
        self.1.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// A file without a name that holds paged-out rows.
#[derive(Debug)]
struct Segment {
    file: File,
    cipher: Arc<[u8; 32]>,
    number: u64,
}

impl Segment {
    /// Encrypts or decrypts what stands at a place of this file.
    fn cipher(&self, at: u64, bytes: &mut [u8]) {
        let mut nonce = [0u8; 12];
        nonce[..8].copy_from_slice(&self.number.to_le_bytes());
        let mut stream = ChaCha12::new(self.cipher.as_ref().into(), &nonce.into());
        stream.seek(at);
        stream.apply_keystream(bytes);
    }
}

impl Deref for Held {
    type Target = Heading;

    fn deref(&self) -> &Heading {
        &self.0.heading
    }
}

impl From<Arc<Example>> for Held {
    fn from(example: Arc<Example>) -> Held {
        Pager::memory().keep(example)
    }
}

impl From<Example> for Held {
    fn from(example: Example) -> Held {
        Arc::new(example).into()
    }
}

impl Held {
    fn of(heading: Heading, body: Body) -> Held {
        let (tokens, sketch) = (OnceLock::new(), OnceLock::new());
        Held(Arc::new(Inner { heading, body: Arc::new(body), tokens, sketch }))
    }

    /// The whole row.
    pub fn read(&self) -> Result<Arc<Example>> {
        let away = match self.0.body.as_ref() {
            Body::Here(example, _) => return Ok(example.clone()),
            Body::Away(away) => away,
        };
        Ok(Arc::new(Example {
            id: self.id.clone(),
            kind: self.kind,
            derived_from: self.derived_from.clone(),
            component: self.component.as_deref().map(String::from),
            trace: away.read().with_context(|| self.lost())?,
        }))
    }

    /// What is said in the row, and no more of it: tools take long to read.
    pub fn messages(&self) -> Result<Said> {
        #[derive(Deserialize)]
        struct Messages {
            messages: Vec<Message>,
        }
        match self.0.body.as_ref() {
            Body::Here(example, _) => Ok(Said::Here(example.clone())),
            Body::Away(away) => {
                let Messages { messages } = away.read().with_context(|| self.lost())?;
                Ok(Said::Away(messages))
            }
        }
    }

    fn lost(&self) -> String {
        format!("{}: cannot read the row back from disk, where it was paged out", self.place())
    }

    /// The whole row to be changed, without a copy where nobody else has it.
    pub fn take(self) -> Result<Example> {
        let example = self.read()?;
        drop(self);
        Ok(Arc::unwrap_or_clone(example))
    }

    /// The same row under another id, descent or component.
    pub fn known_as(
        &self,
        id: Option<String>,
        derived_from: Option<String>,
        component: Option<Arc<str>>,
    ) -> Held {
        let mut heading = self.0.heading.clone();
        heading.id = id.unwrap_or(heading.id);
        heading.derived_from = derived_from.or(heading.derived_from);
        heading.component = component.or(heading.component);
        let body = match self.0.body.as_ref() {
            Body::Away(_) => self.0.body.clone(),
            Body::Here(example, charge) => {
                let mut example = example.as_ref().clone();
                example.id.clone_from(&heading.id);
                example.derived_from.clone_from(&heading.derived_from);
                example.component = heading.component.as_deref().map(String::from);
                Arc::new(Body::Here(Arc::new(example), charge.again()))
            }
        };
        let (tokens, sketch) = (self.0.tokens.clone(), self.0.sketch.clone());
        Held(Arc::new(Inner { heading, body, tokens, sketch }))
    }

    /// What it is compared by; made when it is first asked for, with the shingles below
    /// `threshold`.
    pub fn sketch(&self, threshold: u64) -> Result<&Arc<Sketch>> {
        if let Some(sketch) = self.0.sketch.get() {
            return Ok(sketch);
        }
        let sketch = Arc::new(Sketch::of(&self.messages()?, threshold));
        Ok(self.0.sketch.get_or_init(|| sketch))
    }

    /// Its length in tokens, where it was counted.
    pub fn tokens(&self) -> Option<usize> {
        self.0.tokens.get().map(|n| *n as usize)
    }

    /// The same row, of which it is known how many tokens it has.
    pub fn with_tokens(self, tokens: Option<usize>) -> Held {
        if let Some(tokens) = tokens {
            let _ = self.0.tokens.set(tokens.min(u32::MAX as usize) as u32);
        }
        self
    }

    /// Its length in tokens, counted with `count` unless it is known.
    pub fn counted(&self, count: &dyn TokenCount) -> Result<usize> {
        if let Some(known) = self.tokens() {
            return Ok(known);
        }
        let tokens = count.count(self.read()?.as_ref())?;
        let _ = self.0.tokens.set(tokens.min(u32::MAX as usize) as u32);
        Ok(tokens)
    }
}

impl Charge {
    fn of(weight: u64, resident: &Arc<AtomicU64>) -> Charge {
        resident.fetch_add(weight, Ordering::Relaxed);
        Charge(weight, resident.clone())
    }

    fn again(&self) -> Charge {
        Charge::of(self.0, &self.1)
    }
}

/// Decides which rows stay in memory.
#[derive(Debug)]
pub struct Pager {
    budget: u64,
    folder: PathBuf,
    resident: Arc<AtomicU64>,
    key: OnceLock<Arc<[u8; 32]>>,
    open: Mutex<Open>,
    names: Mutex<HashSet<Arc<str>>>,
}

/// The segment that is being filled.
#[derive(Debug, Default)]
struct Open {
    segment: Option<Arc<Segment>>,
    used: u64,
    segments: u64,
    written: u64,
}

impl Pager {
    /// Keeps rows worth about `budget` bytes in memory and pages others out into `folder`.
    pub fn new(budget: u64, folder: &Path) -> Arc<Pager> {
        Arc::new(Pager {
            budget,
            folder: folder.to_path_buf(),
            resident: Arc::default(),
            key: OnceLock::new(),
            open: Mutex::default(),
            names: Mutex::default(),
        })
    }

    /// Keeps every row in memory; the same one for all who ask.
    pub fn memory() -> &'static Arc<Pager> {
        static MEMORY: OnceLock<Arc<Pager>> = OnceLock::new();
        MEMORY.get_or_init(|| Pager::new(u64::MAX, Path::new("")))
    }

    /// Takes a row in, in memory or out of it.
    pub fn hold(&self, example: Example) -> Result<Held> {
        let heading = self.heading(&example);
        if self.resident.load(Ordering::Relaxed).saturating_add(heading.weight()) <= self.budget {
            return Ok(self.resident(heading, Arc::new(example)));
        }
        let body = self.page_out(&example.trace).with_context(|| {
            format!(
                "{}: cannot page the row out into {}; make room there, or raise ROWS_IN_MEMORY_MB",
                heading.place(),
                self.folder.display()
            )
        })?;
        Ok(Held::of(heading, body))
    }

    /// Bytes of rows that went to disk so far, compressed.
    pub fn paged_out(&self) -> u64 {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).written
    }

    fn keep(&self, example: Arc<Example>) -> Held {
        self.resident(self.heading(&example), example)
    }

    fn resident(&self, heading: Heading, example: Arc<Example>) -> Held {
        let charge = Charge::of(heading.weight(), &self.resident);
        Held::of(heading, Body::Here(example, charge))
    }

    fn page_out(&self, trace: &Trace) -> Result<Body> {
        Scratch::with(|Scratch { plain, packed, table }| {
            plain.clear();
            rmp_serde::encode::write_named(plain, trace)?;
            packed.resize(get_maximum_output_size(plain.len()), 0);
            let len = compress_into_with_table(plain, packed, table)?;
            let plain = u32::try_from(plain.len()).ok().context("the row is larger than 4 GiB")?;
            let (segment, at) = self.place(len as u64)?;
            segment.cipher(at, &mut packed[..len]);
            segment.file.write_all_at(&packed[..len], at)?;
            Ok(Body::Away(Away { segment, at, len: len as u32, plain }))
        })
    }

    /// Room for so many bytes: a segment and where in it.
    fn place(&self, len: u64) -> Result<(Arc<Segment>, u64)> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.segment.is_none() || open.used >= SEGMENT {
            let file = tempfile::tempfile_in(&self.folder)?;
            let segment = Segment { file, cipher: self.key()?, number: open.segments };
            open.segment = Some(Arc::new(segment));
            open.segments += 1;
            open.used = 0;
        }
        let at = open.used;
        open.used += len;
        open.written += len;
        Ok((open.segment.clone().context("no segment is open")?, at))
    }

    /// The key of this process, drawn when it is first needed.
    fn key(&self) -> Result<Arc<[u8; 32]>> {
        if let Some(key) = self.key.get() {
            return Ok(key.clone());
        }
        let mut key = [0u8; 32];
        getrandom::fill(&mut key)
            .map_err(|e| anyhow::anyhow!("the system gives no random bytes for a key: {e}"))?;
        Ok(self.key.get_or_init(|| Arc::new(key)).clone())
    }

    fn heading(&self, example: &Example) -> Heading {
        let trace = &example.trace;
        let bytes = text_bytes(trace);
        let Origin { file, line } = &trace.origin;
        Heading {
            id: example.id.clone(),
            kind: example.kind,
            derived_from: example.derived_from.clone(),
            component: example.component.as_deref().map(|c| self.name(c)),
            session: self.name(&trace.session),
            source: self.name(&trace.source),
            repository: trace.repository.as_deref().map(|r| self.name(r)),
            started_ms: trace.started_ms,
            origin: (self.name(file), *line),
            bytes,
            messages: trace.messages.len() as u64,
        }
    }

    /// One copy of each name, however many rows have it. The pager of rows that all stay in
    /// memory lives as long as the process and remembers none.
    fn name(&self, name: &str) -> Arc<str> {
        if self.budget == u64::MAX {
            return name.into();
        }
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = names.get(name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        names.insert(name.clone());
        name
    }
}

/// Bytes of text in messages, calls and tools.
pub fn text_bytes(trace: &Trace) -> u64 {
    fn leaves(value: &Value) -> u64 {
        match value {
            Value::String(text) => text.len() as u64 + 3,
            Value::Array(items) => items.iter().map(leaves).sum::<u64>() + 2,
            Value::Object(map) => map.iter().map(|(k, v)| k.len() as u64 + 3 + leaves(v)).sum(),
            _ => 6,
        }
    }
    let messages = trace.messages.iter().map(|m| {
        let calls = m.tool_calls.iter().map(|call| {
            call.name.len() as u64
                + call.arguments.iter().map(|(k, v)| k.len() as u64 + leaves(v)).sum::<u64>()
        });
        let reasoning = m.reasoning_content.as_ref().map_or(0, String::len);
        (m.content.len() + reasoning) as u64 + calls.sum::<u64>()
    });
    messages.sum::<u64>() + trace.tools.iter().map(leaves).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;

    use super::super::testing::{chat, prose};
    use super::*;

    fn paged(budget: u64) -> (Arc<Pager>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (Pager::new(budget, folder.path()), folder)
    }

    #[test]
    fn a_row_comes_back_as_it_went_out() {
        let (pager, _folder) = paged(0);
        let rows: Vec<_> =
            (0..50).map(|n| chat(&format!("s{n}"), &prose(n, 200), "It is so.\u{0}é")).collect();
        let held: Vec<Held> = rows.iter().map(|r| pager.hold(r.clone()).unwrap()).collect();
        assert!(pager.paged_out() > 0);
        for (row, held) in rows.iter().zip(&held) {
            assert!(matches!(held.0.body.as_ref(), Body::Away(_)));
            assert_eq!(held.read().unwrap().as_ref(), row);
            assert_eq!(held.messages().unwrap().as_ref(), row.trace.messages);
            assert_eq!((held.session_key(), held.place()), (row.session_key(), row.place()));
        }
        let other = held[3].known_as(Some("x".into()), Some("y".into()), Some("c".into()));
        let read = other.read().unwrap();
        assert_eq!((read.id.as_str(), read.derived_from.as_deref()), ("x", Some("y")));
        assert_eq!((read.component.as_deref(), &read.trace), (Some("c"), &rows[3].trace));
    }

    #[test]
    fn rows_within_the_budget_stay_and_leave_room_when_they_go() {
        let row = chat("s", &prose(1, 300), "yes");
        let weight = Held::from(row.clone()).weight();
        let (pager, _folder) = paged(2 * weight);
        let away = |held: &Held| matches!(held.0.body.as_ref(), Body::Away(_));
        let held: Vec<Held> = (0..3).map(|_| pager.hold(row.clone()).unwrap()).collect();
        assert_eq!(held.iter().map(away).collect::<Vec<_>>(), [false, false, true]);
        drop(held);
        assert!(!away(&pager.hold(row).unwrap()));
    }

    #[test]
    fn what_lies_on_disk_has_no_name_and_cannot_be_read() {
        let (pager, folder) = paged(0);
        let word = "unmistakable";
        let held = pager.hold(chat("s", &word.repeat(3), word)).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let Body::Away(Away { segment, .. }) = held.0.body.as_ref() else { panic!("it stayed") };
        let mut bytes = Vec::new();
        let path = format!("/proc/self/fd/{}", segment.file.as_raw_fd());
        File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, pager.paged_out());
        let packed = lz4_flex::block::decompress(&bytes, 1 << 20);
        let packed = packed.unwrap_or_default();
        assert!(rmp_serde::from_slice::<Trace>(&packed).is_err(), "it is not encrypted");
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!shown.contains("unmis"));
    }

    #[test]
    fn a_folder_that_takes_nothing_is_an_error_that_says_what_to_do() {
        let pager = Pager::new(0, Path::new("/nowhere/at/all"));
        let error = format!("{:#}", pager.hold(chat("s", "hello", "secret words")).unwrap_err());
        assert!(error.contains("traces.jsonl:1") && error.contains("ROWS_IN_MEMORY_MB"), "{error}");
        assert!(!error.contains("secret"));
    }
}
