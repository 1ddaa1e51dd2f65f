//! A dataset in every format and over any number of disks: the same rows, found again and proven.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use proto::config::{Config, Layers};
use proto::dataset::layout;
use proto::dataset::manifest::{Manifest, Provenance};
use proto::dataset::snapshot::{self, Shards, Snapshot};
use proto::dataset::source::{Recent, from_traces};
use proto::dataset::split::{Options, split};
use proto::dataset::{Dataset, Example, Held, Kind, Part, mix, written};
use proto::files::digest;
use proto::progress::{Observer, Silent};
use proto::redact::{Policy, Redactor};
use serde_json::json;

const PARTS: [Part; 3] = [Part::Train, Part::Tune, Part::Val];

/// A project with some sessions and three disks.
fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let rows = (0..90).map(|n| {
        let question = format!("What does file {n} \"say\"?\nÆ {}", "word ".repeat(n));
        let call = json!([{"id": "c", "type": "function", "function":
            {"name": "read", "arguments": {"z": n, "a": [1.5, null, "x"], "path": "a\\b"}}}]);
        let mut row = json!({"session": format!("s{n}"), "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": "", "tool_calls": call},
            {"role": "tool", "tool_call_id": "c", "content": format!("{n}\u{2028}\u{0}end")},
            {"role": "assistant", "content": format!("It says {n}.")},
        ]});
        if n % 2 == 0 {
            row["timestamp"] = json!(1_790_000_000 + n);
            row["keywords"] = json!(["file", n.to_string()]);
            row["outcome"] = json!("success");
            row["tools"] = json!([{"name": "read", "parameters": {"type": "object"}}]);
        }
        row.to_string() + "\n"
    });
    fs::write(folder.path().join("rows.jsonl"), rows.collect::<String>()).unwrap();
    for disk in ["a", "b", "c"] {
        fs::create_dir(folder.path().join(disk)).unwrap();
    }
    folder
}

fn config(project: &Path, format: &str, disks: &[&str]) -> Config {
    let disks: Vec<_> = disks.iter().map(|d| project.join(d).display().to_string()).collect();
    let mut layers = Layers::new();
    for setting in [
        format!("DATASET_FORMAT={format}"),
        format!("DATASET_SHARD_DIRS={}", disks.join(",")),
        "VAL_FRACTION=0.3".into(),
        "TUNE_FRACTION=0.2".into(),
    ] {
        layers.command_line(&setting).unwrap();
    }
    layers.resolve(&[]).unwrap()
}

fn words(example: &Example) -> Result<usize> {
    Ok(example.trace.text().split_whitespace().count())
}

fn dataset(project: &Path, config: &Config) -> Dataset {
    let loaded = proto::trace::load(&["rows.jsonl".into()], project, &Silent).unwrap();
    let rows = from_traces(loaded, Kind::Real, &Recent::default());
    let parts = split(&rows, &Options::from_config(config).unwrap(), None, &Silent).unwrap();
    mix::mix(&parts, &mix::Options::from_config(config).unwrap(), &words, &Silent).unwrap()
}

fn write(
    project: &Path,
    run: &str,
    config: &Config,
    observer: &dyn Observer,
) -> Result<(Snapshot, PathBuf)> {
    let folder = project.join(run).join("dataset");
    let policy = Policy::from_config(config)?;
    let dataset = dataset(project, config);
    let provenance = Provenance::default();
    let written = snapshot::write(&dataset, &folder, config, &policy, provenance, observer)?;
    Ok((written, folder))
}

/// Every file below a folder with its bytes; each is the owner's alone.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            found.extend(contents(&path));
        } else {
            assert_eq!(mode, 0o600, "{}", path.display());
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn every_layout_holds_the_same_text() {
    let project = project();
    let project = project.path();
    let plain = config(project, "jsonl", &[]);
    let (plain, folder) = write(project, "plain", &plain, &Silent).unwrap();
    let texts = PARTS.map(|part| {
        let text = fs::read_to_string(folder.join(written::text_name(part))).unwrap();
        assert!(text.lines().count() > 5);
        text
    });
    for (format, end) in [("jsonl", "jsonl"), ("zstd", "jsonl.zst"), ("parquet", "parquet")] {
        for disks in [&[][..], &["b"], &["a", "b", "c"]] {
            let config = config(project, format, disks);
            let run = format!("{format}{}", disks.len());
            let (snapshot, folder) = write(project, &run, &config, &Silent).unwrap();
            for (part, text) in PARTS.iter().zip(&texts) {
                let name = written::text_name(*part);
                let file = &snapshot.manifest.files[&name];
                let before = &plain.manifest.files[&name];
                assert_eq!(file.sha256, before.sha256);
                assert_eq!((file.rows, file.bytes), (before.rows, before.bytes));
                assert_eq!(file.sha256, digest(text.as_bytes()));

                let files = written::files(&folder, &snapshot.manifest, *part).unwrap();
                assert_eq!(files.len(), disks.len().max(1));
                let mut joined = Vec::new();
                for (n, (path, stored)) in files.iter().enumerate() {
                    let name = match disks.len() {
                        0 => format!("{}.{end}", part.as_str()),
                        count => format!("{}-{n:05}-of-{count:05}.{end}", part.as_str()),
                    };
                    assert_eq!(stored.name, name);
                    let bytes = fs::read(path).unwrap();
                    assert_eq!(
                        (&stored.sha256, stored.bytes),
                        (&digest(&bytes), bytes.len() as u64)
                    );
                    match format {
                        "zstd" => joined.extend(zstd::decode_all(&bytes[..]).unwrap()),
                        _ => joined.extend(bytes),
                    }
                }
                if format != "parquet" {
                    assert!(joined == text.as_bytes());
                }
                let rows: Result<Vec<_>> = written::rows(&folder, *part).unwrap().collect();
                let rows = rows.unwrap();
                let lines: String = rows.iter().map(|(line, _)| format!("{line}\n")).collect();
                assert!(lines == *text, "{run}: {name}");
                assert_eq!(serde_json::to_string(&rows[3].1).unwrap(), rows[3].0);
            }
            assert_eq!(folder.join("train.jsonl").exists(), run == "jsonl0");
            let manifest = fs::read_to_string(folder.join("dataset_manifest.json")).unwrap();
            assert!(!manifest.contains(project.to_str().unwrap()), "{manifest}");
            assert_eq!(folder.join("shards.json").exists(), !disks.is_empty());
        }
    }
    for disk in ["a", "b", "c"] {
        assert!(!contents(&project.join(disk)).is_empty());
    }
}

#[test]
fn a_second_writing_gives_the_same_files_beside_the_first() {
    let project = project();
    let project = project.path();
    for format in ["jsonl", "zstd", "parquet"] {
        let config = config(project, format, &["a", "b"]);
        let (first, folder) = write(project, "run", &config, &Silent).unwrap();
        let before: Vec<_> = ["a", "b"].iter().map(|d| contents(&project.join(d))).collect();
        let (second, _) = write(project, "run", &config, &Silent).unwrap();
        assert_eq!(first.digest, second.digest);
        for (disk, before) in ["a", "b"].iter().zip(before) {
            let after = contents(&project.join(disk));
            assert!(before.iter().all(|(path, bytes)| after.get(path) == Some(bytes)));
            assert_eq!(after.len(), 2 * before.len());
            fs::remove_dir_all(project.join(disk)).unwrap();
            fs::create_dir(project.join(disk)).unwrap();
        }
        fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn a_shard_that_is_not_the_manifests_is_refused_by_name() {
    let project = project();
    let project = project.path();
    let config = config(project, "jsonl", &["a", "b"]);
    let (snapshot, folder) = write(project, "run", &config, &Silent).unwrap();
    let files = written::files(&folder, &snapshot.manifest, Part::Train).unwrap();
    let path = &files[1].0;
    let whole = fs::read_to_string(path).unwrap();
    let read = || {
        let rows: Result<Vec<_>> = written::rows(&folder, Part::Train).unwrap().collect();
        rows.map(|rows| rows.len()).map_err(|error| format!("{error:#}"))
    };
    let rows = read().unwrap();
    let last = whole.trim_end().rfind('\n').unwrap() + 1;
    for (spoiled, says) in [
        (whole.replacen("It says", "He says", 1), "not the train-00001-of-00002.jsonl of"),
        (whole[..last].to_string(), "not the train-00001-of-00002.jsonl of"),
        (whole[..whole.len() - 9].to_string(), "not a row of a dataset"),
    ] {
        fs::write(path, spoiled).unwrap();
        let error = read().unwrap_err();
        assert!(error.contains(path.to_str().unwrap()) && error.contains(says), "{error}");
        assert!(!error.contains("It says"), "{error}");
    }
    // Shards may move, as long as the list says where to.
    let moved = project.join("c/train-00001-of-00002.jsonl");
    fs::write(&moved, &whole).unwrap();
    fs::remove_file(path).unwrap();
    assert!(read().unwrap_err().contains(path.to_str().unwrap()));
    let list = folder.join("shards.json");
    let text = fs::read_to_string(&list).unwrap();
    let text = text.replace(path.to_str().unwrap(), moved.to_str().unwrap());
    fs::write(&list, &text).unwrap();
    assert_eq!(read(), Ok(rows));
    fs::write(&list, text.replace("00001-of", "00007-of")).unwrap();
    let error = written::files(&folder, &snapshot.manifest, Part::Train).unwrap_err();
    assert!(format!("{error:#}").contains("names no train-00001-of-00002"), "{error:#}");
}

#[test]
fn written_shards_are_read_as_train_and_val_files() {
    let project = project();
    let project = project.path();
    let paths = |format: &str, disks: &[&str], part| -> Vec<PathBuf> {
        let run = format!("{format}{}", disks.len());
        let folder = project.join(&run).join("dataset");
        if !folder.exists() {
            write(project, &run, &config(project, format, disks), &Silent).unwrap();
        }
        let manifest = Manifest::read(&folder.join("dataset_manifest.json")).unwrap();
        let files = written::files(&folder, &manifest, part).unwrap();
        files.into_iter().map(|(path, _)| path).collect()
    };
    let read = |format, disks: &[&str]| {
        let [train, val] = [Part::Train, Part::Val].map(|part| paths(format, disks, part));
        let config = config(project, format, &[]);
        let redactor = Redactor::new(Policy::from_config(&config).unwrap()).unwrap();
        let shards = Shards { train, val };
        shards.read(project, &redactor, &config, &words, &Silent).unwrap()
    };
    let plain = read("jsonl", &[]);
    for (format, disks) in [("jsonl", &["a", "b", "c"][..]), ("zstd", &["a"]), ("parquet", &[])] {
        let other = read(format, disks);
        assert_eq!(other.to_string(), plain.to_string());
        for (one, other) in [(&plain.train, &other.train), (&plain.val, &other.val)] {
            let read =
                |rows: &[Held]| -> Vec<_> { rows.iter().map(|r| r.read().unwrap()).collect() };
            assert!(read(one) == read(other), "{format}");
        }
    }
}

#[test]
fn a_disk_that_is_not_there_is_named_and_nothing_is_written() {
    let project = project();
    let project = project.path();
    fs::write(project.join("file"), "").unwrap();
    for disk in ["gone", "file", "file/below"] {
        let config = config(project, "jsonl", &["a", disk]);
        assert!(layout::check(&config).is_err());
        let error = format!("{:#}", write(project, "run", &config, &Silent).unwrap_err());
        let named = project.join(disk).display().to_string();
        assert!(error.contains(&named) && error.contains("DATASET_SHARD_DIRS"), "{error}");
        assert!(!project.join("run").exists() && contents(&project.join("a")).is_empty());
    }
}

/// Says stop after so many questions.
struct StopAfter(AtomicUsize);

impl Observer for StopAfter {
    fn cancelled(&self) -> bool {
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_err()
    }
}

#[test]
fn stopping_anywhere_leaves_whole_shards_and_no_manifest() {
    let project = project();
    let project = project.path();
    for format in ["jsonl", "zstd", "parquet"] {
        let config = config(project, format, &["a", "b"]);
        let (whole, _) = write(project, &format!("{format}-whole"), &config, &Silent).unwrap();
        let known: Vec<_> =
            whole.manifest.files.values().flat_map(|text| text.stored.clone()).collect();
        let policy = Policy::from_config(&config).unwrap();
        let dataset = dataset(project, &config);
        let mut stops = 0;
        for n in 0.. {
            let run = format!("{format}-{n}");
            let folder = project.join(&run).join("dataset");
            let observer = StopAfter(AtomicUsize::new(n));
            let provenance = Provenance::default();
            let ended = snapshot::write(&dataset, &folder, &config, &policy, provenance, &observer);
            for disk in ["a", "b"] {
                for (path, bytes) in contents(&project.join(disk).join(&run)) {
                    let name = path.file_name().unwrap().to_str().unwrap();
                    let file = known.iter().find(|file| file.name == name);
                    assert_eq!(file.map(|f| f.sha256.clone()), Some(digest(&bytes)), "{name}");
                }
            }
            if ended.is_ok() {
                break;
            }
            assert!(!folder.join("dataset_manifest.json").exists());
            stops += 1;
        }
        assert!(stops >= 6, "{stops}");
    }
}
