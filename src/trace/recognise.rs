//! Which reader a file or folder belongs to, by its content.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::store::Reader;
use super::{atif, claude_code, codex, openclaw, opencode, pi};

/// Every reader of agents' sessions; the first that recognises a place reads it.
const READERS: &[Reader] = &[
    opencode::DATA,
    opencode::TREE,
    opencode::DATABASE,
    openclaw::READER,
    opencode::EXPORT,
    claude_code::READER,
    codex::READER,
    atif::READER,
    pi::READER,
];

/// How much of a file is looked at, in bytes.
const HEAD: u64 = 64 << 10;

/// The reader that takes a folder as a whole.
pub(super) fn folder(path: &Path) -> Option<&'static Reader> {
    READERS.iter().find(|reader| (reader.folder)(path))
}

/// The reader of a regular file; none where it holds rows of raw traces, or nothing known.
pub(super) fn file(path: &Path) -> Option<&'static Reader> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    READERS.iter().find(|reader| (reader.file)(path, &head))
}
