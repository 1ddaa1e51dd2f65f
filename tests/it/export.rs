//! Exported adapters: a merged model, folder or GGUF, computes what base and adapter do, and a GGUF
//! LoRA holds the factors as llama.cpp wants them.

use std::fs;
use std::path::Path;
use std::process::Command;

use candle_core::{DType, Device, Tensor};
use proto::adapter::{Adapter, Shape};
use proto::chance::Chance;
use proto::files::gguf::{Gguf, Metadata, Storage};
use proto::model::config::RopeScaling;
use proto::model::gguf::interleaved_row;
use proto::model::weights::{Quantization, Weights};
use proto::model::{Decoder, Packed};
use proto::tokens::Codec;
use serde_json::{Value, json};

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

fn most(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max)
}

/// ‖a − b‖ / ‖b‖.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    let norm = |values: &[f32]| values.iter().map(|v| v * v).sum::<f32>().sqrt();
    let off: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    norm(&off) / norm(b)
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
        let gguf = Gguf::open(&path).unwrap();
        let text = |key: &str| gguf.text(key).unwrap().unwrap();
        assert_eq!(text("general.type"), "adapter");
        assert_eq!(text("adapter.type"), "lora");
        let family = name.split('_').next().unwrap().replace("mistral", "llama");
        assert_eq!(text("general.architecture"), family);
        let alpha = gguf.float("adapter.lora.alpha").unwrap().unwrap();
        assert_eq!(alpha / 3.0, adapter.lora.scale);
        assert_eq!(gguf.tensors().len(), 2 * adapter.lora.pairs.len());
        let read = |name: &str| {
            let info = &gguf.tensors()[name];
            let values = gguf.bytes(info).chunks_exact(4);
            let values: Vec<f32> =
                values.map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
            values.chunks(info.shape[1]).map(<[f32]>::to_vec).collect::<Vec<_>>()
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
fn a_merged_gguf_computes_what_base_and_adapter_do() {
    for name in MODELS {
        let weights = toy(name);
        let base = decoder(&weights);
        let adapter = adapter(&base);
        let wanted = hidden(&base, Some(&adapter));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("merged.gguf");
        for (storage, allowed) in [(Storage::F32, 1e-4), (Storage::Q8_0, 0.03)] {
            let others = adapter.merge_gguf(&weights, Metadata::default(), storage, &path).unwrap();
            // Rows of 16 and 24 fill no block of 32; four heads of 8 do.
            let config = weights.config();
            let wide = if config.num_heads * config.head_dim == 32 { 2 } else { 0 };
            let matrices = 15 + usize::from(!config.tie_word_embeddings) - wide;
            match storage {
                Storage::F32 => assert!(others.is_empty()),
                _ => assert_eq!(others, [("F16", matrices)].into()),
            }
            let merged = Weights::open(&path).unwrap();
            let off = apart(&hidden(&decoder(&merged), None), &wanted);
            assert!(off < allowed, "{name} in {storage:?}: {off}");
        }

        let (ours, theirs) = (weights.config(), Weights::open(&path).unwrap());
        let mut theirs = theirs.config().clone();
        assert_eq!(theirs.architecture.as_str(), ours.architecture.in_gguf());
        theirs.architecture = ours.architecture;
        match (&ours.rope_scaling, &theirs.rope_scaling) {
            (RopeScaling::Llama3 { .. }, RopeScaling::Factors(factors)) => {
                assert!(factors[0] == 1.0 && factors.last() == Some(&8.0), "{factors:?}");
                theirs.rope_scaling = ours.rope_scaling.clone();
            }
            (ours, theirs) => assert_eq!(ours, theirs),
        }
        (theirs.bos, theirs.eos, theirs.pad) = (ours.bos, ours.eos.clone(), ours.pad);
        assert_eq!(&theirs, ours, "{name}");
    }
}

#[test]
fn rope_factors_go_only_where_llama_cpp_reads_them() {
    let temp = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/architectures/qwen2");
    for name in ["config.json", "model.safetensors"] {
        fs::copy(from.join(name), temp.path().join(name)).unwrap();
    }
    let path = temp.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["rope_parameters"] = json!({"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 256});
    fs::write(&path, config.to_string()).unwrap();
    let weights = Weights::open(temp.path()).unwrap();
    let out = temp.path().join("a.gguf");
    let adapter = adapter(&decoder(&weights));
    let refused = adapter.merge_gguf(&weights, Metadata::default(), Storage::F16, &out);
    assert!(tiny_base::refusal(refused).contains("for Llama alone, not for qwen2"));
}

/// `proto export adapter` beside a base and an adapter for it.
struct Place(tempfile::TempDir);

impl Place {
    fn new(base: &Path) -> Self {
        let place = Place(tempfile::tempdir().unwrap());
        let weights = Weights::open(base).unwrap();
        let made = place.0.path().join("adapter");
        fs::create_dir(&made).unwrap();
        adapter(&decoder(&weights)).save(&made).unwrap();
        place
    }

    fn export(&self, base: &Path, arguments: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_proto"))
            .current_dir(self.0.path())
            .args(["export", "adapter"])
            .args(arguments)
            .args(["--set", &format!("BASE_MODEL={}", base.display())])
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }
}

#[test]
fn the_command_writes_a_gguf_with_the_tokenizer_of_a_gguf_base() {
    let temp = tempfile::tempdir().unwrap();
    tiny_base::folder(temp.path());
    let mut file = tiny_base::gguf(temp.path());
    file.text(
        "tokenizer.chat_template",
        "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}",
    );
    let base = file.write(&temp.path().join("base.gguf"));
    let place = Place::new(&base);
    let out = place.0.path().join("q4.gguf");
    let hermes = ["--set", "CHAT_TEMPLATE=hermes"];
    let arguments = ["--to", "merged-gguf", "--gguf-type", "q4_k", "--out", "q4.gguf"];
    let (code, told) = place.export(&base, &[&arguments[..], &hermes].concat());
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("14 matrices are in Q5_0: their width does not fit Q4_K"), "{told}");
    assert!(told.contains("1 matrices are in Q8_0: their width does not fit Q4_K"), "{told}");

    let (before, after) = (Gguf::open(&base).unwrap(), Gguf::open(&out).unwrap());
    let carried: Vec<_> = before.entries("tokenizer.ggml.").collect();
    assert_eq!(carried.len(), 8);
    for (key, value) in carried {
        assert!(after.entries(key).any(|(_, other)| other == value), "{key}");
    }
    let codec = Codec::open(&base, Some("hermes")).unwrap();
    assert_eq!(after.text("tokenizer.chat_template").unwrap(), Some(codec.template()));
    assert_eq!(after.unsigned("general.file_type").unwrap(), Some(14));
    assert_eq!(after.tensors()["blk.0.attn_norm.weight"].storage, Storage::F32);

    let weights = Weights::open(&base).unwrap();
    let base = decoder(&weights);
    let wanted = hidden(&base, Some(&adapter(&base)));
    let merged = hidden(&decoder(&Weights::open(&out).unwrap()), None);
    let off = apart(&merged, &wanted);
    assert!(off < 0.2, "{off}");
}

#[test]
fn the_tokenizer_of_a_folder_is_carried_over_where_llama_cpp_knows_it() {
    let temp = tempfile::tempdir().unwrap();
    tiny_base::folder(temp.path());
    let place = Place::new(temp.path());
    let out = place.0.path().join("out.gguf");
    let export = |kind: &str| {
        let _ = fs::remove_file(&out);
        place
            .export(temp.path(), &["--to", "merged-gguf", "--gguf-type", kind, "--out", "out.gguf"])
    };
    let (code, told) = export("f16");
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("no pre-tokenizer") && told.contains("--to merged"), "{told}");

    let path = temp.path().join("tokenizer.json");
    let original: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let bytes = |whole: bool| {
        json!({"type": "ByteLevel", "add_prefix_space": false,
        "trim_offsets": false, "use_regex": whole})
    };
    let sequence = |steps: Value| json!({"type": "Sequence", "pretokenizers": steps});
    let split = |pattern: &str| {
        let regex = format!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{pattern}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        );
        sequence(json!([
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false},
            bytes(false)
        ]))
    };
    let digits = json!({"type": "Digits", "individual_digits": true});
    for (name, pieces, normalizer, ignores) in [
        ("gpt-2", bytes(true), Value::Null, false),
        ("smollm", sequence(json!([digits, bytes(true)])), Value::Null, false),
        ("qwen2", split(r"\p{N}"), json!({"type": "NFC"}), false),
        ("llama-bpe", split(r"\p{N}{1,3}"), Value::Null, true),
    ] {
        let mut tokenizer = original.clone();
        tokenizer["pre_tokenizer"] = pieces;
        tokenizer["normalizer"] = normalizer;
        tokenizer["model"]["ignore_merges"] = ignores.into();
        let bos = json!({"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}});
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        if name == "llama-bpe" {
            tokenizer["post_processor"] = json!({
                "type": "TemplateProcessing", "single": [bos, text], "pair": [bos, text, text],
                "special_tokens": {"<|endoftext|>":
                    {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}},
            });
        }
        fs::write(&path, tokenizer.to_string()).unwrap();
        let (code, told) = export("q8_0");
        assert_eq!(code, Some(0), "{name}: {told}");
        let gguf = Gguf::open(&out).unwrap();
        assert_eq!(gguf.text("tokenizer.ggml.pre").unwrap(), Some(name));
        let begins = gguf.boolean("tokenizer.ggml.add_bos_token").unwrap();
        assert_eq!(begins, Some(name == "llama-bpe"));
        assert_eq!(gguf.boolean("tokenizer.ggml.add_eos_token").unwrap(), Some(false));
        let (ours, theirs) = (Codec::open(temp.path(), None), Codec::open(&out, None));
        let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
        assert_eq!(ours.stop_ids(), theirs.stop_ids());
        assert_eq!(ours.template(), theirs.template());
        for text in ["I'll read 1234 files,\n\n  at  /web/ü.txt <|im_end|>\r\n", "weather e\u{301}"]
        {
            assert_eq!(ours.tokenize(text).unwrap(), theirs.tokenize(text).unwrap(), "{name}");
        }
        assert_eq!(gguf.tensors()["token_embd.weight"].storage, Storage::Q8_0);
    }
    let (code, told) =
        place.export(temp.path(), &["--to", "merged", "--gguf-type", "f16", "--out", "x"]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("--gguf-type goes with"), "{told}");
}

#[test]
fn the_command_writes_both_forms_and_never_over_something() {
    let temp = tempfile::tempdir().unwrap();
    tiny_base::folder(temp.path());
    let place = Place::new(temp.path());
    let export = |to: &str, out: &str| place.export(temp.path(), &["--to", to, "--out", out]);
    assert_eq!(export("gguf-lora", "lora.gguf").0, Some(0));
    let (code, told) = export("merged", "merged");
    assert_eq!(code, Some(0), "{told}");
    let merged = place.0.path().join("merged");
    let names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    assert!(names.iter().all(|name| merged.join(name).is_file()), "{told}");
    Codec::open(&merged, None).unwrap();
    let (code, told) = export("gguf-lora", "lora.gguf");
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("exists already"), "{told}");
}
