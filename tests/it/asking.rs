//! What a comparison asks: everything once, what is known from an earlier run not again, drawn
//! answers as often as wanted.

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::Ordering;

use candle_core::Device;
use proto::dataset::{Kind, Rows, Stage};
use proto::evaluate::{Evaluation, Record, Shelf};
use proto::model::weights::{Quantization, Weights};
use proto::model::{Decoder, Decoding, Generator, Prompt};
use proto::progress::{Observer, Silent};
use proto::tokens::Codec;
use proto::trace::{Message, Role};
use serde_json::json;

use crate::evaluation::{Fake, Setup, call, example, find, lookups};

#[derive(Default)]
struct Ear(Mutex<Vec<String>>);

impl Observer for Ear {
    fn say(&self, line: &str) {
        self.0.lock().unwrap().push(line.into());
    }
}

/// A comparison with a champion, its outputs kept in `folder`: what came of it as bytes, how much
/// base, champion and candidate were asked, what was said.
fn night(
    folder: &Path,
    items: usize,
    change: impl Fn(&mut Setup),
) -> ([String; 2], [usize; 3], String) {
    let mut setup = Setup::new(lookups(items, Kind::Real, "w"));
    setup.champion = Some(Fake::new(1.5, &find));
    setup.cache = Some(Shelf { folder, conditions: "this machine".into() });
    change(&mut setup);
    let ear = Ear::default();
    let (evaluation, records) = setup.watched(&[], &ear).unwrap();
    let asked = [&setup.base, setup.champion.as_ref().unwrap(), &setup.candidate];
    let asked = asked.map(|fake| fake.asked.load(Ordering::Relaxed));
    (bytes(&evaluation, &records), asked, ear.0.into_inner().unwrap().join("\n"))
}

fn bytes(evaluation: &Evaluation, records: &[Record]) -> [String; 2] {
    let folder = tempfile::tempdir().unwrap();
    evaluation.write(folder.path(), records).unwrap();
    ["eval_results.json", "items.jsonl"]
        .map(|name| fs::read_to_string(folder.path().join(name)).unwrap())
}

#[test]
fn base_and_champion_are_asked_once_and_the_results_are_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (without, ..) = night(folder.path(), 20, |setup| setup.cache = None);
    assert!(folder.path().read_dir().unwrap().next().is_none());
    let (first, asked, _) = night(folder.path(), 20, |_| ());
    // Each prompt and each row.
    assert_eq!((asked, &first), ([40, 40, 40], &without));
    let (second, asked, said) = night(folder.path(), 20, |_| ());
    assert_eq!((asked, &second), ([0, 0, 40], &without));
    assert!(said.contains("20 are known from an earlier run"), "{said}");
    let (_, asked, _) = night(folder.path(), 25, |_| ());
    assert_eq!(asked, [10, 10, 50], "only what is new");
}

#[test]
fn what_shapes_an_answer_is_asked_anew() {
    let folder = tempfile::tempdir().unwrap();
    night(folder.path(), 5, |_| ());
    let (_, asked, _) = night(folder.path(), 5, |s| s.settings.decoding.max_new = 59);
    assert_eq!(asked, [10, 10, 10]);
    let other = |s: &mut Setup| s.cache.as_mut().unwrap().conditions = "another machine".into();
    assert_eq!(night(folder.path(), 5, other).1, [10, 10, 10]);
    assert_eq!(night(folder.path(), 5, |s| s.settings.batch = 1).1, [0, 0, 10]);
}

#[test]
fn a_damaged_file_is_measured_anew_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let (first, ..) = night(folder.path(), 5, |_| ());
    for entry in folder.path().read_dir().unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let (again, asked, said) = night(folder.path(), 5, |_| ());
    assert_eq!((asked, again), ([10, 10, 10], first));
    assert_eq!(said.matches("its outputs are measured anew: its checksum is wrong").count(), 2);
    assert_eq!(night(folder.path(), 5, |_| ()).1, [0, 0, 10]);
}

#[cfg(unix)]
#[test]
fn kept_outputs_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    night(folder.path(), 2, |_| ());
    for entry in folder.path().read_dir().unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn drawn_answers_are_repeated_with_seeds_of_their_own() {
    let drawn = |batch: usize, reverse: bool| {
        let mut setup = Setup::new(lookups(12, Kind::Real, "w"));
        setup.candidate = Fake::new(1.0, &find);
        setup.settings.decoding.temperature = 0.8;
        setup.settings.repeats = 8;
        setup.settings.batch = batch;
        if reverse {
            let turned: Vec<_> = setup.val.examples.iter().rev().cloned().collect();
            setup.val.examples = turned.into();
        }
        let (evaluation, records) = setup.run();
        let seeds = std::mem::take(&mut *setup.candidate.seeds.lock().unwrap());
        (bytes(&evaluation, &records), evaluation, records, seeds)
    };
    let (first, evaluation, records, mut seeds) = drawn(7, false);
    assert_eq!(drawn(1, true).0, first);
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!(seeds.len(), 12 * 8, "every answer has a seed of its own");
    assert_eq!((&*evaluation.conditions.decoding, evaluation.conditions.repeats), ("sampled", 8));
    for record in &records {
        let each: Vec<f64> = record.candidate.repeats.iter().map(|s| s["exact_match"]).collect();
        assert_eq!(each.len(), 8);
        assert_eq!(record.candidate.scores["exact_match"], each.iter().sum::<f64>() / 8.0);
        assert_eq!(record.candidate.calls.len() as f64, each[0], "the first answer is shown");
    }
    // The fake answers every other seed.
    let mean = evaluation.candidate.metrics.overall["exact_match"].mean;
    assert!((0.3..0.7).contains(&mean), "{mean}");
}

/// A row whose history shows a file and a rule, and whose reference edits the file.
fn editing() -> Rows {
    let mut read = Message::text(Role::Assistant, "");
    read.train = false;
    read.tool_calls = vec![call("read", json!({"path": "src/a.py"}))];
    let mut shown = Message::text(Role::Tool, "1: x = 1\n2: y = 2");
    shown.tool_call_id = Some("call".into());
    let mut edit = Message::text(Role::Assistant, "");
    let arguments = json!({"path": "src/a.py", "old": "x = 1", "new": "x = 3"});
    edit.tool_calls = vec![call("edit", arguments)];
    let asked = Message::text(Role::User, "Make it 3. Never touch `y =`.");
    let mut row = example("e", Kind::Real, vec![asked, read, shown, edit]).as_ref().clone();
    let schema = json!({"properties": {"path": {"type": "string"}}, "required": ["path"]});
    row.trace.tools = vec![json!({"function": {"name": "edit", "parameters": schema}})];
    row.trace.repository = Some("shop".into());
    Rows::new(vec![row], Stage::made("made", 1))
}

#[test]
fn agents_metrics_and_slices_reach_the_results() {
    let wrong = |_: &str| r#"edit{"path":7,"old":"y = 1","new":"z"}"#.to_string();
    let right = |_: &str| r#"edit{"path":"a.py","old":"x = 1","new":"z"}"#.to_string();
    let mut setup = Setup::new(editing());
    setup.base = Fake::new(2.0, &wrong);
    setup.candidate = Fake::new(1.0, &right);
    let (evaluation, records) = setup.run();
    for metric in ["args_schema_valid", "edit_applies", "rule_recall"] {
        let scores = |column: &proto::evaluate::Output| column.scores[metric];
        assert_eq!([&records[0].base, &records[0].candidate].map(scores), [0.0, 1.0], "{metric}");
        assert_eq!(evaluation.paired.language["python"][metric].delta, 1.0);
        assert_eq!(evaluation.paired.repository["shop"][metric].delta, 1.0);
    }
    assert_eq!(records[0].language.as_deref(), Some("python"));
    assert_eq!(records[0].candidate.scores["loss"], 1.0);
    assert!(records[0].reference_tokens > 20);
    let error = evaluation.metric("perplexity").unwrap_err();
    assert!(error.contains("difference is that of `loss`"), "{error}");
}

#[test]
fn regressions_come_first_and_what_nobody_can_next() {
    let (_, records) = Setup::new(lookups(40, Kind::Real, "w")).run();
    let right = |output: &proto::evaluate::Output| output.scores["exact_match"] == 1.0;
    let kind = |r: &Record| match (right(&r.base), right(&r.candidate)) {
        (true, false) => 0,
        (false, false) => 1,
        _ => 2,
    };
    let kinds: Vec<i32> = records.iter().map(kind).collect();
    assert!(kinds.is_sorted() && kinds[0] == 0 && kinds[4] == 1, "{kinds:?}");
    assert!(records[..4].is_sorted_by_key(|r| &r.id));
}

#[test]
fn what_is_drawn_depends_on_neither_batches_nor_threads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/embedded");
    let (weights, codec) = (Weights::open(&folder).unwrap(), Codec::open(&folder, None).unwrap());
    let decoder = Decoder::load(&weights, Quantization::Nf4, &Device::Cpu).unwrap();
    let ids: Vec<Vec<u32>> = (0..12)
        .map(|n| {
            let asked = format!("please open file {n} {}", "and then ".repeat(n));
            codec.prompt(&[Message::text(Role::User, asked)], &[]).unwrap()
        })
        .collect();
    let prompts: Vec<Prompt> =
        ids.iter().zip(70..).map(|(ids, seed)| Prompt { ids, seed }).collect();
    let decoding = Decoding { max_new: 10, temperature: 1.0, top_p: 0.95 };
    let drawn = |batch: usize, threads: usize| {
        let generator = Generator { decoder: &decoder, lora: None, batch };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| generator.answers(&prompts, &decoding, codec.stop_ids(), &Silent)).unwrap()
    };
    let one = drawn(1, 1);
    assert_eq!(drawn(5, 1), one);
    assert_eq!(drawn(12, 3), one);
    let greedy = Generator { decoder: &decoder, lora: None, batch: 4 };
    assert_ne!(greedy.generate(&ids, 10, codec.stop_ids(), &Silent).unwrap(), one);
}
