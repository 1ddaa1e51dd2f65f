//! Exported adapters: a merged model computes what base and adapter do, and a GGUF LoRA holds the
//! factors as llama.cpp wants them.

use std::fs;
use std::path::Path;
use std::process::Command;

use candle_core::quantized::gguf_file::Content;
use candle_core::{DType, Device, Tensor};
use proto::adapter::{Adapter, Shape};
use proto::chance::Chance;
use proto::model::gguf::interleaved_row;
use proto::model::weights::{Quantization, Weights};
use proto::model::{Decoder, Packed};

use crate::tiny_base;

const MODELS: [&str; 8] = [
    "llama",
    "llama_3",
    "llama_linear",
    "llama_tied",
    "mistral",
    "mistral_window",
    "qwen2",
    "qwen3",
];

fn toy(name: &str) -> Weights {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/architectures").join(name);
    Weights::open(&folder).unwrap()
}

fn decoder(weights: &Weights) -> Decoder {
    Decoder::load(weights, Quantization::F32, &Device::Cpu).unwrap()
}

/// Both factors random, and a scale that is no power of two.
fn adapter(decoder: &Decoder) -> Adapter {
    let shape = Shape {
        r: 3,
        alpha: 5.0,
        rslora: false,
        dropout: 0.0,
        targets: vec!["all-linear".into()],
        base: "toy".into(),
    };
    let adapter = Adapter::fresh(&shape, &decoder.linears(), 2).unwrap();
    let mut chance = Chance::new(3, "b");
    for pair in adapter.lora.pairs.values() {
        let values: Vec<f32> = (0..pair.b.elem_count()).map(|_| chance.normal() as f32).collect();
        pair.b.set(&Tensor::from_vec(values, pair.b.shape(), &Device::Cpu).unwrap()).unwrap();
    }
    adapter
}

fn hidden(decoder: &Decoder, adapter: Option<&Adapter>) -> Vec<f32> {
    let ids: Vec<u32> = (2..40).collect();
    let lora = adapter.map(|a| &a.lora);
    let hidden = decoder.hidden(&Packed::new([ids.as_slice()]), lora, None).unwrap();
    hidden.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn a_merged_model_computes_what_base_and_adapter_do() {
    for name in MODELS {
        let weights = toy(name);
        let base = decoder(&weights);
        let adapter = adapter(&base);
        let folder = tempfile::tempdir().unwrap();
        adapter.merge(&weights, folder.path(), DType::F32).unwrap();
        let merged = decoder(&Weights::open(folder.path()).unwrap());
        let (wanted, got) = (hidden(&base, Some(&adapter)), hidden(&merged, None));
        let plain = hidden(&base, None);
        let most =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(most(&wanted, &got) < 1e-3, "{name}: {}", most(&wanted, &got));
        assert!(most(&wanted, &plain) > 0.1, "{name}: the adapter changes nothing");
    }
}

#[test]
fn a_gguf_lora_holds_the_factors_in_llama_cpps_order() {
    for name in MODELS {
        let weights = toy(name);
        let adapter = adapter(&decoder(&weights));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lora.gguf");
        adapter.export_gguf(&weights, &path).unwrap();
        let mut file = fs::File::open(&path).unwrap();
        let gguf = Content::read(&mut file).unwrap();
        let text = |key: &str| gguf.metadata[key].to_string().unwrap().clone();
        assert_eq!(text("general.type"), "adapter");
        assert_eq!(text("adapter.type"), "lora");
        let family = name.split('_').next().unwrap().replace("mistral", "llama");
        assert_eq!(text("general.architecture"), family);
        let alpha = gguf.metadata["adapter.lora.alpha"].to_f32().unwrap();
        assert_eq!(f64::from(alpha) / 3.0, adapter.lora.scale);
        assert_eq!(gguf.tensor_infos.len(), 2 * adapter.lora.pairs.len());
        let mut read = |name: &str| {
            let tensor = gguf.tensor(&mut file, name, &Device::Cpu).unwrap();
            tensor.dequantize(&Device::Cpu).unwrap().to_vec2::<f32>().unwrap()
        };
        let pair = &adapter.lora.pairs["model.layers.1.self_attn.k_proj"];
        let (a, b) = (pair.a.to_vec2::<f32>().unwrap(), pair.b.to_vec2::<f32>().unwrap());
        assert_eq!(read("blk.1.attn_k.weight.lora_a"), a, "{name}");
        let written = read("blk.1.attn_k.weight.lora_b");
        for (row, values) in b.iter().enumerate() {
            let place = match name.starts_with("qwen") {
                true => row,
                false => interleaved_row(row, weights.config().head_dim),
            };
            assert_eq!(&written[place], values, "{name}, row {row}");
        }
        let pair = &adapter.lora.pairs["model.layers.0.mlp.down_proj"];
        assert_eq!(read("blk.0.ffn_down.weight.lora_b"), pair.b.to_vec2::<f32>().unwrap());
    }
}

#[test]
fn the_command_writes_both_forms_and_never_over_something() {
    let temp = tempfile::tempdir().unwrap();
    let base = temp.path().join("base");
    fs::create_dir(&base).unwrap();
    tiny_base::folder(&base);
    let weights = Weights::open(&base).unwrap();
    let made = temp.path().join("adapter");
    fs::create_dir(&made).unwrap();
    adapter(&decoder(&weights)).save(&made).unwrap();
    let export = |to: &str, out: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_proto"))
            .current_dir(temp.path())
            .args(["export", "adapter", "--to", to, "--out", out])
            .args(["--set", "BASE_MODEL=base"])
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(export("gguf-lora", "lora.gguf").0, Some(0));
    let (code, told) = export("merged", "merged");
    assert_eq!(code, Some(0), "{told}");
    let names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    assert!(names.iter().all(|name| temp.path().join("merged").join(name).is_file()), "{told}");
    proto::tokens::Codec::open(&temp.path().join("merged"), None).unwrap();
    let (code, told) = export("gguf-lora", "lora.gguf");
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("exists already"), "{told}");
}
