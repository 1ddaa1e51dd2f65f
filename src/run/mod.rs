//! One run's folder: its name, its lock, and `run.json`.
//!
//! `run.json` holds everything that differs between two identical runs: times, threads, host,
//! absolute paths. Nothing of that kind stands in any other file, so that those are the same
//! bytes wherever and whenever they are made.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use fd_lock::RwLock;
use jiff::Timestamp;

use crate::files;

mod record;

pub use record::Record;

const LOCK: &str = ".lock";
const RECORD: &str = "run.json";

/// A run's folder, held by this process alone until the value is dropped.
#[derive(Debug)]
pub struct Run {
    folder: PathBuf,
    record: Record,
    // Closing the file gives the lock back.
    _lock: RwLock<File>,
}

impl Run {
    /// Makes a new folder under `parent`, named by the time in UTC: `20261122T101500Z`, with
    /// `-2`, `-3`, … where that name is taken. `args` is the command line, for `run.json`.
    pub fn create(parent: &Path, args: &[String]) -> Result<Run> {
        Run::create_at(parent, args, Timestamp::now())
    }

    fn create_at(parent: &Path, args: &[String], now: Timestamp) -> Result<Run> {
        let remedy = "choose another folder with --out or RUNS_DIR";
        fs::create_dir_all(parent).with_context(|| {
            format!("cannot make the folder for runs {}; {remedy}", parent.display())
        })?;
        let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let folder = claim(parent, &stamp).with_context(|| {
            format!("cannot write to the folder for runs {}; {remedy}", parent.display())
        })?;
        sweep(parent);
        let made = || -> Result<Run> {
            let lock = lock(&folder)?;
            // What a run writes may be private wherever the folder lies.
            files::write_bytes(&folder.join(".gitignore"), b"*\n")?;
            let record = Record::new(&folder, args, now);
            record.write(&folder.join(RECORD))?;
            Ok(Run { folder: folder.clone(), record, _lock: lock })
        };
        made().with_context(|| format!("cannot start a run in {}; {remedy}", folder.display()))
    }

    /// The run's name: its folder's.
    pub fn name(&self) -> String {
        let name = self.folder.file_name();
        name.map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The run's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the dataset goes.
    pub fn dataset_dir(&self) -> PathBuf {
        self.folder.join("dataset")
    }

    /// Where the adapter goes.
    pub fn adapter_dir(&self) -> PathBuf {
        self.folder.join("adapter")
    }

    /// Where evaluation and decision go.
    pub fn eval_dir(&self) -> PathBuf {
        self.folder.join("eval")
    }

    /// Notes something that differs between identical runs, and writes `run.json`.
    pub fn note(&self, name: &str, value: impl serde::Serialize) -> Result<()> {
        self.record.note(name, serde_json::to_value(value)?);
        self.record.write(&self.folder.join(RECORD))
    }

    /// Notes how and when the run ended.
    pub fn finish(&self, status: &str) -> Result<()> {
        self.record.note("finished", Timestamp::now().to_string().into());
        self.note("status", status)
    }
}

/// The first free name; making the folder is what decides between two runs of one second.
fn claim(parent: &Path, stamp: &str) -> std::io::Result<PathBuf> {
    for copy in 1u32.. {
        let name = if copy == 1 { stamp.to_string() } else { format!("{stamp}-{copy}") };
        let folder = parent.join(name);
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match builder.create(&folder) {
            Ok(()) => return Ok(folder),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => continue,
            Err(e) => return Err(e),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// How long a half-written file must have lain untouched: commands that look at a run hold no lock.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// Removes what runs left half-written that were killed. What cannot be removed stays.
fn sweep(parent: &Path) {
    let within = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let abandoned = |path: &PathBuf| {
        let name =
            path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(files::PARTIAL));
        name && fs::symlink_metadata(path).is_ok_and(|file| {
            let since = file.modified().ok().and_then(|at| at.elapsed().ok());
            file.is_file() && since.is_some_and(|since| since > ABANDONED)
        })
    };
    for run in within(parent).into_iter().filter(|run| run.join(LOCK).is_file()) {
        let inner = within(&run).into_iter().filter(|path| path.is_dir() && !path.is_symlink());
        let folders = inner.chain([run.clone()]);
        let left: Vec<_> = folders.flat_map(|folder| within(&folder)).filter(abandoned).collect();
        if left.is_empty() {
            continue;
        }
        if let Ok(_held) = lock(&run) {
            left.iter().for_each(|path| drop(fs::remove_file(path)));
        }
    }
}

fn lock(folder: &Path) -> Result<RwLock<File>> {
    let path = folder.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut lock = RwLock::new(file);
    match lock.try_write() {
        // The lock belongs to the open file: it is held until that is closed.
        Ok(guard) => std::mem::forget(guard),
        Err(e) if e.kind() == ErrorKind::WouldBlock => {
            return Err(anyhow!("another process is using the run {}", folder.display()));
        }
        Err(e) => return Err(e).with_context(|| format!("cannot lock {}", path.display())),
    }
    Ok(lock)
}

/// Whether a process holds the run in this folder. It is asked with a lock that several may have
/// at once; one that cannot be asked is nobody's.
pub fn is_in_use(folder: &Path) -> bool {
    let Ok(file) = File::open(folder.join(LOCK)) else { return false };
    let lock = RwLock::new(file);
    let tried = lock.try_read().map(drop);
    tried.is_err_and(|e| e.kind() == ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn noon() -> Timestamp {
        "2026-11-22T10:15:00.5Z".parse().unwrap()
    }

    fn read(run: &Run) -> Value {
        let bytes = fs::read(run.folder().join("run.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn runs_of_one_second_get_folders_of_their_own() {
        let parent = tempfile::tempdir().unwrap();
        let runs = parent.path().join("a/b");
        let made: Vec<_> = (0..3).map(|_| Run::create_at(&runs, &[], noon()).unwrap()).collect();
        let names: Vec<_> = made.iter().map(Run::name).collect();
        assert_eq!(names, ["20261122T101500Z", "20261122T101500Z-2", "20261122T101500Z-3"]);
        assert_eq!(made[0].dataset_dir(), runs.join("20261122T101500Z/dataset"));
        assert_eq!(fs::read(made[0].folder().join(".gitignore")).unwrap(), b"*\n");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_a_run() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let run = Run::create_at(parent.path(), &[], noon()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(run.folder()), 0o700);
        for file in fs::read_dir(run.folder()).unwrap() {
            let path = file.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }

    #[test]
    fn a_run_belongs_to_one_process_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let run = Run::create_at(parent.path(), &[], noon()).unwrap();
        let folder = run.folder().to_path_buf();
        let error = lock(&folder).unwrap_err().to_string();
        assert!(error.contains("another process is using"), "{error}");
        drop(run);
        assert!(lock(&folder).is_ok());
    }

    #[test]
    fn what_a_killed_run_left_half_written_goes_with_the_next_run() {
        let parent = tempfile::tempdir().unwrap();
        let run = Run::create_at(parent.path(), &[], noon()).unwrap();
        fs::create_dir(run.dataset_dir()).unwrap();
        let file = |name: &str, age: u64| {
            let path = run.dataset_dir().join(name);
            let file = File::create(&path).unwrap();
            let at = std::time::SystemTime::now() - Duration::from_secs(age);
            file.set_modified(at).unwrap();
            path
        };
        let (old, new, whole) =
            (file(".partial-a", 7200), file(".partial-b", 60), file("train.jsonl", 7200));
        drop(Run::create_at(parent.path(), &[], noon()).unwrap());
        assert!(old.exists(), "its run goes on");
        drop(run);
        drop(Run::create_at(parent.path(), &[], noon()).unwrap());
        assert!(!old.exists() && new.exists() && whole.exists());
    }

    #[test]
    fn the_record_tells_who_where_and_how_it_ended() {
        let parent = tempfile::tempdir().unwrap();
        let args = ["proto", "run", "--set", "SEED=3", "api_key=abc", "--out", "x"];
        let run = Run::create_at(parent.path(), &args.map(String::from), noon()).unwrap();
        run.note("threads", 2).unwrap();
        assert_eq!(read(&run).get("finished"), None);
        run.finish("done").unwrap();
        let record = read(&run);
        assert_eq!(record["threads"], 2);
        assert_eq!(record["status"], "done");
        assert!(record["finished"].is_string());
        assert_eq!(record["version"], env!("CARGO_PKG_VERSION"));
        assert!(Path::new(record["folder"].as_str().unwrap()).is_absolute());
        assert_eq!(record["args"][3], "SEED=3");
        assert_eq!(record["args"][4], "api_key=***");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named_with_the_remedy() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("taken");
        fs::write(&file, "").unwrap();
        let error = format!("{:#}", Run::create(&file, &[]).unwrap_err());
        assert!(error.contains("taken") && error.contains("--out"), "{error}");
    }
}
