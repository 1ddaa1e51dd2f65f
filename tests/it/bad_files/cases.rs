//! Files that are cut short, lie or are of another kind, each in a folder of its own, and what
//! they are refused with. `benches/bad_files.rs` measures the refusals.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::Result;
use proto::adapter::Adapter;
use proto::model::weights::Weights;
use proto::tokens::Codec;
use serde_json::json;

use crate::tiny_base;

/// What is opened.
#[derive(Clone, Copy)]
pub enum Kind {
    Base,
    Tokenizer,
    Adapter,
}

pub struct Case {
    pub name: &'static str,
    pub kind: Kind,
    /// Part of the refusal.
    pub says: &'static str,
    make: fn(&Path),
}

impl Case {
    /// Writes the files into an empty folder.
    pub fn make(&self, folder: &Path) {
        (self.make)(folder);
    }

    /// The refusal.
    pub fn open(&self, folder: &Path) -> Result<()> {
        match self.kind {
            Kind::Base => Weights::open(folder).map(drop),
            Kind::Tokenizer => Codec::open(folder, Some("hermes")).map(drop),
            Kind::Adapter => {
                let linears = [("model.layers.0.self_attn.q_proj".to_string(), 32, 32)];
                Adapter::load(folder, &linears).map(drop)
            }
        }
    }
}

const MODEL: &str = "model.safetensors";
const FACTORS: &str = "adapter_model.safetensors";
/// As large as a file of another kind put in this one's place.
const ABSURD: u64 = 1 << 30;

/// A safetensors file: its header, and room for the data.
fn safetensors(path: &Path, header: &str, data: u64) {
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + data).unwrap();
}

fn entry(name: &str, shape: &str, from: u64, to: u64) -> String {
    format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#)
}

fn object(entries: &[String]) -> String {
    format!("{{{}}}", entries.join(","))
}

/// Zeros, of which none lie on disk.
fn hollow(path: &Path, size: u64) {
    File::create(path).unwrap().set_len(size).unwrap();
}

fn config(folder: &Path) {
    fs::write(folder.join("config.json"), tiny_base::config().to_string()).unwrap();
}

fn model_type(folder: &Path, kind: &str) {
    let mut config = tiny_base::config();
    config["model_type"] = json!(kind);
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

/// The tiny base with its weights in a file of this header.
fn headed(folder: &Path, header: &str, data: u64) {
    config(folder);
    safetensors(&folder.join(MODEL), header, data);
}

fn card(folder: &Path) {
    let card = json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "tiny", "r": 2,
        "lora_alpha": 4, "lora_dropout": 0.0, "target_modules": ["q_proj"], "bias": "none",
        "fan_in_fan_out": false, "inference_mode": true
    });
    fs::write(folder.join("adapter_config.json"), card.to_string()).unwrap();
}

fn factors(folder: &Path, header: &str, data: u64) {
    card(folder);
    safetensors(&folder.join(FACTORS), header, data);
}

fn factor(which: &str, shape: &str, from: u64, to: u64) -> String {
    let linear = "base_model.model.model.layers.0.self_attn.q_proj";
    entry(&format!("{linear}.lora_{which}.weight"), shape, from, to)
}

fn hundred_thousand() -> String {
    let entries: Vec<_> =
        (0..100_000).map(|i| entry(&format!("tensor.{i}"), "[1]", 4 * i, 4 * i + 4)).collect();
    object(&entries)
}

/// The tiny base as a GGUF with something changed, and then some of its bytes.
fn gguf(
    folder: &Path,
    change: impl FnOnce(&mut tiny_base::GgufFile),
    damage: impl FnOnce(&mut File),
) {
    let source = tempfile::tempdir().unwrap();
    tiny_base::folder(source.path());
    let mut file = tiny_base::gguf(source.path());
    change(&mut file);
    let path = file.write(&folder.join("model.gguf"));
    damage(&mut File::options().write(true).open(path).unwrap());
}

fn put(file: &mut File, at: u64, bytes: &[u8]) {
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

/// All cases.
pub fn cases() -> Vec<Case> {
    let base = |name, says, make| Case { name, kind: Kind::Base, says, make };
    let tokenizer = |name, says, make| Case { name, kind: Kind::Tokenizer, says, make };
    let adapter = |name, says, make| Case { name, kind: Kind::Adapter, says, make };
    vec![
        // Safetensors
        base("safetensors cut short", "is it cut short?", |folder| {
            headed(folder, &object(&[entry("t", "[2]", 0, 8)]), 4);
        }),
        base("safetensors of 3 bytes", "it has no header", |folder| {
            config(folder);
            fs::write(folder.join(MODEL), "abc").unwrap();
        }),
        base("safetensors header of 100 MB", "its header claims 104857600 bytes", |folder| {
            config(folder);
            let path = folder.join(MODEL);
            hollow(&path, ABSURD);
            let mut file = File::options().write(true).open(path).unwrap();
            put(&mut file, 0, &(100u64 << 20).to_le_bytes());
        }),
        base("safetensors header past the end", "its header runs past the end", |folder| {
            config(folder);
            fs::write(folder.join(MODEL), 1000u64.to_le_bytes()).unwrap();
        }),
        base("safetensors with 100,000 tensors", "more than 65536 tensors", |folder| {
            headed(folder, &hundred_thousand(), 400_000);
        }),
        base("safetensors shape that lies", "has shape [3] but 8 bytes", |folder| {
            headed(folder, &object(&[entry("t", "[3]", 0, 8)]), 8);
        }),
        base("safetensors sizes that overflow", "has shape", |folder| {
            let shape = format!("[{},{}]", u64::MAX, u64::MAX);
            headed(folder, &object(&[entry("t", &shape, 0, 8)]), 8);
        }),
        base("safetensors with millions of dimensions", "more than 8 dimensions", |folder| {
            let shape = format!("[{}1]", "1,".repeat(7 << 20));
            headed(folder, &object(&[entry("t", &shape, 0, 4)]), 4);
        }),
        base("safetensors name of 15 MB", "a name of 15728640 bytes", |folder| {
            headed(folder, &object(&[entry(&"n".repeat(15 << 20), "[1]", 0, 4)]), 4);
        }),
        base("safetensors tensor twice", "tensor t appears twice", |folder| {
            headed(folder, &object(&[entry("t", "[1]", 0, 4), entry("t", "[1]", 4, 8)]), 8);
        }),
        base("safetensors tensors over each other", "tensors t and u overlap", |folder| {
            headed(folder, &object(&[entry("t", "[2]", 0, 8), entry("u", "[2]", 4, 12)]), 12);
        }),
        base("safetensors of another shape", "the configuration says [320, 32]", |folder| {
            let name = "model.embed_tokens.weight";
            headed(folder, &object(&[entry(name, "[32, 320]", 0, 40960)]), 40960);
        }),
        base("safetensors without its tensors", "is missing", |folder| headed(folder, "{}", 0)),
        base("index of 100 MB", "it has 104857600 bytes", |folder| {
            config(folder);
            hollow(&folder.join("model.safetensors.index.json"), 100 << 20);
        }),
        base("index of 100,000 tensors", "more than 65536 tensors", |folder| {
            config(folder);
            let map: Vec<_> = (0..100_000).map(|i| format!(r#""t{i}":"{i}.x""#)).collect();
            let index = format!(r#"{{"weight_map":{{{}}}}}"#, map.join(","));
            fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
        }),
        base("index of 60,000 files", "it names 60000 files", |folder| {
            config(folder);
            let map: Vec<_> = (0..60_000).map(|i| format!(r#""t{i}":"{i}.x""#)).collect();
            let index = format!(r#"{{"weight_map":{{{}}}}}"#, map.join(","));
            fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
        }),
        // Beside the weights
        base("config.json of 1 GB", "it has 1073741824 bytes", |folder| {
            hollow(&folder.join("config.json"), ABSURD);
        }),
        base("config.json of 4 billion layers", "num_hidden_layers is", |folder| {
            let mut config = tiny_base::config();
            config["num_hidden_layers"] = json!(1u64 << 32);
            fs::write(folder.join("config.json"), config.to_string()).unwrap();
        }),
        tokenizer("tokenizer.json of 1 GB", "it has 1073741824 bytes", |folder| {
            config(folder);
            hollow(&folder.join("tokenizer.json"), ABSURD);
        }),
        tokenizer("tokenizer_config.json of 1 GB", "it has 1073741824 bytes", |folder| {
            config(folder);
            tiny_base::tokenizer(folder);
            hollow(&folder.join("tokenizer_config.json"), ABSURD);
        }),
        // GGUF
        base("GGUF cut short", "is it cut short?", |folder| {
            let cut =
                |file: &mut File| file.set_len(file.metadata().unwrap().len() - 5000).unwrap();
            gguf(folder, |_| {}, cut);
        }),
        base("GGUF with 100,000 tensors", "it claims 100000 tensors", |folder| {
            gguf(folder, |_| {}, |file| put(file, 8, &100_000u64.to_le_bytes()));
        }),
        base("GGUF header of 100 MB", "the header claims more than 32 MiB", |folder| {
            let large = |file: &mut tiny_base::GgufFile| {
                file.text("note", &"n".repeat(100 << 20));
            };
            gguf(folder, large, |_| {});
        }),
        base("GGUF array of 4 million texts", "an array of 4194304 elements", |folder| {
            let large = |file: &mut tiny_base::GgufFile| {
                file.texts("tokenizer.ggml.tokens", &vec![String::new(); 4 << 20]);
            };
            gguf(folder, large, |_| {});
        }),
        base("GGUF of another shape", "configuration says", |folder| {
            let change = |file: &mut tiny_base::GgufFile| {
                file.u32("llama.feed_forward_length", 96);
            };
            gguf(folder, change, |_| {});
        }),
        base("GGUF tensor twice", "appears twice", |folder| {
            let name = "blk.0.ffn_up.weight.";
            let twice = |file: &mut tiny_base::GgufFile| {
                file.f32_tensor(name, &[32], &[0.0; 32]);
                file.f32_tensor("blk.1.ffn_up.weight.", &[32], &[0.0; 32]);
            };
            gguf(folder, twice, |file| {
                let path = folder.join("model.gguf");
                let bytes = fs::read(path).unwrap();
                let at = bytes.windows(name.len()).position(|w| w == b"blk.1.ffn_up.weight.");
                put(file, at.unwrap() as u64, name.as_bytes());
            });
        }),
        // Adapters
        adapter("adapter cut short", "is it cut short?", |folder| {
            factors(folder, &object(&[factor("A", "[2,32]", 0, 256)]), 100);
        }),
        adapter("adapter header of 100 MB", "its header claims 104857600 bytes", |folder| {
            card(folder);
            let path = folder.join(FACTORS);
            hollow(&path, ABSURD);
            let mut file = File::options().write(true).open(path).unwrap();
            put(&mut file, 0, &(100u64 << 20).to_le_bytes());
        }),
        adapter("adapter with 100,000 tensors", "more than 65536 tensors", |folder| {
            factors(folder, &hundred_thousand(), 400_000);
        }),
        adapter("adapter of another shape", "the base wants [r, 32] and [32, r]", |folder| {
            // A gigabyte of factors for a base of a few thousand weights.
            let header = [
                factor("A", "[2,134217700]", 0, 1_073_741_600),
                factor("B", "[32,2]", 1_073_741_600, 1_073_741_856),
            ];
            factors(folder, &object(&header), 1_073_741_856);
        }),
        adapter("adapter factor twice", "appears twice", |folder| {
            let header = [factor("A", "[2,32]", 0, 256), factor("A", "[2,32]", 256, 512)];
            factors(folder, &object(&header), 512);
        }),
        adapter("adapter without its other half", "only one of its two factors", |folder| {
            factors(folder, &object(&[factor("A", "[2,32]", 0, 256)]), 256);
        }),
        adapter("adapter in float64", "is stored as F64", |folder| {
            let header = object(&[factor("A", "[2,32]", 0, 512), factor("B", "[32,2]", 512, 1024)]);
            factors(folder, &header.replace("F32", "F64"), 1024);
        }),
        adapter("adapter card of 1 GB", "it has 1073741824 bytes", |folder| {
            hollow(&folder.join("adapter_config.json"), ABSURD);
        }),
        // Other architectures: there are no weights beside these.
        base("Qwen3.5", "\"qwen3_5\" is not supported", |folder| model_type(folder, "qwen3_5")),
        base("Qwen3 MoE", "\"qwen3_moe\" is not supported", |f| model_type(f, "qwen3_moe")),
        base("Qwen3-Next", "\"qwen3_next\" is not supported", |f| model_type(f, "qwen3_next")),
        base("gpt-oss", "\"gpt_oss\" is not supported", |folder| model_type(folder, "gpt_oss")),
        base("Mixtral", "\"mixtral\" is not supported", |folder| model_type(folder, "mixtral")),
        base("DeepSeek V3", "\"deepseek_v3\" is not supported", |f| model_type(f, "deepseek_v3")),
        base("Llama 4", "\"llama4\" is not supported", |folder| model_type(folder, "llama4")),
        base("Gemma 3", "\"gemma3\" is not supported", |folder| model_type(folder, "gemma3")),
        base("GLM 4.5 MoE", "\"glm4_moe\" is not supported", |f| model_type(f, "glm4_moe")),
        base("gpt-oss in GGUF, MXFP4", "\"gpt-oss\" is not supported", |folder| {
            let change = |file: &mut tiny_base::GgufFile| {
                file.text("general.architecture", "gpt-oss");
                file.tensor("blk.0.ffn_up_exps.weight", &[2, 32], 39, vec![0; 34]);
            };
            gguf(folder, change, |_| {});
        }),
        base("a Llama in GGUF, IQ4_XS", "stored as IQ4_XS, which is not read", |folder| {
            let change = |file: &mut tiny_base::GgufFile| {
                file.tensor("blk.0.ffn_up.weight", &[64, 32], 23, vec![0; 1088]);
            };
            gguf(folder, change, |_| {});
        }),
        base("Qwen3 MoE in GGUF", "\"qwen3moe\" is not supported", |folder| {
            let change = |file: &mut tiny_base::GgufFile| {
                file.text("general.architecture", "qwen3moe");
            };
            gguf(folder, change, |_| {});
        }),
    ]
}
