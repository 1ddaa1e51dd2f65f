//! Writing: the header first, then one tensor at a time: a model need not fit in memory.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{ARRAY, Storage, TEXT};
use crate::files;

/// Where tensors begin, in bytes; what a file without `general.alignment` means.
const ALIGNMENT: usize = 32;

/// Metadata in the order it is written.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    /// Key, and type and value as they lie in the file.
    entries: Vec<(String, Vec<u8>)>,
}

impl Metadata {
    /// An entry with its type and value as they lie in a file, in place of an earlier one.
    pub fn raw(&mut self, key: &str, value: Vec<u8>) -> &mut Self {
        self.entries.retain(|(other, _)| other != key);
        self.entries.push((key.into(), value));
        self
    }

    fn put(&mut self, key: &str, kind: u32, value: &[u8]) -> &mut Self {
        self.raw(key, [&kind.to_le_bytes(), value].concat())
    }

    /// A whole number.
    pub fn u32(&mut self, key: &str, value: u32) -> &mut Self {
        self.put(key, 4, &value.to_le_bytes())
    }

    /// A number.
    pub fn f32(&mut self, key: &str, value: f32) -> &mut Self {
        self.put(key, 6, &value.to_le_bytes())
    }

    /// A truth value.
    pub fn boolean(&mut self, key: &str, value: bool) -> &mut Self {
        self.put(key, 7, &[value.into()])
    }

    /// A text.
    pub fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.put(key, TEXT, &text(value))
    }

    /// An array of texts.
    pub fn texts(&mut self, key: &str, values: &[String]) -> &mut Self {
        let elements: Vec<u8> = values.iter().flat_map(|value| text(value)).collect();
        self.array(key, TEXT, values.len(), &elements)
    }

    /// An array of whole numbers.
    pub fn i32s(&mut self, key: &str, values: &[i32]) -> &mut Self {
        let elements: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.array(key, 5, values.len(), &elements)
    }

    fn array(&mut self, key: &str, kind: u32, count: usize, elements: &[u8]) -> &mut Self {
        self.put(
            key,
            ARRAY,
            &[&kind.to_le_bytes(), &(count as u64).to_le_bytes()[..], elements].concat(),
        )
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: Metadata) -> &mut Self {
        for (key, value) in other.entries {
            self.raw(&key, value);
        }
        self
    }
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A tensor that will be written.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Its name in the file.
    pub name: String,
    /// Rows first, as everywhere in this program.
    pub shape: Vec<usize>,
    /// How its numbers are stored.
    pub storage: Storage,
}

impl Planned {
    fn size(&self) -> Result<usize> {
        let (block, width) = self.storage.block();
        let columns = self.shape.last().copied().unwrap_or_default();
        ensure!(
            columns > 0 && columns.is_multiple_of(block),
            "{}: rows of {columns} numbers do not fill blocks of {block}",
            self.name
        );
        Ok(self.shape.iter().product::<usize>() / block * width)
    }
}

/// Writes a file of version 3. `bytes` gives the blocks of the tensor of that index, when its turn
/// has come.
pub fn write(
    path: &Path,
    metadata: &Metadata,
    tensors: &[Planned],
    mut bytes: impl FnMut(usize) -> Result<Vec<u8>>,
) -> Result<()> {
    let mut header = b"GGUF".to_vec();
    header.extend(3u32.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend((metadata.entries.len() as u64).to_le_bytes());
    for (key, value) in &metadata.entries {
        header.extend(text(key));
        header.extend(value);
    }
    let mut offset = 0usize;
    for tensor in tensors {
        header.extend(text(&tensor.name));
        header.extend((tensor.shape.len() as u32).to_le_bytes());
        header.extend(tensor.shape.iter().rev().flat_map(|n| (*n as u64).to_le_bytes()));
        header.extend(tensor.storage.in_ggml().0.to_le_bytes());
        header.extend((offset as u64).to_le_bytes());
        offset += tensor.size()?.next_multiple_of(ALIGNMENT);
    }
    header.resize(header.len().next_multiple_of(ALIGNMENT), 0);
    files::write_atomically(path, |out| {
        out.write_all(&header)?;
        for (index, tensor) in tensors.iter().enumerate() {
            let mut bytes = bytes(index).with_context(|| format!("tensor {}", tensor.name))?;
            let size = tensor.size()?;
            ensure!(bytes.len() == size, "{}: {} bytes for {size}", tensor.name, bytes.len());
            bytes.resize(size.next_multiple_of(ALIGNMENT), 0);
            out.write_all(&bytes)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Gguf, TYPES};
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gguf");
        let mut metadata = Metadata::default();
        metadata.u32("number", 7).u32("number", 8).f32("half", 0.5).boolean("yes", true);
        metadata.text("word", "ü").texts("words", &["a".into(), String::new()]).i32s("ids", &[-1]);
        let tensors: Vec<Planned> = TYPES
            .iter()
            .map(|(storage, _, name)| Planned {
                name: name.to_string(),
                shape: vec![3, 256],
                storage: *storage,
            })
            .collect();
        let content = |i: usize| vec![i as u8; tensors[i].size().unwrap()];
        write(&path, &metadata, &tensors, |i| Ok(content(i))).unwrap();

        let gguf = Gguf::open(&path).unwrap();
        assert_eq!(gguf.unsigned("number").unwrap(), Some(8));
        assert_eq!(gguf.float("half").unwrap(), Some(0.5));
        assert_eq!(gguf.boolean("yes").unwrap(), Some(true));
        assert_eq!(gguf.text("word").unwrap(), Some("ü"));
        assert_eq!(gguf.texts("words").unwrap(), Some(vec!["a", ""]));
        assert_eq!(gguf.integers("ids").unwrap(), Some(vec![-1]));
        assert_eq!(gguf.tensors().len(), tensors.len());
        for (i, tensor) in tensors.iter().enumerate() {
            let info = &gguf.tensors()[&tensor.name];
            assert_eq!(tensor.storage.name(), tensor.name);
            assert_eq!((info.storage, &info.shape), (tensor.storage, &tensor.shape));
            assert_eq!(gguf.bytes(info), content(i));
        }
        let mut copy = Metadata::default();
        for (key, value) in gguf.entries("wo") {
            copy.raw(key, value.to_vec());
        }
        write(&path, &copy, &[], |_| unreachable!()).unwrap();
        let gguf = Gguf::open(&path).unwrap();
        assert_eq!(gguf.texts("words").unwrap(), Some(vec!["a", ""]));
        assert_eq!((gguf.text("word").unwrap(), gguf.float("half").unwrap()), (Some("ü"), None));
    }

    #[test]
    fn bytes_that_do_not_fit_their_tensor_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gguf");
        let tensor = |columns| {
            [Planned { name: "t".into(), shape: vec![2, columns], storage: Storage::Q8_0 }]
        };
        let attempt = |columns, n| {
            let result = write(&path, &Metadata::default(), &tensor(columns), |_| Ok(vec![0; n]));
            format!("{:#}", result.unwrap_err())
        };
        assert!(attempt(32, 67).contains("t: 67 bytes for 68"));
        assert!(attempt(33, 68).contains("do not fill blocks of 32"));
        assert!(!path.exists());
    }
}
