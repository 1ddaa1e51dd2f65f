//! Peak memory and speed of training on SmolLM2-135M's weights (scripts/fetch_smollm2.sh), LoRA
//! r = 16 on seven linears, each case in a process of its own:
//!
//! ```text
//! cargo bench --bench memory [-- CASE…]
//! ```
//!
//! With `BF16=1` products read bf16.
//!
//! `plan` is what the training said it would need, `peak` the most that was resident (VmHWM)
//! since the base was loaded; both hold the whole process, weights included.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use candle_core::Device;
use proto::adapter::{Adapter, Shape};
use proto::chance::Chance;
use proto::config::Layers;
use proto::model::Decoder;
use proto::model::ops::Precision;
use proto::model::weights::{Quantization, Weights};
use proto::progress::Silent;
use proto::tokens::Encoded;
use proto::train::{Plan, Settings, Trainee, Training, resident, train};

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

fn measure(batch: usize, length: usize, checkpointing: bool) {
    let steps = if batch * length > 1024 { 1 } else { 3 };
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
    let mut chance = Chance::new(2, "tokens");
    let rows: Vec<Encoded> = (0..batch * steps)
        .map(|_| Encoded {
            ids: (0..length).map(|_| chance.below(49_152) as u32).collect(),
            trained: vec![true; length],
            turns: Vec::new(),
        })
        .collect();
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
    let mib = |bytes: u64| bytes as f64 / (1u64 << 20) as f64;
    let (plan, peak) = (mib(plan.memory.training()), resident::peak().map_or(f64::NAN, mib));
    println!("{plan:9.0} {peak:9.0} {:8.3} {speed:9.0}", plan / peak);
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    if let Some(case) = std::env::var_os("MEMORY_CASE") {
        let (_, batch, length, checkpointing) = CASES.into_iter().find(|c| case == c.0).unwrap();
        return measure(batch, length, checkpointing);
    }
    println!("{:22} {:>9} {:>9} {:>8} {:>9}", "case", "plan MiB", "peak MiB", "ratio", "tokens/s");
    let program = std::env::current_exe().unwrap();
    for (name, ..) in CASES {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            print!("{name:22} ");
            std::io::stdout().flush().unwrap();
            let status = Command::new(&program).env("MEMORY_CASE", name).status().unwrap();
            assert!(status.success(), "{name} failed");
        }
    }
}
