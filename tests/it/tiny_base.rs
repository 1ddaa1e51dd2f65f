//! A base model of a few thousand weights, written as a Hugging Face folder and as a GGUF.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use proto::chance::Chance;
use proto::tokens::training;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

pub const HIDDEN: usize = 32;
pub const LAYERS: usize = 2;
pub const HEADS: usize = 4;
pub const KV_HEADS: usize = 2;
pub const HEAD_DIM: usize = 8;
pub const INNER: usize = 64;
pub const VOCAB: usize = 320;

/// What an attempt was refused with; panics if it was not.
pub fn refusal(result: anyhow::Result<impl Sized>) -> String {
    match result {
        Ok(_) => panic!("it was taken"),
        Err(e) => format!("{e:#}"),
    }
}

/// The real small model, for the tests that need it.
pub fn smollm2() -> PathBuf {
    let folder = std::env::var_os("PROTO_SMOLLM2").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("models/smollm2"),
        PathBuf::from,
    );
    assert!(folder.exists(), "{} is missing: run scripts/fetch_smollm2.sh", folder.display());
    folder
}

/// Texts enough for a tokenizer with some merges.
pub fn texts() -> Vec<String> {
    let words = [
        "read",
        "file",
        "path",
        "name",
        "arguments",
        "system",
        "user",
        "assistant",
        "tool",
        "call",
        "weather",
        "function",
        "string",
        "object",
        "number",
        "question",
        "window",
        "yellow",
    ];
    let mut chance = Chance::new(3, "tiny base");
    (0..200)
        .map(|_| {
            let pick = |chance: &mut Chance| words[chance.below(words.len())].to_string();
            (0..6).map(|_| pick(&mut chance)).collect::<Vec<_>>().join(" ")
        })
        .collect()
}

pub fn tokenizer(folder: &Path) {
    let texts = texts();
    training::train(texts.iter().map(String::as_str), VOCAB, &[], folder).unwrap();
}

pub fn config() -> Value {
    json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": VOCAB,
        "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "rope_theta": 10000.0,
        "rms_norm_eps": 1e-5, "max_position_embeddings": 256, "tie_word_embeddings": true,
        "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0, "hidden_act": "silu"
    })
}

/// Every tensor by Hugging Face name, with its shape.
pub fn tensors() -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let mut chance = Chance::new(9, "tiny base weights");
    let mut all = Vec::new();
    let mut add = |name: String, shape: &[usize]| {
        let n = shape.iter().product();
        let values = (0..n).map(|_| (chance.normal() * 0.1) as f32).collect();
        all.push((name, shape.to_vec(), values));
    };
    add("model.embed_tokens.weight".into(), &[VOCAB, HIDDEN]);
    add("model.norm.weight".into(), &[HIDDEN]);
    for layer in 0..LAYERS {
        for (part, shape) in [
            ("input_layernorm", vec![HIDDEN]),
            ("post_attention_layernorm", vec![HIDDEN]),
            ("self_attn.q_proj", vec![HEADS * HEAD_DIM, HIDDEN]),
            ("self_attn.k_proj", vec![KV_HEADS * HEAD_DIM, HIDDEN]),
            ("self_attn.v_proj", vec![KV_HEADS * HEAD_DIM, HIDDEN]),
            ("self_attn.o_proj", vec![HIDDEN, HEADS * HEAD_DIM]),
            ("mlp.gate_proj", vec![INNER, HIDDEN]),
            ("mlp.up_proj", vec![INNER, HIDDEN]),
            ("mlp.down_proj", vec![HIDDEN, INNER]),
        ] {
            add(format!("model.layers.{layer}.{part}.weight"), &shape);
        }
    }
    all
}

pub fn write_safetensors(path: &Path, tensors: &[(String, Vec<usize>, Vec<f32>)]) {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, values)| values.iter().flat_map(|x| x.to_le_bytes()).collect())
        .collect();
    let views: HashMap<&str, TensorView> = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| {
            (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
        })
        .collect();
    fs::write(path, safetensors::serialize(&views, None).unwrap()).unwrap();
}

/// The whole Hugging Face folder.
pub fn folder(at: &Path) {
    tokenizer(at);
    fs::write(at.join("config.json"), config().to_string()).unwrap();
    write_safetensors(&at.join("model.safetensors"), &tensors());
}

/// Builds GGUF files byte by byte.
pub struct GgufFile {
    metadata: Vec<(String, Vec<u8>)>,
    tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
}

fn text(s: &str) -> Vec<u8> {
    [&(s.len() as u64).to_le_bytes()[..], s.as_bytes()].concat()
}

impl GgufFile {
    pub fn new() -> Self {
        GgufFile { metadata: Vec::new(), tensors: Vec::new() }
    }

    fn put(&mut self, key: &str, kind: u32, value: &[u8]) -> &mut Self {
        self.metadata.retain(|(other, _)| other != key);
        self.metadata.push((key.into(), [&kind.to_le_bytes()[..], value].concat()));
        self
    }

    pub fn u32(&mut self, key: &str, value: u32) -> &mut Self {
        self.put(key, 4, &value.to_le_bytes())
    }

    pub fn f32(&mut self, key: &str, value: f32) -> &mut Self {
        self.put(key, 6, &value.to_le_bytes())
    }

    pub fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.put(key, 8, &text(value))
    }

    pub fn texts(&mut self, key: &str, values: &[String]) -> &mut Self {
        let mut bytes = 8u32.to_le_bytes().to_vec();
        bytes.extend((values.len() as u64).to_le_bytes());
        bytes.extend(values.iter().flat_map(|value| text(value)));
        self.put(key, 9, &bytes)
    }

    pub fn i32s(&mut self, key: &str, values: &[i32]) -> &mut Self {
        let mut bytes = 5u32.to_le_bytes().to_vec();
        bytes.extend((values.len() as u64).to_le_bytes());
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.put(key, 9, &bytes)
    }

    pub fn remove(&mut self, key: &str) -> &mut Self {
        self.metadata.retain(|(other, _)| other != key);
        self
    }

    /// A tensor of a ggml type, its bytes ready; `shape` is rows first.
    pub fn tensor(&mut self, name: &str, shape: &[usize], kind: u32, bytes: Vec<u8>) -> &mut Self {
        self.tensors.retain(|(other, ..)| other != name);
        let dims = shape.iter().rev().map(|n| *n as u64).collect();
        self.tensors.push((name.into(), dims, kind, bytes));
        self
    }

    pub fn f32_tensor(&mut self, name: &str, shape: &[usize], values: &[f32]) -> &mut Self {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.tensor(name, shape, 0, bytes)
    }

    pub fn drop_tensor(&mut self, name: &str) -> &mut Self {
        self.tensors.retain(|(other, ..)| other != name);
        self
    }

    pub fn write(&self, path: &Path) -> PathBuf {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3u32.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            bytes.extend(text(key));
            bytes.extend(value);
        }
        let mut offset = 0u64;
        for (name, dims, kind, data) in &self.tensors {
            bytes.extend(text(name));
            bytes.extend((dims.len() as u32).to_le_bytes());
            bytes.extend(dims.iter().flat_map(|n| n.to_le_bytes()));
            bytes.extend(kind.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
            offset += (data.len() as u64).next_multiple_of(32);
        }
        for (_, _, _, data) in &self.tensors {
            bytes.resize(bytes.len().next_multiple_of(32), 0);
            bytes.extend(data);
        }
        fs::write(path, bytes).unwrap();
        path.to_path_buf()
    }
}

/// The GGUF name of a tensor, spelt out apart from the program's own table.
pub fn gguf_name(name: &str) -> String {
    let mut name = name.replace("model.layers.", "blk.");
    for (ours, theirs) in [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ] {
        name = name.replace(ours, theirs);
    }
    name
}

/// Query and key rows as GGUF's converter orders them: per head `reshape(2, d/2)` transposed.
pub fn interleave(values: &[f32], rows: usize) -> Vec<f32> {
    let cols = values.len() / rows;
    let mut out = Vec::with_capacity(values.len());
    for head in 0..rows / HEAD_DIM {
        for i in 0..HEAD_DIM / 2 {
            for j in 0..2 {
                let row = head * HEAD_DIM + j * HEAD_DIM / 2 + i;
                out.extend_from_slice(&values[row * cols..(row + 1) * cols]);
            }
        }
    }
    out
}

/// The same model as [`folder`] writes, weights in f32.
pub fn gguf(hugging_face: &Path) -> GgufFile {
    let mut file = GgufFile::new();
    file.text("general.architecture", "llama")
        .u32("llama.block_count", LAYERS as u32)
        .u32("llama.context_length", 256)
        .u32("llama.embedding_length", HIDDEN as u32)
        .u32("llama.feed_forward_length", INNER as u32)
        .u32("llama.attention.head_count", HEADS as u32)
        .u32("llama.attention.head_count_kv", KV_HEADS as u32)
        .u32("llama.rope.dimension_count", HEAD_DIM as u32)
        .u32("llama.vocab_size", VOCAB as u32)
        .f32("llama.rope.freq_base", 10000.0)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5);
    for (name, shape, values) in tensors() {
        let permuted = name.contains("q_proj") || name.contains("k_proj");
        let values = if permuted { interleave(&values, shape[0]) } else { values };
        file.f32_tensor(&gguf_name(&name), &shape, &values);
    }
    let json: Value =
        serde_json::from_slice(&fs::read(hugging_face.join("tokenizer.json")).unwrap()).unwrap();
    let mut tokens = vec![String::new(); VOCAB];
    for (token, id) in json["model"]["vocab"].as_object().unwrap() {
        tokens[id.as_u64().unwrap() as usize] = token.clone();
    }
    let merges: Vec<String> = json["model"]["merges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| format!("{} {}", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
        .collect();
    let types: Vec<i32> = (0..VOCAB).map(|id| if id < 3 { 3 } else { 1 }).collect();
    file.text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "smollm")
        .texts("tokenizer.ggml.tokens", &tokens)
        .texts("tokenizer.ggml.merges", &merges)
        .i32s("tokenizer.ggml.token_type", &types)
        .u32("tokenizer.ggml.bos_token_id", 0)
        .u32("tokenizer.ggml.eos_token_id", 2)
        .u32("tokenizer.ggml.padding_token_id", 0);
    file
}
