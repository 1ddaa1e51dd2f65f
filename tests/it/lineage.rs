//! From a row or an adapter back to the sessions, and from a session to all that holds it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use proto::adapter::Lineage;
use proto::dataset::redaction::redact;
use proto::dataset::snapshot::Snapshot;
use proto::dataset::source::{Recent, from_traces};
use proto::dataset::verify::{Beside, Finding, verify};
use proto::dataset::{Example, Kind, Part, Rows};
use proto::files::{digest, write_json};
use proto::ingest::Forgotten;
use proto::lineage::adapter::{Meant, meant, why_adapter, why_run};
use proto::lineage::forget::holders;
use proto::lineage::row::why_row;
use proto::lineage::{Run, named, runs};
use proto::progress::Silent;
use proto::redact::{Policy, Redactor};
use serde_json::{Value, json};

use crate::dataset::{build, config, traces, words, write};

/// Two runs on the same traces, the second with an adapter that was judged.
struct World {
    folder: tempfile::TempDir,
    second: Snapshot,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        traces(folder.path());
        let config = config(&["SHORTFALL=repeat", "ADVERSARIAL_RATIO=0.3", "REPLAY_RATIO=0"]);
        let files = ["one.jsonl", "two.jsonl"];
        let (dataset, _) = build(folder.path(), &files, &config, None, &Silent).unwrap();
        let out = |run: &str| folder.path().join("runs").join(run).join("dataset");
        write(&dataset, &out("1"), &config).unwrap();
        let second = write(&dataset, &out("2"), &config).unwrap();
        let run = folder.path().join("runs/2");
        let adapter = run.join("adapter");
        fs::create_dir_all(&adapter).unwrap();
        fs::write(adapter.join("adapter_config.json"), "{}").unwrap();
        fs::write(adapter.join("adapter_model.safetensors"), "weights").unwrap();
        let lineage = Lineage::of("base", &second.digest, &second.dataset.train);
        lineage.save(&adapter).unwrap();
        let evidence = json!({"dataset": {"digest": second.digest}, "figure": 0.25});
        write_json(&run.join("eval/evidence.json"), &evidence).unwrap();
        let candidate = [digest(b"{}"), digest(b"weights")].concat();
        let results = json!({"candidate": {"digest": digest(candidate.as_bytes())}});
        write_json(&run.join("eval/eval_results.json"), &results).unwrap();
        let decision = json!({
            "verdict": "block", "reasons": ["too little"],
            "evidence": digest(evidence.to_string().as_bytes()),
        });
        write_json(&run.join("eval/gate_decision.json"), &decision).unwrap();
        World { folder, second }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("runs").join(name)
    }

    fn runs(&self) -> Vec<Run> {
        runs(&self.path("")).unwrap()
    }

    fn row(&self, part: Part, like: impl Fn(&Example) -> bool) -> Arc<Example> {
        let mut rows = self.second.dataset.part(part).iter().map(|row| row.read().unwrap());
        rows.find(|row| like(row)).unwrap()
    }
}

#[test]
fn a_row_leads_back_to_its_line_and_its_parent() {
    let world = World::new();
    let made = world.row(Part::Train, |row| row.kind == Kind::Adversarial);
    let story = why_row(&world.runs(), &made.id).unwrap().unwrap();
    assert_eq!((story.run.as_str(), story.also_in.as_slice()), ("2", &["1".to_string()][..]));
    assert_eq!((story.part, story.kind), (Some(Part::Train), Kind::Adversarial));
    assert_eq!(story.ancestors[0].0, *made.derived_from.as_ref().unwrap());
    assert_eq!(story.session, made.session_key());
    assert_eq!(story.origin.as_ref(), Some(&made.trace.origin));
    let text = fs::read_to_string(world.path("2/dataset/train.jsonl")).unwrap();
    let line = text.lines().nth(story.line.unwrap() as usize - 1).unwrap();
    assert!(line.contains(&made.id));
    let note = |name: &str| {
        let stage = story.stages.iter().find(|(stage, _)| stage == name);
        stage.map(|(_, note)| note.clone()).unwrap_or_default()
    };
    assert!(note("load").ends_with(&made.trace.origin.to_string()), "{:?}", story.stages);
    assert!(note("mix").starts_with(&format!("taken {} times", story.times)), "{}", note("mix"));

    let parent = world.row(Part::Val, |row| row.kind == Kind::Real);
    let story = why_row(&world.runs(), &parent.id).unwrap().unwrap();
    assert_eq!((story.part, story.times), (Some(Part::Val), 1));
    assert!(story.to_string().contains("\n  second_scan: nothing was found in it\n"));
    assert!(why_row(&world.runs(), "none").unwrap().is_none());
}

#[test]
fn a_copy_leads_to_the_row_that_stands_for_it() {
    let world = World::new();
    let copies = &world.second.manifest.duplicates.listed;
    let copy = copies.iter().find(|copy| copy.kind == Kind::Real).unwrap();
    let story = why_row(&world.runs(), &copy.dropped).unwrap().unwrap();
    assert_eq!((story.part, story.copy_of.as_ref()), (None, Some(copy)));
    let story = why_row(&world.runs(), &copy.kept).unwrap().unwrap();
    assert!(story.copies.contains(copy));
    assert!(story.to_string().contains(&format!("stands for {}", copy.dropped)));
}

#[test]
fn the_beginning_of_an_id_is_enough_where_only_one_begins_so() {
    let world = World::new();
    let row = world.row(Part::Tune, |_| true);
    assert_eq!(why_row(&world.runs(), &row.id[..12]).unwrap().unwrap().id, row.id);
    let mut first = BTreeSet::new();
    let all = world.second.dataset.train.iter().map(|row| row.id[..1].to_string());
    let twice = all.into_iter().find(|begin| !first.insert(begin.clone())).unwrap();
    let error = why_row(&world.runs(), &twice).unwrap_err().to_string();
    assert!(error.contains(&format!("rows begin with `{twice}`: {twice}")), "{error}");
}

#[test]
fn an_adapter_leads_to_its_dataset_settings_and_decision() {
    let world = World::new();
    let Some(Meant::Adapter(adapter, Some(home))) = meant(&world.path("2/adapter")).unwrap() else {
        panic!("an adapter in a run");
    };
    assert_eq!(home.name, "2");
    let story = why_adapter(&adapter, &world.runs()).unwrap();
    assert_eq!(story.dataset.as_ref(), Some(&world.second.digest));
    let trained: BTreeSet<_> =
        world.second.dataset.train.iter().map(|row| row.session_key()).collect();
    assert_eq!(story.sessions, trained.into_iter().collect::<Vec<_>>());
    let changed: Vec<_> = story.settings.iter().map(|s| s.key.as_str()).collect();
    assert_eq!(changed, ["ADVERSARIAL_RATIO", "REPLAY_RATIO", "SHORTFALL"]);
    let decision = &story.decisions[0];
    assert_eq!((decision.run.as_str(), decision.verdict.as_str()), ("2", "block"));

    // From the decision itself: the run, with the same adapter.
    let file = world.path("2/eval/gate_decision.json");
    let Some(Meant::Run(run)) = meant(&file).unwrap() else { panic!("a run") };
    let whole = why_run(&run, &world.runs()).unwrap();
    assert_eq!(whole.adapters, [story]);
    assert_eq!(
        whole.sessions["val"].len() as u64,
        world.second.manifest.splits[&Part::Val].sessions
    );
    assert!(whole.to_string().contains("\n    too little\n"), "{whole}");
}

#[test]
fn what_names_a_manifest_must_name_this_one() {
    let world = World::new();
    let findings = || {
        let places = vec![world.folder.path().to_path_buf()];
        let beside = Beside { count: Some(&words), places, ..Beside::default() };
        let mut verified = verify(&world.path("2/dataset"), &beside, &Silent).unwrap();
        named::check(&world.path("2"), &mut verified).unwrap();
        verified.findings.iter().map(Finding::to_string).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(findings(), "");
    let mut lineage = Lineage::load(&world.path("2/adapter")).unwrap().unwrap();
    lineage.sessions.pop_first();
    lineage.save(&world.path("2/adapter")).unwrap();
    assert!(findings().contains("adapter/lineage.json: sessions"), "{}", findings());
    write_json(&world.path("2/eval/evidence.json"), &json!({"dataset": {"digest": "0"}})).unwrap();
    assert!(findings().contains("eval/evidence.json: dataset.digest"), "{}", findings());
    assert!(findings().contains("eval/gate_decision.json: evidence"), "{}", findings());
}

#[test]
fn a_session_is_found_wherever_it_went() {
    let world = World::new();
    let row = world.row(Part::Train, |row| row.kind == Kind::Adversarial);
    let held = holders(&row.trace.session, &world.runs(), None).unwrap();
    assert_eq!(held.session, row.session_key());
    assert_eq!(held.datasets.iter().map(|d| d.run.as_str()).collect::<Vec<_>>(), ["2", "1"]);
    assert!(held.datasets[0].made["train"] >= 1, "{held:?}");
    assert_eq!(held.adapters.len(), 1);
    assert!(!held.adapters[0].in_use);

    let val = world.row(Part::Val, |_| true);
    let held = holders(&val.session_key(), &world.runs(), None).unwrap();
    assert!(held.adapters.is_empty(), "what was only judged on was not learnt");

    let copies = world.second.manifest.duplicates.listed.iter();
    let copy = copies.clone().find(|c| c.session == "beta/s5").unwrap();
    let held = holders(&copy.session, &world.runs(), None).unwrap();
    assert_eq!(held.datasets[0].alike, BTreeSet::from(["beta/resumed-5".to_string()]));

    let error = holders("nobody", &world.runs(), None).unwrap_err().to_string();
    assert!(error.contains("source/session"), "{error}");
    assert!(holders("raw/nobody", &world.runs(), None).unwrap().datasets.is_empty());
}

#[test]
fn a_forgotten_session_is_not_read_again_even_where_redaction_renamed_it() {
    let folder = tempfile::tempdir().unwrap();
    let mail = format!("mira.holt@{}", "quarry-mail.com");
    let ask =
        |n: u64| format!("please write number {n} to {mail}, {}", crate::dataset::prose(n, 20));
    let lines: Vec<String> = (0..40)
        .map(|n| {
            json!({"user": ask(n), "assistant": crate::dataset::prose(n + 900, 20)}).to_string()
        })
        .collect();
    fs::write(folder.path().join("a.jsonl"), lines.join("\n")).unwrap();
    let redactor = Redactor::new(Policy::default()).unwrap();
    let config = config(&["VAL_FRACTION=0.4"]);
    let load = |list: &Forgotten| {
        let loaded = proto::trace::load(&["a.jsonl".into()], folder.path(), &Silent).unwrap();
        from_traces(list.leave(loaded, &redactor).unwrap(), Kind::Real, &Recent::default())
    };
    let rows = redact(&load(&Forgotten::default()), &redactor, 1, &Silent).unwrap();
    let options = proto::dataset::split::Options::from_config(&config).unwrap();
    let parts = proto::dataset::split::split(&rows, &options, None, &Silent).unwrap();
    let options = proto::dataset::mix::Options::from_config(&config).unwrap();
    let dataset = proto::dataset::mix::mix(&parts, &options, &words, &Silent).unwrap();
    write(&dataset, &folder.path().join("runs/1/dataset"), &config).unwrap();

    let gone = dataset.train[0].clone();
    let named = |rows: &Rows| rows.examples.iter().any(|row| row.session == gone.session);
    assert!(named(&rows) && !named(&load(&Forgotten::default())), "redaction named it anew");
    let held = holders(&gone.session, &runs(&folder.path().join("runs")).unwrap(), None);
    let held = held.unwrap();
    let mut list = Forgotten::default();
    assert!(list.add(&held.session, held.marks));
    let after = load(&list);
    assert_eq!((after.len(), after.stages[0].dropped["forgotten"]), (39, 1));
    assert!(after.stages[0].adds_up());
    let left = redact(&after, &redactor, 1, &Silent).unwrap();
    assert!(!named(&left));
}

/// What the program prints on stdout; it ends well.
fn proto(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proto"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PROTO_")) {
        command.env_remove(name);
    }
    let output = command.current_dir(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_program_tells_why_and_forgets() {
    let world = World::new();
    let here = world.folder.path();
    let set = ["--set", "RUNS_DIR=runs"];
    let ask = |arguments: &[&str]| proto(here, &[arguments, &set[..]].concat());
    let row = world.row(Part::Train, |row| row.kind == Kind::Real);
    assert!(ask(&["why", &row.id[..10]]).starts_with(&format!("row {} (real) of run 2\n", row.id)));
    assert!(ask(&["why", "runs/2/adapter"]).contains("  block in run 2\n"));
    let run: Value = serde_json::from_str(&ask(&["why", "runs/2", "--json"])).unwrap();
    assert_eq!(run["adapters"][0]["decisions"][0]["verdict"], "block");

    let key = row.session_key();
    let list = || Forgotten::read(&here.join("data/forgotten.json")).unwrap();
    assert!(ask(&["forget", &key, "--dry-run"]).contains("adapter runs/2/adapter: trained on it"));
    assert!(list().is_empty());
    let told: Value = serde_json::from_str(&ask(&["forget", &key, "--json"])).unwrap();
    assert_eq!((&told["forgotten"], &told["held"]["session"]), (&json!(true), &json!(key)));
    assert!(list().contains(&key));
    ask(&["forget", &key, "--undo"]);
    assert!(list().is_empty());
}

#[test]
fn a_folder_without_runs_holds_none() {
    assert!(runs(Path::new("nowhere at all")).unwrap().is_empty());
    let folder = tempfile::tempdir().unwrap();
    assert!(Run::open(folder.path()).unwrap().is_none());
    assert!(meant(&folder.path().join("x")).unwrap().is_none());
}
