//! GGUF files of ours in llama.cpp.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;

use candle_core::{Device, Tensor};
use proto::adapter::{Adapter, Shape};
use proto::files::gguf::{Metadata, Storage};
use proto::model::weights::{Quantization, Weights};
use proto::model::{Decoder, Generator, Lora};
use proto::progress::Silent;
use proto::tokens::Codec;
use proto::trace::{Message, Role};

use crate::{codec, figures, fresh, learn, logits, model, settings, weights, write_folder};

const QUESTIONS: [&str; 20] = [
    "What is the capital of Norway?",
    "Write a haiku about rain on a tin roof.",
    "Explain what a hash map is in two sentences.",
    "List three uses of baking soda.",
    "How do I rename a branch in git?",
    "Translate \"good morning\" into Spanish.",
    "What does HTTP status 404 mean?",
    "Write a Python function that adds two numbers.",
    "Why is the sky blue?",
    "Name the planets of the solar system.",
    "What is 17 plus 25?",
    "Give me a name for a small black cat.",
    "How long should I boil an egg?",
    "What is the difference between a list and a tuple?",
    "Summarise the story of Cinderella.",
    "Which file tells Cargo what to build?",
    "Write a polite reply that declines an invitation.",
    "What is a mutex for?",
    "Who painted the Mona Lisa?",
    "Read web/apple.txt and move it to jobs.",
];

/// What computes our side.
type Side<'a> = (&'a Decoder, Option<&'a Lora>);

fn decoder(weights: &Weights) -> Decoder {
    Decoder::load(weights, Quantization::F32, &Device::Cpu).unwrap()
}

fn prompts() -> Vec<Vec<u32>> {
    let codec = codec();
    let prompt = |q: &&str| codec.prompt(&[Message::text(Role::User, *q)], &[]).unwrap();
    QUESTIONS.iter().map(prompt).collect()
}

/// Our greedy answers of 24 tokens, each behind its prompt.
fn answers((decoder, lora): Side, prompts: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let generator = Generator { decoder, lora, batch: prompts.len() };
    let answers = generator.generate(prompts, 24, &[], &Silent).unwrap();
    prompts.iter().zip(answers).map(|(prompt, (ids, _))| [prompt.clone(), ids].concat()).collect()
}

/// Writes our sequences with their logits, and returns them.
fn write_ours(path: &Path, ours: Side, prompts: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let sequences = answers(ours, prompts);
    let mut all = HashMap::new();
    for (i, ids) in sequences.iter().enumerate() {
        let row = |ids: &[u32]| Tensor::new(ids, &Device::Cpu).unwrap();
        all.insert(format!("ids{i}"), row(ids));
        all.insert(format!("start{i}"), row(&[prompts[i].len() as u32]));
        all.insert(format!("logits{i}"), logits(ours.0, ours.1, ids));
    }
    candle_core::safetensors::save(&all, path).unwrap();
    sequences
}

/// What llama.cpp makes of a file, beside what we computed.
fn compared(
    name: &str,
    model: &Path,
    lora: Option<&Path>,
    ours: &Path,
    furthest: f64,
) -> HashMap<String, f64> {
    println!("{name}:");
    let lora = lora.map_or(OsStr::new("-"), Path::as_os_str);
    let figures = figures("llama_answers.py", &[model.as_os_str(), lora, ours.as_os_str()]);
    assert!(figures["divergence"] < furthest, "{name}: the distributions differ");
    figures
}

/// The mean Kullback-Leibler divergence over a sequence, in nats.
fn divergence(from: &Tensor, to: &Tensor) -> f64 {
    let softened = |t: &Tensor| candle_nn::ops::log_softmax(t, 1).unwrap();
    let (from, to) = (softened(from), softened(to));
    let each = (from.exp().unwrap() * (&from - to).unwrap()).unwrap().sum(1).unwrap();
    f64::from(each.mean_all().unwrap().to_scalar::<f32>().unwrap())
}

/// Unquantised: every answer the same, or parting where we were in doubt ourselves.
fn assert_same(name: &str, model: &Path, lora: Option<&Path>, ours: &Path) {
    let figures = compared(name, model, lora, ours, 1e-3);
    assert!(figures["gap"] <= 0.1, "{name}: the answers differ");
}

#[test]
fn llama_cpp_answers_as_we_do() {
    let (folder, weights) = (model(), weights());
    let base = decoder(&weights);
    let adapter = fresh(&base);
    let untrained = fresh(&base);
    let temp = tempfile::tempdir().unwrap();
    let path = |name: &str| temp.path().join(name);
    learn(&base, &adapter, &settings(2e-3));
    let (ours, prompts) = (path("ours.safetensors"), prompts());
    let adapted = write_ours(&ours, (&base, Some(&adapter.lora)), &prompts);
    let plain = answers((&base, None), &prompts);
    let moved = adapted.iter().zip(&plain).filter(|(a, b)| a != b).count();
    println!("the adapter changes {moved} answers");
    assert!(moved >= 15, "the adapter changes {moved} answers of 20: this proves too little");

    let tokenizer = codec().gguf_metadata(&folder, weights.config().vocab_size).unwrap();
    let export = |adapter: &Adapter, storage: Storage| {
        let out = path(&format!("{storage:?}.gguf"));
        let others = adapter.merge_gguf(&weights, tokenizer.clone(), storage, &out).unwrap();
        println!("{storage:?}: otherwise {others:?}");
        out
    };
    let lora = path("lora.gguf");
    adapter.export_gguf(&weights, &lora).unwrap();
    // The base alone, unquantised.
    let whole = export(&untrained, Storage::F32);
    assert_same("LoRA on f32", &whole, Some(&lora), &ours);
    let merged = export(&adapter, Storage::F16);
    assert_same("merged, f16", &merged, None, &ours);

    // With blocks llama.cpp rounds the other side of a product to 8 bits: its distributions are
    // only so close to what we compute with the same blocks.
    let quantised = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    compared("LoRA on Q4_1", &quantised, Some(&lora), &ours, 0.05);
    for storage in [Storage::Q8_0, Storage::Q4K] {
        let file = export(&adapter, storage);
        let own = decoder(&Weights::open(&file).unwrap());
        let moved = adapted.iter().map(|ids| {
            divergence(&logits(&base, Some(&adapter.lora), ids), &logits(&own, None, ids))
        });
        println!("{storage:?}: from unquantised {}", moved.sum::<f64>() / 20.0);
        write_ours(&ours, (&own, None), &prompts);
        compared(&format!("merged, {storage:?}"), &file, None, &ours, 0.05);
    }
}

#[test]
fn llama_cpp_cuts_text_as_the_folder_it_came_from() {
    let weights = weights();
    let temp = tempfile::tempdir().unwrap();
    let (base, out) = (temp.path().join("base"), temp.path().join("merged.gguf"));
    write_folder(&base, &weights);
    codec().save(&base).unwrap();
    let codec = Codec::open(&base, None).unwrap();
    let tokenizer = codec.gguf_metadata(&base, weights.config().vocab_size).unwrap();
    let adapter = fresh(&decoder(&weights));
    adapter.merge_gguf(&weights, tokenizer, Storage::F16, &out).unwrap();
    let mut texts: Vec<String> = prompts().iter().map(|ids| codec.decode(ids).unwrap()).collect();
    texts.push("  I'll count 12345 ünïcode 日本語 🦀s,\r\n\n\tthen stop.  <|im_end|>\n".into());
    texts.push(include_str!("../../README.md").into());
    let rows: Vec<_> = texts.iter().map(|text| (text, codec.tokenize(text).unwrap())).collect();
    let file = temp.path().join("texts.json");
    std::fs::write(&file, serde_json::to_vec(&rows).unwrap()).unwrap();
    let figures = figures("llama_tokens.py", &[&out, &file]);
    assert_eq!(figures["differ"], 0.0);
}

/// Every architecture at toy size, with random weights. llama.cpp has no window for Llama,
/// which Mistral is there, so the toy with one is not among them.
#[test]
fn llama_cpp_reads_every_architecture() {
    let temp = tempfile::tempdir().unwrap();
    let out = temp.path().join("toy.gguf");
    let tokens: Vec<String> = (b'0'..b'0' + 48).map(|c| char::from(c).to_string()).collect();
    let mut tokenizer = Metadata::default();
    tokenizer
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "gpt-2")
        .texts("tokenizer.ggml.tokens", &tokens)
        .i32s("tokenizer.ggml.token_type", &[1; 48])
        .texts("tokenizer.ggml.merges", &[])
        .u32("tokenizer.ggml.bos_token_id", 0)
        .u32("tokenizer.ggml.eos_token_id", 1);
    for name in ["llama", "llama_3", "llama_linear", "llama_tied", "mistral", "qwen2", "qwen3"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/architectures").join(name);
        let weights = Weights::open(&folder).unwrap();
        let base = decoder(&weights);
        let shape = Shape {
            r: 3,
            alpha: 3.0,
            rslora: false,
            dropout: 0.0,
            targets: vec!["all-linear".into()],
            base: name.into(),
        };
        let adapter = Adapter::fresh(&shape, &base.linears(), 2).unwrap();
        adapter.merge_gguf(&weights, tokenizer.clone(), Storage::F32, &out).unwrap();
        let ours = temp.path().join("ours.safetensors");
        write_ours(&ours, (&base, None), &[(2..32).collect()]);
        assert_same(name, &out, None, &ours);
    }
}
