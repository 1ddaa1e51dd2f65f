//! From raw traces to a written dataset: nothing lost, nothing leaked, the same bytes every time.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use proto::chance::Chance;
use proto::config::{Config, Layers};
use proto::dataset::dedup::dedup;
use proto::dataset::generate::{FEW, GENERATORS, Pool, generate};
use proto::dataset::ledger::Ledger;
use proto::dataset::manifest::{Manifest, Provenance};
use proto::dataset::quality::{Bounds, standard};
use proto::dataset::redaction::redact;
use proto::dataset::similarity::Limits;
use proto::dataset::snapshot::{self, Shards, Snapshot};
use proto::dataset::source::{self, Recent, counterexamples, from_traces};
use proto::dataset::split::split;
use proto::dataset::{Dataset, Example, Held, Kind, Pager, Rows, Stage, mix, split as splitting};
use proto::progress::{Cancelled, Observer, Silent};
use proto::redact::{Policy, Redactor};
use proto::trace::{Trace, raw};
use serde_json::{Value, json};

/// Words that look like prose and differ from seed to seed.
pub(crate) fn prose(seed: u64, count: usize) -> String {
    let mut chance = Chance::new(seed, "test prose");
    let parts = ["ka", "lo", "mi", "ren", "ta", "vos", "pel", "dur", "sin", "ga"];
    let word = |c: &mut Chance| (0..3).map(|_| parts[c.below(parts.len())]).collect::<String>();
    (0..count).map(|_| word(&mut chance)).collect::<Vec<_>>().join(" ")
}

/// A session in which an agent reads a file and answers.
pub(crate) fn session(n: u64) -> Value {
    let file = format!("src/{}.rs", prose(n, 1));
    let mail = format!("{}.{}@quarry-mail.com", prose(n + 7000, 1), prose(n + 8000, 1));
    json!({
        "session": format!("s{n}"),
        "source": if n.is_multiple_of(2) { "alpha" } else { "beta" },
        "task_category": "lookup",
        "outcome": if n.is_multiple_of(10) { "failed" } else { "success" },
        "timestamp": 1_790_000_000 + n * 3600,
        "model": "some-model",
        "messages": [
            {"role": "system", "content": "You are an agent with many instructions, all the same."},
            {"role": "user", "content": format!("What does {file} say about {}? Tell {mail}.", prose(n + 1000, 12))},
            {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", "type": "function",
                "function": {"name": "read", "arguments": {"path": format!("./{file}"), "depth": n}}}]},
            {"role": "tool", "tool_call_id": "c1", "content": prose(n + 2000, 40)},
            {"role": "assistant", "content": format!("It says {}.", prose(n + 3000, 12))},
        ],
    })
}

pub(crate) fn lines(sessions: impl IntoIterator<Item = Value>) -> String {
    sessions.into_iter().map(|s| s.to_string() + "\n").collect()
}

/// Two files of sessions, some of them copies, and three lines that are broken.
pub(crate) fn traces(folder: &Path) {
    let mut copy = session(3);
    copy["session"] = json!("copy-of-3");
    let mut resumed = session(5);
    resumed["session"] = json!("resumed-5");
    let more = json!([
        {"role": "user", "content": prose(9001, 90)},
        {"role": "assistant", "content": prose(9002, 90)},
    ]);
    let messages = resumed["messages"].as_array_mut().unwrap();
    messages.extend(more.as_array().unwrap().iter().cloned());
    fs::write(folder.join("one.jsonl"), lines((0..60).map(session)) + "{broken\n[]\n").unwrap();
    let two =
        lines((60..120).map(session)) + "\n" + lines([copy, resumed]).as_str() + "{\"a\": 1}\n";
    fs::write(folder.join("two.jsonl"), two).unwrap();
    fs::create_dir_all(folder.join("counter")).unwrap();
    let fixed = json!({"session": "fix", "user": prose(9100, 30), "assistant": prose(9101, 10)});
    fs::write(folder.join("counter/fixed.jsonl"), lines([fixed])).unwrap();
}

pub(crate) fn config(settings: &[&str]) -> Config {
    let mut layers = Layers::new();
    for setting in settings {
        layers.command_line(setting).unwrap();
    }
    layers.resolve(&[]).unwrap()
}

pub(crate) fn words(example: &Example) -> Result<usize> {
    let messages = example.trace.messages.iter();
    Ok(messages.map(|m| 4 + m.content.split_whitespace().count()).sum())
}

fn provenance() -> Provenance {
    Provenance {
        program: "0.1.0".into(),
        scripts: BTreeMap::from([("daily.rhai".into(), "00".into())]),
        tokenizer: "11".into(),
        chat_template: "22".into(),
        forgotten: String::new(),
    }
}

/// The whole way from files to a dataset, all rows in memory.
pub(crate) fn build(
    folder: &Path,
    files: &[&str],
    config: &Config,
    ledger: Option<&Ledger>,
    observer: &dyn Observer,
) -> Result<(Dataset, Ledger)> {
    build_with(Pager::memory(), folder, files, config, ledger, observer)
}

fn build_with(
    pager: &Arc<Pager>,
    folder: &Path,
    files: &[&str],
    config: &Config,
    ledger: Option<&Ledger>,
    observer: &dyn Observer,
) -> Result<(Dataset, Ledger)> {
    let seed = config.int("SEED") as u64;
    let paths: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
    let redactor = Redactor::new(Policy::from_config(config)?)?;
    let recent = Recent { days: config.int("TRACE_DAYS") as u64, ..Recent::default() };
    let keep = &mut |_: &Trace| Ok(None);
    let mut rows = source::read(&paths, folder, Kind::Real, &recent, pager, observer, keep)?;
    let pool = Pool::new(&rows, &redactor, observer)?;
    let real = rows.clone();
    for generator in GENERATORS {
        rows = rows.and(&generate(&real, generator, &pool, (1, FEW), seed, observer)?);
    }
    rows = rows.and(&counterexamples(Path::new("counter"), folder, &Ok, observer)?);
    rows = redact(&rows, &redactor, seed, observer)?;
    rows = standard(&rows, &Bounds::from_config(config)?, Some(&words), observer)?;
    rows = dedup(&rows, &Limits::from_config(config)?, observer)?;
    let parts = split(&rows, &splitting::Options::from_config(config)?, ledger, observer)?;
    let dataset = mix::mix(&parts, &mix::Options::from_config(config)?, &words, observer)?;
    Ok((dataset, parts.ledger.as_ref().clone()))
}

pub(crate) fn write(dataset: &Dataset, to: &Path, config: &Config) -> Result<Snapshot> {
    let policy = Policy::from_config(config)?;
    snapshot::write(dataset, to, config, &policy, provenance(), &Silent)
}

/// Every file of a folder with its bytes.
pub(crate) fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    entries
        .map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&p).unwrap()))
        .collect()
}

fn threads<T: Send>(n: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap().install(work)
}

#[test]
fn every_line_is_accounted_for_and_nothing_leaks() {
    let folder = tempfile::tempdir().unwrap();
    traces(folder.path());
    let config = config(&["REPLAY_RATIO=0", "VAL_FRACTION=0.25"]);
    let (dataset, _) =
        build(folder.path(), &["one.jsonl", "two.jsonl"], &config, None, &Silent).unwrap();
    let out = folder.path().join("dataset");
    let snapshot = write(&dataset, &out, &config).unwrap();
    let manifest = &snapshot.manifest;
    manifest.check().unwrap();

    let load = &manifest.stages[0];
    assert_eq!((load.input, load.output), (125, 122));
    assert_eq!(manifest.bad_lines.total, 3);
    let places: Vec<_> =
        manifest.bad_lines.listed.iter().map(|b| (b.file.as_str(), b.line)).collect();
    assert_eq!(places, [("one.jsonl", 61), ("one.jsonl", 62), ("two.jsonl", 64)]);
    let filter = manifest.stages.iter().find(|s| s.name == "filter").unwrap();
    assert!(filter.dropped["outcome"] > 12, "{:?}", filter.dropped);
    assert!(manifest.splits.values().all(|part| !part.outcomes.contains_key("bad")));
    let dropped = manifest.duplicates.listed.iter();
    let copies: Vec<_> = dropped.filter(|d| d.kind == Kind::Real).collect();
    assert_eq!(copies.len(), 2);
    assert!(copies.iter().any(|d| d.session == "alpha/resumed-5" || d.session == "beta/s5"));

    assert_eq!(manifest.leakage.leaking_rows, 0);
    assert!(manifest.leakage.rows >= 10, "{}", manifest.leakage.rows);
    assert_eq!((manifest.leakage.sessions, manifest.leakage.components), (0, 0));
    let gates = &manifest.gates;
    assert!(gates.min_example_ok && gates.leak_ok, "{gates:?}");
    assert_eq!(gates.unredacted_rows, 0);
    assert_eq!(gates.redaction_ok, gates.canary_recall >= 1.0 && gates.residue_rows == 0);
    for ratio in &manifest.mix {
        if let Some(wanted) = ratio.wanted.filter(|_| ratio.kind.is_generated()) {
            assert!((ratio.got - wanted).abs() < 0.03, "{ratio:?}");
        }
    }
    let held_out = snapshot.dataset.val.iter().chain(snapshot.dataset.tune.iter());
    assert!(held_out.clone().count() > 0);
    assert!(held_out.clone().all(|e| e.kind == Kind::Real));

    let files = contents(&out);
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    let wanted = [
        "README.md",
        "croissant.json",
        "dataset_manifest.json",
        "duplicates.jsonl",
        "train.jsonl",
        "tune.jsonl",
        "val.jsonl",
    ];
    assert_eq!(names, wanted);
    for (name, bytes) in &files {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains("quarry-mail"), "{name}");
        assert!(!text.contains(folder.path().to_str().unwrap()), "{name}");
        if let Some(file) = manifest.files.get(name) {
            assert_eq!(file.sha256, proto::files::digest(bytes));
            assert_eq!((file.bytes, file.rows), (bytes.len() as u64, text.lines().count() as u64));
        }
    }
    assert_eq!(Manifest::read(&out.join("dataset_manifest.json")).unwrap(), **manifest);
    for line in String::from_utf8_lossy(&files["train.jsonl"]).lines() {
        let example: Example = serde_json::from_str(line).unwrap();
        assert!(example.component.is_some() && !example.trace.origin.file.is_empty());
    }
}

#[test]
fn the_bytes_do_not_depend_on_file_order_or_threads() {
    let folder = tempfile::tempdir().unwrap();
    traces(folder.path());
    let config = config(&["SHORTFALL=repeat", "ADVERSARIAL_RATIO=0.3"]);
    let run = |name: &str, files: &[&str], n: usize| {
        let out = folder.path().join(name);
        threads(n, || {
            let (dataset, _) = build(folder.path(), files, &config, None, &Silent).unwrap();
            write(&dataset, &out, &config).unwrap();
        });
        contents(&out)
    };
    let one = run("a", &["one.jsonl", "two.jsonl"], 1);
    assert_eq!(one, run("b", &["two.jsonl", "one.jsonl"], 2));
    assert_eq!(one, run("c", &["two.jsonl", "one.jsonl", "one.jsonl"], 2));
    let text = String::from_utf8(one["dataset_manifest.json"].clone()).unwrap();
    let manifest: Manifest = serde_json::from_str(&text).unwrap();
    assert!(manifest.mix.iter().all(|r| !r.kind.is_generated() || r.rows > 0));
}

#[test]
fn the_bytes_do_not_depend_on_what_was_paged_out() {
    let folder = tempfile::tempdir().unwrap();
    traces(folder.path());
    let config = config(&["SHORTFALL=repeat"]);
    let run = |name: &str, pager: &Arc<Pager>| {
        let (out, files) = (folder.path().join(name), ["one.jsonl", "two.jsonl"]);
        let (dataset, _) =
            build_with(pager, folder.path(), &files, &config, None, &Silent).unwrap();
        write(&dataset, &out, &config).unwrap();
        contents(&out)
    };
    let memory = run("memory", Pager::memory());
    for budget in [0, 100_000] {
        let pager = Pager::new(budget, folder.path());
        assert_eq!(memory, run(&format!("paged{budget}"), &pager), "{budget}");
        assert!(pager.paged_out() > 10_000);
    }
}

/// The rows read.
fn whole(rows: &[Held]) -> Vec<Arc<Example>> {
    rows.iter().map(|row| row.read().unwrap()).collect()
}

/// Says stop after so many questions.
struct StopAfter(AtomicUsize);

impl Observer for StopAfter {
    fn cancelled(&self) -> bool {
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_err()
    }
}

#[test]
fn stopping_anywhere_leaves_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    traces(folder.path());
    let config = config(&[]);
    let (dataset, _) = build(folder.path(), &["one.jsonl"], &config, None, &Silent).unwrap();
    let policy = Policy::from_config(&config).unwrap();
    let whole = folder.path().join("whole");
    snapshot::write(&dataset, &whole, &config, &policy, provenance(), &Silent).unwrap();
    let whole = contents(&whole);
    let mut stopped = 0;
    for n in 0.. {
        let out = folder.path().join(format!("stopped{n}"));
        let observer = StopAfter(AtomicUsize::new(n));
        let written = snapshot::write(&dataset, &out, &config, &policy, provenance(), &observer);
        for (name, bytes) in contents_if_any(&out) {
            assert_eq!(whole.get(&name), Some(&bytes), "{name}");
        }
        match written {
            Ok(_) => break,
            Err(e) => assert!(e.downcast_ref::<Cancelled>().is_some(), "{e:#}"),
        }
        assert!(!out.join("dataset_manifest.json").exists());
        stopped += 1;
    }
    assert!(stopped >= 3, "{stopped}");
    for n in [0, 1, 5, 40, 200] {
        let observer = StopAfter(AtomicUsize::new(n));
        let error = build(folder.path(), &["one.jsonl"], &config, None, &observer).unwrap_err();
        assert!(error.downcast_ref::<Cancelled>().is_some(), "{error:#}");
    }
}

fn contents_if_any(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    if folder.exists() { contents(folder) } else { BTreeMap::new() }
}

#[test]
fn what_the_second_scan_finds_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    traces(folder.path());
    let config = config(&[]);
    let (mut dataset, _) = build(folder.path(), &["one.jsonl"], &config, None, &Silent).unwrap();
    let mut train = dataset.train.as_ref().clone();
    let mut spoiled = train[0].read().unwrap().as_ref().clone();
    let token = format!("ghp_{}", "a1B2c3D4e5F6".repeat(3));
    spoiled.trace.messages[1].content += &format!(" {token}");
    train[0] = spoiled.into();
    dataset.train = Arc::new(train);
    let out = folder.path().join("out");
    let snapshot = write(&dataset, &out, &config).unwrap();
    let stage = snapshot.manifest.stages.last().unwrap();
    assert_eq!((stage.name.as_str(), stage.dropped["residue"]), ("second_scan", 1));
    assert!(!snapshot.manifest.gates.redaction_ok);
    assert_eq!(snapshot.manifest.gates.failed(), ["min_example_ok", "redaction_ok"]);
    assert_eq!(snapshot.dataset.train.len(), dataset.train.len() - 1);
    for bytes in contents(&out).values() {
        assert!(!String::from_utf8_lossy(bytes).contains(&token));
    }
}

#[test]
fn a_manifest_that_does_not_add_up_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    traces(folder.path());
    let config = config(&[]);
    let (dataset, _) = build(folder.path(), &["one.jsonl"], &config, None, &Silent).unwrap();
    let mut lost = dataset.clone();
    let mut train = lost.train.as_ref().clone();
    train.pop();
    lost.train = Arc::new(train);
    let out = folder.path().join("out");
    let error = format!("{:#}", write(&lost, &out, &config).unwrap_err());
    assert!(error.contains("took") || error.contains("unaccounted"), "{error}");
    assert!(!out.join("dataset_manifest.json").exists());
}

#[test]
fn rows_without_redaction_never_pass_the_gate() {
    let folder = tempfile::tempdir().unwrap();
    traces(folder.path());
    let config = config(&[]);
    let loaded = proto::trace::load(&[PathBuf::from("counter")], folder.path(), &Silent).unwrap();
    let rows = from_traces(loaded, Kind::Real, &Recent::default());
    let options = splitting::Options::from_config(&config).unwrap();
    let parts = split(&rows, &options, None, &Silent).unwrap();
    let options = mix::Options::from_config(&config).unwrap();
    let dataset = mix::mix(&parts, &options, &words, &Silent).unwrap();
    let snapshot = write(&dataset, &folder.path().join("out"), &config).unwrap();
    assert!(!snapshot.manifest.gates.redaction_ok);
    assert_eq!(snapshot.manifest.gates.unredacted_rows, 1);
}

#[test]
fn given_files_replace_the_split_and_are_checked_like_it() {
    let folder = tempfile::tempdir().unwrap();
    traces(folder.path());
    let config = config(&["MIN_TRAIN_EXAMPLES=1", "MIN_VAL_EXAMPLES=1"]);
    let (dataset, _) =
        build(folder.path(), &["one.jsonl", "two.jsonl"], &config, None, &Silent).unwrap();
    let out = folder.path().join("out");
    let first = write(&dataset, &out, &config).unwrap();
    let redactor = Redactor::new(Policy::from_config(&config).unwrap()).unwrap();
    let read = |train: &str, val: &str| {
        let shards = Shards { train: vec![out.join(train)], val: vec![out.join(val)] };
        let dataset = shards.read(folder.path(), &redactor, &config, &words, &Silent).unwrap();
        write(&dataset, &folder.path().join("again"), &config).unwrap()
    };
    let again = read("train.jsonl", "val.jsonl");
    assert_eq!(whole(&again.dataset.train), whole(&first.dataset.train));
    assert_eq!(whole(&again.dataset.val), whole(&first.dataset.val));
    assert!(again.manifest.gates.leak_ok);
    assert_eq!(again.manifest.split, None);
    again.manifest.check().unwrap();

    let leaking = read("train.jsonl", "train.jsonl");
    assert!(!leaking.manifest.gates.leak_ok);
    assert!(leaking.manifest.leakage.share > 0.9);
    let dropped = &leaking.manifest.stages;
    let only_real = dropped.iter().find(|s| s.name == "val_real").unwrap();
    assert!(only_real.dropped["not_real"] > 0);
}

#[test]
fn what_was_held_out_stays_held_out_from_day_to_day() {
    let folder = tempfile::tempdir().unwrap();
    traces(folder.path());
    let config = config(&[]);
    let (_, ledger) =
        build(folder.path(), &["one.jsonl"], &config, Some(&Ledger::default()), &Silent).unwrap();
    // A tenth more, a sixth of them going on with older sessions.
    let more = (200..206).map(|n| {
        let mut next = session(n);
        if n == 203 {
            let mut old = session(7);
            old["messages"].as_array_mut().unwrap().extend([
                json!({"role": "user", "content": prose(n, 200)}),
                json!({"role": "assistant", "content": prose(n + 1, 50)}),
            ]);
            next["messages"] = old["messages"].take();
        }
        next
    });
    fs::write(folder.path().join("next.jsonl"), lines(more)).unwrap();
    let files = ["one.jsonl", "next.jsonl"];
    let (dataset, after) = build(folder.path(), &files, &config, Some(&ledger), &Silent).unwrap();
    let part_of = |e: &Held| ledger.sessions.get(&e.session_key());
    use proto::dataset::Part;
    let wrong = |rows: &[Held], part| {
        rows.iter().filter_map(part_of).filter(|before| **before != part).count()
    };
    assert_eq!(wrong(&dataset.train, Part::Train), 0);
    assert_eq!(wrong(&dataset.tune, Part::Tune), 0);
    assert_eq!(wrong(&dataset.val, Part::Val), 0);
    assert_eq!(after.sessions["beta/s203"], ledger.sessions["beta/s7"]);
    assert!(after.sessions.len() > ledger.sessions.len());
    let kept = folder.path().join("state/ledger.json");
    let setting = format!("LEDGER={}", kept.display());
    write(&dataset, &folder.path().join("out"), &self::config(&[&setting])).unwrap();
    assert_eq!(Ledger::read(&kept).unwrap(), after);
    assert_eq!(dataset.leakage.leaking_rows, 0);
}

#[test]
fn only_recent_sessions_are_taken_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    traces(folder.path());
    let load = |days| {
        let loaded =
            proto::trace::load(&[PathBuf::from("one.jsonl")], folder.path(), &Silent).unwrap();
        from_traces(loaded, Kind::Real, &Recent { days, ..Recent::default() })
    };
    assert_eq!(load(0).len(), 60);
    // Sessions begin an hour apart: the newest and the day before it.
    let rows = load(1);
    assert_eq!(rows.len(), 25);
    assert_eq!(rows.stages[0].dropped["outside_trace_days"], 35);
    assert!(rows.stages[0].adds_up());
}

#[test]
fn what_is_judged_on_grows_while_what_is_trained_on_stays_recent() {
    let folder = tempfile::tempdir().unwrap();
    traces(folder.path());
    let config = config(&["VAL_FRACTION=0.3"]);
    let options = splitting::Options::from_config(&config).unwrap();
    let mut ledger = Ledger::default();
    let mut before: Vec<String> = Vec::new();
    for day in 1..5u64 {
        // Sessions begin an hour apart, and each day looks back for one.
        let sessions = (0..day * 24).map(session);
        fs::write(folder.path().join("days.jsonl"), lines(sessions)).unwrap();
        let paths = [PathBuf::from("days.jsonl")];
        let loaded = proto::trace::load(&paths, folder.path(), &Silent).unwrap();
        let rows =
            from_traces(loaded, Kind::Real, &Recent { days: 1, or_held_out: ledger.clone() });
        let parts = split(&rows, &options, Some(&ledger), &Silent).unwrap();
        assert!(parts.train.len() < 24, "{} rows of the last day", parts.train.len());
        let val: Vec<String> = parts.val.iter().map(|row| row.session_key()).collect();
        assert!(before.iter().all(|key| val.contains(key)), "day {day}: {before:?} {val:?}");
        assert!(val.len() > before.len(), "day {day}");
        (before, ledger) = (val, parts.ledger.as_ref().clone());
    }
}

#[test]
fn the_manifest_keeps_its_shape() {
    let folder = tempfile::tempdir().unwrap();
    traces(folder.path());
    let config = config(&[]);
    let (dataset, _) = build(folder.path(), &["one.jsonl"], &config, None, &Silent).unwrap();
    let out = folder.path().join("out");
    write(&dataset, &out, &config).unwrap();
    let text = fs::read_to_string(out.join("dataset_manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        keys(&manifest),
        [
            "schema_version",
            "gates",
            "provenance",
            "config",
            "seed",
            "inputs",
            "unread",
            "bad_lines",
            "stages",
            "catalogue",
            "labels",
            "masked",
            "reviews",
            "mended",
            "redaction",
            "duplicates",
            "contamination",
            "split",
            "mix",
            "splits",
            "leakage",
            "files"
        ]
    );
    assert_eq!(manifest["schema_version"], 1);
    assert_eq!(keys(&manifest["gates"])[..3], ["min_example_ok", "redaction_ok", "leak_ok"]);
    assert_eq!(keys(&manifest["splits"]), ["train", "tune", "val"]);
    assert_eq!(
        keys(&manifest["splits"]["train"]),
        [
            "rows",
            "distinct_rows",
            "sessions",
            "components",
            "trained_turns",
            "kinds",
            "sources",
            "categories",
            "outcomes",
            "authors",
            "tokens"
        ]
    );
    assert_eq!(keys(&manifest["inputs"][0]), ["file", "sha256", "bytes", "lines"]);
    assert_eq!(
        keys(&manifest["stages"][0]),
        ["name", "source", "input", "added", "output", "dropped"]
    );
    assert_eq!(manifest["config"]["VAL_FRACTION"], 0.15);
    assert_eq!(manifest["config"].get("THREADS"), None);
    assert!(manifest["splits"]["train"]["authors"]["some-model"].as_u64().unwrap() > 0);
}

/// A document as people's sessions have them: a shared system prompt, a question, prose.
fn document(n: u64) -> (String, String) {
    (prose(n * 10 + 50_000, 25), prose(n * 10 + 50_001, 400))
}

/// `share` of the words replaced in a few contiguous spans.
fn edited(text: &str, share: f64, seed: u64) -> String {
    let mut words: Vec<String> = text.split(' ').map(String::from).collect();
    let mut chance = Chance::new(seed, "edits");
    let spans = 2;
    let length = ((words.len() as f64 * share) / spans as f64).ceil() as usize;
    for _ in 0..spans {
        let at = chance.below(words.len() - length);
        let new = prose(seed + 90_000 + at as u64, length);
        words.splice(at..at + length, new.split(' ').map(String::from));
    }
    words.join(" ")
}

#[test]
fn copies_are_found_and_others_left_alone() {
    let chat = |session: String, user: &str, answer: &str| {
        let value = json!({
            "session": session, "system": "A long system prompt, word for word the same.",
            "user": user, "assistant": answer,
        });
        Example::real(raw::parse_row(value, &Default::default()).unwrap().trace)
    };
    type Change = fn(&str, u64) -> String;
    let changes: [(&str, f64, Change); 8] = [
        ("exact", 1.0, |t, _| t.to_string()),
        ("space and case", 1.0, |t, _| t.replace(' ', "  ").to_uppercase()),
        ("ids and times", 0.99, |t, n| {
            t.replacen(
                ' ',
                &format!(" {:08x}a1 2026-11-{:02} /home/u{n}/x ", n * 7919, 1 + n % 28),
                9,
            )
        }),
        ("1 % edits", 0.99, |t, n| edited(t, 0.01, n)),
        ("5 % edits", 0.99, |t, n| edited(t, 0.05, n)),
        ("10 % edits", 0.8, |t, n| edited(t, 0.10, n)),
        ("20 % edits", 0.5, |t, n| edited(t, 0.20, n)),
        ("half", 0.0, |t, _| t[..t.len() / 2].to_string()),
    ];
    let bases = 120u64;
    for (name, wanted, change) in changes {
        let mut examples = Vec::new();
        for n in 0..bases {
            let (question, text) = document(n);
            let stamped = if name == "ids and times" { change(&text, n + 1) } else { text.clone() };
            examples.push(Arc::new(chat(format!("base{n}"), &question, &stamped)));
            examples.push(Arc::new(chat(format!("copy{n}"), &question, &change(&text, n))));
        }
        let count = examples.len();
        let rows = Rows::new(
            examples,
            Stage { added: count as u64, output: count as u64, ..Stage::default() },
        );
        let kept = dedup(&rows, &Limits::default(), &Silent).unwrap();
        let found = (count - kept.len()) as f64 / bases as f64;
        assert!(found >= wanted, "{name}: {found} of the copies found, {wanted} wanted");
        // Each family keeps one row, and no row was dropped for a stranger.
        let family =
            |session: &str| session.trim_start_matches(|c: char| !c.is_ascii_digit()).to_string();
        let families: std::collections::BTreeSet<_> =
            kept.examples.iter().map(|e| family(&e.session)).collect();
        assert_eq!(families.len(), bases as usize, "{name}");
        let by_id: BTreeMap<_, _> =
            rows.examples.iter().map(|e| (e.id.as_str(), family(&e.session))).collect();
        for copy in &kept.account.duplicates {
            assert_eq!(by_id[copy.dropped.as_str()], by_id[copy.kept.as_str()], "{name}");
        }
    }
}
