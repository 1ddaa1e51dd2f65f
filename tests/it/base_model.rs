//! Base models from files: the same weights whichever way they are stored, and clear refusals.

use std::fs;
use std::path::Path;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use proto::model::config::ModelConfig;
use proto::model::weights::{Frozen, Quantization, Weights};

use crate::tiny_base;

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn refusal(path: &Path) -> String {
    tiny_base::refusal(Weights::open(path))
}

#[test]
fn a_gguf_holds_the_same_model_as_its_hugging_face_folder() {
    let temp = tempfile::tempdir().unwrap();
    tiny_base::folder(temp.path());
    let gguf = tiny_base::gguf(temp.path()).write(&temp.path().join("tiny.gguf"));
    let (ours, theirs) = (Weights::open(temp.path()).unwrap(), Weights::open(&gguf).unwrap());
    assert_eq!(ours.config(), theirs.config());
    for (name, shape, wanted) in tiny_base::tensors() {
        for weights in [&ours, &theirs] {
            let tensor = weights.dense(&name).unwrap();
            assert_eq!(tensor.dims(), shape, "{name}");
            assert_eq!(values(&tensor), wanted, "{name}");
        }
    }
    let head = theirs.linear("lm_head.weight", Quantization::F32).unwrap();
    let embedding = ours.dense("model.embed_tokens.weight").unwrap();
    assert_eq!(values(&head.dequantize().unwrap()), values(&embedding), "the head is tied");
}

#[test]
fn a_folder_with_one_gguf_is_that_gguf() {
    let temp = tempfile::tempdir().unwrap();
    let hugging_face = temp.path().join("hf");
    fs::create_dir(&hugging_face).unwrap();
    tiny_base::folder(&hugging_face);
    let file = tiny_base::gguf(&hugging_face);
    let alone = temp.path().join("alone");
    fs::create_dir(&alone).unwrap();
    let path = file.write(&alone.join("a.gguf"));
    let digest = Weights::open(&alone).unwrap().digest().unwrap();
    assert_eq!(digest, Weights::open(&path).unwrap().digest().unwrap());
    file.write(&alone.join("b.gguf"));
    assert!(refusal(&alone).contains("2 GGUF files"));
}

#[test]
fn linears_are_kept_as_asked() {
    let temp = tempfile::tempdir().unwrap();
    tiny_base::folder(temp.path());
    let weights = Weights::open(temp.path()).unwrap();
    let name = "model.layers.1.self_attn.q_proj.weight";
    let dense = values(&weights.dense(name).unwrap());
    let bytes = |quantization| weights.linear(name, quantization).unwrap().bytes();
    assert_eq!(bytes(Quantization::F32), 4 * dense.len());
    assert_eq!(bytes(Quantization::Native), 4 * dense.len());
    assert_eq!(bytes(Quantization::Nf4), dense.len() / 2 + dense.len() / 64 * 4);
    assert_eq!(bytes(Quantization::Nf4Double), dense.len() / 2 + dense.len() / 64 + 4 + 4);
    use Quantization::{F32, Native, Nf4, Nf4Double};
    for quantization in [F32, Native, Nf4, Nf4Double] {
        let frozen = weights.linear(name, quantization).unwrap();
        assert_eq!((frozen.out_features(), frozen.in_features()), (32, 32));
        let whole = values(&frozen.dequantize().unwrap());
        let furthest = dense.iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let allowed = if [Nf4, Nf4Double].contains(&quantization) { 0.06 } else { 0.0 };
        assert!(furthest <= allowed, "{quantization:?}: {furthest}");
        let mut rows = vec![0.0; 3 * 32];
        frozen.dequantize_rows(5..8, &mut rows).unwrap();
        assert_eq!(rows, whole[5 * 32..8 * 32], "{quantization:?}");
        assert!(frozen.dequantize_rows(30..33, &mut rows).is_err());
        assert!(frozen.dequantize_rows(5..8, &mut rows[1..]).is_err());
    }
    assert!(weights.linear("model.norm.weight", Quantization::F32).is_err());
    assert!(weights.dense("model.layers.9.mlp.up_proj.weight").is_err());
}

#[test]
fn blocks_of_a_gguf_keep_their_rows_apart() {
    let temp = tempfile::tempdir().unwrap();
    tiny_base::folder(temp.path());
    let mut file = tiny_base::gguf(temp.path());
    let mut wanted = Vec::new();
    for (dtype, kind, part) in [
        (GgmlDType::Q4_1, 3, "self_attn.q_proj"),
        (GgmlDType::Q8_0, 8, "self_attn.k_proj"),
        (GgmlDType::Q4_0, 2, "self_attn.v_proj"),
        (GgmlDType::F16, 1, "mlp.up_proj"),
        (GgmlDType::BF16, 30, "mlp.down_proj"),
    ] {
        let name = format!("model.layers.0.{part}.weight");
        let (_, shape, original) =
            tiny_base::tensors().into_iter().find(|(other, ..)| *other == name).unwrap();
        let pack = |values: Vec<f32>| {
            let tensor = Tensor::from_vec(values, shape.as_slice(), &Device::Cpu).unwrap();
            QTensor::quantize(&tensor, dtype).unwrap()
        };
        // Blocks never cross a row, so packing the rows in another order packs them alike.
        let stored = match part {
            "self_attn.q_proj" | "self_attn.k_proj" => tiny_base::interleave(&original, shape[0]),
            _ => original.clone(),
        };
        let bytes = pack(stored).data().unwrap().into_owned();
        file.tensor(&tiny_base::gguf_name(&name), &shape, kind, bytes);
        wanted.push((name, values(&pack(original).dequantize(&Device::Cpu).unwrap())));
    }
    let weights = Weights::open(&file.write(&temp.path().join("blocks.gguf"))).unwrap();
    for (name, wanted) in wanted {
        let frozen = weights.linear(&name, Quantization::Native).unwrap();
        assert!(matches!(frozen, Frozen::Blocks(_)), "{name}");
        assert!(frozen.bytes() <= wanted.len() * 2, "{name}");
        assert_eq!(values(&frozen.dequantize().unwrap()), wanted, "{name}");
        assert_eq!(values(&weights.dense(&name).unwrap()), wanted, "{name}");
    }
    let f32s = weights.linear("model.layers.1.mlp.up_proj.weight", Quantization::Native).unwrap();
    assert!(matches!(f32s, Frozen::Dense(_)));
}

#[test]
fn a_damaged_folder_is_refused_by_name() {
    let temp = tempfile::tempdir().unwrap();
    let at = temp.path();
    assert!(refusal(&at.join("nowhere")).contains("nowhere"));
    assert!(refusal(at).contains("config.json is missing"));
    tiny_base::folder(at);

    let model = at.join("model.safetensors");
    let whole = fs::read(&model).unwrap();
    fs::write(&model, &whole[..whole.len() - 5]).unwrap();
    assert!(refusal(at).contains("cut short"));
    fs::remove_file(&model).unwrap();
    assert!(refusal(at).contains("model.safetensors"));

    let mut tensors = tiny_base::tensors();
    let lost = tensors.pop().unwrap();
    tiny_base::write_safetensors(&model, &tensors);
    assert!(refusal(at).contains("mlp.down_proj.weight is missing"));

    let (name, _, _) = lost.clone();
    tensors.push((name, vec![64, 32], lost.2.clone()));
    tiny_base::write_safetensors(&model, &tensors);
    let message = refusal(at);
    assert!(message.contains("[64, 32]") && message.contains("[32, 64]"), "{message}");

    tensors.pop();
    tensors.push(lost);
    tensors.push(("model.layers.0.self_attn.q_proj.bias".into(), vec![32], vec![0.0; 32]));
    tiny_base::write_safetensors(&model, &tensors);
    assert!(refusal(at).contains("q_proj.bias has no place"));

    tensors.pop();
    tensors[0].2[7] = f32::NAN;
    tiny_base::write_safetensors(&model, &tensors);
    let weights = Weights::open(at).unwrap();
    let message = weights.dense("model.embed_tokens.weight").unwrap_err().to_string();
    assert!(message.contains("model.embed_tokens.weight"), "{message}");
}

type Change = dyn for<'a> Fn(&'a mut tiny_base::GgufFile) -> &'a mut tiny_base::GgufFile;

#[test]
fn a_gguf_of_another_kind_is_refused_by_name() {
    let temp = tempfile::tempdir().unwrap();
    tiny_base::folder(temp.path());
    let path = temp.path().join("other.gguf");
    let attempt = |change: &Change| {
        let mut file = tiny_base::gguf(temp.path());
        change(&mut file);
        refusal(&file.write(&path))
    };
    let refused = |part: &str, change: &Change| {
        let message = attempt(change);
        assert!(message.contains(part), "{part}: {message}");
    };
    refused("\"rwkv6\" is not supported", &|f| f.text("general.architecture", "rwkv6"));
    refused("qwen2.attention.head_count", &|f| f.text("general.architecture", "qwen2"));
    refused("llama.block_count is missing", &|f| f.remove("llama.block_count"));
    refused("rope scaling of kind yarn", &|f| f.text("llama.rope.scaling.type", "yarn"));
    refused("out of range", &|f| f.f32_tensor("rope_freqs.weight", &[3], &[1.0; 3]));
    refused("mixtures of experts", &|f| f.u32("llama.expert_count", 8));
    refused("rotary over 4 of 8", &|f| f.u32("llama.rope.dimension_count", 4));
    refused("differs between layers", &|f| f.i32s("llama.attention.head_count_kv", &[2, 1]));
    refused("blk.1.ffn_up.weight is missing", &|f| f.drop_tensor("blk.1.ffn_up.weight"));
    refused("blk.0.attn_q.bias has no place", &|f| {
        f.f32_tensor("blk.0.attn_q.bias", &[32], &[0.0; 32])
    });
    refused("not a whole number", &|f| f.text("llama.embedding_length", "wide"));
    refused("configuration says", &|f| f.u32("llama.feed_forward_length", 96));
}

#[test]
#[ignore = "needs models/smollm2"]
fn smollm2_opens_and_its_weights_are_sane() {
    let weights = Weights::open(&tiny_base::smollm2()).unwrap();
    let config: &ModelConfig = weights.config();
    assert_eq!((config.num_layers, config.hidden_size, config.vocab_size), (30, 576, 49152));
    assert_eq!((config.num_heads, config.num_kv_heads, config.head_dim), (9, 3, 64));
    assert_eq!((config.rope_theta, config.rms_norm_eps), (100_000.0, 1e-5));
    assert!(config.tie_word_embeddings && config.max_positions == 8192);
    assert_eq!((config.bos, &config.eos[..], config.pad), (Some(1), &[2][..], Some(2)));
    for name in ["model.embed_tokens.weight", "model.norm.weight"] {
        let all = values(&weights.dense(name).unwrap());
        let mean = all.iter().map(|x| f64::from(x.abs())).sum::<f64>() / all.len() as f64;
        assert!((0.01..10.0).contains(&mean), "{name}: {mean}");
    }
    let name = "model.layers.29.mlp.down_proj.weight";
    let native = weights.linear(name, Quantization::Native).unwrap();
    let nf4 = weights.linear(name, Quantization::Nf4).unwrap();
    assert!(matches!(native, Frozen::Blocks(_)));
    let (a, b) = (native.dequantize().unwrap(), nf4.dequantize().unwrap());
    let norm = |t: &Tensor| t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
    let error = norm(&(&a - &b).unwrap()) / norm(&a);
    assert!(error < 0.12, "NF4 differs by {error}");
}
