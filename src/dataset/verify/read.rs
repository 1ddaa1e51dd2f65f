//! The files of a dataset, read back with everything that can be said of single lines.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;

use anyhow::{Context, Result};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{Finding, Verified};
use crate::dataset::dedup::Duplicate;
use crate::dataset::manifest::{Manifest, Written};
use crate::dataset::snapshot::MANIFEST;
use crate::dataset::written::{self, text_name};
use crate::dataset::{Example, Held, Pager, Part};
use crate::files;
use crate::progress::Observer;
use crate::redact::{Policy, Proof};

/// Lines that are parsed and scanned side by side.
const BATCH: usize = 512;

/// A part as it was found.
#[derive(Default)]
pub(super) struct File {
    /// Its name, for findings.
    pub name: String,
    /// How many lines it has, whether they are rows or not.
    pub lines: u64,
    /// Those that are rows.
    pub rows: Vec<Held>,
}

/// Whether a file of the manifest holds rows of this part.
pub(super) fn belongs(name: &str, part: Part) -> bool {
    name.split('.').next() == Some(part.as_str())
}

/// A part's file: its digest, its rows, and what the second scan finds in it.
pub(super) fn part(
    folder: &Path,
    part: Part,
    manifest: &Manifest,
    policy: &Policy,
    pager: &Pager,
    out: &mut Verified,
    observer: &dyn Observer,
) -> Result<File> {
    let name = format!("{}.jsonl", part.as_str());
    let mut file = File { name: name.clone(), ..File::default() };
    let Some(stated) = manifest.files.get(&name) else {
        out.findings.push(Finding::new(
            super::MANIFEST,
            &format!("files.{name}"),
            "stated",
            "nothing",
        ));
        return Ok(file);
    };
    let mut proof = Proof::default();
    observer.begin(&format!("verify {name}"), Some(stated.rows), "rows");
    let plain = stated.stored.is_empty();
    let mut take = |batch: &[Vec<u8>], first: u64| {
        observer.check()?;
        observer.advance(first, "");
        let parsed: Vec<_> = batch.par_iter().map(|line| look(line, policy)).collect();
        for (n, (row, scanned)) in parsed.into_iter().enumerate() {
            let at = match &row {
                Ok(example) => example.id.clone(),
                Err(_) => format!("in line {}", first + n as u64 + 1),
            };
            if scanned.residue_rows > 0 {
                let classes: Vec<&str> = scanned.residue.keys().map(String::as_str).collect();
                let wanted = "nothing to redact";
                let found = Finding::new(&name, "second scan", wanted, classes.join(", "));
                out.findings.push(found.at(&at));
            }
            proof.and(&scanned);
            match row {
                Ok(example) => file.rows.push(pager.hold(example)?),
                Err(problem) => {
                    let found = Finding::new(&name, "row", "a row of a dataset", problem);
                    out.findings.push(found.at(at));
                }
            }
        }
        Ok(())
    };
    let read = match plain {
        true => lines(&folder.join(&name), &mut take),
        false => stored(folder, part, &mut take),
    };
    observer.end();
    match read {
        Ok(Some(found)) => {
            file.lines = found.rows;
            compare(&name, stated, &found, out);
        }
        // What is wrong with a shard, its reader says.
        Err(e) if !plain => {
            out.findings.push(Finding::new(&name, "files", "as stated", format!("{e:#}")));
        }
        Err(e) => return Err(e),
        Ok(None) => out.findings.push(Finding::new(&name, "file", "there", "missing")),
    }
    Ok(file)
}

/// Is given some lines, and how many came before them.
type Take<'a> = &'a mut dyn FnMut(&[Vec<u8>], u64) -> Result<()>;

/// Reads the text of a part that is stored in another form or in several files.
fn stored(folder: &Path, part: Part, take: Take) -> Result<Option<Written>> {
    let (mut hasher, mut found) = (Sha256::new(), Written::default());
    let mut rows = written::rows(folder, part)?;
    loop {
        let batch: Result<Vec<_>> = rows.by_ref().take(BATCH).collect();
        let batch: Vec<Vec<u8>> = batch?.into_iter().map(|(line, _)| line.into_bytes()).collect();
        if batch.is_empty() {
            found.sha256 = files::hex(&hasher.finalize());
            return Ok(Some(found));
        }
        for line in &batch {
            hasher.update(line);
            hasher.update(b"\n");
            found.bytes += line.len() as u64 + 1;
        }
        take(&batch, found.rows)?;
        found.rows += batch.len() as u64;
    }
}

fn look(line: &[u8], policy: &Policy) -> (Result<Example, String>, Proof) {
    let mut proof = Proof::default();
    let Ok(text) = std::str::from_utf8(line) else { return (Err("no UTF-8".into()), proof) };
    proof.row(policy, text);
    // The parser's own message may quote the line.
    let row = serde_json::from_str(text).map_err(|e| match e.classify() {
        serde_json::error::Category::Data => "JSON of another shape".to_string(),
        _ => format!("no JSON at column {}", e.column()),
    });
    (row, proof)
}

/// `duplicates.jsonl`, or another file beside the parts, of which only the digest is known.
pub(super) fn duplicates(
    folder: &Path,
    name: &str,
    stated: &Written,
    out: &mut Verified,
) -> Result<Vec<Duplicate>> {
    let mut copies = Vec::new();
    let found = lines(&folder.join(name), &mut |batch, first| {
        for (n, line) in batch.iter().enumerate().filter(|_| name == "duplicates.jsonl") {
            match serde_json::from_slice(line) {
                Ok(copy) => copies.push(copy),
                Err(_) => {
                    let at = format!("in line {}", first + n as u64 + 1);
                    let found = Finding::new(name, "row", "a copy and what it copies", "another");
                    out.findings.push(found.at(at));
                }
            }
        }
        Ok(())
    })?;
    match found {
        Some(found) => compare(name, stated, &found, out),
        None => out.findings.push(Finding::new(name, "file", "there", "missing")),
    }
    Ok(copies)
}

fn compare(name: &str, stated: &Written, found: &Written, out: &mut Verified) {
    let mut same = |field: &str, wanted: String, found: String| {
        if wanted != found {
            out.findings.push(Finding::new(name, field, wanted, found));
        }
    };
    same("sha256", stated.sha256.clone(), found.sha256.clone());
    same("bytes", stated.bytes.to_string(), found.bytes.to_string());
    same("rows", stated.rows.to_string(), found.rows.to_string());
}

/// Reads a file line by line, `take` being given some lines and how many came before them; none
/// where there is no such file.
fn lines(path: &Path, take: Take) -> Result<Option<Written>> {
    let place = || format!("cannot read {}", path.display());
    let file = match fs::File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(place)?,
    };
    let mut input = BufReader::with_capacity(1 << 20, file);
    let mut hasher = Sha256::new();
    let mut found = Written::default();
    loop {
        let mut batch = Vec::with_capacity(BATCH);
        while batch.len() < BATCH {
            let mut line = Vec::new();
            if input.read_until(b'\n', &mut line).with_context(place)? == 0 {
                break;
            }
            hasher.update(&line);
            found.bytes += line.len() as u64;
            line.pop_if(|last| *last == b'\n');
            batch.push(line);
        }
        if batch.is_empty() {
            break;
        }
        take(&batch, found.rows)?;
        found.rows += batch.len() as u64;
    }
    found.sha256 = files::hex(&hasher.finalize());
    Ok(Some(found))
}

/// Every row of a part as it stands in `folder`, with its line; none where there is no such file.
pub fn each_row(
    folder: &Path,
    part: Part,
    take: &mut dyn FnMut(u64, Example) -> Result<()>,
) -> Result<()> {
    let path = folder.join(text_name(part));
    if !path.exists() && folder.join(MANIFEST).exists() {
        for (line, row) in (1..).zip(written::rows(folder, part)?) {
            take(line, row?.1)?;
        }
        return Ok(());
    }
    lines(&path, &mut |batch, first| {
        let rows: Vec<Option<Example>> =
            batch.par_iter().map(|line| serde_json::from_slice(line).ok()).collect();
        for (line, row) in (first + 1..).zip(rows) {
            // The parser's own message may quote the line.
            let row = row.with_context(|| format!("{}:{line}: not a row", path.display()))?;
            take(line, row)?;
        }
        Ok(())
    })?;
    Ok(())
}

/// Every row that was dropped as a copy, as `duplicates.jsonl` in `folder` has them.
pub fn each_copy(folder: &Path, take: &mut dyn FnMut(Duplicate)) -> Result<()> {
    let path = folder.join("duplicates.jsonl");
    lines(&path, &mut |batch, first| {
        for (line, text) in (first + 1..).zip(batch) {
            let copy = serde_json::from_slice(text).ok();
            take(copy.with_context(|| format!("{}:{line}: not a copy", path.display()))?);
        }
        Ok(())
    })?;
    Ok(())
}
