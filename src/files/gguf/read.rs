//! Reading: a GGUF comes from strangers, so every count, length and offset is checked against the
//! file before it is believed, and nothing is copied: strings and arrays stay in the mapped file and
//! are decoded when someone asks for them.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use memmap2::Mmap;

use super::{ARRAY, Storage, TEXT};

use crate::files;

/// More metadata entries or tensors than any real model has: a damaged or hostile file.
const MAX_ENTRIES: u64 = 65_536;
/// Real headers are a few megabytes, most of it the vocabulary.
const MAX_HEADER: usize = 32 << 20;
/// Real vocabularies have up to half a million merges.
const MAX_ELEMENTS: usize = 1 << 20;

/// One tensor of the file.
#[derive(Debug, Clone)]
pub struct TensorInfo {
    /// Rows first, as everywhere in this program; the file has them the other way round.
    pub shape: Vec<usize>,
    /// How its numbers are stored.
    pub storage: Storage,
    bytes: Range<usize>,
}

#[derive(Debug, Clone)]
enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(Range<usize>),
    /// Element type, count, and where the elements begin.
    Array(u32, usize, usize),
}

/// A value, and where it lies with its type in front.
#[derive(Debug, Clone)]
struct Entry {
    value: Value,
    bytes: Range<usize>,
}

/// An open GGUF file.
pub struct Gguf {
    path: PathBuf,
    map: Mmap,
    metadata: BTreeMap<String, Entry>,
    tensors: BTreeMap<String, TensorInfo>,
    unread: Option<String>,
}

/// The bytes a scalar of a metadata type takes.
fn width(kind: u32) -> Option<usize> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Result<Range<usize>> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.bytes.len());
        let end = end.with_context(|| format!("cut short at byte {}", self.at))?;
        ensure!(end <= MAX_HEADER, "the header claims more than {} MiB", MAX_HEADER >> 20);
        Ok(std::mem::replace(&mut self.at, end)..end)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let range = self.take(N)?;
        Ok(self.bytes[range].try_into()?)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A length that must still fit into the file.
    fn length(&mut self) -> Result<usize> {
        let n = self.u64()?;
        let left = (self.bytes.len() - self.at) as u64;
        ensure!(n <= left, "a length of {n} at byte {} is longer than the file", self.at - 8);
        Ok(n as usize)
    }

    fn text(&mut self) -> Result<Range<usize>> {
        let n = self.length()?;
        self.take(n)
    }

    fn name(&mut self) -> Result<&'a str> {
        let at = self.at;
        let range = self.text()?;
        ensure!(range.len() <= 1024, "a name of {} bytes at byte {at}", range.len());
        std::str::from_utf8(&self.bytes[range])
            .with_context(|| format!("a name at byte {at} is not UTF-8"))
    }

    fn value(&mut self, kind: u32) -> Result<Value> {
        Ok(match kind {
            TEXT => Value::Text(self.text()?),
            ARRAY => {
                let element = self.u32()?;
                let count = self.length()?;
                ensure!(count <= MAX_ELEMENTS, "an array of {count} elements");
                let start = self.at;
                match width(element) {
                    Some(width) => {
                        self.take(count.checked_mul(width).context("an array too long")?)?;
                    }
                    None if element == TEXT => {
                        for _ in 0..count {
                            self.text()?;
                        }
                    }
                    None => bail!("an array of elements of type {element} at byte {start}"),
                }
                Value::Array(element, count, start)
            }
            _ => self.scalar(kind)?,
        })
    }

    fn scalar(&mut self, kind: u32) -> Result<Value> {
        Ok(match kind {
            0 => Value::Unsigned(self.array::<1>()?[0].into()),
            1 => Value::Signed(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Unsigned(self.u32()?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            7 => Value::Bool(self.array::<1>()?[0] != 0),
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.array()?)),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            other => bail!("a value of unknown type {other} at byte {}", self.at),
        })
    }
}

impl Gguf {
    /// Maps a file and checks its whole header.
    pub fn open(path: &Path) -> Result<Gguf> {
        let name = || format!("cannot read {} as a GGUF file", path.display());
        let file = File::open(path).with_context(name)?;
        // SAFETY: the map is read-only. A model file that someone truncates while it is in use
        // would raise SIGBUS; no mapping can rule that out.
        let map = unsafe { Mmap::map(&file) }.with_context(name)?;
        let Header { metadata, tensors, unread } = parse(&map).with_context(name)?;
        Ok(Gguf { path: path.to_path_buf(), map, metadata, tensors, unread })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn wrong(&self, key: &str, wanted: &str) -> anyhow::Error {
        anyhow::anyhow!("{}: {key} is not {wanted}", self.path.display())
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key).map(|entry| &entry.value)
    }

    /// The entries whose keys begin so, type and value as they lie in the file.
    pub fn entries<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let all = self.metadata.iter().filter(move |(key, _)| key.starts_with(prefix));
        all.map(|(key, entry)| (key.as_str(), &self.map[entry.bytes.clone()]))
    }

    /// A text, where the key exists.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Text(range)) => std::str::from_utf8(&self.map[range.clone()])
                .map(Some)
                .map_err(|_| self.wrong(key, "UTF-8 text")),
            Some(_) => Err(self.wrong(key, "a text")),
        }
    }

    /// A whole number that is not negative, where the key exists.
    pub fn unsigned(&self, key: &str) -> Result<Option<u64>> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Unsigned(n)) => Ok(Some(*n)),
            Some(Value::Signed(n)) if *n >= 0 => Ok(Some(*n as u64)),
            Some(_) => Err(self.wrong(key, "a whole number")),
        }
    }

    /// A number, where the key exists.
    pub fn float(&self, key: &str) -> Result<Option<f64>> {
        match self.value(key) {
            Some(Value::Float(x)) => Ok(Some(*x)),
            Some(Value::Unsigned(n)) => Ok(Some(*n as f64)),
            Some(Value::Signed(n)) => Ok(Some(*n as f64)),
            None => Ok(None),
            Some(_) => Err(self.wrong(key, "a number")),
        }
    }

    /// A truth value, where the key exists.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Bool(b)) => Ok(Some(*b)),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    /// An array of texts, where the key exists.
    pub fn texts(&self, key: &str) -> Result<Option<Vec<&str>>> {
        let (count, start) = match self.value(key) {
            None => return Ok(None),
            Some(Value::Array(TEXT, count, start)) => (*count, *start),
            Some(_) => return Err(self.wrong(key, "an array of texts")),
        };
        let mut cursor = Cursor { bytes: &self.map, at: start };
        (0..count)
            .map(|_| {
                let range = cursor.text()?;
                std::str::from_utf8(&self.map[range]).map_err(|_| self.wrong(key, "UTF-8 text"))
            })
            .collect::<Result<Vec<_>>>()
            .map(Some)
    }

    /// An array of whole numbers, where the key exists.
    pub fn integers(&self, key: &str) -> Result<Option<Vec<i64>>> {
        let (kind, count, start) = match self.value(key) {
            None => return Ok(None),
            Some(Value::Array(kind, count, start)) => (*kind, *count, *start),
            Some(_) => return Err(self.wrong(key, "an array of whole numbers")),
        };
        let mut cursor = Cursor { bytes: &self.map, at: start };
        (0..count)
            .map(|_| match cursor.scalar(kind) {
                Ok(Value::Unsigned(n)) => {
                    i64::try_from(n).map_err(|_| self.wrong(key, "within range"))
                }
                Ok(Value::Signed(n)) => Ok(n),
                _ => Err(self.wrong(key, "an array of whole numbers")),
            })
            .collect::<Result<Vec<_>>>()
            .map(Some)
    }

    /// Whether the key holds an array.
    pub fn is_array(&self, key: &str) -> bool {
        matches!(self.value(key), Some(Value::Array(..)))
    }

    /// An error where some tensor is stored in a way that is not read; such tensors are left out
    /// of [`Gguf::tensors`]. Asked for after the architecture, which is the better reason.
    pub fn ensure_all_read(&self) -> Result<()> {
        match &self.unread {
            None => Ok(()),
            Some(tensor) => bail!(
                "{tensor}, which is not read; take a file in F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K, \
                 Q5_K or Q6_K"
            ),
        }
    }

    /// Every tensor by name.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// The bytes of a tensor of this file.
    pub fn bytes(&self, tensor: &TensorInfo) -> &[u8] {
        &self.map[tensor.bytes.clone()]
    }

    /// Lets go of a tensor's bytes, which have been read.
    pub fn release(&self, tensor: &TensorInfo) {
        files::release(&self.map, tensor.bytes.clone());
    }
}

#[derive(Debug)]
struct Header {
    metadata: BTreeMap<String, Entry>,
    tensors: BTreeMap<String, TensorInfo>,
    /// The first tensor of a type that is not read.
    unread: Option<String>,
}

fn parse(bytes: &[u8]) -> Result<Header> {
    let mut cursor = Cursor { bytes, at: 0 };
    ensure!(bytes.starts_with(b"GGUF"), "it does not begin with the letters GGUF");
    cursor.take(4)?;
    match cursor.u32()? {
        2 | 3 => {}
        0x0200_0000 | 0x0300_0000 => bail!("it is big-endian; convert it on its own machine"),
        other => bail!("GGUF version {other}; versions 2 and 3 are read"),
    }
    let count = |what: &str, n: u64| -> Result<u64> {
        ensure!(n <= MAX_ENTRIES, "it claims {n} {what}, more than {MAX_ENTRIES}");
        Ok(n)
    };
    let tensors = count("tensors", cursor.u64()?)?;
    let entries = count("metadata entries", cursor.u64()?)?;

    let mut metadata = BTreeMap::new();
    for _ in 0..entries {
        let key = cursor.name()?;
        let start = cursor.at;
        let kind = cursor.u32()?;
        let value = cursor.value(kind).with_context(|| format!("metadata {key}"))?;
        let entry = Entry { value, bytes: start..cursor.at };
        ensure!(metadata.insert(key.to_string(), entry).is_none(), "metadata {key} appears twice");
    }
    let alignment = match metadata.get("general.alignment").map(|entry: &Entry| &entry.value) {
        None => 32,
        Some(Value::Unsigned(n)) if n.is_power_of_two() && (8..=1 << 16).contains(n) => *n as usize,
        Some(_) => bail!("general.alignment is not a power of two from 8 to 65536"),
    };

    let (mut found, mut unread) = (Vec::new(), None);
    for _ in 0..tensors {
        let name = cursor.name()?;
        match tensor_info(&mut cursor).with_context(|| format!("tensor {name}"))? {
            Ok(tensor) => found.push((name, tensor)),
            Err(kind) => {
                unread.get_or_insert_with(|| format!("tensor {name} is stored as {kind}"));
            }
        }
    }
    let start = cursor.at.next_multiple_of(alignment);

    let mut tensors = BTreeMap::new();
    let mut spans = Vec::new();
    for (name, (shape, storage, offset, size)) in found {
        ensure!(offset % alignment as u64 == 0, "tensor {name} starts at an odd offset {offset}");
        let end = usize::try_from(offset)
            .ok()
            .and_then(|offset| start.checked_add(offset)?.checked_add(size))
            .filter(|end| *end <= bytes.len());
        let end = end.with_context(|| {
            format!("tensor {name} lies beyond the end of the file; is it cut short?")
        })?;
        spans.push((end - size, end, name));
        let info = TensorInfo { shape, storage, bytes: end - size..end };
        ensure!(tensors.insert(name.to_string(), info).is_none(), "tensor {name} appears twice");
    }
    spans.sort_unstable();
    for pair in spans.windows(2) {
        ensure!(pair[0].1 <= pair[1].0, "tensors {} and {} overlap", pair[0].2, pair[1].2);
    }
    Ok(Header { metadata, tensors, unread })
}

/// Shape, storage, offset and size in bytes.
type Place = (Vec<usize>, Storage, u64, usize);

/// A tensor's place, or the name of a type that is not read.
fn tensor_info(cursor: &mut Cursor) -> Result<std::result::Result<Place, String>> {
    let rank = cursor.u32()?;
    ensure!((1..=4).contains(&rank), "{rank} dimensions");
    let mut shape = Vec::with_capacity(rank as usize);
    for _ in 0..rank {
        let n = cursor.u64()?;
        ensure!((1..=1 << 40).contains(&n), "a dimension of {n}");
        shape.push(usize::try_from(n)?);
    }
    let storage = Storage::from_ggml(cursor.u32()?);
    let offset = cursor.u64()?;
    let storage = match storage {
        Ok(storage) => storage,
        Err(kind) => return Ok(Err(kind)),
    };
    let (block, width) = storage.block();
    ensure!(shape[0] % block == 0, "rows of {} numbers in blocks of {block}", shape[0]);
    let size = shape
        .iter()
        .try_fold(1usize, |all, n| all.checked_mul(*n))
        .and_then(|n| (n / block).checked_mul(width))
        .context("more numbers than any file holds")?;
    shape.reverse();
    Ok(Ok((shape, storage, offset, size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with one metadata entry and one tensor of four floats, each part open to damage.
    fn small(damage: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut b = b"GGUF".to_vec();
        b.extend(3u32.to_le_bytes());
        b.extend(1u64.to_le_bytes()); // 8: tensors
        b.extend(1u64.to_le_bytes()); // 16: entries
        b.extend(1u64.to_le_bytes()); // 24: key length
        b.push(b'k');
        b.extend(TEXT.to_le_bytes()); // 33
        b.extend(2u64.to_le_bytes()); // 37
        b.extend(b"hi");
        b.extend(1u64.to_le_bytes()); // 47: name length
        b.push(b't');
        b.extend(1u32.to_le_bytes()); // 56: rank
        b.extend(4u64.to_le_bytes()); // 60: width
        b.extend(0u32.to_le_bytes()); // 68: F32
        b.extend(0u64.to_le_bytes()); // 72: offset
        b.resize(96, 0);
        for x in [1f32, 2.0, 3.0, 4.0] {
            b.extend(x.to_le_bytes());
        }
        damage(&mut b);
        b
    }

    fn put(b: &mut [u8], at: usize, n: u64) {
        b[at..at + 8].copy_from_slice(&n.to_le_bytes());
    }

    fn refusal(damage: impl FnOnce(&mut Vec<u8>)) -> String {
        format!("{:#}", parse(&small(damage)).unwrap_err())
    }

    #[test]
    fn an_honest_file_opens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gguf");
        std::fs::write(&path, small(|_| {})).unwrap();
        let gguf = Gguf::open(&path).unwrap();
        assert_eq!(gguf.text("k").unwrap(), Some("hi"));
        assert_eq!(gguf.unsigned("missing").unwrap(), None);
        assert!(gguf.unsigned("k").is_err());
        let tensor = &gguf.tensors()["t"];
        assert_eq!(tensor.shape, [4]);
        assert_eq!(gguf.bytes(tensor)[4..8], 2f32.to_le_bytes());
    }

    #[test]
    fn lies_are_refused_by_place() {
        assert!(refusal(|b| b[0] = b'X').contains("letters GGUF"));
        assert!(refusal(|b| b[4] = 9).contains("version 9"));
        assert!(refusal(|b| b[4..8].copy_from_slice(&[0, 0, 0, 3])).contains("big-endian"));
        assert!(refusal(|b| put(b, 8, u64::MAX)).contains("tensors"));
        assert!(refusal(|b| put(b, 16, 1 << 40)).contains("metadata entries"));
        assert!(refusal(|b| put(b, 16, 60_000)).contains("metadata"));
        assert!(refusal(|b| put(b, 24, u64::MAX)).contains("longer than the file"));
        assert!(refusal(|b| put(b, 37, 1 << 30)).contains("metadata k"));
        assert!(refusal(|b| b[33] = 77).contains("unknown type 77"));
        assert!(refusal(|b| b[56] = 200).contains("200 dimensions"));
        assert!(refusal(|b| put(b, 60, 1 << 39)).contains("beyond the end"));
        assert!(refusal(|b| put(b, 60, 0)).contains("dimension of 0"));
        let unread = parse(&small(|b| b[68] = 23)).unwrap().unread.unwrap();
        assert_eq!(unread, "tensor t is stored as IQ4_XS");
        assert!(refusal(|b| b[68] = 2).contains("blocks of 32"));
        assert!(refusal(|b| put(b, 72, u64::MAX - 31)).contains("tensor t"));
        assert!(refusal(|b| put(b, 72, 4)).contains("odd offset"));
        assert!(refusal(|b| b.truncate(100)).contains("beyond the end"));
    }

    #[test]
    fn a_text_array_that_claims_too_much_is_refused_before_it_is_read() {
        let message = refusal(|b| {
            let mut array = ARRAY.to_le_bytes().to_vec();
            array.extend(TEXT.to_le_bytes());
            array.extend(u64::MAX.to_le_bytes());
            b.splice(33..47, array);
        });
        assert!(message.contains("longer than the file"), "{message}");
    }

    #[test]
    fn an_array_longer_than_any_vocabulary_is_refused() {
        let message = refusal(|b| {
            let mut array = ARRAY.to_le_bytes().to_vec();
            array.extend(0u32.to_le_bytes());
            array.extend((MAX_ELEMENTS as u64 + 1).to_le_bytes());
            array.resize(array.len() + MAX_ELEMENTS + 1, 0);
            b.splice(33..47, array);
        });
        assert!(message.contains("an array of 1048577 elements"), "{message}");
    }

    #[test]
    fn every_cut_is_refused_without_a_panic() {
        let whole = small(|_| {});
        for n in 0..whole.len() {
            assert!(parse(&whole[..n]).is_err(), "cut at {n}");
        }
    }
}
