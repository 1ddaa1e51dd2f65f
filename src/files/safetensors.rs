//! Safetensors files (<https://github.com/huggingface/safetensors#format>), written tensor by
//! tensor: a file may be as large as the disk, memory holds one tensor of it.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use safetensors::tensor::Dtype;
use serde_json::{Map, Value, json};

use super::write_atomically;

/// One tensor to be written.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What its numbers are stored as.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Entry {
    /// A tensor of f32.
    pub fn f32(name: impl Into<String>, shape: &[usize]) -> Self {
        Entry { name: name.into(), dtype: Dtype::F32, shape: shape.to_vec() }
    }

    fn bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }
}

/// Writes a file atomically, its tensors sorted by name. `bytes` gives the little-endian numbers
/// of an entry when its turn comes.
pub fn write(
    path: &Path,
    metadata: (&str, &str),
    mut entries: Vec<Entry>,
    mut bytes: impl FnMut(&Entry) -> Result<Vec<u8>>,
) -> Result<()> {
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let mut header = Map::from_iter([("__metadata__".into(), json!({metadata.0: metadata.1}))]);
    let mut at = 0;
    for entry in &entries {
        let end = at + entry.bytes();
        let place = json!({"dtype": entry.dtype, "shape": entry.shape, "data_offsets": [at, end]});
        let earlier = header.insert(entry.name.clone(), place);
        ensure!(earlier.is_none(), "two tensors are named {}", entry.name);
        at = end;
    }
    let mut header = serde_json::to_vec(&Value::Object(header))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    write_atomically(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for entry in &entries {
            let numbers = bytes(entry).with_context(|| format!("tensor {}", entry.name))?;
            let (has, wants) = (numbers.len(), entry.bytes());
            ensure!(has == wants, "tensor {} has {has} bytes instead of {wants}", entry.name);
            out.write_all(&numbers)?;
        }
        Ok(())
    })
}

/// The bytes of f32 numbers.
pub fn le_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::{SafeTensors, TensorView};

    #[test]
    fn the_bytes_are_those_of_the_reference_implementation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let entries = vec![Entry::f32("b", &[2, 2]), Entry::f32("a", &[3])];
        let numbers = |n: usize| le_bytes(&(0..n).map(|i| i as f32).collect::<Vec<_>>());
        let each = |e: &Entry| Ok(numbers(e.shape.iter().product()));
        write(&path, ("format", "pt"), entries, each).unwrap();
        let (three, four) = (numbers(3), numbers(4));
        let views = [
            ("a", TensorView::new(Dtype::F32, vec![3], &three).unwrap()),
            ("b", TensorView::new(Dtype::F32, vec![2, 2], &four).unwrap()),
        ];
        let metadata = Some([("format".to_string(), "pt".to_string())].into());
        let written = std::fs::read(&path).unwrap();
        assert_eq!(written, safetensors::serialize(views, metadata).unwrap());
        assert_eq!(SafeTensors::deserialize(&written).unwrap().len(), 2);
    }

    #[test]
    fn a_tensor_of_another_size_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let entries = vec![Entry::f32("a", &[3])];
        let error = write(&path, ("k", "v"), entries, |_| Ok(vec![0; 8])).unwrap_err();
        assert!(format!("{error:#}").contains("tensor a has 8 bytes instead of 12"), "{error:#}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
