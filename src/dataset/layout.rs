//! In what form the parts of a dataset are written, and on which disks.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::path::{Path, PathBuf, absolute};

use anyhow::{Context, Result, ensure};

use super::Part;
use crate::config::Config;

/// What the files of a part are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Jsonl,
    /// The same, compressed with zstd.
    Zstd,
    /// A table with a column for each field.
    Parquet,
}

impl Format {
    /// How names of such files end.
    pub fn ending(self) -> &'static str {
        match self {
            Format::Jsonl => "jsonl",
            Format::Zstd => "jsonl.zst",
            Format::Parquet => "parquet",
        }
    }
}

/// Where the files of a dataset go.
#[derive(Debug, Clone)]
pub struct Layout {
    /// What the files are.
    pub format: Format,
    /// The folders of the shards, one of each part in each; none where a part is one file in the
    /// dataset's own folder.
    pub shards: Vec<PathBuf>,
    folder: PathBuf,
}

impl Layout {
    /// From `DATASET_FORMAT` and `DATASET_SHARD_DIRS`, for a dataset in `folder`. Makes a folder
    /// named after the run in each of the shard folders.
    pub fn new(config: &Config, folder: &Path) -> Result<Layout> {
        check(config)?;
        let format = match config.text("DATASET_FORMAT") {
            "zstd" => Format::Zstd,
            "parquet" => Format::Parquet,
            _ => Format::Jsonl,
        };
        let name = run_name(folder);
        let made = |dir: String| {
            let context = || format!("cannot write into {dir} (DATASET_SHARD_DIRS)");
            own_folder(Path::new(&dir), &name).with_context(context)
        };
        let shards = config.list("DATASET_SHARD_DIRS").into_iter().map(made);
        Ok(Layout { format, shards: shards.collect::<Result<_>>()?, folder: folder.into() })
    }

    /// Whether a part is one JSONL file of its own name.
    pub fn is_plain(&self) -> bool {
        self.format == Format::Jsonl && self.shards.is_empty()
    }

    /// The files of a part, in order.
    pub fn files(&self, part: Part) -> Vec<PathBuf> {
        let (part, end, count) = (part.as_str(), self.format.ending(), self.shards.len());
        if self.shards.is_empty() {
            return vec![self.folder.join(format!("{part}.{end}"))];
        }
        let name = |n: usize| format!("{part}-{n:05}-of-{count:05}.{end}");
        self.shards.iter().enumerate().map(|(n, dir)| dir.join(name(n))).collect()
    }
}

/// Fails where a folder of `DATASET_SHARD_DIRS` is not there. It is not made: a disk that is not
/// mounted would be filled in its stead.
pub fn check(config: &Config) -> Result<()> {
    for dir in config.list("DATASET_SHARD_DIRS") {
        let is_dir = fs::metadata(&dir).with_context(|| {
            format!("cannot use {dir} (DATASET_SHARD_DIRS); mount the disk or make the folder")
        })?;
        ensure!(is_dir.is_dir(), "{dir} (DATASET_SHARD_DIRS) is not a folder");
    }
    Ok(())
}

/// The run a dataset's folder belongs to, or the folder's own name.
fn run_name(folder: &Path) -> String {
    let run = folder.parent().filter(|_| folder.ends_with("dataset"));
    let name = run.and_then(Path::file_name).or(folder.file_name());
    name.map_or_else(|| "dataset".into(), |name| name.to_string_lossy().into_owned())
}

/// Makes a folder of this name, or of this name with a number where another run has it, that only
/// the owner can read.
fn own_folder(dir: &Path, name: &str) -> Result<PathBuf> {
    let dir = absolute(dir)?;
    #[cfg_attr(not(unix), expect(unused_mut))]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    for n in 1.. {
        let path = match n {
            1 => dir.join(name),
            n => dir.join(format!("{name}-{n}")),
        };
        match builder.create(&path) {
            Ok(()) => return Ok(path),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e.into()),
        }
    }
    unreachable!("there is always another number")
}
