//! The decoder, its adapters and the training loop on a toy model, against finite differences
//! and against each other.

use anyhow::Result;
use candle_core::{Device, Tensor};
use proto::adapter::{Adapter, Shape};
use proto::chance::Chance;
use proto::config::Layers;
use proto::model::{Decoder, Generator, Keep, Lora, Packed};
use proto::progress::Silent;
use proto::tokens::Encoded;
use proto::train::{Batch, Settings, Trainee, Training, TrainingRecord, train};

use crate::toy::{self, toy};

fn settings(pairs: &[(&str, &str)]) -> Settings {
    let mut layers = Layers::new();
    for (key, value) in pairs {
        layers.command_line(&format!("{key}={value}")).unwrap();
    }
    Settings::new(&layers.resolve(&[]).unwrap())
}

fn names(rows: &[Encoded]) -> Vec<String> {
    (0..rows.len()).map(|i| format!("row {i}")).collect()
}

fn rows(n: usize) -> Vec<Encoded> {
    toy::rows(n, "rows")
}

/// An adapter with random B, so that A's gradient is not zero by construction.
fn random_adapter(decoder: &Decoder, deviation: f64) -> Adapter {
    let shape = Shape {
        r: 3,
        alpha: 6.0,
        rslora: false,
        dropout: 0.0,
        targets: vec!["all-linear".into()],
        base: "toy".into(),
    };
    let adapter = Adapter::fresh(&shape, &decoder.linears(), 4).unwrap();
    let mut chance = Chance::new(5, "b");
    for pair in adapter.lora.pairs.values() {
        let n = pair.b.elem_count();
        let values: Vec<f32> = (0..n).map(|_| (chance.normal() * deviation) as f32).collect();
        pair.b.set(&Tensor::from_vec(values, pair.b.shape(), &Device::Cpu).unwrap()).unwrap();
    }
    adapter
}

fn learn(
    trainee: &Trainee,
    rows: &[Encoded],
    tune: &[Encoded],
    settings: &Settings,
) -> Result<TrainingRecord> {
    let (trainee, names) = (*trainee, names(rows));
    train(
        &Training { trainee, rows, names: &names, tune, settings, kept: None, last: None },
        &Silent,
    )
}

fn loss(decoder: &Decoder, lora: Option<&Lora>, batch: &Batch) -> Tensor {
    let hidden = decoder.hidden(&batch.packed, lora, None).unwrap();
    decoder.loss(&hidden, &batch.places, &batch.targets).unwrap()
}

#[test]
fn every_factor_of_every_linear_gets_the_gradient_finite_differences_give() {
    for tied in [true, false] {
        let decoder = Decoder::fresh(toy(tied), 3).unwrap();
        let adapter = random_adapter(&decoder, 0.3);
        let rows = rows(3);
        let batch = Batch::new(&rows, &[0, 1, 2]);
        let trainee = Trainee { decoder: &decoder, lora: Some(&adapter.lora) };
        let (_, gradients) = trainee.gradients(&batch, 1.0, None, Keep::Activations).unwrap();
        let variables = adapter.lora.variables();
        assert_eq!(variables.len(), 2 * 7 * 2, "seven linears in two layers, two factors each");
        let mut chance = Chance::new(6, "coordinates");
        for (name, var) in &variables {
            let gradient = gradients.get(var.as_tensor()).expect(name).flatten_all().unwrap();
            let gradient = gradient.to_vec1::<f32>().unwrap();
            let scale = gradient.iter().fold(0f32, |m, g| m.max(g.abs())) as f64;
            assert!(scale > 0.0, "{name} has a zero gradient");
            let before = var.as_tensor().copy().unwrap();
            let values = before.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for _ in 0..2 {
                let at = chance.below(values.len());
                let at_shift = |by: f32| {
                    let mut moved = values.clone();
                    moved[at] += by;
                    var.set(&Tensor::from_vec(moved, before.shape(), &Device::Cpu).unwrap())
                        .unwrap();
                    // The losses of single tokens are f64 sums, finer than the f32 total.
                    let hidden = decoder.forward(&batch.packed, Some(&adapter.lora)).unwrap();
                    let each = decoder.losses(&hidden, &batch.places, &batch.targets).unwrap();
                    each.iter().sum::<f64>()
                };
                let h = 1e-2f32;
                let numeric = (at_shift(h) - at_shift(-h)) / (2.0 * h as f64);
                var.set(&before).unwrap();
                let analytic = gradient[at] as f64;
                assert!(
                    (numeric - analytic).abs() < 0.03 * scale,
                    "{name}[{at}]: finite difference {numeric}, gradient {analytic}, largest {scale}"
                );
            }
        }
    }
}

/// Loss, gradients and the generator afterwards.
type Outcome = (f32, Vec<(String, Vec<f32>)>, Chance);

fn outcome(decoder: &Decoder, adapter: &Adapter, batch: &Batch, keep: Option<Keep>) -> Outcome {
    let mut chance = Chance::new(8, "dropout");
    let (loss, gradients) = match keep {
        Some(keep) => {
            let trainee = Trainee { decoder, lora: Some(&adapter.lora) };
            trainee.gradients(batch, 7.0, Some(&mut chance), keep).unwrap()
        }
        None => {
            let lora = Some(&adapter.lora);
            let hidden = decoder.hidden(&batch.packed, lora, Some(&mut chance)).unwrap();
            let loss = decoder.loss(&hidden, &batch.places, &batch.targets).unwrap();
            (loss.to_scalar().unwrap(), (loss / 7.0).unwrap().backward().unwrap())
        }
    };
    let each = adapter.lora.variables().into_iter().map(|(name, var)| {
        let gradient = gradients.get(var.as_tensor()).expect(&name).flatten_all().unwrap();
        (name, gradient.to_vec1::<f32>().unwrap())
    });
    (loss, each.collect(), chance)
}

/// In one tile of rows and in several, with dropout.
#[test]
fn whatever_is_held_of_a_layer_the_gradients_are_the_same() {
    let decoder = Decoder::fresh(toy(true), 3).unwrap();
    let mut adapter = random_adapter(&decoder, 0.3);
    adapter.lora.dropout = 0.2;
    for count in [3, 220] {
        let rows = rows(count);
        let batch = Batch::new(&rows, &(0..count).collect::<Vec<_>>());
        assert_eq!(batch.packed.ids.len() > 2048, count > 3, "three tiles");
        let of = |keep| outcome(&decoder, &adapter, &batch, keep);
        let plain = of(Some(Keep::Activations));
        assert!(plain.1.iter().all(|(_, g)| g.iter().any(|g| *g != 0.0)));
        assert!(plain == of(Some(Keep::Inputs)), "checkpointing changed something");
        assert!(plain == of(Some(Keep::InputsOnHost)), "offloading changed something");
        let (loss, gradients, chance) = of(None);
        assert_eq!(plain.2, chance, "the next batch's dropout");
        assert!((plain.0 - loss).abs() <= 1e-5 * loss, "{} and {loss}", plain.0);
        for ((name, ours), (_, candles)) in plain.1.iter().zip(&gradients) {
            let scale = candles.iter().fold(0f32, |m, g| m.max(g.abs()));
            let apart = ours.iter().zip(candles).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(apart <= 2e-5 * scale, "{name}: {apart} apart, largest {scale}");
        }
    }
}

#[test]
fn an_adapter_on_some_linears_gets_the_gradients_it_gets_on_all() {
    let decoder = Decoder::fresh(toy(true), 3).unwrap();
    let rows = rows(4);
    let batch = Batch::new(&rows, &[0, 1, 2, 3]);
    for target in ["q_proj", "o_proj", "gate_proj", "down_proj"] {
        let mut adapter = random_adapter(&decoder, 0.3);
        adapter.lora.pairs.retain(|name, _| name.ends_with(target));
        assert_eq!(adapter.lora.pairs.len(), 2);
        let of = |keep| outcome(&decoder, &adapter, &batch, keep).1;
        let (ours, candles) = (of(Some(Keep::Inputs)), of(None));
        for ((name, ours), (_, candles)) in ours.iter().zip(&candles) {
            let scale = candles.iter().fold(0f32, |m, g| m.max(g.abs()));
            let apart = ours.iter().zip(candles).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(scale > 0.0 && apart <= 2e-5 * scale, "{name}: {apart} apart of {scale}");
        }
    }
}

#[test]
fn packed_sequences_do_not_see_each_other() {
    let decoder = Decoder::fresh(toy(true), 3).unwrap();
    let adapter = random_adapter(&decoder, 0.3);
    let rows = rows(4);
    let together = loss(&decoder, Some(&adapter.lora), &Batch::new(&rows, &[0, 1, 2, 3]));
    let apart: f32 = (0..4)
        .map(|i| loss(&decoder, Some(&adapter.lora), &Batch::new(&rows, &[i])))
        .map(|t| t.to_scalar::<f32>().unwrap())
        .sum();
    let together = together.to_scalar::<f32>().unwrap();
    assert!((together - apart).abs() / apart < 1e-5, "{together} packed, {apart} apart");
}

#[test]
fn accumulated_micro_batches_equal_one_big_batch() {
    let rows = rows(8);
    let factors = |pairs: &[(&str, &str)]| {
        let decoder = Decoder::fresh(toy(true), 3).unwrap();
        let adapter = random_adapter(&decoder, 0.1);
        let trainee = Trainee { decoder: &decoder, lora: Some(&adapter.lora) };
        let common = [("MAX_STEPS", "3"), ("LEARNING_RATE", "1e-3")];
        let settings = settings(&[pairs, &common].concat());
        let record = learn(&trainee, &rows, &[], &settings).unwrap();
        (adapter, record)
    };
    let (one, first) =
        factors(&[("PER_DEVICE_TRAIN_BATCH_SIZE", "8"), ("GRADIENT_ACCUMULATION_STEPS", "1")]);
    let (many, second) =
        factors(&[("PER_DEVICE_TRAIN_BATCH_SIZE", "1"), ("GRADIENT_ACCUMULATION_STEPS", "8")]);
    for (a, b) in first.losses.iter().zip(&second.losses) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
    let (mut apart, mut size) = (0.0, 0.0);
    for ((_, a), (_, b)) in one.lora.variables().iter().zip(&many.lora.variables()) {
        let difference = (a.as_tensor() - b.as_tensor()).unwrap();
        let square =
            |t: &Tensor| t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap() as f64;
        apart += square(&difference);
        size += square(b.as_tensor());
    }
    assert!((apart / size).sqrt() < 1e-2, "relative difference {}", (apart / size).sqrt());
}

#[test]
fn a_toy_model_learns_eight_rows_by_heart_and_says_them() {
    for tied in [true, false] {
        let decoder = Decoder::fresh(toy(tied), 3).unwrap();
        let trainee = Trainee { decoder: &decoder, lora: None };
        let rows = rows(8);
        let settings = settings(&[
            ("PER_DEVICE_TRAIN_BATCH_SIZE", "8"),
            ("GRADIENT_ACCUMULATION_STEPS", "1"),
            ("LEARNING_RATE", "1e-2"),
            ("MAX_STEPS", "150"),
        ]);
        let record = learn(&trainee, &rows, &rows, &settings).unwrap();
        assert!(record.losses[149] < 0.05, "loss {}", record.losses[149]);
        assert!(record.tune_losses[0].1 < 0.05);
        let cut = |row: &Encoded| row.trained.iter().position(|t| *t).unwrap();
        let prompts: Vec<Vec<u32>> = rows.iter().map(|r| r.ids[..cut(r)].to_vec()).collect();
        let generator = Generator { decoder: &decoder, lora: None, batch: 3 };
        let answers = generator.generate(&prompts, 4, &[1], &Silent).unwrap();
        for (row, (answer, ended)) in rows.iter().zip(&answers) {
            let want = &row.ids[cut(row)..];
            let shared = want.len().min(4);
            assert_eq!(answer[..shared], want[..shared]);
            assert!(!ended);
        }
    }
}

#[test]
fn generation_with_a_cache_equals_one_forward_over_the_whole() {
    let decoder = Decoder::fresh(toy(true), 8).unwrap();
    let adapter = random_adapter(&decoder, 0.5);
    let prompt = vec![5u32, 9, 30, 2, 17];
    let generator = Generator { decoder: &decoder, lora: Some(&adapter.lora), batch: 2 };
    let answers = generator.generate(&[prompt.clone(), vec![7, 7]], 12, &[], &Silent).unwrap();
    let mut ids = prompt;
    for id in &answers[0].0 {
        let packed = Packed::new([ids.as_slice()]);
        let hidden = decoder.hidden(&packed, Some(&adapter.lora), None).unwrap();
        let last = hidden.narrow(0, ids.len() - 1, 1).unwrap();
        let logits = last.matmul(&decoder.head().t().unwrap()).unwrap();
        let best = logits.argmax(1).unwrap().to_vec1::<u32>().unwrap()[0];
        assert_eq!(best, *id);
        ids.push(best);
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_one_thread_and_on_three() {
    let rows = rows(12);
    let bytes = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let decoder = Decoder::fresh(toy(false), 3).unwrap();
            let adapter = random_adapter(&decoder, 0.1);
            let mut lora = adapter.lora.clone();
            lora.dropout = 0.1;
            let trainee = Trainee { decoder: &decoder, lora: Some(&lora) };
            let settings = settings(&[
                ("PER_DEVICE_TRAIN_BATCH_SIZE", "3"),
                ("GRADIENT_ACCUMULATION_STEPS", "2"),
                ("MAX_STEPS", "6"),
            ]);
            learn(&trainee, &rows, &[], &settings).unwrap();
            let folder = tempfile::tempdir().unwrap();
            adapter.save(folder.path()).unwrap();
            std::fs::read(folder.path().join(proto::adapter::FACTORS)).unwrap()
        })
    };
    let one = bytes(1);
    assert_eq!(one, bytes(3));
    assert_eq!(one, bytes(1));
}

#[test]
fn a_row_without_targets_is_skipped_and_counted_and_alone_it_is_an_error() {
    let mut rows = rows(3);
    rows[1].trained.fill(false);
    let decoder = Decoder::fresh(toy(true), 3).unwrap();
    let trainee = Trainee { decoder: &decoder, lora: None };
    let settings = settings(&[("MAX_STEPS", "1")]);
    let record = learn(&trainee, &rows, &[], &settings).unwrap();
    assert_eq!((record.examples, record.without_targets), (2, 1));
    let nothing = &rows[1..2];
    assert!(learn(&trainee, nothing, &[], &settings).is_err());
}

#[test]
fn early_stopping_keeps_the_best_weights() {
    let decoder = Decoder::fresh(toy(true), 3).unwrap();
    let trainee = Trainee { decoder: &decoder, lora: None };
    let rows = rows(6);
    let (own, other) = rows.split_at(3);
    let settings = settings(&[
        ("PER_DEVICE_TRAIN_BATCH_SIZE", "3"),
        ("GRADIENT_ACCUMULATION_STEPS", "1"),
        ("LEARNING_RATE", "1e-2"),
        ("MAX_STEPS", "200"),
        ("EVAL_STEPS", "5"),
        ("EARLY_STOPPING_PATIENCE", "3"),
    ]);
    let at_the_end = std::cell::Cell::new(f64::NAN);
    let last = || {
        at_the_end.set(proto::train::tune_loss(&trainee, other, &Silent)?);
        Ok(())
    };
    let names = names(own);
    let training = Training {
        trainee,
        rows: own,
        names: &names,
        tune: other,
        settings: &settings,
        kept: None,
        last: Some(&last),
    };
    let record = train(&training, &Silent).unwrap();
    assert!(record.steps < 200, "unrelated rows get worse before that");
    assert_eq!(at_the_end.get(), record.tune_losses.last().unwrap().1, "the last weights");
    let best = record.tune_losses.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert_eq!(record.kept_step, best.0);
    let again = proto::train::tune_loss(&trainee, other, &Silent).unwrap();
    assert!((again - best.1).abs() < 1e-6, "{again} is not the best loss {}", best.1);
}
