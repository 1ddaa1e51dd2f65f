//! What others make of what we write: adapters and models on SmolLM2's weights, and datasets. Run
//! by `scripts/clients/check.sh`, which says in `CLIENT_PYTHON` which Python has the client.

mod dataset;
mod evaluation;
mod llama;
mod logits;
mod training;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::{DType, Tensor};
use proto::adapter::{Adapter, Shape};
use proto::config::Layers;
use proto::model::weights::{Weights, expected};
use proto::model::{Decoder, Lora, Packed, save};
use proto::progress::Silent;
use proto::tokens::{Codec, Encoded};
use proto::train::{Settings, Trainee, Training, TrainingRecord, train};

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/smollm2")
}

fn weights() -> Weights {
    Weights::open(&model()).expect("scripts/fetch_smollm2.sh brings the model")
}

fn codec() -> Codec {
    Codec::open(&model(), None).unwrap()
}

/// The model as a Hugging Face folder in f32, without tokenizer.
fn write_folder(folder: &Path, weights: &Weights) {
    let tensors: Vec<_> = expected(weights.config())
        .into_iter()
        .map(|(name, _)| (name.clone(), weights.dense(&name).unwrap()))
        .collect();
    std::fs::create_dir(folder).unwrap();
    save::save(folder, weights.config(), &tensors, DType::F32).unwrap();
}

/// As PEFT begins: A random, B zero.
fn fresh(decoder: &Decoder) -> Adapter {
    let shape = Shape {
        r: 16,
        alpha: 32.0,
        rslora: false,
        dropout: 0.0,
        targets: vec!["all-linear".into()],
        base: "SmolLM2-135M-Instruct".into(),
    };
    Adapter::fresh(&shape, &decoder.linears(), 5).unwrap()
}

/// Logits of every position: [tokens, vocabulary].
fn logits(decoder: &Decoder, lora: Option<&Lora>, ids: &[u32]) -> Tensor {
    let hidden = decoder.hidden(&Packed::new([ids]), lora, None).unwrap();
    hidden.matmul(&decoder.head().t().unwrap()).unwrap().detach()
}

/// Eight rows of different lengths out of the README, the first quarter of each not trained.
fn rows(codec: &Codec) -> Vec<Encoded> {
    let mut ids = codec.tokenize(include_str!("../../README.md")).unwrap();
    let row = |nth: usize| {
        let rest = ids.split_off(48 + nth * 7 % 33);
        let ids = std::mem::replace(&mut ids, rest);
        let trained = (0..ids.len()).map(|at| at >= ids.len() / 4).collect();
        Encoded { ids, trained, turns: Vec::new() }
    };
    (0..8).map(row).collect()
}

fn settings(rate: f64) -> Settings {
    let mut layers = Layers::new();
    for setting in [
        "MAX_STEPS=20",
        "PER_DEVICE_TRAIN_BATCH_SIZE=2",
        "GRADIENT_ACCUMULATION_STEPS=1",
        "WEIGHT_DECAY=0.01",
        "WARMUP_RATIO=0.1",
        &format!("LEARNING_RATE={rate}"),
    ] {
        layers.command_line(setting).unwrap();
    }
    Settings::new(&layers.resolve(&[]).unwrap())
}

/// Twenty steps, five passes over the rows; fails if nothing is learnt.
fn learn(decoder: &Decoder, adapter: &Adapter, settings: &Settings) -> TrainingRecord {
    let rows = rows(&codec());
    let names: Vec<String> = (0..rows.len()).map(|nth| format!("row {nth}")).collect();
    let trainee = Trainee { decoder, lora: Some(&adapter.lora) };
    let (rows, names) = (rows.as_slice(), names.as_slice());
    let training = Training { trainee, rows, names, tune: &[], settings, kept: None, last: None };
    let record = train(&training, &Silent).unwrap();
    let pass = |nth: usize| record.losses[4 * nth..][..4].iter().sum::<f64>() / 4.0;
    println!("loss {} in the first pass, {} in the last", pass(0), pass(4));
    assert!(pass(4) < 0.8 * pass(0), "nothing was learnt: this proves nothing");
    record
}

/// The figures that a script of `scripts/clients` prints.
fn figures<A: AsRef<OsStr>>(script: &str, arguments: &[A]) -> HashMap<String, f64> {
    let python = std::env::var("CLIENT_PYTHON").expect("run scripts/clients/check.sh");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/clients").join(script);
    let output = Command::new(python).arg(script).args(arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    println!("{told}");
    let figure = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_string(), value.parse().ok()?))
    };
    told.lines().filter_map(figure).collect()
}
