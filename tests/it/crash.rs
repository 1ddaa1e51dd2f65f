//! A run that is killed, finds no room or no folder, or is not alone: nothing half-written ever
//! stands under a final name, and the next run is as if nothing had happened.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use proto::chance::Chance;
use proto::files::digest;
use serde_json::Value;

const SCRIPT: &str = r#"
import "proto/generators" as generators;
let real = load_traces();
let rows = real + generators::synthetic(real, 1);
write(mix(split(dedup(filter_quality(windows(redact(rows)))))));
"#;

/// A place for runs, with two disks.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn with(rows: usize) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/sample/house.jsonl");
        let text = fs::read_to_string(sample).unwrap();
        let lines: Vec<_> = text.lines().take(rows).collect();
        fs::write(folder.path().join("traces.jsonl"), lines.join("\n")).unwrap();
        fs::write(folder.path().join("dataset.rhai"), SCRIPT).unwrap();
        for disk in ["a", "b"] {
            fs::create_dir(folder.path().join(disk)).unwrap();
        }
        Place { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program on the way from traces to a dataset, with all runs under `runs`.
    fn command(&self, program: &mut Command, settings: &[String]) {
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PROTO_")) {
            program.env_remove(name);
        }
        program.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::piped());
        program.arg("run").arg(self.path("dataset.rhai"));
        let own = [
            format!("TRACES={}", self.path("traces.jsonl").display()),
            format!("RUNS_DIR={}", self.path("runs").display()),
            "MIN_TRAIN_EXAMPLES=1".into(),
            "MIN_VAL_EXAMPLES=1".into(),
            "LEDGER=".into(),
        ];
        for setting in own.iter().chain(settings) {
            program.args(["--set", setting]);
        }
    }

    fn start(&self, settings: &[String]) -> std::process::Child {
        let mut program = Command::new(env!("CARGO_BIN_EXE_proto"));
        self.command(&mut program, settings);
        program.spawn().unwrap()
    }

    /// Runs to the end, which is a good one.
    fn run(&self, settings: &[String]) -> Files {
        let before = self.runs();
        let output = self.start(settings).wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        let new: Vec<_> = self.runs().into_iter().filter(|run| !before.contains(run)).collect();
        assert_eq!(new.len(), 1);
        self.files(&new[0])
    }

    /// The names of the runs so far.
    fn runs(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("runs")).into_iter().flatten();
        entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    /// What a run has written under final names, in its own folder and on the disks.
    fn files(&self, run: &str) -> Files {
        let mut files = Files::new();
        let folder = self.path("runs").join(run);
        let disks = ["a", "b"].map(|disk| self.path(disk).join(run));
        for folder in [folder.join("dataset")].iter().chain(&disks) {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                let bytes = fs::read(&path).unwrap();
                if name == "shards.json" {
                    // It holds this place's paths; whole is all it has to be.
                    serde_json::from_slice::<Value>(&bytes).unwrap();
                } else if !name.starts_with(".partial-") {
                    assert!(files.insert(name, digest(&bytes)).is_none());
                }
            }
        }
        if let Ok(record) = fs::read(folder.join("run.json")) {
            serde_json::from_slice::<Value>(&record).unwrap();
        }
        files
    }

    fn disks(&self) -> String {
        format!("DATASET_SHARD_DIRS={},{}", self.path("a").display(), self.path("b").display())
    }
}

/// Digests by name.
type Files = BTreeMap<String, String>;

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What is said last before the dataset is written.
const BEFORE_WRITING: &str = "mix:";

/// Reads on until a line begins with a word, or to the end.
fn wait_for(said: &str, lines: &mut impl BufRead) {
    let mut line = String::new();
    while !line.starts_with(said) {
        line.clear();
        if lines.read_line(&mut line).unwrap() == 0 {
            break;
        }
    }
}

/// What a run that is left alone writes, how long it takes, and how long the writing.
fn whole(place: &Place, settings: &[String]) -> (Files, Duration, Duration) {
    let start = Instant::now();
    let files = place.run(settings);
    let took = start.elapsed();
    let mut child = place.start(settings);
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    wait_for(BEFORE_WRITING, &mut lines);
    let start = Instant::now();
    lines.read_to_end(&mut Vec::new()).unwrap();
    assert!(child.wait().unwrap().success());
    (files, took, start.elapsed())
}

/// Kills a run so long after it has said something, and waits until it is gone.
fn kill(place: &Place, settings: &[String], said: &str, after: Duration) {
    let mut child = place.start(settings);
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    wait_for(said, &mut lines);
    std::thread::sleep(after);
    // SIGKILL; a run that has just ended is as good a case.
    let _ = child.kill();
    let _ = lines.read_to_end(&mut Vec::new());
    child.wait().unwrap();
}

/// Kills runs at random moments, each followed by one that is left alone, and says how many of
/// them were writing just then.
fn killed(times: usize) -> usize {
    let mut chance = Chance::new(9, "moments");
    let place = Place::with(150);
    let layouts = [
        vec!["DATASET_FORMAT=jsonl".to_string()],
        vec!["DATASET_FORMAT=zstd".to_string(), place.disks()],
        vec!["DATASET_FORMAT=parquet".to_string(), place.disks()],
    ];
    let undisturbed = layouts.each_ref().map(|settings| whole(&place, settings));
    assert!(undisturbed.iter().all(|(files, ..)| files.contains_key("dataset_manifest.json")));
    assert_ne!(undisturbed[0].0, undisturbed[1].0);
    let mut writing = 0;
    for n in 0..times {
        let (settings, (wanted, took, written)) = (&layouts[n % 3], &undisturbed[n % 3]);
        let before = place.runs();
        // Every other one while the dataset is being written.
        let (said, most) = if n % 2 == 0 { (BEFORE_WRITING, written) } else { ("", took) };
        kill(&place, settings, said, most.mul_f64(chance.below(1000) as f64 / 1000.0));
        for run in place.runs().iter().filter(|run| !before.contains(run)) {
            let files = place.files(run);
            writing += usize::from((1..wanted.len()).contains(&files.len()));
            for (name, digest) in files {
                assert_eq!(wanted.get(&name), Some(&digest), "{name} of {run} is not whole");
            }
        }
        assert_eq!(place.run(settings), *wanted, "after the kill number {n}");
    }
    writing
}

/// A handful; `CRASH_KILLS=100` takes minutes.
#[test]
fn a_killed_run_leaves_whole_files_and_the_next_one_is_complete() {
    let times = std::env::var("CRASH_KILLS").map_or(6, |times| times.parse().unwrap());
    let writing = killed(times);
    assert!(times < 100 || writing > 3, "hardly any run was killed while it wrote");
}

#[test]
fn two_runs_at_once_do_not_meet() {
    let place = Place::with(150);
    let settings = [place.disks()];
    let alone = place.run(&settings);
    let first = place.runs();
    let both = [place.start(&settings), place.start(&settings)];
    for child in both {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    }
    let runs: Vec<_> = place.runs().into_iter().filter(|run| !first.contains(run)).collect();
    assert_eq!(runs.len(), 2);
    for run in runs {
        assert_eq!(place.files(&run), alone, "{run}");
    }
}

#[test]
fn a_full_disk_names_the_shard_and_leaves_none() {
    let place = Place::with(600);
    for format in ["jsonl", "zstd", "parquet"] {
        let before = place.runs();
        // Files may grow to so many blocks of 1,024 bytes, as on a disk that fills up.
        let mut bash = Command::new("bash");
        let limited = "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\"";
        bash.args(["-c", limited, env!("CARGO_BIN_EXE_proto")]);
        place.command(&mut bash, &[place.disks(), format!("DATASET_FORMAT={format}")]);
        let output = bash.output().unwrap();
        let told = told(&output);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("cannot write") && told.contains("train-0000"), "{told}");
        let run = place.runs().into_iter().find(|run| !before.contains(run)).unwrap();
        let files = place.files(&run);
        assert!(files.keys().all(|name| !name.starts_with("train-")), "{files:?}");
        assert!(!files.contains_key("dataset_manifest.json"), "{files:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_cannot_be_written_is_named_before_any_work() {
    let place = Place::with(150);
    let file = place.path("traces.jsonl").display().to_string();
    // Nobody can make a folder in /sys, root included.
    for (setting, says) in [
        (format!("RUNS_DIR={file}/runs"), file.as_str()),
        ("RUNS_DIR=/sys/runs".into(), "/sys/runs"),
        (format!("DATASET_SHARD_DIRS={file}"), "is not a folder"),
        ("DATASET_SHARD_DIRS=/nowhere/disk".into(), "mount the disk"),
    ] {
        let output = place.start(std::slice::from_ref(&setting)).wait_with_output().unwrap();
        let told = told(&output);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(says) && !told.contains("load:"), "{setting}: {told}");
        assert!(place.runs().is_empty());
    }
    let output = place.start(&["DATASET_SHARD_DIRS=/sys".into()]).wait_with_output().unwrap();
    let told = told(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("cannot write into /sys (DATASET_SHARD_DIRS)"), "{told}");
    let run = place.runs().remove(0);
    assert!(place.files(&run).is_empty(), "nothing is written where only half can be");
}
