//! A base's linears in NF4, kept on disk so that the next start maps them instead of quantising.
//!
//! The file is named by a digest of all it depends on: source weights, quantisation, this format
//! and byte order. What lies where follows from the model's shape alone, so nothing in the file
//! is believed:
//!
//! ```text
//! 128 bytes                 what it is, and the digest again
//! each linear, in order     from a multiple of 64: its scales' f32, its scales' codes, its codes
//! 8 bytes                   XXH3-64 of everything before
//! ```
//!
//! The checksum finds damage, not malice: whoever can write the user's cache can change the
//! program as well.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use memmap2::Mmap;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::decoder::linears;
use super::nf4::{BLOCK, GROUP, Nf4, Scales};
use super::slab::Slab;
use super::weights::{Frozen, Quantization, Weights};
use crate::files;
use crate::progress::Observer;

const FORMAT: &str = if cfg!(target_endian = "little") { "1 little" } else { "1 big" };
const HEAD: usize = 128;
const ALIGN: usize = 64;
const CHECKSUM: usize = 8;

/// Where a linear's parts lie, in bytes from the start of the file.
struct Place {
    rows: usize,
    cols: usize,
    floats: usize,
    scale_codes: usize,
    codes: usize,
    end: usize,
}

impl Place {
    fn blocks(&self) -> usize {
        (self.rows * self.cols).div_ceil(BLOCK)
    }
}

/// Mapped linears.
pub struct Prepared {
    map: Arc<Mmap>,
    double: bool,
    places: BTreeMap<String, Place>,
}

impl Prepared {
    /// The linears of a base from `folder`, quantised and written there first where they are not
    /// yet or the file is damaged. Nothing where they are not kept in NF4; nothing either, and a
    /// line to the observer, where the folder cannot be written.
    pub fn open(
        folder: &Path,
        weights: &Weights,
        quantization: Quantization,
        observer: &dyn Observer,
    ) -> Result<Option<Prepared>> {
        if ![Quantization::Nf4, Quantization::Nf4Double].contains(&quantization) {
            return Ok(None);
        }
        let parts = [FORMAT, &weights.digest()?, quantization.as_str()];
        let key = files::digest(parts.join("\n").as_bytes());
        let path = path(folder, &key);
        let double = quantization == Quantization::Nf4Double;
        let open = || -> Result<Prepared> {
            let (places, end) = places(weights, double);
            Ok(Prepared { map: Arc::new(checked(&path, &key, end)?), double, places })
        };
        if path.exists() {
            match open() {
                Ok(prepared) => return Ok(Some(prepared)),
                Err(error) => observer.say(&format!(
                    "{} cannot be used and is made again: {error:#}",
                    path.display()
                )),
            }
        }
        match write(&path, &key, weights, quantization, observer).and_then(|()| open()) {
            Ok(prepared) => {
                observer.say(&format!("the quantised base is kept in {}", path.display()));
                Ok(Some(prepared))
            }
            Err(error) => {
                observer.check()?;
                observer.say(&format!(
                    "the quantised base is not kept for the next start (CACHE_DIR): {error:#}"
                ));
                Ok(None)
            }
        }
    }

    /// A linear by its name, its numbers where they lie in the file.
    pub fn linear(&self, name: &str) -> Result<Nf4> {
        let place = self.places.get(name).with_context(|| format!("no linear is named {name}"))?;
        let blocks = place.blocks();
        let scales = if self.double {
            let groups = blocks.div_ceil(GROUP);
            let offset: Slab<f32> = Slab::mapped(&self.map, place.floats + 4 * groups, 1)?;
            Scales::Double {
                codes: Slab::mapped(&self.map, place.scale_codes, blocks)?,
                absmax: Slab::mapped(&self.map, place.floats, groups)?,
                offset: offset[0],
            }
        } else {
            Scales::Plain(Slab::mapped(&self.map, place.floats, blocks)?)
        };
        let (rows, cols) = (place.rows, place.cols);
        let codes = Slab::mapped(&self.map, place.codes, (rows * cols).div_ceil(2))?;
        Ok(Nf4 { codes, scales, rows, cols })
    }
}

fn path(folder: &Path, key: &str) -> PathBuf {
    folder.join(format!("{key}.nf4"))
}

fn head(key: &str) -> [u8; HEAD] {
    let mut head = [b' '; HEAD];
    let text = format!("frozen linears of proto, format {FORMAT}\n{key}\n");
    // 103 bytes at most: the digest has 64.
    head[..text.len()].copy_from_slice(text.as_bytes());
    head
}

/// Where every linear lies, and where the checksum does.
fn places(weights: &Weights, double: bool) -> (BTreeMap<String, Place>, usize) {
    let mut at = HEAD;
    let mut places = BTreeMap::new();
    for (name, rows, cols) in linears(weights.config()) {
        let mut place = Place { rows, cols, floats: at, scale_codes: 0, codes: 0, end: 0 };
        let blocks = place.blocks();
        let floats = if double { blocks.div_ceil(GROUP) + 1 } else { blocks };
        place.scale_codes = at + 4 * floats;
        place.codes = place.scale_codes + if double { blocks } else { 0 };
        place.end = place.codes + (rows * cols).div_ceil(2);
        at = place.end.next_multiple_of(ALIGN);
        places.insert(name, place);
    }
    (places, at)
}

/// Maps a file if it is whole and ours.
fn checked(path: &Path, key: &str, end: usize) -> Result<Mmap> {
    let file = File::open(path)?;
    // SAFETY: the map is read-only, and the program replaces such files but never changes them.
    let map = unsafe { Mmap::map(&file) }?;
    ensure!(map.len() == end + CHECKSUM, "{} bytes instead of {}", map.len(), end + CHECKSUM);
    ensure!(map.starts_with(&head(key)), "it belongs to another base");
    let (content, checksum) = map.split_at(end);
    ensure!(xxh3_64(content).to_le_bytes() == checksum, "its checksum is wrong");
    Ok(map)
}

/// Quantises one linear after the other into a file.
fn write(
    path: &Path,
    key: &str,
    weights: &Weights,
    quantization: Quantization,
    observer: &dyn Observer,
) -> Result<()> {
    let all = linears(weights.config());
    observer.begin("quantising the base", Some(all.len() as u64), "linears");
    let written = files::write_atomically(path, |out| {
        let mut out = Summed { out, hash: Xxh3::new(), at: 0 };
        out.put(&head(key))?;
        for (done, (name, ..)) in all.iter().enumerate() {
            observer.check()?;
            let Frozen::Nf4(nf4) = weights.linear(&format!("{name}.weight"), quantization)? else {
                bail!("{name} is not in NF4");
            };
            match &nf4.scales {
                Scales::Plain(scales) => out.floats(scales)?,
                Scales::Double { codes, absmax, offset } => {
                    out.floats(absmax)?;
                    out.floats(&[*offset])?;
                    out.put(codes)?;
                }
            }
            out.put(&nf4.codes)?;
            out.put(&[0; ALIGN][..out.at.next_multiple_of(ALIGN) - out.at])?;
            observer.advance(done as u64 + 1, "");
        }
        let checksum = out.hash.digest().to_le_bytes();
        out.put(&checksum)
    });
    observer.end();
    written
}

/// Writes and sums up.
struct Summed<W> {
    out: W,
    hash: Xxh3,
    at: usize,
}

impl<W: Write> Summed<W> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.at += bytes.len();
        Ok(self.out.write_all(bytes)?)
    }

    fn floats(&mut self, values: &[f32]) -> Result<()> {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_ne_bytes()).collect();
        self.put(&bytes)
    }
}
