//! Digests of big files, remembered, so that a start need not read gigabytes to name a model.
//!
//! A file is taken for the one seen before while device, inode, size and both its times (content
//! and inode, to the nanosecond) are the same. Every ordinary way to change or replace a file
//! changes one of them; only a clock set back or a write past the file system does not. Files
//! changed in the last seconds are not remembered, since times have a grain.

use std::fs::{self, Metadata};
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{digest_file, write_json};

const FILE: &str = "digests.json";
/// Smaller files are read each time: that takes no time.
const SMALL: u64 = 16 << 20;
/// The files remembered, newest first.
const MOST: usize = 64;

#[derive(Serialize, Deserialize)]
struct Seen {
    file: String,
    sha256: String,
}

/// [`digest_file`], remembered in `digests.json` of `folder`. What cannot be remembered is only
/// slow the next time, and never an error.
pub fn remembered(path: &Path, folder: &Path) -> Result<String> {
    let look = || path.metadata().with_context(|| format!("cannot read {}", path.display()));
    let metadata = look()?;
    let Some(file) = identity(&metadata).filter(|_| metadata.len() >= SMALL) else {
        return digest_file(path);
    };
    let list = folder.join(FILE);
    let mut seen: Vec<Seen> = match list.metadata() {
        Ok(found) if found.len() < 1 << 16 => fs::read(&list)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default(),
        _ => Vec::new(),
    };
    if let Some(known) = seen.iter().find(|seen| seen.file == file) {
        return Ok(known.sha256.clone());
    }
    let sha256 = digest_file(path)?;
    if identity(&look()?).as_ref() == Some(&file) && settled(&metadata) {
        seen.insert(0, Seen { file, sha256: sha256.clone() });
        seen.truncate(MOST);
        let _ = write_json(&list, &seen);
    }
    Ok(sha256)
}

#[cfg(unix)]
fn identity(file: &Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let content = format!("{}.{:09}", file.mtime(), file.mtime_nsec());
    let inode = format!("{}.{:09}", file.ctime(), file.ctime_nsec());
    Some(format!("{} {} {} {content} {inode}", file.dev(), file.ino(), file.len()))
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Option<String> {
    None
}

/// Whether the file was last changed long enough ago that another change would show.
#[cfg(unix)]
fn settled(file: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.is_ok_and(|now| file.mtime().max(file.ctime()) + 2 < now.as_secs() as i64)
}

#[cfg(not(unix))]
fn settled(_: &Metadata) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_again_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        fs::write(&path, vec![7; SMALL as usize]).unwrap();
        let first = remembered(&path, folder.path()).unwrap();
        assert_eq!(first, digest_file(&path).unwrap());
        let list = folder.path().join(FILE);
        assert!(!list.exists(), "a file that has just changed is remembered");

        // As if it had been seen long ago.
        let file = identity(&path.metadata().unwrap()).unwrap();
        let known = Seen { file, sha256: "known".into() };
        write_json(&list, &[known]).unwrap();
        assert_eq!(remembered(&path, folder.path()).unwrap(), "known");
        fs::write(&path, vec![8; SMALL as usize]).unwrap();
        assert_eq!(remembered(&path, folder.path()).unwrap(), digest_file(&path).unwrap());
        fs::write(&list, "{").unwrap();
        assert_eq!(remembered(&path, folder.path()).unwrap(), digest_file(&path).unwrap());
    }
}
