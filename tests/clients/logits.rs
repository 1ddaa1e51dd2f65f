//! An adapter of ours in PEFT.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use proto::adapter::Adapter;
use proto::chance::Chance;
use proto::model::Decoder;
use proto::model::weights::Quantization;

use crate::{codec, figures, fresh, logits, weights, write_folder};

const TEXTS: [&str; 3] = [
    "fn main() {\n    println!(\"a quiet morning\");\n}\n",
    "The tests pass on 3 of 12 machines; look at the log of the other nine first.",
    "{\"name\":\"move_file\",\"arguments\":{\"before\":\"./web/apple.txt\",\"under\":\"./jobs\"}}",
];

/// Both factors random: with B at zero a wrong A would not show.
fn adapter(decoder: &Decoder) -> Adapter {
    let mut adapter = fresh(decoder);
    let mut chance = Chance::new(7, "b");
    for pair in adapter.lora.pairs.values_mut() {
        let values: Vec<f32> =
            (0..pair.b.elem_count()).map(|_| chance.normal() as f32 * 0.01).collect();
        let b = Tensor::from_vec(values, pair.b.dims(), &Device::Cpu).unwrap();
        pair.b = Var::from_tensor(&b).unwrap();
    }
    adapter
}

/// Writes our logits of every text, with and without the adapter.
fn write_logits(path: &Path, decoder: &Decoder, adapter: &Adapter) {
    let codec = codec();
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

#[test]
fn peft_computes_our_logits_and_we_read_what_it_saves() {
    let weights = weights();
    let temp = tempfile::tempdir().unwrap();
    let [base, ours, theirs, file] =
        ["base", "ours", "theirs", "logits.safetensors"].map(|name| temp.path().join(name));
    write_folder(&base, &weights);
    let decoder = Decoder::load(&weights, Quantization::F32, &Device::Cpu).unwrap();
    let adapter = adapter(&decoder);
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
