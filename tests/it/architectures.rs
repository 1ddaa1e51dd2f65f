//! Every supported architecture at toy size, against the logits that transformers computed with
//! the same weights (`scripts/clients/architectures.py` made both), and trained.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use proto::adapter::{Adapter, Shape};
use proto::chance::Chance;
use proto::config::Layers;
use proto::model::weights::{Quantization, Weights};
use proto::model::{Decoder, Packed};
use proto::progress::Silent;
use proto::tokens::Encoded;
use proto::train::{Settings, Trainee, Training, train};

/// Every toy model: its name, its folder.
fn models() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/architectures");
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_string(), path))
        .collect();
    found.sort();
    assert_eq!(found.len(), 8, "{found:?}");
    found
}

fn decoder(folder: &Path) -> Decoder {
    let weights = Weights::open(folder).unwrap();
    Decoder::load(&weights, Quantization::F32, &Device::Cpu).unwrap()
}

fn logits(hidden: &Tensor, decoder: &Decoder) -> Tensor {
    hidden.matmul(&decoder.head().t().unwrap()).unwrap()
}

/// ‖a − b‖ / ‖b‖.
fn error(a: &Tensor, b: &Tensor) -> f64 {
    let norm = |t: &Tensor| t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
    f64::from(norm(&(a - b).unwrap()) / norm(b)).sqrt()
}

#[test]
fn logits_are_those_of_transformers() {
    for (name, folder) in models() {
        let told =
            candle_core::safetensors::load(folder.with_extension("safetensors"), &Device::Cpu);
        let told = told.unwrap();
        let ids: Vec<i32> = told["ids"].to_vec1().unwrap();
        let ids: Vec<u32> = ids.into_iter().map(|id| id as u32).collect();
        let decoder = decoder(&folder);
        // Packed behind another sequence, which must not be seen.
        let packed = Packed::new([&ids[..7], &ids]);
        let hidden = decoder.hidden(&packed, None, None).unwrap();
        let whole = logits(&hidden.narrow(0, 7, ids.len()).unwrap(), &decoder);
        let off = error(&whole, &told["logits"]);
        assert!(off < 1e-5, "{name}: {off}");

        let mut cache = decoder.cache();
        let mut rows = Vec::new();
        for part in [&ids[..11], &ids[11..12], &ids[12..]] {
            let packed = Packed::new([part]);
            rows.push(decoder.continued(&packed, None, &mut [&mut cache]).unwrap());
        }
        let stepwise = logits(&Tensor::cat(&rows, 0).unwrap(), &decoder);
        let off = error(&stepwise, &told["logits"]);
        assert!(off < 1e-5, "{name}, with a cache: {off}");
    }
}

#[test]
fn each_learns_eight_rows_by_heart() {
    let mut layers = Layers::new();
    for setting in ["LEARNING_RATE=0.02", "MAX_STEPS=300", "PER_DEVICE_TRAIN_BATCH_SIZE=8"] {
        layers.command_line(setting).unwrap();
    }
    layers.command_line("GRADIENT_ACCUMULATION_STEPS=1").unwrap();
    let settings = Settings::new(&layers.resolve(&[]).unwrap());
    let mut chance = Chance::new(3, "rows");
    let rows: Vec<Encoded> = (0..8)
        .map(|nth| {
            let mut ids: Vec<u32> = (0..12).map(|_| 2 + chance.below(46) as u32).collect();
            ids[0] = 2 + nth;
            Encoded { ids, trained: (0..12).map(|i| i >= 6).collect(), turns: Vec::new() }
        })
        .collect();
    let names: Vec<String> = (0..8).map(|i| format!("row {i}")).collect();
    for (name, folder) in models() {
        let decoder = decoder(&folder);
        let shape = Shape {
            r: 16,
            alpha: 32.0,
            rslora: false,
            dropout: 0.0,
            targets: vec!["all-linear".into()],
            base: name.clone(),
        };
        let adapter = Adapter::fresh(&shape, &decoder.linears(), 1).unwrap();
        let trainee = Trainee { decoder: &decoder, lora: Some(&adapter.lora) };
        let training = Training {
            trainee,
            rows: &rows,
            names: &names,
            tune: &[],
            settings: &settings,
            kept: None,
            last: None,
        };
        let record = train(&training, &Silent).unwrap();
        let (first, last) = (record.losses[0], record.losses[299]);
        assert!(first > 2.0 && last < 0.05, "{name}: from {first} to {last}");
    }
}
