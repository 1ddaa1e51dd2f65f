//! Whether git would take a file along.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// Refuses a place that git watches: sessions there would be committed sooner or later.
pub fn refuse_tracked(out: &Path) -> Result<()> {
    let out = std::path::absolute(out)?;
    let Some(folder) = existing(&out) else { return Ok(()) };
    if !folder.ancestors().any(|f| f.join(".git").exists()) {
        return Ok(());
    }
    let asked = Command::new("git")
        .arg("-C")
        .arg(&folder)
        .args(["check-ignore", "--quiet", "--no-index"])
        .arg(&out)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match asked.as_ref().map(|status| status.code()) {
        Ok(Some(0)) => Ok(()),
        Ok(Some(1)) => bail!(
            "{} is in a git repository that does not ignore it: sessions would be committed with \
             the code; add it to .gitignore, or name another place with --out",
            out.display()
        ),
        _ => bail!(
            "{} is in a git repository, and git cannot be asked whether it ignores it; name \
             another place with --out",
            out.display()
        ),
    }
}

/// The nearest folder above a path that is there.
fn existing(path: &Path) -> Option<PathBuf> {
    path.ancestors().skip(1).find(|folder| folder.is_dir()).map(PathBuf::from)
}
