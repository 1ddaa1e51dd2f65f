//! A training that was stopped, wherever that was, and went on: the same bits as one that was not.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use proto::adapter::{Adapter, Shape};
use proto::config::Layers;
use proto::model::Decoder;
use proto::progress::{Cancelled, Observer};
use proto::train::{Checkpoints, Settings, Trainee, Training, TrainingRecord, train};

use crate::toy::{rows, toy};

/// Says stop when asked for the nth time.
struct Patience {
    left: AtomicUsize,
}

impl Patience {
    fn of(questions: usize) -> Self {
        Patience { left: AtomicUsize::new(questions) }
    }
}

impl Observer for Patience {
    fn cancelled(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_err()
    }
}

fn decoder() -> Decoder {
    Decoder::fresh(toy(true), 3).unwrap()
}

fn settings(more: &[(&str, &str)]) -> Settings {
    let mut layers = Layers::new();
    let common = [
        ("MAX_STEPS", "7"),
        ("LEARNING_RATE", "1e-2"),
        ("PER_DEVICE_TRAIN_BATCH_SIZE", "2"),
        ("GRADIENT_ACCUMULATION_STEPS", "2"),
        ("EVAL_STEPS", "2"),
        ("EARLY_STOPPING_PATIENCE", "2"),
        ("SAVE_STEPS", "3"),
    ];
    for (key, value) in common.iter().chain(more) {
        layers.command_line(&format!("{key}={value}")).unwrap();
    }
    Settings::new(&layers.resolve(&[]).unwrap())
}

/// Factors and account of a training with dropout and early stopping.
fn trained(
    decoder: &Decoder,
    checkpoints: &Checkpoints,
    settings: &Settings,
    observer: &dyn Observer,
) -> Result<(Vec<Vec<f32>>, TrainingRecord)> {
    let shape = Shape {
        r: 3,
        alpha: 6.0,
        rslora: false,
        dropout: 0.3,
        targets: vec!["all-linear".into()],
        base: "toy".into(),
    };
    let adapter = Adapter::fresh(&shape, &decoder.linears(), 4).unwrap();
    let (rows, tune) = (rows(9, "rows"), rows(2, "tune"));
    let names: Vec<String> = (0..rows.len()).map(|i| format!("row {i}")).collect();
    let trainee = Trainee { decoder, lora: Some(&adapter.lora) };
    let kept = Some((checkpoints, "base"));
    let training =
        Training { trainee, rows: &rows, names: &names, tune: &tune, settings, kept, last: None };
    let record = train(&training, observer)?;
    let values = |(_, v): (String, candle_core::Var)| v.flatten_all().unwrap().to_vec1().unwrap();
    Ok((adapter.lora.variables().into_iter().map(values).collect(), record))
}

fn begin(folder: &Path) -> Checkpoints {
    Checkpoints::new(folder.to_path_buf(), None)
}

fn resume(folder: &Path, from: &Path) -> Checkpoints {
    Checkpoints::new(folder.to_path_buf(), Some(from.to_path_buf()))
}

#[test]
fn a_training_stopped_anywhere_goes_on_to_the_same_bits() {
    let decoder = decoder();
    let temp = tempfile::tempdir().unwrap();
    let settings = settings(&[]);
    let whole = begin(&temp.path().join("whole"));
    let wanted = trained(&decoder, &whole, &settings, &Patience::of(usize::MAX)).unwrap();
    assert_eq!(wanted.1.losses.len(), wanted.1.steps);
    let mut stops = 0;
    for questions in 0.. {
        let first = temp.path().join(format!("first{questions}"));
        let patience = Patience::of(questions);
        let Err(error) = trained(&decoder, &begin(&first), &settings, &patience) else {
            break;
        };
        assert!(error.is::<Cancelled>(), "{error:#}");
        assert!(format!("{error:#}").contains("--resume"), "{error:#}");
        stops += 1;
        // Stopped a second time, a little later, then left alone.
        let second = temp.path().join(format!("second{questions}"));
        let again = resume(&second, &first);
        let last = match trained(&decoder, &again, &settings, &Patience::of(2)) {
            Ok(_) => first,
            Err(_) => second,
        };
        let folder = temp.path().join(format!("third{questions}"));
        let patience = Patience::of(usize::MAX);
        let got = trained(&decoder, &resume(&folder, &last), &settings, &patience).unwrap();
        assert!(got == wanted, "stopped at question {questions}");
    }
    assert!(stops > wanted.1.steps, "stopped in training and in evaluation, not {stops} times");
}

#[test]
fn a_finished_training_is_passed_over_and_one_not_begun_starts() {
    let decoder = decoder();
    let temp = tempfile::tempdir().unwrap();
    let [old, new] = ["old", "new"].map(|name| temp.path().join(name));
    let patience = Patience::of(usize::MAX);
    let wanted = trained(&decoder, &begin(&old), &settings(&[]), &patience).unwrap();
    let resumed = resume(&new, &old);
    // One question is asked before the first step; this asks none.
    assert!(trained(&decoder, &resumed, &settings(&[]), &Patience::of(0)).unwrap() == wanted);
    let other = settings(&[("LEARNING_RATE", "2e-2")]);
    let other = trained(&decoder, &resumed, &other, &patience).unwrap();
    assert!(other.0 != wanted.0 && other.1.steps > 0);
}

#[test]
fn what_does_not_belong_together_is_refused_by_name() {
    let decoder = decoder();
    let temp = tempfile::tempdir().unwrap();
    let [old, new, none] = ["old", "new", "none"].map(|name| temp.path().join(name));
    let refusal = |from: &Path, settings: &Settings| {
        let resumed = resume(&new, from);
        let error = trained(&decoder, &resumed, settings, &Patience::of(usize::MAX)).unwrap_err();
        format!("{error:#}")
    };
    let message = refusal(&none, &settings(&[]));
    assert!(message.contains("holds no checkpoint"), "{message}");
    trained(&decoder, &begin(&old), &settings(&[]), &Patience::of(4)).unwrap_err();
    let message = refusal(&old, &settings(&[("LEARNING_RATE", "2e-2"), ("MAX_STEPS", "9")]));
    assert!(message.contains("LEARNING_RATE, MAX_STEPS changed since"), "{message}");
    let file = std::fs::read_dir(&old).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    let message = refusal(&old, &settings(&[]));
    assert!(message.contains("cannot be used") && message.contains("--resume"), "{message}");
}
