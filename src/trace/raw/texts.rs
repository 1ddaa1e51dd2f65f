//! The rows of one file as text, in whatever form it holds them: lines, compressed lines or a
//! table.

use std::fs::File;
use std::path::Path;
use std::vec::IntoIter;

use anyhow::{Context, Result, bail};

use super::parquet::{self, is_parquet};
use crate::trace::lines::{Line, Lines, MAX_LINE};

/// The rows of one file as text, from the first to the last, within bounded memory.
pub struct Texts {
    form: Form,
    batch: IntoIter<(u64, Line)>,
}

enum Form {
    Lines(Box<Lines>),
    Parquet(Box<parquet::Rows>),
}

impl Texts {
    /// Opens a file; its content says what form it is.
    pub fn open(path: &Path) -> Result<Self> {
        let open = || Texts::new(File::open(path)?);
        open().with_context(|| format!("cannot read {}", path.display()))
    }

    pub(super) fn new(file: File) -> Result<Self> {
        let form = match is_parquet(&file) {
            true => Form::Parquet(Box::new(parquet::Rows::new(file)?)),
            false => Form::Lines(Box::new(Lines::new(file)?)),
        };
        Ok(Texts { form, batch: Vec::new().into_iter() })
    }

    /// About how many bytes of the file have been read.
    pub(super) fn bytes(&self) -> u64 {
        match &self.form {
            Form::Lines(lines) => lines.bytes(),
            Form::Parquet(rows) => rows.bytes(),
        }
    }

    /// The next rows with their numbers, some megabytes of them; none at the end.
    pub(super) fn batch(&mut self) -> Result<Option<Vec<(u64, Line)>>> {
        match &mut self.form {
            Form::Lines(lines) => Ok(lines.batch()?),
            Form::Parquet(rows) => rows.batch(),
        }
    }

    /// The next row with its number, without a line's end; none at the end of the file. Blank
    /// lines are left out; a line that is too long or no UTF-8 is an error here.
    pub fn next_row(&mut self) -> Result<Option<(u64, String)>> {
        let (number, line) = loop {
            if let Some(line) = self.batch.next() {
                break line;
            }
            match self.batch()? {
                Some(batch) => self.batch = batch.into_iter(),
                None => return Ok(None),
            }
        };
        let Line::Text(bytes) = line else {
            bail!("line {number} is longer than {} MiB", MAX_LINE >> 20);
        };
        let mut text = String::from_utf8(bytes)
            .map_err(|_| anyhow::anyhow!("line {number} is not valid UTF-8"))?;
        text.truncate(text.trim_end_matches(['\n', '\r']).len());
        Ok(Some((number, text)))
    }

    /// The digest of the whole file, as it lies on the disk, and its size.
    pub fn finish(self) -> Result<(String, u64)> {
        match self.form {
            Form::Lines(lines) => Ok(lines.finish()?),
            Form::Parquet(rows) => rows.finish(),
        }
    }
}
