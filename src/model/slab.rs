//! Numbers that a frozen weight keeps: owned, or where they lie in a mapped file.

use std::ops::Deref;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use memmap2::Mmap;

/// A number that can be read where it lies in a file.
///
/// # Safety
///
/// Every bit pattern must be a value of the type.
pub unsafe trait Plain: Copy {}

// SAFETY: every byte is a number.
unsafe impl Plain for u8 {}
// SAFETY: every 32 bits are a float.
unsafe impl Plain for f32 {}

/// A slice that is owned or mapped; a clone of a mapped one shares the map.
#[derive(Clone)]
pub struct Slab<T>(Kept<T>);

#[derive(Clone)]
enum Kept<T> {
    Owned(Vec<T>),
    Mapped { map: Arc<Mmap>, at: usize, len: usize },
}

impl<T: Plain> Slab<T> {
    /// `len` numbers from byte `at` of a map, in this machine's byte order. An error where they
    /// are not all there, or not aligned.
    pub fn mapped(map: &Arc<Mmap>, at: usize, len: usize) -> Result<Self> {
        let end = len.checked_mul(size_of::<T>()).and_then(|size| at.checked_add(size));
        let bytes = end.and_then(|end| map.get(at..end));
        let bytes = bytes.with_context(|| format!("{len} numbers at byte {at} are not there"))?;
        ensure!(bytes.as_ptr().cast::<T>().is_aligned(), "numbers at an odd byte {at}");
        Ok(Slab(Kept::Mapped { map: map.clone(), at, len }))
    }

    /// The memory they take, mapped or not, in bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(&self[..])
    }
}

impl<T: Plain> Deref for Slab<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &self.0 {
            Kept::Owned(values) => values,
            // SAFETY: `mapped` has checked bounds and alignment, and the map lives as long as
            // `self`; `Plain` makes the bytes numbers.
            Kept::Mapped { map, at, len } => unsafe {
                std::slice::from_raw_parts(map.as_ptr().add(*at).cast(), *len)
            },
        }
    }
}

impl<T> From<Vec<T>> for Slab<T> {
    fn from(values: Vec<T>) -> Self {
        Slab(Kept::Owned(values))
    }
}

impl<T: Plain + std::fmt::Debug> std::fmt::Debug for Slab<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self[..].fmt(f)
    }
}

impl<T: Plain + PartialEq> PartialEq for Slab<T> {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_there_is_mapped() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let floats: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|x| x.to_ne_bytes()).collect();
        std::fs::write(file.path(), &floats).unwrap();
        // SAFETY: nobody else knows the file.
        let map = Arc::new(unsafe { Mmap::map(file.as_file()) }.unwrap());
        let slab: Slab<f32> = Slab::mapped(&map, 0, 2).unwrap();
        assert_eq!((&slab[..], slab.bytes()), (&[1.5, -2.0][..], 8));
        assert_eq!(slab, Slab::from(vec![1.5, -2.0]));
        assert_eq!(Slab::<u8>::mapped(&map, 3, 5).unwrap()[..], floats[3..]);
        for (at, len) in [(0, 3), (4, 2), (8, 1), (2, 1), (usize::MAX, 1), (0, usize::MAX)] {
            assert!(Slab::<f32>::mapped(&map, at, len).is_err(), "{len} at {at}");
        }
    }
}
