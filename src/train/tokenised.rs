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
const FORMAT: &str = "2";

/// Rows to train on, and for each the number of the example it came from.
pub type Rows = Vec<(usize, Encoded)>;

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
    /// The rows of `examples`; one may need more than one, see [`Codec::sequences`].
    pub fn encode(&self, examples: &[&Example]) -> Result<Rows> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads).build()?;
        pool.install(|| {
            let file = match self.cache {
                Some(folder) if !examples.is_empty() => {
                    Some(folder.join(format!("{PREFIX}{}", self.digest(examples)?)))
                }
                _ => None,
            };
            let kept = file.as_deref().filter(|file| file.exists()).map(read);
            if let Some(Ok(rows)) = kept
                && let Some(groups) = by_example(&rows, examples.len())
            {
                groups.into_par_iter().zip(examples).try_for_each(|(g, e)| self.fits(g, e))?;
                self.observer.say(&format!("{} tokenised rows from the cache", rows.len()));
                return Ok(rows);
            }
            let numbered = examples.par_iter().enumerate();
            let each = numbered.map(|(i, e)| self.one(i, e)).collect::<Result<Vec<Rows>>>()?;
            let rows: Rows = each.into_iter().flatten().collect();
            let (count, threads) = (examples.len(), rayon::current_num_threads());
            self.observer.say(&format!("tokenised {count} examples on {threads} threads"));
            if rows.len() > count {
                self.observer.say(&format!(
                    "they take {} sequences, since the chat template shows earlier turns \
                     differently than they were answered",
                    rows.len()
                ));
            }
            if let Some(file) = &file {
                if let Err(error) = write(file, &rows) {
                    self.observer.say(&format!("the tokens are not kept (CACHE_DIR): {error:#}"));
                }
                prune(self.cache);
            }
            Ok(rows)
        })
    }

    fn one(&self, number: usize, example: &Example) -> Result<Rows> {
        let rows = self
            .codec
            .sequences(&example.trace.messages, &example.trace.tools)
            .with_context(|| format!("example {}", called(example)))?;
        let rows: Rows = rows.into_iter().map(|row| (number, row)).collect();
        self.fits(&rows, example)?;
        Ok(rows)
    }

    fn fits(&self, rows: &[(usize, Encoded)], example: &Example) -> Result<()> {
        let rows: Vec<&Encoded> = rows.iter().map(|(_, row)| row).collect();
        let longest = rows.iter().map(|row| row.ids.len()).max().unwrap_or(0);
        ensure!(
            longest <= self.longest,
            "example {} has {longest} tokens; MAX_SEQ_LENGTH is {}: drop it with the filter \
             `too_long` or raise the limit, since cutting it would cut its answer",
            called(example),
            self.longest
        );
        preflight::check(&example.trace.messages, &rows)
            .with_context(|| format!("example {}", called(example)))
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

/// The rows of each of `count` examples; nothing if they are not those of so many.
fn by_example(rows: &[(usize, Encoded)], count: usize) -> Option<Vec<&[(usize, Encoded)]>> {
    let groups: Vec<_> = rows.chunk_by(|(a, _), (b, _)| a == b).collect();
    let numbered = groups.iter().enumerate().all(|(i, group)| group[0].0 == i);
    (groups.len() == count && numbered).then_some(groups)
}

/// All rows, one after the other: their ids, their masks, and for each its example, length and turns.
struct Flat {
    ids: Vec<u8>,
    trained: Vec<u8>,
    shapes: Vec<u8>,
}

fn flat(rows: &[(usize, Encoded)]) -> Result<Flat> {
    let mut flat = Flat { ids: Vec::new(), trained: Vec::new(), shapes: Vec::new() };
    for (example, row) in rows {
        row.ids.iter().for_each(|id| flat.ids.extend(id.to_le_bytes()));
        flat.trained.extend(row.trained.iter().map(|t| u8::from(*t)));
        let turns = row.turns.iter().flat_map(|t| [t.message, t.tokens.start, t.tokens.end]);
        for number in [*example, row.ids.len(), row.turns.len()].into_iter().chain(turns) {
            flat.shapes.extend(u32::try_from(number)?.to_le_bytes());
        }
    }
    Ok(flat)
}

fn write(path: &Path, rows: &[(usize, Encoded)]) -> Result<()> {
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

fn read(path: &Path) -> Result<Rows> {
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
        let (example, length, turns) = (next()?, next()?, next()?);
        let turn = |_| {
            let (message, start, end) = (next()?, next()?, next()?);
            ensure!(start <= end && end <= length, "a turn outside its row");
            Ok(Turn { message, tokens: start..end })
        };
        let turns = (0..turns).map(turn).collect::<Result<_>>()?;
        let range = at..at + length;
        let mask = trained.get(range.clone()).context("cut short")?;
        let ids = ids.get(range).context("cut short")?.to_vec();
        let trained = mask.iter().map(|t| *t == 1).collect();
        rows.push((example, Encoded { ids, trained, turns }));
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
    use crate::progress::Silent;
    use crate::tokens::training;
    use crate::trace::{Message, Role, Trace};

    fn rows() -> Rows {
        let row = |n: u32| Encoded {
            ids: (0..n).map(|i| i * 70_000).collect(),
            trained: (0..n).map(|i| i % 3 == 1).collect(),
            turns: vec![
                Turn { message: 1, tokens: 1..2 },
                Turn { message: 3, tokens: 2..n as usize },
            ],
        };
        vec![(0, row(5)), (0, row(2)), (1, row(9))]
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
    fn an_example_that_needs_two_sequences_has_two_rows_from_the_cache_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let template = folder.path().join("strips.jinja");
        let source = "{% for m in messages %}<|im_start|>{{ m.role }} {% if loop.last and m.role == 'assistant' %}now \
            {% endif %}{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}\
            <|im_start|>assistant {% endif %}";
        std::fs::write(&template, source).unwrap();
        training::train(["a few words"].into_iter(), 300, &[], folder.path()).unwrap();
        let codec = Codec::open(folder.path(), template.to_str()).unwrap();
        let example = |answers: usize| {
            let talk = [Message::text(Role::User, "q"), Message::text(Role::Assistant, "a")];
            let messages = talk.iter().cycle().take(2 * answers).cloned().collect();
            Example::real(Trace { messages, ..Trace::default() })
        };
        let (one, two) = (example(1), example(2));
        let cache = Some(folder.path());
        let encoder = Encoder { codec: &codec, longest: 99, threads: 1, cache, observer: &Silent };
        let rows = encoder.encode(&[&two, &one]).unwrap();
        assert_eq!(rows.iter().map(|(example, _)| *example).collect::<Vec<_>>(), [0, 0, 1]);
        assert_eq!(encoder.encode(&[&two, &one]).unwrap(), rows);
        let file = folder.path().read_dir().unwrap().flatten().map(|e| e.path());
        let file = file.filter(|p| p.to_string_lossy().contains(PREFIX)).last().unwrap();
        write(&file, &rows[..2]).unwrap();
        assert_eq!(encoder.encode(&[&two, &one]).unwrap(), rows, "rows of others are made anew");
    }

    #[test]
    fn rows_belong_to_every_example_or_to_none() {
        let rows = rows();
        assert_eq!(by_example(&rows, 2), Some(vec![&rows[..2], &rows[2..]]));
        assert_eq!(by_example(&rows, 3), None);
        assert_eq!(by_example(&rows[2..], 1), None);
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
