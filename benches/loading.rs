//! What it takes to make a base ready: time and memory of the whole process, each way of loading
//! in a process of its own.
//!
//!     cargo bench --bench loading                       models/smollm2 where it is, and the same
//!                                                       shape with random weights in bf16 and f32
//!     cargo bench --bench loading -- PATH               this model
//!
//! Ready is a decoder with all its weights; tokenizers are not part of it. `digest` is the time of
//! it that naming the weights took: they are hashed once and then remembered. Files are in the
//! page cache, since they have just been written or read. Each is the best of three.
//!
//! Then, where models/smollm2 is: from the start of the process to the first training step on the
//! shipped sample, without anything in the cache and with it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use proto::chance::Chance;
use proto::config::Layers;
use proto::dataset::Example;
use proto::files::digests::remembered;
use proto::model::Decoder;
use proto::model::base::Base;
use proto::model::config::{Architecture, ModelConfig, RopeScaling};
use proto::model::ops::Precision;
use proto::model::prepared::Prepared;
use proto::model::save::save;
use proto::model::weights::{Quantization, Weights, expected};
use proto::progress::{Observer, Silent};
use proto::trace;
use proto::train::qlora::qlora;
use proto::train::{Checkpoints, resident};

const CASE: &str = "PROTO_BENCH_CASE";

/// One way of loading, in this process: seconds in all and for the digest, the memory in MB that
/// the weights take and the process took at most.
fn load(model: &Path, quantization: Quantization, cache: Option<&Path>) -> [f64; 4] {
    let start = Instant::now();
    let weights = Weights::open(model).expect("a model");
    let opened = Instant::now();
    let mut digest = 0.0;
    let prepared = cache.and_then(|folder| {
        weights.digest_with(&|path| remembered(path, folder)).expect("a digest");
        digest = opened.elapsed().as_secs_f64();
        Prepared::open(folder, &weights, quantization, &Silent).expect("linears")
    });
    let decoder = Decoder::load_prepared(
        &weights,
        quantization,
        &Device::Cpu,
        Precision::Full,
        prepared.as_ref(),
    );
    let decoder = decoder.expect("a decoder");
    let seconds = start.elapsed().as_secs_f64();
    [seconds, digest, decoder.bytes() as f64 / 1e6, peak_mb()]
}

/// Notes when training's first step begins, and stops there.
struct FirstStep {
    begun: Instant,
    after: Mutex<Option<f64>>,
}

impl Observer for FirstStep {
    fn begin(&self, stage: &str, _total: Option<u64>, _unit: &str) {
        if stage == "train" {
            *self.after.lock().expect("a lock") = Some(self.begun.elapsed().as_secs_f64());
        }
    }

    fn cancelled(&self) -> bool {
        self.after.lock().expect("a lock").is_some()
    }
}

/// Seconds from the start of a training on the shipped sample to its first step.
fn start(model: &Path, cache: &Path) -> f64 {
    let observer = FirstStep { begun: Instant::now(), after: Mutex::new(None) };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let temp = tempfile::tempdir().expect("a temporary folder");
    let mut layers = Layers::new();
    for (key, value) in [("BASE_MODEL", model), ("CACHE_DIR", cache)] {
        layers.command_line(&format!("{key}={}", value.display())).expect("a key");
    }
    layers.command_line("CHAT_TEMPLATE=hermes").expect("a key");
    let config = layers.resolve(&[]).expect("a configuration");
    let loaded = trace::load(&["data/sample".into()], root, &Silent).expect("the sample");
    let examples: Vec<Example> =
        loaded.traces.into_iter().map(Example::real).filter(|e| e.trace.turns() > 0).collect();
    let rows: Vec<&Example> = examples.iter().collect();
    let base = Base::open(&config, &observer).expect("a base");
    let checkpoints = Checkpoints::new(temp.path().join("checkpoints"), None);
    let folder = temp.path().join("adapter");
    let ended = qlora(&base, &config, &rows, &[], &folder, &checkpoints, &observer);
    let after = *observer.after.lock().expect("a lock");
    match (after, ended) {
        (Some(seconds), _) => seconds,
        (None, Err(error)) => panic!("no step: {error:#}"),
        (None, Ok(_)) => panic!("a training without a step"),
    }
}

/// SmolLM2-135M's shape with random weights.
fn random(folder: &Path, precision: DType) {
    let config = ModelConfig {
        architecture: Architecture::Llama,
        vocab_size: 49152,
        hidden_size: 576,
        intermediate_size: 1536,
        num_layers: 30,
        num_heads: 9,
        num_kv_heads: 3,
        head_dim: 64,
        rope_theta: 100_000.0,
        rope_scaling: RopeScaling::None,
        window: None,
        rms_norm_eps: 1e-5,
        max_positions: 8192,
        tie_word_embeddings: true,
        bos: Some(1),
        eos: vec![2],
        pad: Some(2),
    };
    let mut chance = Chance::new(1, "loading");
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let n = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|_| chance.unit() as f32 * 0.1 - 0.05).collect();
        (name, Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor"))
    };
    let weights: Vec<_> = expected(&config).into_iter().map(tensor).collect();
    save(folder, &config, &weights, precision).expect("a folder to write to");
}

fn main() {
    if let Ok(case) = env::var(CASE) {
        let parts: Vec<&str> = case.split('\t').collect();
        if parts[1] == "start" {
            println!("{}", start(Path::new(parts[0]), Path::new(parts[2])));
            return;
        }
        let quantization = match parts[1] {
            "nf4" => Quantization::Nf4,
            _ => Quantization::Nf4Double,
        };
        let cache = (!parts[2].is_empty()).then(|| Path::new(parts[2]));
        let figures = load(Path::new(parts[0]), quantization, cache);
        println!("{}", figures.map(|x| x.to_string()).join(" "));
        return;
    }
    let temp = tempfile::tempdir().expect("a temporary folder");
    let given: Vec<PathBuf> =
        env::args().skip(1).filter(|a| !a.starts_with('-')).map(PathBuf::from).collect();
    let mut models: Vec<(String, PathBuf)> =
        given.into_iter().map(|path| (path.display().to_string(), path)).collect();
    let smollm2 = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/smollm2");
    if models.is_empty() {
        if smollm2.exists() {
            models.push(("SmolLM2-135M, GGUF Q4_1".into(), smollm2.clone()));
        }
        for (name, precision) in [("bf16", DType::BF16), ("f32", DType::F32)] {
            let folder = temp.path().join(name);
            random(&folder, precision);
            models.push((format!("its shape, safetensors {name}"), folder));
        }
        // Files that have just changed are not remembered.
        std::thread::sleep(std::time::Duration::from_secs(4));
    }
    println!(
        "{:30} {:11} {:28} {:>8} {:>8} {:>9} {:>8}",
        "base", "kept as", "loaded", "seconds", "digest", "weights", "peak MB"
    );
    for (name, path) in &models {
        for quantization in ["nf4", "nf4 double"] {
            let cache = temp.path().join("cache");
            let run = |cache: &Path| {
                let case = format!("{}\t{quantization}\t{}", path.display(), cache.display());
                let mut child = Command::new(env::current_exe().expect("this program"));
                let output = child.env(CASE, case).output().expect("a run of this program");
                let told = String::from_utf8(output.stdout).expect("a line");
                let figures: Vec<f64> =
                    told.split_whitespace().map(|x| x.parse().expect("a figure")).collect();
                <[f64; 4]>::try_from(figures).expect("four figures")
            };
            let forget = || drop(std::fs::remove_dir_all(&cache));
            let ways: [(&str, &dyn Fn() -> [f64; 4]); 3] = [
                ("quantised, no cache", &|| run(Path::new(""))),
                ("quantised, into the cache", &|| {
                    forget();
                    run(&cache)
                }),
                ("from the cache", &|| run(&cache)),
            ];
            for (way, load) in ways {
                let runs: Vec<_> = (0..3).map(|_| load()).collect();
                let best = |i: usize| runs.iter().map(|run| run[i]).fold(f64::NAN, f64::min);
                println!(
                    "{name:30} {quantization:11} {way:28} {:8.3} {:8.3} {:9.1} {:8.1}",
                    best(0),
                    best(1),
                    best(2),
                    best(3)
                );
            }
            forget();
        }
    }
    if smollm2.exists() {
        let cache = temp.path().join("cache");
        for (way, times) in [("nothing in the cache", 1), ("from the cache", 3)] {
            let seconds = (0..times).map(|_| {
                let case = format!("{}\tstart\t{}", smollm2.display(), cache.display());
                let mut child = Command::new(env::current_exe().expect("this program"));
                let output = child.env(CASE, case).output().expect("a run of this program");
                let told = String::from_utf8(output.stdout).expect("a line");
                told.trim().parse::<f64>().expect("seconds")
            });
            let best = seconds.fold(f64::NAN, f64::min);
            println!("start of a training to its first step, {way}: {best:.2} s");
        }
    }
}

/// The most memory this process has had resident, in MB (10^6 bytes).
fn peak_mb() -> f64 {
    resident::peak().map_or(f64::NAN, |bytes| bytes as f64 / 1e6)
}
