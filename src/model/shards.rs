//! Safetensors files, one or several, mapped and never believed: sizes, offsets and names in a
//! header are checked before any tensor is looked at.

use std::collections::BTreeMap;
use std::fs::File;
use std::marker::PhantomData;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use half::{bf16, f16};
use memmap2::Mmap;
use rayon::prelude::*;
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::files;

/// Real headers take some 120 bytes a tensor.
const MAX_HEADER: u64 = 16 << 20;
/// More tensors than any real model has: a damaged or hostile file.
const MAX_TENSORS: usize = 65_536;
/// More than anyone needs: of bytes in a name, files in an index, dimensions.
const MAX_NAME: usize = 1024;
const MAX_FILES: usize = 1024;
const MAX_RANK: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Storage {
    F32,
    F16,
    BF16,
}

/// One tensor and where it lies.
#[derive(Debug, Clone)]
struct Entry {
    file: usize,
    shape: Vec<usize>,
    /// An error for a type that is not read, kept until someone wants this tensor.
    storage: std::result::Result<Storage, String>,
    bytes: Range<usize>,
}

/// The tensors of a folder's safetensors files.
pub struct Shards {
    files: Vec<(PathBuf, Mmap)>,
    tensors: BTreeMap<String, Entry>,
}

impl Shards {
    /// Opens `model.safetensors`, or the files that `model.safetensors.index.json` names.
    pub fn open(folder: &Path) -> Result<Shards> {
        let single = folder.join("model.safetensors");
        let index = folder.join("model.safetensors.index.json");
        if single.exists() {
            return Self::of_files(&[single]);
        }
        if !index.exists() {
            bail!(
                "{} has neither model.safetensors nor model.safetensors.index.json; weights in \
                 other formats must be converted to safetensors first",
                folder.display()
            );
        }
        let (names, files) =
            read_index(&index).with_context(|| format!("cannot use {}", index.display()))?;
        let files: Vec<_> = files.iter().map(|file| folder.join(file)).collect();
        let shards = Self::of_files(&files)?;
        for name in &names {
            ensure!(
                shards.tensors.contains_key(name),
                "{} names the tensor {name}, but no file has it; fetch the model again",
                index.display()
            );
        }
        Ok(shards)
    }

    /// Opens one file.
    pub fn of_file(path: &Path) -> Result<Shards> {
        Self::of_files(&[path.to_path_buf()])
    }

    fn of_files(paths: &[PathBuf]) -> Result<Shards> {
        let mut shards = Shards { files: Vec::new(), tensors: BTreeMap::new() };
        for path in paths {
            shards
                .add(path)
                .with_context(|| format!("cannot read {} as a safetensors file", path.display()))?;
        }
        Ok(shards)
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        let file = File::open(path)?;
        // SAFETY: the map is read-only. A model file that someone truncates while it is in use
        // would raise SIGBUS; no mapping can rule that out.
        let map = unsafe { Mmap::map(&file) }?;
        for (name, mut entry) in parse(&map)? {
            entry.file = self.files.len();
            if let Some(earlier) = self.tensors.insert(name.clone(), entry) {
                match self.files.get(earlier.file) {
                    Some((other, _)) => bail!("tensor {name} is in {} as well", other.display()),
                    None => bail!("tensor {name} appears twice"),
                }
            }
        }
        ensure!(self.tensors.len() <= MAX_TENSORS, "more than {MAX_TENSORS} tensors in all");
        self.files.push((path.to_path_buf(), map));
        Ok(())
    }

    /// The files, in the order they were opened.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(path, _)| path.as_path())
    }

    /// Every tensor's name and shape.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, entry)| (name.as_str(), entry.shape.as_slice()))
    }

    /// A tensor's numbers as f32, where there is such a tensor.
    pub fn read(&self, name: &str) -> Option<Result<Vec<f32>>> {
        let entry = self.tensors.get(name)?;
        let (path, map) = &self.files[entry.file];
        let bytes = entry.bytes.clone();
        Some(match &entry.storage {
            Ok(Storage::F32) => Ok(convert(map, bytes, f32::from_le_bytes)),
            Ok(Storage::F16) => Ok(convert(map, bytes, |b| f16::from_le_bytes(b).to_f32())),
            Ok(Storage::BF16) => Ok(convert(map, bytes, |b| bf16::from_le_bytes(b).to_f32())),
            Err(other) => Err(anyhow::anyhow!(
                "{}: tensor {name} is stored as {other}; F32, F16 and BF16 are read",
                path.display()
            )),
        })
    }
}

/// The numbers at some bytes of a map, which are let go of piece by piece as they are read.
fn convert<const N: usize>(
    map: &Mmap,
    bytes: Range<usize>,
    one: impl Fn([u8; N]) -> f32 + Sync,
) -> Vec<f32> {
    let mut all = vec![0f32; bytes.len() / N];
    let mut at = bytes.start;
    for out in all.chunks_mut(4 << 20) {
        let piece = at..at + N * out.len();
        at = piece.end;
        let bytes = &map[piece.clone()];
        out.par_chunks_mut(1 << 16).zip(bytes.par_chunks(N << 16)).for_each(|(out, bytes)| {
            for (x, raw) in out.iter_mut().zip(bytes.chunks_exact(N)) {
                if let Ok(raw) = raw.try_into() {
                    *x = one(raw);
                }
            }
        });
        files::release(map, piece);
    }
    all
}

/// The tensors' names and the files they are in.
fn read_index(path: &Path) -> Result<(Vec<String>, Vec<String>)> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: Entries<String>,
    }
    let index: Index = serde_json::from_slice(&files::read_small(path, MAX_HEADER)?)?;
    let (names, mut files): (Vec<_>, Vec<_>) = index.weight_map.0.into_iter().unzip();
    files.sort_unstable();
    files.dedup();
    ensure!(files.len() <= MAX_FILES, "it names {} files, more than {MAX_FILES}", files.len());
    for file in &files {
        let plain = Path::new(file).components().count() == 1 && !file.starts_with('.');
        ensure!(plain && !file.contains('\\'), "it names {file:?}, which is not a file beside it");
    }
    Ok((names, files))
}

fn parse(bytes: &[u8]) -> Result<Vec<(String, Entry)>> {
    let length = bytes.first_chunk().context("cut short: it has no header")?;
    let length = u64::from_le_bytes(*length);
    ensure!(length <= MAX_HEADER, "its header claims {length} bytes, more than {MAX_HEADER}");
    let end = 8 + length as usize;
    let header = bytes.get(8..end).context("cut short: its header runs past the end")?;
    let Entries::<RawEntry>(raw) =
        serde_json::from_slice(header).context("its header is not as it should be")?;

    let data = bytes.len() - end;
    let mut spans = Vec::with_capacity(raw.len());
    let mut entries = Vec::with_capacity(raw.len());
    for (name, RawEntry { dtype, shape: Shape(shape), data_offsets: (from, to) }) in raw {
        ensure!(
            from <= to && to <= data,
            "tensor {name} lies beyond the end of the file; is it cut short?"
        );
        let (storage, width) = match dtype.as_str() {
            "F32" => (Ok(Storage::F32), Some(4)),
            "F16" => (Ok(Storage::F16), Some(2)),
            "BF16" => (Ok(Storage::BF16), Some(2)),
            _ => (Err(dtype.chars().take(32).collect()), None),
        };
        if let Some(width) = width {
            let size = shape.iter().try_fold(width, |all: usize, n| all.checked_mul(*n));
            ensure!(
                size == Some(to - from),
                "tensor {name} has shape {shape:?} but {} bytes",
                to - from
            );
        }
        spans.push((from, to, entries.len()));
        entries.push((name, Entry { file: 0, shape, storage, bytes: end + from..end + to }));
    }
    spans.sort_unstable();
    for pair in spans.windows(2) {
        let (first, second) = (&entries[pair[0].2].0, &entries[pair[1].2].0);
        ensure!(pair[0].1 <= pair[1].0, "tensors {first} and {second} overlap");
    }
    Ok(entries)
}

#[derive(Deserialize)]
struct RawEntry {
    dtype: String,
    shape: Shape,
    data_offsets: (usize, usize),
}

struct Shape(Vec<usize>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sizes;
        impl<'de> Visitor<'de> for Sizes {
            type Value = Shape;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a list of sizes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sizes: A) -> Result<Shape, A::Error> {
                let mut shape = Vec::new();
                while let Some(size) = sizes.next_element()? {
                    if shape.len() == MAX_RANK {
                        return Err(A::Error::custom(format!("more than {MAX_RANK} dimensions")));
                    }
                    shape.push(size);
                }
                Ok(Shape(shape))
            }
        }
        deserializer.deserialize_seq(Sizes)
    }
}

/// What a header or an index has for each tensor, in order; a map type would hide a name that
/// appears twice. Their number is bounded while they are read.
struct Entries<V>(Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Entries<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each<V>(PhantomData<V>);
        impl<'de, V: Deserialize<'de>> Visitor<'de> for Each<V> {
            type Value = Entries<V>;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<V>, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    if entries.len() == MAX_TENSORS {
                        return Err(A::Error::custom(format!("more than {MAX_TENSORS} tensors")));
                    }
                    if name.len() > MAX_NAME {
                        return Err(A::Error::custom(format!("a name of {} bytes", name.len())));
                    }
                    entries.push((name, map.next_value()?));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Each(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    fn open(files: &[(&str, Vec<u8>)]) -> Result<Shards> {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        Shards::open(folder.path())
    }

    fn refusal(header: &str, data: usize) -> String {
        match open(&[("model.safetensors", file(header, data))]) {
            Ok(_) => panic!("{header} was taken"),
            Err(e) => format!("{e:#}"),
        }
    }

    #[test]
    fn three_types_are_read() {
        let header = r#"{"__metadata__":{"format":"pt"},
            "a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
            "b":{"dtype":"BF16","shape":[1,1],"data_offsets":[8,10]},
            "c":{"dtype":"F16","shape":[1],"data_offsets":[10,12]}}"#;
        let mut bytes = file(header, 0);
        bytes.extend(1.5f32.to_le_bytes());
        bytes.extend((-2f32).to_le_bytes());
        bytes.extend(bf16::from_f32(3.0).to_le_bytes());
        bytes.extend(f16::from_f32(0.25).to_le_bytes());
        let shards = open(&[("model.safetensors", bytes)]).unwrap();
        let read = |name| shards.read(name).unwrap().unwrap();
        assert_eq!((read("a"), read("b"), read("c")), (vec![1.5, -2.0], vec![3.0], vec![0.25]));
        assert!(shards.read("d").is_none());
    }

    #[test]
    fn lies_are_refused_by_name() {
        let entry = |shape: &str, from: u64, to: u64| {
            format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#)
        };
        let one = |shape: &str, from, to| format!(r#"{{"t":{}}}"#, entry(shape, from, to));
        assert!(refusal(&one("[2]", 0, 8), 4).contains("tensor t lies beyond the end"));
        assert!(refusal(&one("[3]", 0, 8), 8).contains("shape [3] but 8 bytes"));
        assert!(refusal(&one("[2]", 8, 0), 8).contains("tensor t"));
        assert!(refusal(&one(&format!("[{},{}]", usize::MAX, 3), 0, 8), 8).contains("shape"));
        let twice = format!(r#"{{"t":{0},"t":{0}}}"#, entry("[1]", 0, 4));
        assert!(refusal(&twice, 4).contains("overlap") || refusal(&twice, 4).contains("twice"));
        let apart = format!(r#"{{"t":{},"t":{}}}"#, entry("[1]", 0, 4), entry("[1]", 4, 8));
        assert!(refusal(&apart, 8).contains("tensor t appears twice"));
        let over = format!(r#"{{"t":{},"u":{}}}"#, entry("[2]", 0, 8), entry("[2]", 4, 12));
        assert!(refusal(&over, 12).contains("tensors t and u overlap"));
        assert!(refusal("[1]", 0).contains("header"));
        assert!(refusal("{", 0).contains("header"));
        let many: String =
            (0..=MAX_TENSORS).map(|i| format!(r#""{i}":{},"#, entry("[0]", 0, 0))).collect();
        assert!(refusal(&format!("{{{}}}", many.trim_end_matches(',')), 0).contains("65536"));
        for raw in [vec![], vec![1, 2, 3], u64::MAX.to_le_bytes().to_vec(), vec![9; 9]] {
            assert!(open(&[("model.safetensors", raw)]).is_err());
        }
    }

    #[test]
    fn an_unread_type_is_an_error_only_for_its_own_tensor() {
        let header = r#"{"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#;
        let shards = open(&[("model.safetensors", file(header, 8))]).unwrap();
        let message = shards.read("a").unwrap().unwrap_err().to_string();
        assert!(message.contains("tensor a is stored as I64"), "{message}");
    }

    #[test]
    fn shards_come_together_through_the_index() {
        let shard = |name: &str| {
            let header =
                format!(r#"{{"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
            file(&header, 4)
        };
        let index = |map: &str| format!(r#"{{"weight_map":{map}}}"#).into_bytes();
        const INDEX: &str = "model.safetensors.index.json";
        let both = r#"{"a":"1.safetensors","b":"2.safetensors"}"#;
        let shards = open(&[
            (INDEX, index(both)),
            ("1.safetensors", shard("a")),
            ("2.safetensors", shard("b")),
        ]);
        assert_eq!(shards.unwrap().shapes().count(), 2);
        let fails = |files: &[(&str, Vec<u8>)]| format!("{:#}", open(files).err().unwrap());
        let message = fails(&[(INDEX, index(both)), ("1.safetensors", shard("a"))]);
        assert!(message.contains("2.safetensors"), "{message}");
        let message = fails(&[
            (INDEX, index(both)),
            ("1.safetensors", shard("a")),
            ("2.safetensors", shard("a")),
        ]);
        assert!(message.contains("tensor a is in"), "{message}");
        let message =
            fails(&[(INDEX, index(r#"{"z":"1.safetensors"}"#)), ("1.safetensors", shard("a"))]);
        assert!(message.contains("names the tensor z"), "{message}");
        let message = fails(&[(INDEX, index(r#"{"a":"../1.safetensors"}"#))]);
        assert!(message.contains("not a file beside it"), "{message}");
        assert!(fails(&[]).contains("neither model.safetensors nor"));
    }
}
