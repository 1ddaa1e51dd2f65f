//! Peak memory of training and evaluation, and the speed of the former, on SmolLM2-135M's weights
//! (scripts/fetch_smollm2.sh), LoRA r = 16 on seven linears, each case in a process of its own:
//!
//! ```text
//! cargo bench --bench memory [-- CASE…]
//! ```
//!
//! With `BF16=1` products read bf16. With `CLIENT_PYTHON` naming a Python that has transformers, PEFT
//! and bitsandbytes (`scripts/clients/check.sh peft` makes one), each training is also done there,
//! in turns, `ROUNDS` times; both speeds and their ratio are printed.
//!
//! `plan` is what the training or the evaluation said it would need, `peak` the most that was
//! resident (VmHWM) since the base was loaded; both hold the whole process, weights included.
//! `answers-8x1024` are eight prompts of 1024 tokens at once, 64 new tokens each; `losses-4096` is
//! one row of 4096 tokens.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use candle_core::Device;
use proto::adapter::{Adapter, Shape};
use proto::chance::Chance;
use proto::config::Layers;
use proto::evaluate::Subject;
use proto::model::ops::Precision;
use proto::model::weights::{Quantization, Weights};
use proto::model::{Decoder, Decoding, Generator, Prompt};
use proto::progress::Silent;
use proto::tokens::Encoded;
use proto::train::{Plan, Settings, Trainee, Training, memory, resident, train};

/// As in the program: what an allocator keeps belongs to the peak.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Sequences in a batch, tokens in each, checkpointing.
const CASES: [(&str, usize, usize, bool); 9] = [
    ("4x256", 4, 256, false),
    ("4x256-checkpointed", 4, 256, true),
    ("1x512", 1, 512, false),
    ("1x512-checkpointed", 1, 512, true),
    ("1x1024-checkpointed", 1, 1024, true),
    ("1x2048-checkpointed", 1, 2048, true),
    ("1x4096-checkpointed", 1, 4096, true),
    ("1x8192-checkpointed", 1, 8192, true),
    ("1x2048", 1, 2048, false),
];

/// Prompts at once, tokens in each.
const ANSWERS: [(&str, usize, usize); 6] = [
    ("answers-1x256", 1, 256),
    ("answers-1x1024", 1, 1024),
    ("answers-1x4096", 1, 4096),
    ("answers-8x256", 8, 256),
    ("answers-8x1024", 8, 1024),
    ("answers-8x4096", 8, 4096),
];
const NEW: usize = 64;

/// Tokens in a row.
const LOSSES: [(&str, usize); 3] =
    [("losses-256", 256), ("losses-1024", 1024), ("losses-4096", 4096)];

/// The base and a fresh adapter.
fn loaded() -> (Decoder, Adapter) {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/smollm2");
    let weights = Weights::open(&model).expect("scripts/fetch_smollm2.sh brings the model");
    let precision = match std::env::var_os("BF16") {
        Some(_) => Precision::Half,
        None => Precision::Full,
    };
    let load = Decoder::load_prepared;
    let decoder = load(&weights, Quantization::Nf4, &Device::Cpu, precision, None).unwrap();
    drop(weights);
    let shape = Shape {
        r: 16,
        alpha: 32.0,
        rslora: false,
        dropout: 0.0,
        targets: vec!["all-linear".into()],
        base: "SmolLM2-135M-Instruct".into(),
    };
    let adapter = Adapter::fresh(&shape, &decoder.linears(), 1).unwrap();
    (decoder, adapter)
}

fn rows(count: usize, length: usize) -> Vec<Encoded> {
    let mut chance = Chance::new(2, "tokens");
    let row = |_| Encoded {
        ids: (0..length).map(|_| chance.below(49_152) as u32).collect(),
        trained: vec![true; length],
        turns: Vec::new(),
    };
    (0..count).map(row).collect()
}

fn line(plan: u64) -> String {
    let mib = |bytes: u64| bytes as f64 / (1u64 << 20) as f64;
    let (plan, peak) = (mib(plan), resident::peak().map_or(f64::NAN, mib));
    format!("{plan:9.0} {peak:9.0} {:8.3}", plan / peak)
}

/// What `ask` takes, which gives so many answers at once, beside the plan for them.
fn evaluation(
    (answers, longest): (usize, usize),
    ask: impl FnOnce(&Generator) -> anyhow::Result<()>,
) {
    let (decoder, adapter) = loaded();
    let before = resident::now().unwrap_or_default();
    let plan = before + memory::answering(&decoder, answers, longest, NEW) + memory::SLACK;
    resident::forget_peak();
    let lora = Some(&adapter.lora);
    ask(&Generator { decoder: &decoder, lora, batch: answers }).unwrap();
    println!("{}", line(plan));
}

fn steps(batch: usize, length: usize) -> usize {
    if batch * length > 1024 { 2 } else { 6 }
}

fn training(batch: usize, length: usize, checkpointing: bool) {
    let steps = steps(batch, length);
    let (decoder, adapter) = loaded();
    let rows = rows(batch * steps, length);
    let names = vec![String::new(); rows.len()];
    let mut layers = Layers::new();
    for (key, value) in [
        ("PER_DEVICE_TRAIN_BATCH_SIZE", batch.to_string()),
        ("GRADIENT_ACCUMULATION_STEPS", "1".into()),
        ("GRADIENT_CHECKPOINTING", checkpointing.to_string()),
        ("MAX_STEPS", steps.to_string()),
        ("EVAL_BATCH_SIZE", "1".into()),
    ] {
        layers.command_line(&format!("{key}={value}")).unwrap();
    }
    let settings = Settings::new(&layers.resolve(&[]).unwrap());
    let plan = Plan::new(&rows, &decoder, adapter.lora.parameters(), decoder.bytes(), &settings);
    resident::forget_peak();
    let trainee = Trainee { decoder: &decoder, lora: Some(&adapter.lora) };
    let training = Training {
        trainee,
        rows: &rows,
        names: &names,
        tune: &[],
        settings: &settings,
        kept: None,
        last: None,
    };
    let begun = Instant::now();
    train(&training, &Silent).unwrap();
    let speed = (batch * length * steps) as f64 / begun.elapsed().as_secs_f64();
    println!("{} {speed:9.0}", line(plan.memory.training()));
}

/// Runs the case of a name.
fn measure(case: &str) {
    if let Some((_, batch, length, checkpointing)) = CASES.into_iter().find(|c| case == c.0) {
        return training(batch, length, checkpointing);
    }
    if let Some((_, batch, length)) = ANSWERS.into_iter().find(|c| case == c.0) {
        let rows = rows(batch, length);
        let prompts: Vec<_> = rows.iter().map(|row| Prompt { ids: &row.ids, seed: 0 }).collect();
        return evaluation((batch, length), |model| {
            let decoding = Decoding::greedy(NEW);
            Subject::generate(model, &prompts, &decoding, &[], &Silent).map(drop)
        });
    }
    let (_, length) = LOSSES.into_iter().find(|c| case == c.0).expect("a case of this name");
    let rows = rows(1, length);
    evaluation((1, length), |model| model.loss(&rows.iter().collect::<Vec<_>>()).map(drop));
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    if let Ok(case) = std::env::var("MEMORY_CASE") {
        return measure(&case);
    }
    let python = std::env::var_os("CLIENT_PYTHON");
    let rounds = std::env::var("ROUNDS").map_or(1, |n| n.parse().expect("a number"));
    println!("{:22} {:>9} {:>9} {:>8} {:>9}", "case", "plan MiB", "peak MiB", "ratio", "tokens/s");
    let names = CASES.iter().map(|c| c.0).chain(ANSWERS.iter().map(|c| c.0));
    for name in names.chain(LOSSES.iter().map(|c| c.0)) {
        if !wanted.is_empty() && !wanted.iter().any(|w| w == name) {
            continue;
        }
        let case = CASES.into_iter().find(|c| c.0 == name);
        for _ in 0..if case.is_some() { rounds } else { 1 } {
            let ours = one(name);
            print!("{name:22} {ours}");
            if let (Some(python), Some((_, batch, length, checkpointing))) = (&python, case) {
                let theirs = peer(python.as_ref(), batch, length, checkpointing);
                let ours: f64 = ours.split_whitespace().last().unwrap().parse().unwrap();
                let (speed, peak) = (theirs["tokens_s"].as_f64(), theirs["peak_mib"].as_f64());
                let (speed, peak) = (speed.unwrap(), peak.unwrap());
                print!("; PEFT {speed:.0} tokens/s, {peak:.0} MiB: {:.2} times", ours / speed);
            }
            println!();
        }
    }
}

/// What a case prints, run in a process of its own.
fn one(name: &str) -> String {
    let mut program = Command::new(std::env::current_exe().unwrap());
    // As in the program: candle's own threads wait by spinning.
    let output = program.env("CANDLE_NUM_THREADS", "1").env("MEMORY_CASE", name).output().unwrap();
    assert!(output.status.success(), "{name} failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_string()
}

/// The same training in PEFT.
fn peer(python: &Path, batch: usize, length: usize, checkpointing: bool) -> serde_json::Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/clients/peft_speed.py");
    let numbers = [batch, length, steps(batch, length)].map(|n| n.to_string());
    let mut command = Command::new(python);
    command.arg(script).args(numbers).args(checkpointing.then_some("checkpointed"));
    let output = command.output().unwrap();
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the peer failed: {failed}");
    serde_json::from_slice(&output.stdout).unwrap()
}
