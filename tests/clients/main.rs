//! What others make of what we write, on SmolLM2's weights. Run by `scripts/clients/check.sh`, which
//! says in `CLIENT_PYTHON` which Python has the client.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::{DType, Device, Tensor, Var};
use proto::adapter::{Adapter, Shape};
use proto::chance::Chance;
use proto::model::weights::{Quantization, Weights, expected};
use proto::model::{Decoder, Lora, Packed, save};
use proto::tokens::Codec;

const TEXTS: [&str; 3] = [
    "fn main() {\n    println!(\"a quiet morning\");\n}\n",
    "The tests pass on 3 of 12 machines; look at the log of the other nine first.",
    "{\"name\":\"move_file\",\"arguments\":{\"before\":\"./web/apple.txt\",\"under\":\"./jobs\"}}",
];

/// Logits of every position: [tokens, vocabulary].
fn logits(decoder: &Decoder, lora: Option<&Lora>, ids: &[u32]) -> Tensor {
    let hidden = decoder.hidden(&Packed::new([ids]), lora, None).unwrap();
    hidden.matmul(&decoder.head().t().unwrap()).unwrap().detach()
}

/// Both factors random: with B at zero a wrong A would not show.
fn adapter(decoder: &Decoder, deviation: f32) -> Adapter {
    let shape = Shape {
        r: 16,
        alpha: 32.0,
        rslora: false,
        dropout: 0.0,
        targets: vec!["all-linear".into()],
        base: "SmolLM2-135M-Instruct".into(),
    };
    let mut adapter = Adapter::fresh(&shape, &decoder.linears(), 5).unwrap();
    let mut chance = Chance::new(7, "b");
    for pair in adapter.lora.pairs.values_mut() {
        let values: Vec<f32> =
            (0..pair.b.elem_count()).map(|_| chance.normal() as f32 * deviation).collect();
        let b = Tensor::from_vec(values, pair.b.dims(), &Device::Cpu).unwrap();
        pair.b = Var::from_tensor(&b).unwrap();
    }
    adapter
}

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/smollm2")
}

/// Writes our logits of every text, with and without the adapter.
fn write_logits(path: &Path, decoder: &Decoder, adapter: &Adapter) {
    let codec = Codec::open(&model(), None).unwrap();
    let mut all = HashMap::new();
    for (i, text) in TEXTS.iter().enumerate() {
        let ids = codec.tokenize(text).unwrap();
        let row = Tensor::new(ids.as_slice(), &Device::Cpu).unwrap();
        all.insert(format!("ids{i}"), row);
        all.insert(format!("plain{i}"), logits(decoder, None, &ids));
        all.insert(format!("adapted{i}"), logits(decoder, Some(&adapter.lora), &ids));
    }
    candle_core::safetensors::save(&all, path).unwrap();
}

/// The figures that a script of `scripts/clients` prints.
fn figures(script: &str, arguments: &[&Path]) -> HashMap<String, f64> {
    let python = std::env::var("CLIENT_PYTHON").expect("run scripts/clients/check.sh");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/clients").join(script);
    let output = Command::new(python).arg(script).args(arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}");
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    let figure = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_string(), value.parse().ok()?))
    };
    told.lines().filter_map(figure).collect()
}

#[test]
fn peft_computes_our_logits_and_we_read_what_it_saves() {
    let weights = Weights::open(&model()).expect("scripts/fetch_smollm2.sh brings the model");
    let temp = tempfile::tempdir().unwrap();
    let [base, ours, theirs, file] =
        ["base", "ours", "theirs", "logits.safetensors"].map(|name| temp.path().join(name));
    let tensors: Vec<_> = expected(weights.config())
        .into_iter()
        .map(|(name, _)| (name.clone(), weights.dense(&name).unwrap()))
        .collect();
    std::fs::create_dir(&base).unwrap();
    save::save(&base, weights.config(), &tensors, DType::F32).unwrap();
    drop(tensors);

    let decoder = Decoder::load(&weights, Quantization::F32, &Device::Cpu).unwrap();
    let adapter = adapter(&decoder, 0.01);
    std::fs::create_dir(&ours).unwrap();
    adapter.save(&ours).unwrap();
    write_logits(&file, &decoder, &adapter);
    let figures = figures("peft_logits.py", &[&base, &ours, &file, &theirs]);
    assert!(figures["plain"] <= 1e-3, "the base's logits differ");
    assert!(figures["adapted"] <= 1e-3, "the adapter's logits differ");
    assert!(figures["moved"] >= 1e-2, "the adapter changes nothing: this proves nothing");

    let back = Adapter::load(&theirs, &decoder.linears()).unwrap();
    assert_eq!(back.lora.scale, adapter.lora.scale);
    let (a, b) = (back.lora.variables(), adapter.lora.variables());
    assert_eq!(a.len(), b.len());
    for ((name, a), (_, b)) in a.iter().zip(&b) {
        let values = |v: &Var| v.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(a), values(b), "{name}");
    }
}

/// llama.cpp rounds activations where it multiplies with Q4_1 blocks, so that distributions agree
/// only so far; a LoRA under wrong names or in a wrong row order would be as far off as it moves.
#[test]
fn llama_cpp_computes_our_distributions() {
    let folder = model();
    let weights = Weights::open(&folder).expect("scripts/fetch_smollm2.sh brings the model");
    let decoder = Decoder::load(&weights, Quantization::F32, &Device::Cpu).unwrap();
    let adapter = adapter(&decoder, 0.08);
    let temp = tempfile::tempdir().unwrap();
    let [lora, file] = ["lora.gguf", "logits.safetensors"].map(|name| temp.path().join(name));
    adapter.export_gguf(&weights, &lora).unwrap();
    write_logits(&file, &decoder, &adapter);
    let gguf = folder.join("SmolLM2-135M-Instruct.Q4_1.gguf");
    let figures = figures("llama_divergence.py", &[&gguf, &lora, &file]);
    assert!(figures["plain"] < 0.01, "the base's distributions differ");
    assert!(figures["adapted"] < 0.01, "the adapter's distributions differ");
    assert!(figures["moved"] > 0.1, "the adapter changes too little: this proves nothing");
}
