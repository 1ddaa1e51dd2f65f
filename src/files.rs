//! Files that are never half-written, and their digests.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use memmap2::Mmap;
use sha2::{Digest, Sha256};

pub mod digests;
pub mod gguf;
pub mod safetensors;

/// How names of files begin that are being written, or were when their process was killed.
pub const PARTIAL: &str = ".partial-";

/// Writes a file through a temporary neighbour, flushes it to disk and renames it into place, so
/// that `path` holds either its old content or all of the new. Mode 0600 on Unix.
pub fn write_atomically(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<&File>) -> Result<()>,
) -> Result<()> {
    write_atomically_if(path, |out| fill(out).map(|()| true))
}

/// [`write_atomically`], where only the end shows whether there is anything to write: `fill` says.
pub fn write_atomically_if(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<&File>) -> Result<bool>,
) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let attempt = || -> Result<()> {
        fs::create_dir_all(&folder)?;
        let temp = tempfile::Builder::new().prefix(PARTIAL).tempfile_in(&folder)?;
        let mut writer = BufWriter::with_capacity(1 << 20, temp.as_file());
        if !fill(&mut writer)? {
            return Ok(());
        }
        writer.flush()?;
        drop(writer);
        temp.as_file().sync_all()?;
        temp.persist(path)?;
        if let Ok(dir) = File::open(&folder) {
            // A rename survives a crash only once its folder is on disk; some file systems
            // cannot sync a folder, and then there is nothing more to do.
            let _ = dir.sync_all();
        }
        Ok(())
    };
    attempt().with_context(|| format!("cannot write {}", path.display()))
}

/// [`write_atomically`] for content already in memory.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomically(path, |out| Ok(out.write_all(bytes)?))
}

/// The most bytes of a JSON file that describes a model or an adapter; real ones have a few
/// thousand, with the tokens some tokenizers list there about a million.
pub const CARD: u64 = 2 << 20;

/// Reads a file of at most `most` bytes. A larger one is refused by its size, unread.
pub fn read_small(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let too_large = |n: u64| {
        let message = format!("it has {n} bytes; more than {most} is no such file");
        Err(io::Error::new(ErrorKind::FileTooLarge, message))
    };
    let size = file.metadata()?.len();
    if size > most {
        return too_large(size);
    }
    // A pipe or a device has no size.
    let mut bytes = Vec::with_capacity(size as usize);
    file.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 {
        n if n > most => too_large(n),
        _ => Ok(bytes),
    }
}

/// Writes a value as indented JSON with a final newline.
pub fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    write_bytes(path, &json(value)?)
}

/// The bytes that [`write_json`] writes.
pub fn json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads a JSON file of the program's own. An error names the file and the place in it.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("cannot understand {}", path.display()))
}

/// Lets go of a part of a mapped file that has been read: it no longer counts as this process's
/// memory, and is read again should someone ask.
pub fn release(map: &Mmap, bytes: Range<usize>) {
    // SAFETY: the pages of a read-only map come back from the file as they were. A hint, so its
    // failure is none.
    #[cfg(unix)]
    let _ = unsafe {
        map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, bytes.start, bytes.len())
    };
}

/// The SHA-256 of some bytes, in hex.
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The SHA-256 of a file's content, in hex.
pub fn digest_file(path: &Path) -> Result<String> {
    let name = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(name)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        let n = file.read(&mut buffer).with_context(name)?;
        if n == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..n]);
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
