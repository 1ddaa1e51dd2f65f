//! Which reader a file or folder belongs to, by its content.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use super::lines::is_zstd;
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

/// What a regular file holds.
pub(super) enum Content {
    /// Sessions of an agent.
    Sessions(&'static Reader),
    /// The same, but compressed.
    Compressed,
    /// Rows of raw traces, or nothing known.
    Rows,
}

/// What a regular file holds, by its first bytes, also where it is compressed.
pub(super) fn file(path: &Path) -> Content {
    let head = |from: &mut dyn Read| {
        let mut head = Vec::new();
        // As much as there is before any damage; whoever reads the file will meet that.
        let _ = from.take(HEAD).read_to_end(&mut head);
        head
    };
    let Ok(mut open) = File::open(path) else { return Content::Rows };
    let mut bytes = head(&mut open);
    let compressed = is_zstd(&bytes);
    if compressed {
        let decoder = open.rewind().and_then(|()| zstd::Decoder::new(open));
        bytes = decoder.map(|mut text| head(&mut text)).unwrap_or_default();
    }
    match READERS.iter().find(|reader| (reader.file)(path, &bytes)) {
        Some(_) if compressed => Content::Compressed,
        Some(reader) => Content::Sessions(reader),
        None => Content::Rows,
    }
}
