//! The invented workshop behind the embedded base and the sample, tested as scripts see it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use proto::dataset::dedup::dedup;
use proto::dataset::source::{Recent, from_traces};
use proto::dataset::{Kind, Rows};
use proto::progress::Silent;
use proto::script::{Script, run_tests};

const TESTS: &str = include_str!("invented.rhai");

#[test]
fn the_workshop_keeps_its_promises() {
    let script = Script::from_text("invented.rhai", TESTS).unwrap();
    let verdicts = run_tests(&script, Arc::new(Silent)).unwrap();
    let failures: Vec<_> = verdicts
        .iter()
        .filter_map(|v| v.failure.as_ref().map(|f| format!("{}: {f}", v.name)))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(verdicts.len(), 9);
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a script writes into its run.
fn written(script: &str) -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_proto"));
    command.current_dir(project()).args(["run", script, "--out"]).arg(parent.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let run = fs::read_dir(parent.path()).unwrap().next().unwrap().unwrap().path();
    (parent, run)
}

#[test]
fn the_shipped_files_are_what_the_scripts_write() {
    for (script, folder, names) in [
        ("sample_traces", "data/sample", ["house.jsonl", "nothing.jsonl"]),
        ("general", "models/embedded", ["general_suite.jsonl", "replay.jsonl"]),
    ] {
        let (_parent, run) = written(&format!("scripts/embedded/{script}.rhai"));
        for name in names {
            let shipped = fs::read(project().join(folder).join(name)).unwrap();
            assert!(shipped == fs::read(run.join(name)).unwrap(), "{folder}/{name} is stale");
        }
    }
}

fn rows(file: &str) -> Rows {
    let loaded = proto::trace::load(&[PathBuf::from(file)], project(), &Silent).unwrap();
    from_traces(loaded, Kind::Real, &Recent::default())
}

#[test]
fn invented_sessions_are_no_copies_of_each_other() {
    for (file, copies) in [
        ("data/sample/nothing.jsonl", 0),
        ("models/embedded/replay.jsonl", 0),
        // Planted: eight exact, six near, six resumed.
        ("data/sample/house.jsonl", 20),
    ] {
        let rows = rows(file);
        let left = dedup(&rows, &Default::default(), &Silent).unwrap();
        assert_eq!(rows.len() - left.len(), copies, "{file}");
    }
}
