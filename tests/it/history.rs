//! Earlier runs side by side, and the way from a run's failures to the next run's counterexamples.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proto::dataset::dedup::dedup;
use proto::dataset::similarity::Limits;
use proto::dataset::source::counterexamples;
use proto::dataset::split::{Options, split};
use proto::dataset::{Example, Kind, Rows, Stage};
use proto::evaluate::Record;
use proto::evaluate::evaluation::Call;
use proto::files::{write_bytes, write_json};
use proto::history::diff::Diff;
use proto::history::sheet::{Accepted, Case, Failure, Sheet, accept};
use proto::history::table::{rows, table};
use proto::progress::Silent;
use proto::redact::{Policy, Redactor};
use proto::trace::{Message, Role};
use serde_json::{Value, json};

use crate::evaluation::{compared, lookups};

fn lines<T: serde::Serialize>(rows: &[T]) -> Vec<u8> {
    let line = |row: &T| serde_json::to_string(row).unwrap() + "\n";
    rows.iter().map(line).collect::<String>().into_bytes()
}

/// A folder with runs, each with the dataset and evaluation of invented subjects.
struct World(tempfile::TempDir);

impl World {
    fn new() -> World {
        let world = World(tempfile::tempdir().unwrap());
        world.run("one", |_| {});
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, name: &str, change: impl FnOnce(&mut Vec<Record>)) {
        let (evaluation, mut records) = compared();
        let val = lookups(60, Kind::Real, "w").and(&lookups(5, Kind::Synthetic, "s"));
        let val: Vec<Arc<Example>> = val.examples.iter().map(|row| row.read().unwrap()).collect();
        let run = self.path(name);
        write_bytes(&run.join("dataset/val.jsonl"), &lines(&val)).unwrap();
        evaluation.write(&run.join("eval"), &records).unwrap();
        change(&mut records);
        write_bytes(&run.join("eval/items.jsonl"), &lines(&records)).unwrap();
    }

    /// The sheet of the first run with some lines filled: by item, the field and its value.
    fn filled(&self, filled: &[(&str, &str, Value)]) -> PathBuf {
        let path = self.path("sheet.jsonl");
        let sheet = Sheet::of(&self.path("one"), usize::MAX).unwrap();
        let mut cases: Vec<Value> =
            sheet.cases.iter().map(|case| serde_json::to_value(case).unwrap()).collect();
        for (item, field, value) in filled {
            let case = cases.iter_mut().find(|case| case["item"] == *item).unwrap();
            case[*field] = value.clone();
        }
        fs::write(&path, lines(&cases)).unwrap();
        path
    }

    fn accept(&self, filled: &[(&str, &str, Value)]) -> anyhow::Result<Accepted> {
        let redactor = Redactor::new(Policy::default()).unwrap();
        accept(&self.filled(filled), &self.path("counter"), &redactor)
    }

    fn refusal(&self, filled: &[(&str, &str, Value)]) -> String {
        let error = format!("{:#}", self.accept(filled).unwrap_err());
        assert!(!self.path("counter").exists(), "nothing is taken of a sheet with a mistake");
        error
    }

    fn accepted(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("counter/one.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn a_sheet_has_regressions_first_and_nothing_of_a_suite() {
    let world = World::new();
    let sheet = Sheet::of(&world.path("one"), usize::MAX).unwrap();
    let failures: Vec<Failure> = sheet.cases.iter().map(|case| case.failure).collect();
    let regressions = failures.iter().filter(|f| **f == Failure::Regression).count();
    assert_eq!((regressions, failures.len()), (7, 13));
    assert!(failures[..regressions].iter().all(|f| *f == Failure::Regression));
    assert_eq!(sheet.left_out, BTreeMap::from([("of a fixed suite", 4)]));

    let case = sheet.cases.iter().find(|case| case.item == "w010#1").unwrap();
    assert_eq!((case.accept.as_str(), &case.answer), ("", &None));
    assert_eq!((case.request.as_str(), case.row.as_str()), ("w010", "w010"));
    assert_eq!(case.trace.messages.len(), 1, "the answer is not given away as history");
    assert_eq!(case.trace.tools.len(), 1);
    assert_eq!((&case.reference, case.candidate.content.as_str()), (&case.base, "I cannot"));
    let few = Sheet::of(&world.path("one"), 3).unwrap();
    assert_eq!((few.cases.len(), few.left_out["over --limit"]), (3, 10));
}

#[test]
fn a_sheet_that_somebody_filled_is_not_overwritten() {
    let world = World::new();
    let sheet = Sheet::of(&world.path("one"), 5).unwrap();
    let path = world.path("mine.jsonl");
    sheet.write(&path).unwrap();
    sheet.write(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    for mine in [text.replacen("\"accept\":\"\"", "\"accept\":\"base\"", 1), "notes\n".into()] {
        fs::write(&path, &mine).unwrap();
        let error = sheet.write(&path).unwrap_err().to_string();
        assert!(error.contains("holds 1 lines that somebody has filled"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), mine);
    }
}

#[test]
fn answered_lines_become_counterexamples_and_the_others_wait() {
    let world = World::new();
    let secret = ["write to mira.holt@", "quarry-mail.com"].concat();
    let call = json!({"content": "", "calls": [{"name": "find", "arguments": {"word": "x"}}]});
    let filled = [
        ("w000#1", "accept", json!("reference")),
        ("w009#1", "answer", call),
        ("w010#1", "answer", json!(secret)),
    ];
    let took = world.accept(&filled).unwrap();
    assert_eq!((took.answered, took.open, took.known, took.replaced), (3, 10, 0, 0));
    let rows = world.accepted();
    let of = |item: &str| {
        let row = rows.iter().find(|row| row["corrects"]["item"] == item).unwrap();
        row["messages"].as_array().unwrap().last().unwrap().clone()
    };
    let arguments = |item: &str| of(item)["tool_calls"][0]["function"]["arguments"].clone();
    assert_eq!(arguments("w000#1"), json!({"word": "w000"}));
    assert_eq!(arguments("w009#1"), json!({"word": "x"}));
    assert_eq!(
        (&of("w010#1")["content"], &of("w010#1")["author"]),
        (&json!("write to <EMAIL_1>"), &json!("human"))
    );

    let other =
        [("w000#1", "answer", json!("another")), ("w009#1", filled[1].1, filled[1].2.clone())];
    let took = world.accept(&other).unwrap();
    assert_eq!((took.answered, took.known, took.replaced), (2, 1, 1));
    assert_eq!(world.accepted().len(), 3, "what was taken before stays");
}

#[test]
fn a_mistake_on_the_sheet_is_named_by_line_and_quotes_nothing() {
    let world = World::new();
    let wrong_tool = json!({"calls": [{"name": "seek", "arguments": {}}]});
    for (filled, wanted) in [
        (vec![("w000#1", "accept", json!("refrence"))], ":2: `accept` is none of reference"),
        (vec![("w000#1", "accept", json!("champion"))], ":2: `accept` is none of"),
        (
            vec![("w000#1", "accept", json!("base")), ("w000#1", "answer", json!("x"))],
            "both filled",
        ),
        (vec![("w000#1", "answer", json!(" "))], ":2: the answer is empty"),
        (vec![("w000#1", "answer", wrong_tool)], "does not have; it has find"),
        (vec![("w009#1", "accept", json!("candidate"))], "a call that does not parse"),
        (vec![("w000#1", "answer", json!({"text": "hush"}))], "`answer` is neither a text nor"),
        (vec![("w000#1", "acept", json!("base"))], "only `accept` and `answer` are to fill"),
        (
            vec![("w000#1", "accept", json!("base")), ("w000#1", "run", json!("../up"))],
            "`run` is no name of a run",
        ),
    ] {
        let mut filled = filled;
        // Whatever else is right.
        filled.push(("w020#1", "accept", json!("reference")));
        let error = world.refusal(&filled);
        assert!(error.contains(wanted) && !error.contains("hush"), "{error}");
    }
    fs::write(world.path("broken.jsonl"), "\n{\"accept\": \"hush\n").unwrap();
    let redactor = Redactor::new(Policy::default()).unwrap();
    let error = accept(&world.path("broken.jsonl"), &world.path("counter"), &redactor);
    let error = format!("{:#}", error.unwrap_err());
    assert!(error.contains("broken.jsonl:2: not JSON") && !error.contains("hush"), "{error}");
}

/// A session with two answers, of which a run got both wrong.
fn two_answers(world: &World) -> Arc<Example> {
    let first = lookups(1, Kind::Real, "w").examples[0].read().unwrap();
    let mut session = first.as_ref().clone();
    let words = |n: u64| (0..60).map(|i| format!("word{} ", (i * 7 + n) % 90)).collect::<String>();
    session.trace.messages[0].content = words(1);
    session.trace.messages.push(Message::text(Role::User, words(2)));
    session.trace.messages.push(Message::text(Role::Assistant, "The reference was wrong."));
    session = Example::real(session.trace);
    world.run("one", |records| {
        for (n, record) in records.iter_mut().filter(|r| r.id.ends_with("9#1")).take(2).enumerate()
        {
            record.id = format!("{}#{}", session.id, 2 * n + 1);
            record.reference = Default::default();
            if n == 0 {
                let arguments = session.trace.messages[1].tool_calls[0].arguments.clone();
                record.reference.calls = vec![Call { name: "find".into(), arguments }];
            }
        }
    });
    let results = world.path("one/eval/eval_results.json");
    let mut value: Value = serde_json::from_slice(&fs::read(&results).unwrap()).unwrap();
    let ids = [1, 3].map(|at| format!("{}#{at}", session.id));
    value["changes"] = json!({"regressions": [], "persistent": ids});
    write_json(&results, &value).unwrap();
    let row = lines(std::slice::from_ref(&session));
    write_bytes(&world.path("one/dataset/val.jsonl"), &row).unwrap();
    Arc::new(session)
}

#[test]
fn all_that_was_answered_is_trained_and_its_session_leaves_validation() {
    let world = World::new();
    let session = two_answers(&world);
    let [first, second] = [1, 3].map(|at| format!("{}#{at}", session.id));
    let filled =
        [(&*first, "accept", json!("reference")), (&*second, "answer", json!("This is right."))];
    assert_eq!(world.accept(&filled).unwrap().answered, 2);

    let all = lookups(30, Kind::Real, "v");
    let real = Rows::new(vec![session.as_ref().clone()], Stage::made("load", 1)).and(&all);
    let written = counterexamples(Path::new("counter"), world.0.path(), &Ok, &Silent).unwrap();
    assert_eq!(written.len(), 2);
    let rows = dedup(&real.and(&written), &Limits::default(), &Silent).unwrap();
    assert_eq!(rows.count(Kind::Counterexample), 2, "they begin alike and both stay");
    let limits = Limits::default();
    let options = Options { by_repository: false, val: 0.999, tune: 0.0, limits, min_val: 1 };
    assert_eq!(split(&real, &options, None, &Silent).unwrap().val.len(), 31);
    let parts = split(&rows, &options, None, &Silent).unwrap();
    assert_eq!((parts.train.len(), parts.val.len()), (3, 30));
    let trained = |row: &Example| -> Vec<usize> {
        let messages = row.trace.messages.iter().enumerate();
        messages.filter(|(_, m)| m.train).map(|(at, _)| at).collect()
    };
    for row in parts.train.iter() {
        let row = row.read().unwrap();
        let wanted = match (row.kind, row.trace.messages.len()) {
            // The answer that was corrected is no longer taught.
            (Kind::Real, _) => vec![1],
            (_, length) => vec![length - 1],
        };
        assert_eq!(trained(&row), wanted, "{:?}", row.kind);
    }
    assert_eq!(parts.account.masked["corrected"], 1);
}

#[test]
fn every_run_is_listed_whatever_is_wrong_with_it() {
    let world = World::new();
    let write = |run: &str, file: &str, value: Value| {
        write_json(&world.path(run).join(file), &value).unwrap();
    };
    let rows_of = |n: u64| json!({"splits": {"train": {"rows": n}, "val": {"rows": 7}}});
    write("20261122T101500Z-10", "run.json", json!({"status": "done", "started": "then"}));
    write("20261122T101500Z-10", "dataset/dataset_manifest.json", rows_of(40));
    let results =
        json!({"delta": {"exact_match": -0.125}, "candidate": {"digest": "abcdef0123456789"}});
    write("20261122T101500Z-10", "eval/eval_results.json", results);
    write("20261122T101500Z-10", "eval/gate_decision.json", json!({"verdict": "block"}));
    let past = json!({"solved": 7, "total": 9});
    write("20261122T101500Z-10", "eval/counterexamples.json", past);
    write("20261122T101500Z-2", "run.json", json!({"started": "then"}));
    write("20261122T101500Z", "run.json", json!({"status": "failed"}));
    fs::create_dir_all(world.path("20261122T101500Z/dataset")).unwrap();
    fs::write(world.path("20261122T101500Z/dataset/dataset_manifest.json"), "{").unwrap();
    fs::create_dir_all(world.path("no-run")).unwrap();

    let found = rows(world.0.path()).unwrap();
    let names: Vec<(&str, &str)> = found.iter().map(|r| (&*r.run, &*r.status)).collect();
    let wanted = [
        ("20261122T101500Z", "failed"),
        ("20261122T101500Z-2", "interrupted"),
        ("20261122T101500Z-10", "done"),
        ("one", "unknown"),
    ];
    assert_eq!(names, wanted);
    assert_eq!(found[0].damaged, ["dataset/dataset_manifest.json"]);
    assert_eq!((found[2].rows, found[2].solved), (Some([40, 0, 7]), Some([7, 9])));
    let text = table(&found);
    let line = text.lines().nth(3).unwrap().split_whitespace().collect::<Vec<_>>();
    let wanted = [
        "20261122T101500Z-10",
        "done",
        "40",
        "0",
        "7",
        "abcdef012345",
        "−12.5",
        "–",
        "7",
        "of",
        "9",
        "block",
    ];
    assert_eq!(line, wanted);
    assert!(text.contains("dataset/dataset_manifest.json is damaged"));
    assert_eq!(rows(&world.path("nowhere")).unwrap(), []);
}

#[test]
fn a_run_that_goes_on_is_shown_as_running() {
    let parent = tempfile::tempdir().unwrap();
    let run = proto::run::Run::create(parent.path(), &[]).unwrap();
    let status = || rows(parent.path()).unwrap()[0].status.clone();
    assert_eq!(status(), "running");
    drop(run);
    assert_eq!(status(), "interrupted");
}

#[test]
fn a_difference_names_data_settings_figures_and_answers() {
    let world = World::new();
    world.run("two", |records| {
        let right = records.iter().find(|r| r.id == "w001#1").unwrap().candidate.clone();
        let wrong = records.iter().find(|r| r.id == "w000#1").unwrap().candidate.clone();
        for record in records.iter_mut() {
            match record.id.as_str() {
                "w000#1" => record.candidate = right.clone(),
                "w001#1" => record.candidate = wrong.clone(),
                "w009#1" => record.candidate.content = "something else".into(),
                _ => {}
            }
        }
        records.retain(|record| record.id != "w002#1");
    });
    let val = world.path("two/dataset/val.jsonl");
    let text = fs::read_to_string(&val).unwrap();
    fs::write(&val, text.split_once('\n').unwrap().1).unwrap();
    let manifest = |run: &str, seed: u64, input: &str| {
        for part in ["train", "tune"] {
            fs::write(world.path(run).join(format!("dataset/{part}.jsonl")), "").unwrap();
        }
        let value = json!({
            "config": {"SEED": seed, "MAX_STEPS": 10},
            "inputs": [{"file": "a.jsonl", "sha256": input}],
            "stages": [{"name": "load", "input": seed, "output": seed, "dropped": {"bad": 1}}],
        });
        write_json(&world.path(run).join("dataset/dataset_manifest.json"), &value).unwrap();
    };
    manifest("one", 1, "aa");
    manifest("two", 2, "bb");
    let same = Diff::of([&world.path("one"), &world.path("one")]).unwrap();
    assert!(same.inputs.is_empty() && same.configuration.is_empty() && same.stages.is_empty());
    assert!(same.outputs.worse.is_empty() && same.outputs.only == [0, 0]);

    let diff = Diff::of([&world.path("one"), &world.path("two")]).unwrap();
    assert_eq!(diff.inputs["a.jsonl"], [json!("aa"), json!("bb")]);
    assert_eq!(diff.configuration, BTreeMap::from([("SEED".into(), [json!(1), json!(2)])]));
    let counted: Vec<&str> = diff.stages.keys().map(String::as_str).collect();
    assert_eq!(counted, ["load, input", "load, output"]);
    let rows = &diff.parts[&proto::dataset::Part::Val];
    assert_eq!((rows.counts, rows.added.len(), rows.removed.len()), ([65, 64], 0, 1));
    let ids = |changed: &[proto::history::diff::Changed]| -> Vec<String> {
        changed.iter().map(|c| c.item.clone()).collect()
    };
    let outputs = &diff.outputs;
    assert_eq!(
        (ids(&outputs.worse), ids(&outputs.better)),
        (vec!["w001#1".into()], vec!["w000#1".into()])
    );
    assert_eq!((outputs.only, outputs.otherwise_wrong), ([1, 0], 1));
    // The one item that only the first was asked, it had right.
    let right = compared().1.iter().filter(|r| r.candidate.is_right()).count() as u64 - 1;
    assert_eq!(outputs.right, [right, right]);
    let shown = diff.to_string();
    for said in [
        "val: 65 → 64 rows; 0 new, 1 gone",
        "SEED: 1 → 2",
        "right → wrong: 1",
        "+70.0",
        "stage load: input 1 → 2, output 1 → 2",
        "val has other rows",
    ] {
        assert!(shown.contains(said), "{said}\n{shown}");
    }
}

#[test]
fn a_line_of_the_sheet_reads_back() {
    let world = World::new();
    let sheet = Sheet::of(&world.path("one"), 1).unwrap();
    let text = serde_json::to_string(&sheet.cases[0]).unwrap();
    assert!(text.starts_with("{\"accept\":\"\",\"answer\":null,"), "the places to fill come first");
    assert_eq!(serde_json::from_str::<Case>(&text).unwrap(), sheet.cases[0]);
}
