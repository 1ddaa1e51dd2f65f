//! A dataset that is what its manifest says verifies, and every sort of tampering is named.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proto::config::Config;
use proto::dataset::redaction::redact;
use proto::dataset::source::{Recent, from_traces};
use proto::dataset::verify::{Beside, Finding, Sort, Verified, dataset_folder, verify};
use proto::dataset::windows::windows;
use proto::dataset::{Kind, mix, split};
use proto::files::digest;
use proto::progress::Silent;
use proto::redact::{Policy, Redactor};
use serde_json::{Value, json};

use crate::dataset::{build, config, traces, words, write};

/// A run's folder with a dataset of two files of traces.
struct Made {
    folder: tempfile::TempDir,
}

const MANIFEST: &str = "dataset_manifest.json";

impl Made {
    fn new() -> Made {
        Made::with(&config(&["SHORTFALL=repeat", "ADVERSARIAL_RATIO=0.3", "REPLAY_RATIO=0"]))
    }

    fn with(config: &Config) -> Made {
        let folder = tempfile::tempdir().unwrap();
        traces(folder.path());
        let files = ["one.jsonl", "two.jsonl"];
        let (dataset, _) = build(folder.path(), &files, config, None, &Silent).unwrap();
        write(&dataset, &folder.path().join("run/dataset"), config).unwrap();
        Made { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("run/dataset").join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn lines(&self, name: &str) -> Vec<String> {
        self.text(name).lines().map(String::from).collect()
    }

    /// Writes a part and states its new digest, size and rows: what a careful forger would do.
    fn forge(&self, name: &str, lines: &[String]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(self.path(name), &text).unwrap();
        self.state(|manifest| {
            let file = &mut manifest["files"][name];
            file["sha256"] = digest(text.as_bytes()).into();
            file["bytes"] = text.len().into();
            file["rows"] = lines.len().into();
        });
    }

    fn state(&self, change: impl FnOnce(&mut Value)) {
        let mut manifest: Value = serde_json::from_str(&self.text(MANIFEST)).unwrap();
        change(&mut manifest);
        fs::write(self.path(MANIFEST), serde_json::to_string_pretty(&manifest).unwrap()).unwrap();
    }

    fn verified(&self) -> Verified {
        let places = vec![self.folder.path().to_path_buf()];
        let beside = Beside { count: Some(&words), places, ..Beside::default() };
        let folder = dataset_folder(&self.folder.path().join("run"));
        verify(&folder, &beside, &Silent).unwrap()
    }

    fn findings(&self) -> Vec<String> {
        self.verified().findings.iter().map(Finding::to_string).collect()
    }
}

/// One finding has to begin and go on like this.
#[track_caller]
fn names(findings: &[String], file: &str, field: &str) {
    let like = |finding: &&String| finding.starts_with(file) && finding.contains(field);
    assert!(findings.iter().any(|f| like(&f)), "{file}: {field}\n{}", findings.join("\n"));
}

#[test]
fn a_dataset_is_what_its_manifest_says() {
    let verified = Made::new().verified();
    assert_eq!(verified.findings, []);
    assert!(verified.holds() && verified.can_be_rebuilt());
    assert!(verified.checked.len() >= 9, "{:?}", verified.checked);
    assert_eq!(verified.unchecked, []);
}

#[test]
fn a_dataset_of_given_files_is_too() {
    use proto::dataset::snapshot::Shards;
    let made = Made::new();
    let config = config(&[]);
    let redactor = Redactor::new(Policy::from_config(&config).unwrap()).unwrap();
    let of = |name: &str| vec![made.path(name)];
    let shards = Shards { train: of("train.jsonl"), val: of("val.jsonl") };
    let folder = made.folder.path();
    let dataset = shards.read(folder, &redactor, &config, &words, &Silent).unwrap();
    let out = folder.join("given");
    write(&dataset, &out, &config).unwrap();
    let beside = Beside { count: Some(&words), places: vec![folder.into()], ..Beside::default() };
    assert_eq!(verify(&out, &beside, &Silent).unwrap().findings, []);
}

#[test]
fn so_is_one_of_sessions_cut_into_windows() {
    let made = Made::new();
    let folder = made.folder.path();
    let config = config(&[]);
    let redactor = Redactor::new(Policy::from_config(&config).unwrap()).unwrap();
    let loaded = proto::trace::load(&["one.jsonl".into()], folder, &Silent).unwrap();
    let rows = redact(&from_traces(loaded, Kind::Real, &Recent::default()), &redactor, 1, &Silent)
        .unwrap();
    let cut = windows(&rows, 90, &words, &Silent).unwrap();
    assert!(cut.examples.iter().any(|row| row.derived_from.is_some()));
    let options = split::Options::from_config(&config).unwrap();
    let parts = split::split(&cut, &options, None, &Silent).unwrap();
    let options = mix::Options::from_config(&config).unwrap();
    let dataset = mix::mix(&parts, &options, &words, &Silent).unwrap();
    let out = folder.join("cut");
    write(&dataset, &out, &config).unwrap();
    let beside = Beside { count: Some(&words), places: vec![folder.into()], ..Beside::default() };
    assert_eq!(verify(&out, &beside, &Silent).unwrap().findings, []);
}

#[test]
fn without_a_tokenizer_lengths_are_not_checked() {
    let made = Made::new();
    made.state(|manifest| manifest["splits"]["train"]["tokens"]["total"] = 7.into());
    names(&made.findings(), MANIFEST, "splits.train.tokens.total: wanted 7, found ");
    let beside = Beside {
        no_count: "another base".into(),
        places: vec![made.folder.path().into()],
        ..Beside::default()
    };
    let verified = verify(&made.path(""), &beside, &Silent).unwrap();
    assert_eq!(verified.findings, []);
    let skipped = &verified.unchecked[0];
    assert_eq!(
        (skipped.what.as_str(), skipped.why.as_str()),
        ("lengths in tokens", "another base")
    );
}

#[test]
fn a_changed_byte_is_found() {
    let made = Made::new();
    let mut bytes = fs::read(made.path("train.jsonl")).unwrap();
    let at = bytes.windows(8).position(|w| w == b"It says ").unwrap();
    bytes[at] = b'i';
    fs::write(made.path("train.jsonl"), bytes).unwrap();
    let findings = made.findings();
    names(&findings, "train.jsonl", "sha256");
    assert_eq!(findings.len(), 1, "{findings:?}");

    fs::write(made.path("README.md"), "---\n").unwrap();
    fs::remove_file(made.path("croissant.json")).unwrap();
    names(&made.findings(), "README.md", "sha256");
    names(&made.findings(), "croissant.json", "file: wanted there, found missing");
}

#[test]
fn a_row_that_is_gone_is_missed_everywhere_it_was_counted() {
    let made = Made::new();
    let mut lines = made.lines("val.jsonl");
    lines.remove(1);
    made.forge("val.jsonl", &lines);
    let findings = made.findings();
    for field in ["splits.val.rows", "stages: wanted", "gates.val_rows", "leakage.rows"] {
        names(&findings, MANIFEST, field);
    }
}

#[test]
fn a_row_that_changed_its_part_is_named() {
    let made = Made::new();
    let (mut train, mut val) = (made.lines("train.jsonl"), made.lines("val.jsonl"));
    let moved = val.remove(0);
    train.push(moved.clone());
    train.sort_by_key(|line| serde_json::from_str::<Value>(line).unwrap()["id"].to_string());
    made.forge("train.jsonl", &train);
    made.forge("val.jsonl", &val);
    names(&made.findings(), MANIFEST, "splits.train.kinds.real");

    // The same row on both sides.
    val.insert(0, moved.clone());
    made.forge("val.jsonl", &val);
    let id = serde_json::from_str::<Value>(&moved).unwrap()["id"].as_str().unwrap().to_string();
    let findings = made.findings();
    let row = format!("val.jsonl row {id}");
    names(&findings, &row, "session: wanted in train only, found in val as well");
    names(&findings, &row, "component: ");
    names(&findings, &row, "id: ");
    names(&findings, MANIFEST, "leakage.sessions");
    names(&findings, MANIFEST, "gates.leak_ok: wanted true, found false");
}

#[test]
fn rows_out_of_order_and_foreign_lines_are_named() {
    let made = Made::new();
    let mut tune = made.lines("tune.jsonl");
    tune.reverse();
    tune.push("{\"id\": \"secret\"}".into());
    made.forge("tune.jsonl", &tune);
    let findings = made.findings();
    names(&findings, "tune.jsonl row ", ": id: wanted one after ");
    let last = format!("tune.jsonl row in line {}: row: ", tune.len());
    names(&findings, &last, "JSON of another shape");
    assert!(!findings.concat().contains("secret"));
}

#[test]
fn what_redaction_would_have_taken_is_found() {
    let made = Made::new();
    let mut lines = made.lines("train.jsonl");
    let mail = format!("mira.holt@{}", "quarry-mail.com");
    lines[3] = lines[3].replacen("It says ", &format!("{mail} says "), 1);
    made.forge("train.jsonl", &lines);
    let findings = made.findings();
    names(&findings, "train.jsonl row ", "second scan: wanted nothing to redact, found email");
    assert!(!findings.concat().contains(&mail));
}

#[test]
fn figures_changed_in_the_manifest_are_found() {
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 9] = [
        ("gates.min_example_ok", |m| m["gates"]["min_example_ok"] = json!(false)),
        ("gates.canary_recall", |m| m["gates"]["canary_recall"] = json!(0.5)),
        ("gates.min_val_rows", |m| m["gates"]["min_val_rows"] = json!(1)),
        ("stages[0] (load)", |m| m["stages"][0]["output"] = json!(1)),
        ("splits.train.sources.alpha", |m| m["splits"]["train"]["sources"]["alpha"] = json!(1)),
        ("duplicates.total", |m| m["duplicates"]["total"] = json!(0)),
        ("leakage.rows", |m| m["leakage"]["rows"] = json!(1000)),
        ("mix[0] (real).rows", |m| m["mix"][0]["rows"] = json!(1)),
        ("dedup, dropped as exact", |m| {
            let stages = m["stages"].as_array_mut().unwrap();
            let dedup = stages.iter_mut().find(|s| s["name"] == "dedup").unwrap();
            dedup["dropped"]["exact"] = json!(900);
        }),
    ];
    let made = Made::new();
    let honest = made.text(MANIFEST);
    for (field, change) in changes {
        made.state(change);
        names(&made.findings(), MANIFEST, field);
        fs::write(made.path(MANIFEST), &honest).unwrap();
    }
}

#[test]
fn missing_files_are_named() {
    let made = Made::new();
    for name in ["tune.jsonl", "duplicates.jsonl"] {
        let bytes = fs::read(made.path(name)).unwrap();
        fs::remove_file(made.path(name)).unwrap();
        names(&made.findings(), name, "file: wanted there, found missing");
        fs::write(made.path(name), bytes).unwrap();
    }
    fs::remove_file(made.path(MANIFEST)).unwrap();
    let beside = Beside::default();
    let error = verify(&made.path(""), &beside, &Silent).unwrap_err();
    assert!(format!("{error:#}").contains(MANIFEST), "{error:#}");
}

#[test]
fn inputs_that_changed_or_went_are_no_damage() {
    let made = Made::new();
    let input = made.folder.path().join("one.jsonl");
    let text = fs::read_to_string(&input).unwrap();
    fs::write(&input, text + "{}\n").unwrap();
    fs::remove_file(made.folder.path().join("two.jsonl")).unwrap();
    let verified = made.verified();
    assert!(verified.holds() && !verified.can_be_rebuilt());
    let about: Vec<_> = verified.findings.iter().map(|f| (f.sort, f.file.as_str())).collect();
    let gone = Sort::CannotBeRebuilt;
    assert_eq!(about, [(gone, "one.jsonl"), (gone, "two.jsonl")]);
    assert!(verified.findings[1].to_string().starts_with("cannot be rebuilt: two.jsonl: input"));
}

/// Exit status and what is said on stdout.
fn proto(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proto"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PROTO_")) {
        command.env_remove(name);
    }
    let output = command.current_dir(folder).args(arguments).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_program_says_what_does_not_hold_and_how_it_went() {
    let made = Made::new();
    let here = made.folder.path();
    assert_eq!(proto(here, &["verify", "run"]), (0, String::new()));
    assert_eq!(proto(here, &["verify", "nowhere"]).0, 2);

    fs::remove_file(here.join("one.jsonl")).unwrap();
    let gone = "cannot be rebuilt: one.jsonl: input: wanted there, found missing\n";
    assert_eq!(proto(here, &["verify", "run/dataset"]), (0, gone.into()));
    assert_eq!(proto(here, &["verify", "run", "--inputs"]).0, 1);

    made.state(|manifest| manifest["gates"]["redaction_ok"] = false.into());
    let (code, text) = proto(here, &["verify", "run", "--json"]);
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &told["ok"]), (1, &Value::Bool(false)));
    assert_eq!(told["findings"][0]["file"], "README.md", "the card says it too");
    assert_eq!(told["findings"][1]["field"], "gates.redaction_ok");
    assert_eq!(told["findings"][2]["sort"], "cannot_be_rebuilt");
    assert_eq!(told["unchecked"][0]["what"], "lengths in tokens");
}

#[test]
fn a_file_of_the_dataset_alone_is_enough_to_find_it() {
    let made = Made::new();
    let run = made.folder.path().join("run");
    assert_eq!(dataset_folder(&run), run.join("dataset"));
    assert_eq!(dataset_folder(&run.join("dataset")), run.join("dataset"));
    assert_eq!(dataset_folder(Path::new("elsewhere")), Path::new("elsewhere"));
}
