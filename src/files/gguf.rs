//! The GGUF container, versions 2 and 3: metadata, and tensors in blocks.
//!
//! What the numbers mean (architecture, tokenizer, weights) is for the rooms that ask. Format:
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

mod read;
mod write;

pub use read::{Gguf, TensorInfo};
pub use write::{Metadata, Planned, write};

/// Metadata types with a length.
const TEXT: u32 = 8;
const ARRAY: u32 = 9;

/// How a tensor's numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Storage {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

/// ggml's type numbers and names of them all, in the order of the enum.
const TYPES: [(Storage, u32, &str); 13] = [
    (Storage::F32, 0, "F32"),
    (Storage::F16, 1, "F16"),
    (Storage::BF16, 30, "BF16"),
    (Storage::Q4_0, 2, "Q4_0"),
    (Storage::Q4_1, 3, "Q4_1"),
    (Storage::Q5_0, 6, "Q5_0"),
    (Storage::Q5_1, 7, "Q5_1"),
    (Storage::Q8_0, 8, "Q8_0"),
    (Storage::Q2K, 10, "Q2_K"),
    (Storage::Q3K, 11, "Q3_K"),
    (Storage::Q4K, 12, "Q4_K"),
    (Storage::Q5K, 13, "Q5_K"),
    (Storage::Q6K, 14, "Q6_K"),
];

impl Storage {
    /// The storage for ggml's type number, or the name of one that is not read.
    fn from_ggml(kind: u32) -> std::result::Result<Self, String> {
        if let Some((storage, ..)) = TYPES.iter().find(|(_, number, _)| *number == kind) {
            return Ok(*storage);
        }
        Err(match kind {
            16 => "IQ2_XXS".into(),
            17 => "IQ2_XS".into(),
            18 => "IQ3_XXS".into(),
            19 => "IQ1_S".into(),
            20 => "IQ4_NL".into(),
            21 => "IQ3_S".into(),
            22 => "IQ2_S".into(),
            23 => "IQ4_XS".into(),
            29 => "IQ1_M".into(),
            34 => "TQ1_0".into(),
            35 => "TQ2_0".into(),
            39 => "MXFP4".into(),
            other => format!("type {other}"),
        })
    }

    /// ggml's type number and name.
    fn in_ggml(self) -> (u32, &'static str) {
        let (_, kind, name) = TYPES[self as usize];
        (kind, name)
    }

    /// ggml's name for it.
    pub fn name(self) -> &'static str {
        self.in_ggml().1
    }

    /// Numbers in one block and the bytes it takes.
    pub fn block(self) -> (usize, usize) {
        match self {
            Storage::F32 => (1, 4),
            Storage::F16 | Storage::BF16 => (1, 2),
            Storage::Q4_0 => (32, 18),
            Storage::Q4_1 => (32, 20),
            Storage::Q5_0 => (32, 22),
            Storage::Q5_1 => (32, 24),
            Storage::Q8_0 => (32, 34),
            Storage::Q2K => (256, 84),
            Storage::Q3K => (256, 110),
            Storage::Q4K => (256, 144),
            Storage::Q5K => (256, 176),
            Storage::Q6K => (256, 210),
        }
    }
}

/// The GGUF that a path means: the file itself, or the only one in a folder that is not a Hugging
/// Face model. Nothing, where the path is a Hugging Face folder.
pub fn find(path: &Path) -> Result<Option<PathBuf>> {
    let name = || format!("cannot open the model {}", path.display());
    if !path.metadata().with_context(name)?.is_dir() {
        return Ok(Some(path.to_path_buf()));
    }
    if path.join("config.json").exists() {
        return Ok(None);
    }
    let mut found = Vec::new();
    for entry in path.read_dir().with_context(name)? {
        let file = entry.with_context(name)?.path();
        if file.extension().is_some_and(|e| e == "gguf") {
            found.push(file);
        }
    }
    match found.len() {
        0 => Ok(None),
        1 => Ok(found.pop()),
        n => bail!("{} holds {n} GGUF files; name one of them", path.display()),
    }
}
