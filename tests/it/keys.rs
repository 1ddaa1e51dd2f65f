//! Every configuration key changes something observable beside its own echo: one small run with
//! the key as it is, one with it changed, and a look at what they leave behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proto::config::KEYS;
use proto::files::digest;
use proto::gate::{EvaluationEvidence, Evidence, judge};
use proto::ingest::Forgotten;
use proto::label::{Review, Reviews, Verdict};
use proto::progress::Silent;
use proto::script::policy;
use proto::simulate::fixtures::fixture;
use proto::trace::{Role, load};
use serde_json::{Value, json};

/// A run that is over.
struct Run {
    folder: Option<PathBuf>,
    code: i32,
    told: String,
}

impl Run {
    fn json(&self, name: &str) -> Value {
        let Some(folder) = &self.folder else { return Value::Null };
        let text = fs::read_to_string(folder.join(name)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// The part of a told line from `from` up to `to`.
    fn said(&self, from: &str, to: &str) -> String {
        let part = self.told.split(from).nth(1).and_then(|rest| rest.split(to).next());
        part.unwrap_or_else(|| panic!("`{from}` is not said:\n{}", self.told)).to_string()
    }
}

/// Takes digests and everything that only repeats a setting out of a JSON file.
fn scrub(value: &mut Value) {
    const ECHOES: [&str; 10] = [
        "config",
        "provenance",
        "allowed",
        "limits",
        "wanted",
        "policy",
        "note",
        "reasons",
        "changed_thresholds",
        "conditions",
    ];
    match value {
        Value::Object(map) => {
            map.retain(|key, _| {
                let bound = key.starts_with("min_") || key.starts_with("max_");
                key == "min_example_ok" || !(bound || ECHOES.contains(&key.as_str()))
            });
            map.values_mut().for_each(scrub);
        }
        Value::Array(values) => values.iter_mut().for_each(scrub),
        Value::String(text) if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
            *text = "digest".into();
        }
        _ => {}
    }
}

/// What a run leaves behind: exit status, rows, adapter, outputs, verdict.
fn left(run: &Run) -> String {
    let mut parts = BTreeMap::from([("code".to_string(), run.code.to_string())]);
    let Some(folder) = &run.folder else { return format!("{parts:?}") };
    for name in ["dataset/train.jsonl", "dataset/tune.jsonl", "dataset/val.jsonl"]
        .into_iter()
        .chain(["adapter/adapter_model.safetensors", "eval/items.jsonl"])
    {
        let bytes = fs::read(folder.join(name)).unwrap_or_default();
        parts.insert(name.into(), digest(&bytes));
    }
    for name in ["dataset/dataset_manifest.json", "adapter/adapter_config.json"]
        .into_iter()
        .chain(["adapter/training_record.json", "eval/eval_results.json"])
        .chain(["eval/gate_decision.json"])
    {
        let mut value = run.json(name);
        scrub(&mut value);
        parts.insert(name.into(), value.to_string());
    }
    format!("{parts:#?}")
}

/// One key with a value that must show, on top of some other settings.
struct Case {
    key: &'static str,
    value: String,
    with: Vec<String>,
    script: &'static str,
    seen: fn(&Run) -> String,
}

fn case(key: &'static str, value: impl Into<String>) -> Case {
    Case { key, value: value.into(), with: Vec::new(), script: "daily", seen: left }
}

impl Case {
    fn with(mut self, settings: &[&str]) -> Self {
        self.with = settings.iter().map(|s| s.to_string()).collect();
        self
    }
    fn script(mut self, script: &'static str) -> Self {
        self.script = script;
        self
    }
    fn seen(mut self, seen: fn(&Run) -> String) -> Self {
        self.seen = seen;
        self
    }
}

/// The protocol up to the dataset, with every row judged but none trained on.
const DATASET: &str = r#"
import "proto/generators" as generators;
let real = load_traces();
let rows = real + generators::synthetic(real, 1) + generators::adversarial(real, 1)
    + load_counterexamples() + load_replay();
write(mix(split(dedup(filter_quality(windows(redact(rows)))))));
"#;

/// A script that brings something back in after redaction.
const CARELESS: &str = r#"
let note = |row| if row.text.contains("minutes") {
    row.with_task_category("ask maria.holm@fjordlager.no")
} else { row };
write(mix(split(redact(load_traces()).map("note", note))));
"#;

/// The places of one test.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, rows: &[Value]) {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
        fs::write(path, lines.join("\n")).unwrap();
    }

    /// Runs a script with the smallest settings that reach its end.
    fn run(&self, script: &str, settings: &[String]) -> Run {
        let project = Path::new(env!("CARGO_MANIFEST_DIR"));
        let out = tempfile::tempdir_in(self.folder.path()).unwrap().keep();
        let mut command = Command::new(env!("CARGO_BIN_EXE_proto"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PROTO_")) {
            command.env_remove(name);
        }
        command.current_dir(project).arg("run");
        match script {
            "daily" => command.arg("scripts/daily.rhai"),
            other => command.arg(self.path(other)),
        };
        let small = [
            format!("RUNS_DIR={}", out.display()),
            format!("TRACES={}", self.path("traces.jsonl")),
            "MAX_STEPS=2".into(),
            "PER_DEVICE_TRAIN_BATCH_SIZE=2".into(),
            "EVAL_FILES=".into(),
            "EVAL_MAX_ITEMS=3".into(),
            "EVAL_MAX_NEW_TOKENS=8".into(),
            "MIN_TRAIN_EXAMPLES=1".into(),
            "MIN_VAL_EXAMPLES=1".into(),
            "CACHE_DIR=".into(),
            "LEDGER=".into(),
        ];
        for setting in small.iter().chain(settings) {
            command.args(["--set", setting]);
        }
        let output = command.output().unwrap();
        let folder = fs::read_dir(&out).unwrap().next().map(|entry| entry.unwrap().path());
        Run {
            folder,
            code: output.status.code().unwrap(),
            told: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn sample(lines: usize) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/sample/house.jsonl");
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| serde_json::from_str(line).ok());
    rows.filter(|row: &Value| row["messages"].is_array()).take(lines).collect()
}

/// Some of the sample, and rows that each give one of the rules something to do.
fn traces() -> Vec<Value> {
    let mut rows = sample(40);
    let say = |user: &str, assistant: &str| {
        json!({"source": "chat", "messages": [
            {"role": "user", "content": user}, {"role": "assistant", "content": assistant},
        ]})
    };
    let words = "the harbour office keeps three ledgers for the ferries and one for the pilots who \
                 come in from the outer islands before the first train leaves for the north";
    rows.push(say("who takes the minutes", "Write to maria.holm@fjordlager.no about the minutes."));
    rows.push(say("is it done", "Yes."));
    rows.push(say("say it", &"It goes on and on. ".repeat(12)));
    // Four sessions of which each differs from the next by a word or two.
    for (i, word) in ["green", "yellow", "purple", "orange"].iter().enumerate() {
        let mut row = say(&format!("what does the {word} book say"), &format!("{word}: {words}."));
        row["repository"] = json!(format!("repository {}", i / 2));
        rows.push(row);
    }
    // One that goes on where another ends.
    let mut longer = say("what do the pilots do", &format!("Everybody knows that {words}."));
    rows.push(longer.clone());
    longer["messages"][1]["content"] = json!(format!("They know that {words}."));
    let more = [
        json!({"role": "user", "content": "and after that, when the last boat is back in its berth?"}),
        json!({"role": "assistant", "content": "Then the lamps go out one by one, says the log of the \
            night watch, and nobody is to move a crate before the morning bell has rung twice."}),
    ];
    longer["messages"].as_array_mut().unwrap().extend(more);
    rows.push(longer);
    for (i, row) in rows.iter_mut().enumerate() {
        row["timestamp"] = json!(1_790_000_000_000_i64 + i as i64 * 3_600_000);
    }
    rows
}

/// Thresholds of the gate, each with a value and evidence whose verdict it changes.
fn gate_keys() -> [(&'static str, f64, Evidence); 5] {
    let spoilt = |name: &str, spoil: fn(&mut EvaluationEvidence)| {
        let mut evidence = fixture(name).unwrap();
        spoil(evidence.evaluation.as_mut().unwrap());
        evidence
    };
    let slipped = spoilt("good", |e| {
        let delta = e.tool.get_mut("bash").unwrap().get_mut("exact_match").unwrap();
        (delta.delta, delta.low, delta.high) = (-0.5, Some(-0.7), Some(-0.3));
    });
    let dearer = spoilt("good", |e| {
        e.loss.get_mut("val").unwrap().insert("candidate".into(), 1.5);
    });
    [
        ("GATE_MAX_TOOL_DROP", 1.0, slipped),
        ("GATE_MAX_CHAMPION_DROP", 1.0, fixture("champion").unwrap()),
        ("GATE_MAX_LOSS_RISE", 1.0, dearer),
        ("GATE_MAX_SELF_WRITTEN", 1.0, spoilt("good", |e| e.self_written = 0.95)),
        (
            "GATE_ALPHA",
            1.0,
            spoilt("late", |e| e.delta.get_mut("exact_match").unwrap().p_greater = 2e-5),
        ),
    ]
}

#[test]
fn each_threshold_of_the_gate_changes_a_verdict() {
    let verdict =
        |evidence: &Evidence| judge(evidence, policy::ask_all(&[], evidence), Vec::new()).verdict;
    for (key, value, mut evidence) in gate_keys() {
        let before = verdict(&evidence);
        evidence.thresholds.get_mut(key).unwrap().value = value;
        assert_ne!(verdict(&evidence), before, "{key}={value} changes nothing");
    }
}

#[test]
fn every_key_changes_something_beside_its_echo() {
    let place = Place { folder: tempfile::tempdir().unwrap() };
    let traces = traces();
    place.write("traces.jsonl", &traces);
    place.write("fewer.jsonl", &traces[..20]);
    let books: Vec<Value> =
        traces.iter().filter(|row| row["repository"].is_string()).cloned().collect();
    place.write("green.jsonl", &books[..2]);
    place.write("purple.jsonl", &books[2..]);
    place.write("more.jsonl", &sample(90)[60..]);
    place.write("counterexamples/mistakes.jsonl", &sample(50)[40..]);
    let read = load(&[place.path("fewer.jsonl").into()], Path::new("."), &Silent).unwrap();
    for trace in &read.traces {
        let at = trace.messages.iter().position(|m| m.role == Role::Assistant).unwrap();
        let review = Review::of(trace, at, Verdict::Bad, 0).unwrap();
        Reviews::append(Path::new(&place.path("reviews.jsonl")), &review).unwrap();
    }
    fs::write(place.path("dataset.rhai"), DATASET).unwrap();
    fs::write(place.path("careless.rhai"), CARELESS).unwrap();
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let base = project.join("models/embedded");
    fs::create_dir(place.path("renamed")).unwrap();
    for entry in fs::read_dir(&base).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), Path::new(&place.path("renamed")).join(entry.file_name())).unwrap();
    }
    let profile = fs::read_to_string(project.join("configs/qlora_embedded.env")).unwrap();
    fs::write(place.path("profile.env"), profile + "\nLORA_R=2\n").unwrap();
    let template = fs::read_to_string(project.join("src/tokens/templates/hermes.jinja")).unwrap();
    fs::write(place.path("template.jinja"), template.replace("assistant\\n", "assistant \\n"))
        .unwrap();
    let adapter = place.run("daily", &["LORA_R=4".into()]).folder.unwrap().join("adapter");
    let adapter = adapter.display().to_string();
    let suite = project.join("models/embedded/general_suite.jsonl");
    let suite: Vec<Value> = fs::read_to_string(suite)
        .unwrap()
        .lines()
        .take(8)
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    place.write("suite.jsonl", &suite);

    let dataset = |key, value: &str| case(key, value).script("dataset.rhai");
    let told_data = |run: &Run| run.said("data: ", "; training waited");
    let own = ["TRAIN_FILES", "VAL_FILES"].map(|k| format!("{k}={}", place.path("fewer.jsonl")));
    let own = own.each_ref().map(String::as_str);
    let six = ["MAX_STEPS=12", "PER_DEVICE_TRAIN_BATCH_SIZE=1"];
    let apart = ["DEDUP_SIMILARITY=1", "DEDUP_CONTAINMENT=1"];
    let alike = [("TRAIN_FILES", "green.jsonl"), ("VAL_FILES", "purple.jsonl")]
        .map(|(key, file)| format!("{key}={}", place.path(file)));
    let alike = alike.each_ref().map(String::as_str);
    let export = project.join("tests/fixtures/agents/opencode/export/v2-fix-rounding.json");
    let opencode = format!("TRACES={},{}", export.display(), place.path("fewer.jsonl"));
    let opencode = [opencode.as_str()];
    let tool = json!({"type": "function", "function": {"name": "shell", "parameters": {}}});
    let request =
        json!({"messages": [{"role": "system", "content": "Be brief."}], "tools": [tool]});
    fs::write(place.path("request.json"), request.to_string()).unwrap();
    fs::write(place.path("rules.toml"), "[[rules]]\nid = 'ledger'\nregex = 'ledgers'\n").unwrap();
    fs::create_dir(place.path("disk")).unwrap();
    let leaked = format!("EVAL_FILES={}", place.path("fewer.jsonl"));
    let mut forgotten = Forgotten::default();
    forgotten.add(&format!("{}/{}", read.traces[0].source, read.traces[0].session), [].into());
    forgotten.write(Path::new(&place.path("forgotten.json"))).unwrap();
    let cases = vec![
        dataset("TRACES", &place.path("fewer.jsonl")),
        dataset("TRACE_DAYS", "1"),
        dataset("COUNTEREXAMPLES", &place.path("counterexamples")),
        dataset("REVIEWS", &place.path("reviews.jsonl")),
        dataset("FORGET", &place.path("forgotten.json")),
        dataset("TOOL_NAMES", "opencode-1").with(&opencode),
        dataset("TOOL_CATALOGUE", &place.path("request.json")).with(&opencode),
        dataset("REPLAY_FILES", ""),
        dataset("TRAIN_FILES", &place.path("more.jsonl")).with(&own),
        dataset("VAL_FILES", &place.path("more.jsonl")).with(&own),
        dataset("SEED", "18"),
        dataset("REDACT_CLASSES", "secrets"),
        dataset("REDACT_ALLOW", "maria.holm@fjordlager.no"),
        dataset("REDACT_RULES", &place.path("rules.toml")),
        dataset("REDACT_DROP_MESSAGE", "email"),
        dataset("REDACT_DROP_SESSION", "email"),
        dataset("REDACT_MAX_SHARE", "0"),
        case("REDACT_MAX_RESIDUE", "9").script("careless.rhai"),
        dataset("TRAIN_OUTCOMES", "good"),
        dataset("MIN_ANSWER_CHARS", "5"),
        dataset("MAX_REPETITION", "1"),
        dataset("DEDUP_SIMILARITY", "1").with(&["DEDUP_CONTAINMENT=1"]),
        dataset("DEDUP_CONTAINMENT", "1").with(&["DEDUP_SIMILARITY=1"]),
        dataset("SPLIT_BY", "repository").with(&apart),
        dataset("VAL_FRACTION", "0.4"),
        dataset("TUNE_FRACTION", "0.3"),
        dataset("MAX_LEAK", "1").with(&alike),
        dataset("CONTAMINATION_NGRAM", "0").with(&[&leaked]),
        dataset("CONTAMINATION_SHARE", "1").with(&[&leaked]),
        dataset("LEDGER", &place.path("ledger.json")),
        dataset("SYNTHETIC_RATIO", "0.3"),
        dataset("ADVERSARIAL_RATIO", "0.3"),
        dataset("COUNTEREXAMPLE_RATIO", "0.01")
            .with(&[&format!("COUNTEREXAMPLES={}", place.path("counterexamples"))]),
        dataset("REPLAY_RATIO", "0.1"),
        dataset("SHORTFALL", "refuse").with(&["SYNTHETIC_RATIO=0.7", "REPLAY_RATIO=0.05"]),
        dataset("MIN_TRAIN_EXAMPLES", "1000"),
        dataset("MIN_VAL_EXAMPLES", "1000"),
        case("QLORA_ENV", place.path("profile.env")),
        case("BASE_MODEL", place.path("renamed")),
        case("CHAT_TEMPLATE", place.path("template.jinja")),
        case("QUANTIZATION", "f32"),
        case("NF4_DOUBLE_QUANT", "true"),
        case("DEVICE", "cuda").with(&["DATALOADER_PIN_MEMORY=true"]),
        case("BF16", "true").with(&["DEVICE=cpu"]),
        case("CACHE_DIR", place.path("cache"))
            .seen(|run| run.told.lines().filter(|line| line.contains(" is kept in ")).collect()),
        case("ROWS_IN_MEMORY_MB", "0").seen(|run| run.told.contains("waited on disk").to_string()),
        case("THREADS", "1").seen(|run| run.json("run.json")["threads"].to_string()),
        case("ADAPTER", &adapter),
        case("CHAMPION", &adapter),
        case("LORA_R", "2"),
        case("LORA_ALPHA", "3"),
        case("LORA_DROPOUT", "0.5"),
        case("LORA_TARGET_MODULES", "q_proj"),
        case("USE_RSLORA", "true"),
        dataset("MAX_SEQ_LENGTH", "150"),
        case("LEARNING_RATE", "1e-4"),
        case("LR_SCHEDULER_TYPE", "constant").with(&["MAX_STEPS=4"]),
        case("WARMUP_RATIO", "1"),
        case("LORAPLUS_LR_RATIO", "16"),
        dataset("TEACHERS", "!*"),
        dataset("ROLLED_BACK", "*"),
        case("OPTIM", "adamw_8bit"),
        case("WEIGHT_DECAY", "0.5"),
        case("MAX_GRAD_NORM", "1e-7"),
        case("PER_DEVICE_TRAIN_BATCH_SIZE", "1"),
        case("GRADIENT_ACCUMULATION_STEPS", "2"),
        case("GRADIENT_CHECKPOINTING", "true").seen(|run| run.said("optimiser, ", " activations")),
        case("ACTIVATION_OFFLOADING", "true")
            .with(&["DEVICE=cpu", "GRADIENT_CHECKPOINTING=true"])
            .seen(|run| run.told.contains("ACTIVATION_OFFLOADING has no effect").to_string()),
        case("NUM_TRAIN_EPOCHS", "0.1").with(&["MAX_STEPS=0", "NUM_TRAIN_EPOCHS=0.05"]),
        case("MAX_STEPS", "1"),
        case("TIME_BUDGET_MINUTES", "1e-9"),
        case("EARLY_STOPPING_PATIENCE", "1").with(&[
            "LOSS_WATCHDOG=0",
            "EVAL_STEPS=1",
            "MAX_STEPS=6",
            "LEARNING_RATE=1",
            "WARMUP_RATIO=0",
        ]),
        case("EVAL_STEPS", "1"),
        case("LOSS_WATCHDOG", "1").with(&[
            "LOSS_WATCHDOG=0",
            "MAX_STEPS=8",
            "LEARNING_RATE=1",
            "WARMUP_RATIO=0",
        ]),
        case("SAVE_STEPS", "1").seen(|run| run.told.contains("checkpoint written").to_string()),
        case("DATASET_MAP_NUM_PROC", "1").seen(|run| run.said("examples on ", " threads")),
        case("DATALOADER_NUM_WORKERS", "0").seen(told_data),
        case("DATALOADER_PREFETCH_FACTOR", "7").with(&six).seen(told_data),
        case("DATALOADER_PERSISTENT_WORKERS", "false")
            .with(&["MAX_STEPS=3", "PER_DEVICE_TRAIN_BATCH_SIZE=64"])
            .seen(told_data),
        case("DATALOADER_PIN_MEMORY", "true")
            .with(&["DEVICE=cpu"])
            .seen(|run| run.told.contains("has no effect").to_string()),
        case("EVAL_FILES", place.path("suite.jsonl")),
        case("EVAL_MAX_ITEMS", "2"),
        case("EVAL_MAX_NEW_TOKENS", "2"),
        case("EVAL_TEMPERATURE", "2"),
        case("EVAL_TOP_P", "0.1").with(&["EVAL_TEMPERATURE=2"]),
        case("EVAL_REPEATS", "2").with(&["EVAL_TEMPERATURE=2"]),
        case("EVAL_BATCH_SIZE", "1").seen(|run| run.said("answers of base, ", " at a time")),
        case("GATE_MIN_DELTA_EXACT_MATCH", "-1").with(&["LEARNING_RATE=0"]),
        case("GATE_MIN_DELTA_KEYWORD_RECALL", "1").with(&["LEARNING_RATE=0"]),
        case("GATE_MIN_PAIRS", "1"),
        case("GATE_MIN_SESSIONS", "1"),
        case("GATE_MAX_SUITE_DROP", "1").with(&[
            &format!("EVAL_FILES={}", place.path("suite.jsonl")),
            "LEARNING_RATE=1",
            "EVAL_MAX_NEW_TOKENS=64",
        ]),
        case("GATE_SCRIPT", "scripts/gates/team.rhai"),
        dataset("SCRIPT_MAX_OPERATIONS", "3"),
        dataset("DATASET_FORMAT", "zstd"),
        dataset("DATASET_SHARD_DIRS", &place.path("disk")),
        case("RUNS_DIR", place.path("elsewhere")).seen(|run| run.folder.is_some().to_string()),
    ];
    let mut proven: BTreeSet<&str> = cases.iter().map(|case| case.key).collect();
    // No canary escapes the shipped rules, so this bound shows only where a manifest is made from
    // an account of one that did: in the manifest's own tests.
    proven.insert("REDACT_MIN_CANARY_RECALL");
    // So small a run gives these nothing to judge: they are proven on whole evidence below.
    proven.extend(gate_keys().map(|(key, _, _)| key));
    let known: BTreeSet<&str> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(proven, known, "every key has a case, and every case a key");

    let mut plain: BTreeMap<(&str, Vec<String>), Run> = BTreeMap::new();
    let mut silent = Vec::new();
    for case in &cases {
        let before = plain
            .entry((case.script, case.with.clone()))
            .or_insert_with(|| place.run(case.script, &case.with));
        let mut settings = case.with.clone();
        settings.push(format!("{}={}", case.key, case.value));
        let after = place.run(case.script, &settings);
        if (case.seen)(before) == (case.seen)(&after) {
            let last = |run: &Run| run.told.lines().last().unwrap_or_default().to_string();
            silent.push(format!("{} ({} | {})", case.key, last(before), last(&after)));
        }
    }
    assert!(silent.is_empty(), "these keys change nothing:\n{}", silent.join("\n"));
}
