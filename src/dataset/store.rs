//! Writes a part of a dataset: rows become text on all cores, and a thread a file compresses,
//! writes and syncs what is there meanwhile.

use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::{fs::File, thread};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::Part;
use super::layout::{Format, Layout};
use super::manifest::{Stored, Written};
use super::table::Table;
use crate::files;

/// About how many bytes of text are made at once.
const BATCH: usize = 8 << 20;

/// The most rows that become text at once.
const MOST: usize = 512;

/// Batches that wait to be written.
const AHEAD: usize = 2;

/// How hard zstd tries.
const LEVEL: i32 = 3;

/// Writes `rows` rows: `lines` gives the text of a range of them, without those that are left
/// out. Shards are filled one after the other; while one goes to its disk, the next is made.
pub(super) fn write_part(
    layout: &Layout,
    part: Part,
    rows: usize,
    lines: &mut dyn FnMut(Range<usize>) -> Result<Vec<String>>,
) -> Result<Written> {
    let paths = layout.files(part);
    let mut whole = Sha256::new();
    let mut written = Written::default();
    let stored = thread::scope(|scope| {
        let mut writers = Vec::new();
        let mut size = 64;
        'shards: for (n, path) in paths.iter().enumerate() {
            let (give, taken) = sync_channel(AHEAD);
            let writer = move || write_file(path, layout.format, &taken);
            let started = thread::Builder::new().spawn_scoped(scope, writer);
            writers.push(started.context("cannot start a thread")?);
            let (mut at, end) = (rows * n / paths.len(), rows * (n + 1) / paths.len());
            while at < end {
                let range = at..end.min(at + size);
                at = range.end;
                let lines = lines(range.clone())?;
                let mut bytes = 0;
                for line in &lines {
                    bytes += line.len() + 1;
                    if !layout.is_plain() {
                        whole.update(line);
                        whole.update(b"\n");
                    }
                }
                written.rows += lines.len() as u64;
                written.bytes += bytes as u64;
                size = (BATCH * range.len() / bytes.max(1)).clamp(1, MOST);
                if give.send(Some(lines)).is_err() {
                    break 'shards;
                }
            }
            // A writer that no longer listens says why below.
            let _ = give.send(None);
        }
        let joined = writers.into_iter().map(|writer| match writer.join() {
            Ok(stored) => stored,
            Err(_) => bail!("the thread that writes {} failed", part.as_str()),
        });
        joined.collect::<Result<Vec<_>>>()
    })?;
    match <[Stored; 1]>::try_from(stored) {
        Ok([file]) if layout.is_plain() => written.sha256 = file.sha256,
        Ok([file]) => written.stored.push(file),
        Err(shards) => written.stored = shards,
    }
    if !layout.is_plain() {
        written.sha256 = files::hex(&whole.finalize());
    }
    Ok(written)
}

/// Writes what comes until there is a `None`; without one nothing is left under the final name.
fn write_file(
    path: &Path,
    format: Format,
    lines: &Receiver<Option<Vec<String>>>,
) -> Result<Stored> {
    let (mut rows, mut end) = (0, None);
    files::write_atomically(path, |out| {
        let mut sink = Sink::new(format, out)?;
        while let Some(lines) = lines.recv().context("the rows ended early")? {
            rows += lines.len() as u64;
            lines.iter().try_for_each(|line| sink.write(line))?;
        }
        end = Some(sink.finish()?);
        Ok(())
    })?;
    let (sha256, bytes) = end.context("nothing was written")?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Stored { name, sha256, rows, bytes })
}

/// Writes lines and gives what the manifest says of the file.
pub(super) fn write_lines(
    path: &Path,
    lines: impl Iterator<Item = Result<String>>,
) -> Result<Written> {
    let mut written = Written::default();
    files::write_atomically(path, |out| {
        let mut sink = Sink::new(Format::Jsonl, out)?;
        for line in lines {
            sink.write(&line?)?;
            written.rows += 1;
        }
        (written.sha256, written.bytes) = sink.finish()?;
        Ok(())
    })?;
    Ok(written)
}

type Out<'a, 'b> = Hashed<&'a mut BufWriter<&'b File>>;

/// A file on its way to the disk.
enum Sink<'a, 'b> {
    Jsonl(Out<'a, 'b>),
    Zstd(zstd::Encoder<'static, Out<'a, 'b>>),
    Parquet(Box<Table<Out<'a, 'b>>>),
}

impl<'a, 'b> Sink<'a, 'b> {
    fn new(format: Format, out: &'a mut BufWriter<&'b File>) -> Result<Self> {
        let out = Hashed { out, hasher: Sha256::new(), bytes: 0 };
        Ok(match format {
            Format::Jsonl => Sink::Jsonl(out),
            Format::Zstd => {
                let mut encoder = zstd::Encoder::new(out, LEVEL)?;
                encoder.include_checksum(true)?;
                Sink::Zstd(encoder)
            }
            Format::Parquet => Sink::Parquet(Box::new(Table::new(out)?)),
        })
    }

    fn write(&mut self, line: &str) -> Result<()> {
        let out: &mut dyn Write = match self {
            Sink::Jsonl(out) => out,
            Sink::Zstd(encoder) => encoder,
            Sink::Parquet(table) => return table.write(line),
        };
        out.write_all(line.as_bytes())?;
        Ok(out.write_all(b"\n")?)
    }

    /// The digest of the file's bytes and their number.
    fn finish(self) -> Result<(String, u64)> {
        let out = match self {
            Sink::Jsonl(out) => out,
            Sink::Zstd(encoder) => encoder.finish()?,
            Sink::Parquet(table) => table.finish()?,
        };
        Ok((files::hex(&out.hasher.finalize()), out.bytes))
    }
}

/// Hashes and counts what is written through it.
struct Hashed<W> {
    out: W,
    hasher: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
