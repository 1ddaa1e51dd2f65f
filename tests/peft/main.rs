//! The adapter is PEFT's own: on SmolLM2's weights, stock transformers and PEFT compute the logits
//! that we compute, and what PEFT saves we read. Run by `scripts/peft/check.sh`, which says which
//! Python to use in `PEFT_PYTHON`.

use std::path::Path;
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
fn adapter(decoder: &Decoder) -> Adapter {
    let shape = Shape {
        r: 16,
        alpha: 32.0,
        dropout: 0.0,
        targets: vec!["all-linear".into()],
        base: "SmolLM2-135M-Instruct".into(),
    };
    let mut adapter = Adapter::fresh(&shape, &decoder.linears(), 5).unwrap();
    let mut chance = Chance::new(7, "b");
    for pair in adapter.lora.pairs.values_mut() {
        let values: Vec<f32> =
            (0..pair.b.elem_count()).map(|_| chance.normal() as f32 * 0.01).collect();
        let b = Tensor::from_vec(values, pair.b.dims(), &Device::Cpu).unwrap();
        pair.b = Var::from_tensor(&b).unwrap();
    }
    adapter
}

#[test]
fn peft_computes_our_logits_and_we_read_what_it_saves() {
    let gguf = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/smollm2");
    let weights = Weights::open(&gguf).expect("scripts/fetch_smollm2.sh brings the model");
    let codec = Codec::open(&gguf, None).unwrap();
    let temp = tempfile::tempdir().unwrap();
    let [base, ours, theirs] = ["base", "ours", "theirs"].map(|name| temp.path().join(name));
    let tensors: Vec<_> = expected(weights.config())
        .into_iter()
        .map(|(name, _)| (name.clone(), weights.dense(&name).unwrap()))
        .collect();
    std::fs::create_dir(&base).unwrap();
    save::save(&base, weights.config(), &tensors, DType::F32).unwrap();
    drop(tensors);

    let decoder = Decoder::load(&weights, Quantization::F32, &Device::Cpu).unwrap();
    let adapter = adapter(&decoder);
    std::fs::create_dir(&ours).unwrap();
    adapter.save(&ours).unwrap();
    let mut wanted = std::collections::HashMap::new();
    for (i, text) in TEXTS.iter().enumerate() {
        let ids = codec.tokenize(text).unwrap();
        let row = Tensor::new(ids.as_slice(), &Device::Cpu).unwrap();
        wanted.insert(format!("ids{i}"), row);
        wanted.insert(format!("plain{i}"), logits(&decoder, None, &ids));
        wanted.insert(format!("adapted{i}"), logits(&decoder, Some(&adapter.lora), &ids));
    }
    let file = temp.path().join("logits.safetensors");
    candle_core::safetensors::save(&wanted, &file).unwrap();

    let python = std::env::var("PEFT_PYTHON").expect("run scripts/peft/check.sh");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/peft/compare.py");
    let output =
        Command::new(python).arg(script).args([&base, &ours, &file, &theirs]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}");
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    let figure = |name: &str| -> f64 {
        let line = told.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {told}")).parse().unwrap()
    };
    assert!(figure("plain") <= 1e-3, "the base's logits differ");
    assert!(figure("adapted") <= 1e-3, "the adapter's logits differ");
    assert!(figure("moved") >= 1e-2, "the adapter changes nothing: the comparison proves nothing");

    let back = Adapter::load(&theirs, &decoder.linears()).unwrap();
    assert_eq!(back.lora.scale, adapter.lora.scale);
    let (a, b) = (back.lora.variables(), adapter.lora.variables());
    assert_eq!(a.len(), b.len());
    for ((name, a), (_, b)) in a.iter().zip(&b) {
        let values = |v: &Var| v.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(a), values(b), "{name}");
    }
}
