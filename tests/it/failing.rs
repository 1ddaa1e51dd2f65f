//! A run that cannot end well: interrupted in any stage, or on a full disk. It says so, leaves no
//! half-written file under a final name, and never promotes.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The first sessions of the sample, and settings under which every stage takes a while.
fn some_traces(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(project().join("data/sample/house.jsonl")).unwrap();
    let path = folder.join("traces.jsonl");
    fs::write(&path, text.lines().take(150).collect::<Vec<_>>().join("\n")).unwrap();
    let traces = format!("TRACES={}", path.display());
    let runs = format!("RUNS_DIR={}", folder.join("runs").display());
    let more = ["MIN_TRAIN_EXAMPLES=1", "MIN_VAL_EXAMPLES=1", "MAX_STEPS=4", "LEDGER="];
    [traces, runs].into_iter().chain(more.map(String::from)).collect()
}

/// Every file below a folder, by its path within.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => found.push(path.strip_prefix(folder).unwrap().to_path_buf()),
            }
        }
    }
    found.sort();
    found
}

/// What may lie in a run's folder, whenever it ended; anything else is a leftover.
fn only_whole_files(run: &Path) {
    const KNOWN: [&str; 16] = [
        ".gitignore",
        ".lock",
        "run.json",
        "report.html",
        "dataset/train.jsonl",
        "dataset/tune.jsonl",
        "dataset/val.jsonl",
        "dataset/duplicates.jsonl",
        "dataset/dataset_manifest.json",
        "dataset/README.md",
        "dataset/croissant.json",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "adapter/lineage.json",
        "adapter/training_record.json",
        "eval/eval_results.json",
    ];
    for file in files(run) {
        let name = file.to_str().unwrap();
        let checkpoint = name.starts_with("checkpoints/") && name.ends_with(".safetensors");
        assert!(checkpoint || KNOWN.contains(&name), "{name} was left behind");
        let text = fs::read_to_string(run.join(&file));
        if name.ends_with(".json") {
            serde_json::from_str::<serde_json::Value>(&text.unwrap()).expect(name);
        } else if name.ends_with(".jsonl") {
            for line in text.unwrap().lines() {
                serde_json::from_str::<serde_json::Value>(line).expect(name);
            }
        }
    }
}

fn the_run(folder: &Path) -> PathBuf {
    fs::read_dir(folder.join("runs")).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn ctrl_c_in_any_stage_ends_the_run_and_leaves_whole_files() {
    // What is said last before the stage that is interrupted.
    for said in ["load:", "redact:", "dedup:", "mix:", "step 1 of 4", "evaluate:"] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_proto"));
        command.current_dir(project()).args(["run", "scripts/daily.rhai"]);
        for setting in some_traces(folder.path()) {
            command.args(["--set", &setting]);
        }
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut told = String::new();
        let mut asked = false;
        for line in BufReader::new(child.stderr.take().unwrap()).lines() {
            let line = line.unwrap();
            if line.starts_with(said) && !asked {
                let pid = child.id().to_string();
                assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
                asked = true;
            }
            told += &(line + "\n");
        }
        let code = child.wait().unwrap().code();
        assert!(asked, "`{said}` is never said:\n{told}");
        assert_eq!(code, Some(2), "after `{said}`:\n{told}");
        assert!(told.contains("interrupted"), "after `{said}`:\n{told}");
        let run = the_run(folder.path());
        only_whole_files(&run);
        let record = fs::read_to_string(run.join("run.json")).unwrap();
        assert!(record.contains("\"failed\""), "{record}");
    }
}

#[test]
fn a_full_disk_is_named_and_nothing_is_half_written() {
    // Files may grow to so many blocks of 1,024 bytes and no further, as on a disk that fills up.
    for (blocks, unfinished) in [(32, "dataset"), (500, "adapter")] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("bash");
        command.current_dir(project()).arg("-c");
        command.arg(format!(
            "trap '' XFSZ; ulimit -f {blocks}; exec '{}' run scripts/daily.rhai \"$@\"",
            env!("CARGO_BIN_EXE_proto")
        ));
        command.arg("bash");
        for setting in some_traces(folder.path()) {
            command.args(["--set", &setting]);
        }
        let output = command.output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        let error = &told[told.find("error").unwrap_or_else(|| panic!("{told}"))..];
        assert!(error.contains(unfinished), "{told}");
        only_whole_files(&the_run(folder.path()));
    }
}

#[test]
fn a_killed_run_is_resumed_to_the_same_adapter() {
    let place = tempfile::tempdir().unwrap();
    let start = |folder: &str, more: &[&str]| {
        let folder = place.path().join(folder);
        fs::create_dir(&folder).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_proto"));
        command.current_dir(project()).args(["run", "scripts/daily.rhai", "--skip-eval"]);
        command.args(more);
        for setting in some_traces(&folder).iter().chain(&["SAVE_STEPS=1".to_string()]) {
            command.args(["--set", setting]);
        }
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        (child, folder)
    };
    let adapter = |folder: &Path| {
        let run = the_run(folder);
        only_whole_files(&run);
        assert!(!run.join("checkpoints").exists(), "the run has ended");
        fs::read(run.join("adapter/adapter_model.safetensors")).unwrap()
    };
    let (mut killed, first) = start("killed", &[]);
    for line in BufReader::new(killed.stderr.take().unwrap()).lines() {
        if line.unwrap().starts_with("step 2: checkpoint written") {
            killed.kill().unwrap();
            break;
        }
    }
    assert_eq!(killed.wait().unwrap().code(), None, "it ended before it could be killed");
    let interrupted = the_run(&first);
    only_whole_files(&interrupted);

    let resume = ["--resume", interrupted.to_str().unwrap()];
    let (resumed, second) = start("resumed", &resume);
    let output = resumed.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("resumed after step"), "{told}");
    let (whole, third) = start("whole", &[]);
    assert_eq!(whole.wait_with_output().unwrap().status.code(), Some(0));
    assert!(adapter(&second) == adapter(&third), "the adapters differ");

    let record = ["--resume", place.path().to_str().unwrap()];
    let output = start("not a run", &record).0.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && told.contains("not the folder of a run"), "{told}");
}
