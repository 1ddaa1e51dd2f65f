//! The same training by us and by PyTorch with PEFT, on an f32 base and on bitsandbytes' NF4.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use proto::adapter::Adapter;
use proto::model::Decoder;
use proto::model::lora::{Lora, Pair};
use proto::model::nf4::{BLOCK, Nf4, Scales};
use proto::model::weights::{Quantization, Weights};
use proto::train::{Loader, Settings};

use crate::{codec, figures, fresh, learn, rows, settings, weights, write_folder};

#[test]
fn peft_trains_as_we_do_on_an_f32_base() {
    same_training(Quantization::F32, "f32");
}

#[test]
fn peft_trains_as_we_do_on_an_nf4_base() {
    same_training(Quantization::Nf4, "nf4");
}

fn same_training(quantization: Quantization, kind: &str) {
    let weights = weights();
    let temp = tempfile::tempdir().unwrap();
    let [base, begun, plan, theirs] =
        ["base", "begun", "plan.safetensors", "theirs"].map(|name| temp.path().join(name));
    write_folder(&base, &weights);
    let decoder = Decoder::load(&weights, quantization, &Device::Cpu).unwrap();
    let adapter = fresh(&decoder);
    std::fs::create_dir(&begun).unwrap();
    adapter.save(&begun).unwrap();
    let settings = settings(1e-3);
    write_plan(&plan, &settings);
    let arguments =
        [base.as_os_str(), begun.as_ref(), plan.as_ref(), theirs.as_ref(), kind.as_ref()];
    let figures = figures("peft_training.py", &arguments);

    let record = learn(&decoder, &adapter, &settings);
    assert_eq!(record.losses.len(), 20);
    let apart = record.losses.iter().enumerate().map(|(step, ours)| {
        let theirs = figures[&format!("loss{step}")];
        (ours - theirs).abs() / theirs
    });
    let apart = apart.fold(0.0, f64::max);
    println!("{kind}: losses at most {apart:e} apart");
    let linears = decoder.linears();
    let other = Adapter::load(&theirs, &linears).unwrap();
    let (all, worst) = deltas_apart(&adapter.lora, &other.lora);
    println!("{kind}: deltas {all:e} apart, of one linear at most {worst:e}");
    if kind == "nf4" {
        assert_eq!(figures["quantised"], linears.len() as f64);
        same_blocks(&weights, &theirs.join("nf4.safetensors"), &linears);
    }
    assert!(apart <= 1e-3, "the losses differ");
    assert!(all <= 1e-2, "the trained deltas differ");
}

/// Rows, their order and the optimiser's settings, for the script.
fn write_plan(path: &Path, settings: &Settings) {
    let rows = rows(&codec());
    let mut plan = HashMap::new();
    for (i, row) in rows.iter().enumerate() {
        let trained: Vec<u8> = row.trained.iter().map(|t| u8::from(*t)).collect();
        plan.insert(format!("ids{i}"), Tensor::new(row.ids.as_slice(), &Device::Cpu).unwrap());
        plan.insert(format!("trained{i}"), Tensor::new(trained, &Device::Cpu).unwrap());
    }
    let mut order = Vec::new();
    let take = |_, batches: Vec<proto::train::Batch>| {
        order.extend(batches[0].rows.iter().map(|row| *row as u32));
        Ok(true)
    };
    Loader::new(&rows, 20, settings).serve(0, take).unwrap();
    plan.insert("order".into(), Tensor::from_vec(order, (20, 2), &Device::Cpu).unwrap());
    let rates: Vec<f64> =
        (0..20).map(|at| settings.learning_rate * settings.schedule.factor(at, 2, 20)).collect();
    for (name, values) in [
        ("rates", rates),
        ("decay", vec![settings.weight_decay]),
        ("clip", vec![settings.max_grad_norm]),
    ] {
        plan.insert(name.into(), Tensor::new(values, &Device::Cpu).unwrap());
    }
    candle_core::safetensors::save(&plan, path).unwrap();
}

/// ‖ΔW − ΔW′‖ / ‖ΔW′‖ over all linears together, and of the linear where it is largest.
fn deltas_apart(ours: &Lora, theirs: &Lora) -> (f64, f64) {
    let delta = |lora: &Lora, name: &str| {
        let Pair { a, b } = &lora.pairs[name];
        (b.matmul(a).unwrap() * lora.scale).unwrap()
    };
    let square =
        |t: &Tensor| f64::from(t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap());
    assert_eq!(ours.pairs.len(), theirs.pairs.len());
    let (mut off, mut whole, mut worst) = (0.0, 0.0, 0f64);
    for name in ours.pairs.keys() {
        let (a, b) = (delta(ours, name), delta(theirs, name));
        let (apart, size) = (square(&(&a - &b).unwrap()), square(&b));
        off += apart;
        whole += size;
        worst = worst.max(apart / size);
    }
    ((off / whole).sqrt(), worst.sqrt())
}

/// bitsandbytes' scales of every linear are ours, and so are its codes. Its bound between the first
/// two codes is not the same number everywhere: -0.8480964004993439 lies all but halfway between
/// two floats, and its CUDA kernel (as we) takes the one, its code for CPUs, by way of a double,
/// the other. A weight right on that bound may have either code.
fn same_blocks(weights: &Weights, path: &Path, linears: &[(String, usize, usize)]) {
    let theirs = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let (mut all, mut on_the_bound) = (0, 0);
    for (name, rows, cols) in linears {
        let values = weights.dense(&format!("{name}.weight")).unwrap();
        let values = values.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let ours = Nf4::quantize(&values, *rows, *cols);
        let absmax = theirs[&format!("{name}.absmax")].to_vec1::<f32>().unwrap();
        let Scales::Plain(scales) = &ours.scales else { panic!("quantised once more") };
        assert!(absmax[..] == scales[..], "{name}: other scales");
        let codes = theirs[&format!("{name}.codes")].to_vec1::<u8>().unwrap();
        assert_eq!(codes.len(), ours.codes.len());
        all += values.len();
        for at in (0..values.len()).filter(|at| codes[at / 2] != ours.codes[at / 2]) {
            let code = |codes: &[u8]| codes[at / 2] >> (4 * (1 - at % 2)) & 15;
            let scaled = values[at] * (1.0 / absmax[at / BLOCK]);
            match (code(&codes), code(&ours.codes)) {
                (a, b) if a == b => {}
                (0, 1) if scaled.to_bits() == BOUND.to_bits() - 1 => on_the_bound += 1,
                (a, b) => {
                    panic!("{name}: weight {at}, {scaled} of its scale, has code {a}, not {b}")
                }
            }
        }
    }
    println!("codes and scales of {all} weights are the same, but for {on_the_bound} on the bound");
}

/// Between the first two codes.
#[allow(clippy::excessive_precision)]
const BOUND: f32 = -0.8480964004993439;
