//! Examples as token ids with their masks, kept on disk so that a resumed run or a sweep does not
//! tokenise again.
//!
//! A cache file is named by a digest of the tokenizer, the chat template and every message and
//! tool of the rows, redacted as they are. It is checked before it is believed; what is damaged is
//! made anew.

use std::path::Path;
use std::time::SystemTime;

use ::safetensors::tensor::{Dtype, SafeTensors};
use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::Xxh3;

use super::preflight;
use super::qlora::called;
use crate::dataset::Example;
use crate::files;
use crate::files::safetensors::{self, Entry};
use crate::progress::Observer;
use crate::tokens::{Codec, Encoded, Turn};

const PREFIX: &str = "tokens-";
/// Cache files that are kept; older ones are removed.
const KEPT: usize = 4;
const FORMAT: &str = "1";

/// Encodes examples in order and says so. An example that the template, the mask or the context
/// of `longest` tokens cannot carry is an error that names it.
pub struct Encoder<'a> {
    /// Tokenizer and chat template.
    pub codec: &'a Codec,
    /// The most tokens a row may have.
    pub longest: usize,
    /// Threads; 0 takes all.
    pub threads: usize,
    /// Where rows are kept.
    pub cache: Option<&'a Path>,
    /// Hears of progress.
    pub observer: &'a dyn Observer,
}

impl Encoder<'_> {
    /// The rows of `examples`.
    pub fn encode(&self, examples: &[&Example]) -> Result<Vec<Encoded>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads).build()?;
        pool.install(|| {
            let file = match self.cache {
                Some(folder) if !examples.is_empty() => {
                    Some(folder.join(format!("{PREFIX}{}", self.digest(examples)?)))
                }
                _ => None,
            };
            let kept = file.as_deref().filter(|file| file.exists()).map(read);
            let rows = match kept {
                Some(Ok(rows)) if rows.len() == examples.len() => {
                    let rows = rows.into_par_iter().zip(examples).map(|(row, e)| self.fits(row, e));
                    let rows = rows.collect::<Result<Vec<_>>>()?;
                    self.observer.say(&format!("{} tokenised examples from the cache", rows.len()));
                    return Ok(rows);
                }
                _ => examples.par_iter().map(|e| self.one(e)).collect::<Result<Vec<_>>>()?,
            };
            let (count, threads) = (rows.len(), rayon::current_num_threads());
            self.observer.say(&format!("tokenised {count} examples on {threads} threads"));
            if let Some(file) = &file {
                if let Err(error) = write(file, &rows) {
                    self.observer.say(&format!("the tokens are not kept (CACHE_DIR): {error:#}"));
                }
                prune(self.cache);
            }
            Ok(rows)
        })
    }

    fn one(&self, example: &Example) -> Result<Encoded> {
        let row = self
            .codec
            .encode(&example.trace.messages, &example.trace.tools)
            .with_context(|| format!("example {}", called(example)))?;
        self.fits(row, example)
    }

    fn fits(&self, row: Encoded, example: &Example) -> Result<Encoded> {
        ensure!(
            row.ids.len() <= self.longest,
            "example {} has {} tokens; MAX_SEQ_LENGTH is {}: drop it with the filter `too_long` \
             or raise the limit, since cutting it would cut its answer",
            called(example),
            row.ids.len(),
            self.longest
        );
        preflight::check(&example.trace.messages, &row)
            .with_context(|| format!("example {}", called(example)))?;
        Ok(row)
    }

    fn digest(&self, examples: &[&Example]) -> Result<String> {
        let each = examples.par_iter().map(|e| {
            let mut hasher = Xxh3::new();
            hasher.update(&serde_json::to_vec(&(&e.trace.messages, &e.trace.tools))?);
            Ok(hasher.digest128())
        });
        let mut hasher = Sha256::new();
        for part in [FORMAT, &self.codec.digest()?, &self.codec.template_digest()] {
            hasher.update(part);
        }
        for row in each.collect::<Result<Vec<u128>>>()? {
            hasher.update(row.to_le_bytes());
        }
        Ok(files::hex(&hasher.finalize()))
    }
}

/// All rows, one after the other: their ids, their masks, and for each its length and turns.
struct Flat {
    ids: Vec<u8>,
    trained: Vec<u8>,
    shapes: Vec<u8>,
}

fn flat(rows: &[Encoded]) -> Result<Flat> {
    let mut flat = Flat { ids: Vec::new(), trained: Vec::new(), shapes: Vec::new() };
    for row in rows {
        row.ids.iter().for_each(|id| flat.ids.extend(id.to_le_bytes()));
        flat.trained.extend(row.trained.iter().map(|t| u8::from(*t)));
        let turns = row.turns.iter().flat_map(|t| [t.message, t.tokens.start, t.tokens.end]);
        for number in [row.ids.len(), row.turns.len()].into_iter().chain(turns) {
            flat.shapes.extend(u32::try_from(number)?.to_le_bytes());
        }
    }
    Ok(flat)
}

fn write(path: &Path, rows: &[Encoded]) -> Result<()> {
    let Flat { ids, trained, shapes } = flat(rows)?;
    let entry = |name: &str, dtype, n| Entry { name: name.into(), dtype, shape: vec![n] };
    let entries = vec![
        entry("ids", Dtype::U32, ids.len() / 4),
        entry("trained", Dtype::U8, trained.len()),
        entry("shapes", Dtype::U32, shapes.len() / 4),
    ];
    let sum = checksum(&ids, &trained, &shapes);
    safetensors::write(path, ("checksum", &sum), entries, |entry| {
        Ok(match entry.name.as_str() {
            "ids" => ids.clone(),
            "trained" => trained.clone(),
            _ => shapes.clone(),
        })
    })
}

fn checksum(ids: &[u8], trained: &[u8], shapes: &[u8]) -> String {
    let mut hasher = Xxh3::new();
    [ids, trained, shapes].iter().for_each(|part| hasher.update(part));
    format!("{:032x}", hasher.digest128())
}

fn read(path: &Path) -> Result<Vec<Encoded>> {
    let bytes = std::fs::read(path)?;
    let (_, header) = SafeTensors::read_metadata(&bytes)?;
    let file = SafeTensors::deserialize(&bytes)?;
    let part = |name: &str| Ok::<_, anyhow::Error>(file.tensor(name)?.data());
    let (ids, trained, shapes) = (part("ids")?, part("trained")?, part("shapes")?);
    let sum = header.metadata().as_ref().and_then(|m| m.get("checksum"));
    ensure!(sum == Some(&checksum(ids, trained, shapes)), "it is damaged");
    let numbers = |bytes: &[u8]| -> Vec<u32> {
        bytes.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect()
    };
    let (ids, shapes) = (numbers(ids), numbers(shapes));
    let mut shapes = shapes.iter().map(|n| *n as usize);
    let mut next = || shapes.next().context("cut short");
    let (mut rows, mut at) = (Vec::new(), 0);
    while at < ids.len() {
        let (length, turns) = (next()?, next()?);
        let turn = |_| {
            let (message, start, end) = (next()?, next()?, next()?);
            ensure!(start <= end && end <= length, "a turn outside its row");
            Ok(Turn { message, tokens: start..end })
        };
        let turns = (0..turns).map(turn).collect::<Result<_>>()?;
        let range = at..at + length;
        let mask = trained.get(range.clone()).context("cut short")?;
        let ids = ids.get(range).context("cut short")?.to_vec();
        rows.push(Encoded { ids, trained: mask.iter().map(|t| *t == 1).collect(), turns });
        at += length.max(1);
    }
    Ok(rows)
}

/// Removes all but the newest files; what cannot be removed stays.
fn prune(folder: Option<&Path>) {
    let Some(entries) = folder.and_then(|folder| folder.read_dir().ok()) else { return };
    let ours = entries.flatten().filter(|e| e.file_name().to_string_lossy().starts_with(PREFIX));
    let changed = |e: &std::fs::DirEntry| e.metadata().and_then(|m| m.modified());
    let mut found: Vec<_> =
        ours.map(|e| (changed(&e).unwrap_or(SystemTime::UNIX_EPOCH), e.path())).collect();
    found.sort();
    let old = found.len().saturating_sub(KEPT);
    for (_, path) in &found[..old] {
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Encoded> {
        let row = |n: u32| Encoded {
            ids: (0..n).map(|i| i * 70_000).collect(),
            trained: (0..n).map(|i| i % 3 == 1).collect(),
            turns: vec![
                Turn { message: 1, tokens: 1..2 },
                Turn { message: 3, tokens: 2..n as usize },
            ],
        };
        vec![row(5), row(2), row(9)]
    }

    #[test]
    fn rows_come_back_as_they_were_and_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens-a");
        write(&path, &rows()).unwrap();
        assert_eq!(read(&path).unwrap(), rows());
        let bytes = std::fs::read(&path).unwrap();
        for at in [9, bytes.len() / 2, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(read(&path).is_err(), "byte {at}");
        }
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        assert!(read(&path).is_err());
    }

    #[test]
    fn only_the_newest_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        for i in 0..KEPT + 3 {
            let file = std::fs::File::create(folder.path().join(format!("{PREFIX}{i}"))).unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000 - i as u64);
            file.set_modified(time).unwrap();
        }
        std::fs::write(folder.path().join("other"), "").unwrap();
        prune(Some(folder.path()));
        let mut left: Vec<_> =
            folder.path().read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["other", "tokens-0", "tokens-1", "tokens-2", "tokens-3"]);
    }
}
