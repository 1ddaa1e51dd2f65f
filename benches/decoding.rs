//! Speed of generation with SmolLM2-135M's weights (scripts/fetch_smollm2.sh), kept as training
//! keeps them (NF4): 32 prompts, 64 new tokens each, prompts included in the time.
//!
//! ```text
//! RAYON_NUM_THREADS=2 cargo bench --bench decoding [-- ROUNDS CASE…]
//! LLAMA_PYTHON=…/bin/python …                 the same through llama.cpp, on the same GGUF
//! ```
//!
//! Prompts are sessions of the shipped sample, cut before an answer at 100 to 200 tokens: `apart`
//! as they are, where next to nothing is common to them, and `shared` after one system prompt
//! that takes about two thirds. Nothing ends an answer early. Each figure is the median of the
//! rounds (three where not said), in which all take turns; a case is `apart-32` or the like;
//! llama.cpp is given the same tokens and as many threads, each prompt in full. With `BF16=1`
//! products read bf16.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use candle_core::{Device, Tensor};
use proto::adapter::{Adapter, Shape};
use proto::chance::Chance;
use proto::model::ops::Precision;
use proto::model::weights::{Quantization, Weights};
use proto::model::{Decoder, Generator, Lora};
use proto::progress::Silent;
use proto::tokens::Codec;
use proto::trace::{self, Message, Role};

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PROMPTS: usize = 32;
const NEW: usize = 64;

/// What a team would tell its agent before every question.
const INSTRUCTIONS: &str = "You work in the team's repository. Look at a file before you change \
    it, and change nothing that was not asked for. Paths are relative to the root of the \
    repository. Tools: cat(location) shows a file; move_file(before, under) moves a file; \
    lookup(folder, term) finds a word; count(folder) counts files. Answer in one short sentence \
    with the figure that was asked for, and the path it belongs to.";

/// The beginnings of sessions that are long enough, in tokens.
fn prompts(codec: &Codec, shared: bool) -> Vec<Vec<u32>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let loaded = trace::load(&["data/sample".into()], root, &Silent).expect("the sample");
    let cut = |messages: &[Message]| {
        let mut messages: Vec<Message> = messages.to_vec();
        if shared {
            messages.retain(|m| m.role != Role::System);
            messages.insert(0, Message::text(Role::System, INSTRUCTIONS));
        }
        let ends = (1..messages.len()).filter(|i| messages[*i].role == Role::Assistant);
        let mut cuts = ends.filter_map(|end| codec.prompt(&messages[..end], &[]).ok());
        cuts.find(|ids| (100..=200).contains(&ids.len()))
    };
    let all = loaded.traces.iter().filter_map(|trace| cut(&trace.messages));
    all.take(PROMPTS).collect()
}

/// An adapter of r = 16 on all linears that changes what is said.
fn adapter(decoder: &Decoder) -> Lora {
    let shape = Shape {
        r: 16,
        alpha: 32.0,
        rslora: false,
        dropout: 0.0,
        targets: vec!["all-linear".into()],
        base: "SmolLM2-135M-Instruct".into(),
    };
    let adapter = Adapter::fresh(&shape, &decoder.linears(), 1).expect("an adapter");
    let mut chance = Chance::new(1, "adapter");
    for pair in adapter.lora.pairs.values() {
        let b = pair.b.as_tensor();
        let values: Vec<f32> = (0..b.elem_count()).map(|_| 1e-3 * chance.normal() as f32).collect();
        pair.b.set(&Tensor::from_vec(values, b.shape(), &Device::Cpu).expect("b")).expect("b");
    }
    adapter.lora
}

/// Tokens a second.
fn ours(decoder: &Decoder, lora: Option<&Lora>, prompts: &[Vec<u32>], batch: usize) -> f64 {
    let begun = Instant::now();
    let generator = Generator { decoder, lora, batch };
    let answers = generator.generate(prompts, NEW, &[], &Silent).expect("answers");
    assert!(answers.iter().all(|(ids, _)| ids.len() == NEW));
    (answers.len() * NEW) as f64 / begun.elapsed().as_secs_f64()
}

/// Tokens a second of llama.cpp.
fn llama(python: &str, gguf: &Path, prompts: &[Vec<u32>], batch: usize) -> f64 {
    let threads = rayon::current_num_threads();
    let mut child = Command::new(python)
        .args(["-c", include_str!("decoding/llama.py")])
        .arg(gguf)
        .args([threads, batch, NEW].map(|n| n.to_string()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("LLAMA_PYTHON is a Python with llama-cpp-python");
    let asked = serde_json::to_vec(prompts).expect("numbers");
    child.stdin.take().expect("a pipe").write_all(&asked).expect("a reader");
    let output = child.wait_with_output().expect("an end");
    let said = String::from_utf8_lossy(&output.stdout);
    let seconds: f64 = said.trim().parse().unwrap_or_else(|_| panic!("llama.cpp said {said:?}"));
    (prompts.len() * NEW) as f64 / seconds
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    let given: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let rounds = given.iter().find_map(|a| a.parse().ok()).unwrap_or(3);
    let cases: Vec<&String> = given.iter().filter(|a| a.parse::<usize>().is_err()).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let gguf = root.join("models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
    let weights = Weights::open(&gguf).expect("scripts/fetch_smollm2.sh brings the model");
    let precision = match std::env::var_os("BF16") {
        Some(_) => Precision::Half,
        None => Precision::Full,
    };
    let load = Decoder::load_prepared;
    let decoder = load(&weights, Quantization::Nf4, &Device::Cpu, precision, None).expect("a base");
    let codec = Codec::open(&gguf, Some("hermes")).expect("a tokenizer");
    let lora = adapter(&decoder);
    let python = std::env::var("LLAMA_PYTHON").ok();
    println!(
        "{} threads; tokens/s\n{:8} {:>9} {:>6} {:>9} {:>9} {:>10} {:>7} {:>7}",
        rayon::current_num_threads(),
        "prompts",
        "tokens",
        "batch",
        "base",
        "adapter",
        "llama.cpp",
        "ratio",
        "adapted"
    );
    for (name, shared) in [("apart", false), ("shared", true)] {
        let prompts = prompts(&codec, shared);
        assert_eq!(prompts.len(), PROMPTS, "the sample has enough long sessions");
        let tokens: usize = prompts.iter().map(Vec::len).sum();
        for batch in [1, PROMPTS] {
            if !cases.is_empty() && !cases.contains(&&format!("{name}-{batch}")) {
                continue;
            }
            let (mut base, mut adapted, mut peer) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..rounds {
                peer.extend(python.as_ref().map(|python| llama(python, &gguf, &prompts, batch)));
                base.push(ours(&decoder, None, &prompts, batch));
                adapted.push(ours(&decoder, Some(&lora), &prompts, batch));
            }
            let ratio = |own: &[f64]| {
                let pairs = own.iter().zip(&peer).map(|(own, peer)| own / peer).collect::<Vec<_>>();
                if pairs.is_empty() { f64::NAN } else { median(pairs) }
            };
            let ratios = (ratio(&base), ratio(&adapted));
            let peer = if peer.is_empty() { f64::NAN } else { median(peer.clone()) };
            println!(
                "{name:8} {tokens:9} {batch:6} {:9.1} {:9.1} {peer:10.1} {:7.2} {:7.2}",
                median(base),
                median(adapted),
                ratios.0,
                ratios.1
            );
        }
    }
}
