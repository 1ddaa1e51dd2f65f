//! The training loop.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use candle_core::Var;
use candle_core::backprop::GradStore;
use sha2::{Digest, Sha256};

use crate::chance::Chance;
use crate::files;
use crate::files::safetensors::le_bytes;
use crate::model::{Decoder, Keep, Lora};
use crate::progress::{Cancelled, Observer};
use crate::tokens::Encoded;

use super::batches::{Batch, Loader, steps_wanted};
use super::checkpoint::{Best, Checkpoints, Course, Identity};
use super::optimizer::AdamW;
use super::record::TrainingRecord;
use super::settings::Settings;
use super::watchdog::Watchdog;

/// What is trained: the factors of an adapter, or every weight of a fresh model.
#[derive(Clone, Copy)]
pub struct Trainee<'a> {
    /// The model.
    pub decoder: &'a Decoder,
    /// The adapter on it, where that is what is trained.
    pub lora: Option<&'a Lora>,
}

impl Trainee<'_> {
    /// Everything that is trained, by name, in a fixed order.
    pub fn variables(&self) -> Vec<(String, Var)> {
        match self.lora {
            Some(lora) => lora.variables(),
            None => self.decoder.variables().to_vec(),
        }
    }

    /// The summed loss of a batch, and the gradients of `loss / share` by every variable. `keep`
    /// is what is held of each layer where an adapter is trained.
    pub fn gradients(
        &self,
        batch: &Batch,
        share: f64,
        chance: Option<&mut Chance>,
        keep: Keep,
    ) -> Result<(f32, GradStore)> {
        if let Some(lora) = self.lora {
            let ends = (batch.places.as_slice(), batch.targets.as_slice());
            return self.decoder.gradients(&batch.packed, ends, share, lora, chance, keep);
        }
        let hidden = self.decoder.hidden(&batch.packed, None, None)?;
        let loss = self.decoder.loss(&hidden, &batch.places, &batch.targets)?;
        Ok((loss.to_scalar()?, (loss / share)?.backward()?))
    }
}

/// The mean loss (nats per trained token) on rows, without training.
pub fn tune_loss(trainee: &Trainee, rows: &[Encoded], observer: &dyn Observer) -> Result<f64> {
    let (mut sum, mut count) = (0.0, 0);
    for index in 0..rows.len() {
        observer.check()?;
        let batch = Batch::new(rows, &[index]);
        if batch.targets.is_empty() {
            continue;
        }
        let hidden = trainee.decoder.forward(&batch.packed, trainee.lora)?;
        let losses = trainee.decoder.losses(&hidden, &batch.places, &batch.targets)?;
        sum += losses.iter().sum::<f64>();
        count += losses.len();
    }
    ensure!(count > 0, "no tune row has a trained token");
    Ok(sum / count as f64)
}

/// Rows to learn from and to watch, and where the course of the training is kept.
pub struct Training<'a> {
    /// What is trained.
    pub trainee: Trainee<'a>,
    /// The rows.
    pub rows: &'a [Encoded],
    /// What to call a row in an error.
    pub names: &'a [String],
    /// The rows whose loss decides when to stop; may be empty.
    pub tune: &'a [Encoded],
    /// How to train.
    pub settings: &'a Settings,
    /// Checkpoints, and a digest of the base they belong to.
    pub kept: Option<(&'a Checkpoints, &'a str)>,
    /// Called while the last weights are in place, where those of an earlier step are about to
    /// replace them.
    pub last: Option<&'a dyn Fn() -> Result<()>>,
}

/// Trains.
///
/// The loss of a step is the mean over all its trained tokens, however they are spread over
/// micro-batches, so that accumulation equals one big batch. The first step holds the longest
/// micro-batch: what does not fit fails at once. With early stopping the weights of the best
/// evaluation are kept, otherwise the last.
pub fn train(training: &Training, observer: &dyn Observer) -> Result<TrainingRecord> {
    let Training { trainee, rows, names, tune, settings, kept, last } = training;
    let mut useful: Vec<Encoded> = Vec::with_capacity(rows.len());
    let mut useful_names = Vec::with_capacity(rows.len());
    for (row, name) in rows.iter().zip(*names) {
        if row.targets() > 0 {
            useful.push(row.clone());
            useful_names.push(name.as_str());
        }
    }
    ensure!(!useful.is_empty(), "no training example has a trained token; nothing can be learnt");
    let mut course = Course::begun(trainee.variables(), settings)?;
    course.record.examples = useful.len();
    course.record.without_targets = rows.len() - useful.len();
    let kept = match kept {
        Some((checkpoints, base)) => {
            let identity = identity(&course, base, &useful, tune, settings)?;
            if checkpoints.take_up(&identity, &mut course)? {
                let (step, total) = (course.record.steps, course.record.planned_steps);
                observer.say(&format!("resumed after step {step} of {total}"));
                checkpoints.write(&identity, &course)?;
            }
            Some((*checkpoints, identity))
        }
        None => None,
    };
    if course.record.planned_steps == 0 {
        course.record.planned_steps = planned(trainee, &useful, settings, observer)?;
    }
    let keep = |course: &Course| match &kept {
        Some((checkpoints, identity)) => checkpoints.write(identity, course),
        None => Ok(()),
    };
    let total = course.record.planned_steps;
    let warmup = (settings.warmup_ratio * total as f64).ceil() as usize;
    let mut watchdog = Watchdog::new(settings.watchdog, &course.record.losses);
    let begin = course.record.steps;
    let mut going = begin == 0 || course.evaluate(trainee, tune, settings, observer)?;
    observer.begin("train", Some(total as u64), "step");
    let loader = Loader::new(&useful, total, settings);
    let begun = Instant::now();
    let served = loader.serve(begin, |step, batches| {
        if !going {
            return Ok(false);
        }
        observer.check()?;
        let targets: usize = batches.iter().map(|b| b.targets.len()).sum();
        let mut loss = 0f64;
        for batch in &batches {
            let (value, gradients) = trainee.gradients(
                batch,
                targets as f64,
                Some(&mut course.dropout),
                settings.keep,
            )?;
            let value = f64::from(value);
            let named = || {
                let names: Vec<_> = batch.rows.iter().map(|i| useful_names[*i]).collect();
                names.join(", ")
            };
            if !value.is_finite() {
                bail!(
                    "step {}: the loss is {value} on {}; lower LEARNING_RATE or drop these rows",
                    step + 1,
                    named()
                );
            }
            watchdog.saw(step + 1, value / batch.targets.len().max(1) as f64, named);
            loss += value;
            course.optimizer.gather(&gradients)?;
            course.record.tokens += batch.packed.ids.len() as u64;
        }
        let factor = settings.schedule.factor(step, warmup, total);
        course
            .optimizer
            .step(settings.learning_rate * factor, settings.max_grad_norm)
            .with_context(|| format!("step {}", step + 1))?;
        let record = &mut course.record;
        record.trained_tokens += targets as u64;
        record.losses.push(loss / targets as f64);
        record.steps = step + 1;
        observer.advance(record.steps as u64, &format!("loss {:.3}", loss / targets as f64));
        if record.steps.is_multiple_of(total.div_ceil(10)) || record.steps == total {
            let recent = &record.losses[record.steps.saturating_sub(total.div_ceil(10))..];
            let mean = recent.iter().sum::<f64>() / recent.len() as f64;
            observer.say(&format!("step {} of {total}: loss {mean:.4}", record.steps));
        }
        watchdog.judge(loss / targets as f64)?;
        going = course.evaluate(trainee, tune, settings, observer)?;
        let due =
            settings.save_steps > 0 && course.record.steps.is_multiple_of(settings.save_steps);
        if due && going && kept.is_some() {
            keep(&course)?;
            observer.say(&format!("step {}: checkpoint written", course.record.steps));
        }
        Ok(going)
    });
    let served = match served {
        Err(error) if error.is::<Cancelled>() && kept.is_some() => {
            keep(&course)?;
            return Err(error.context(format!(
                "stopped after step {} of {total}, which is kept: run again with --resume to go on",
                course.record.steps
            )));
        }
        served => served?,
    };
    observer.end();
    let share = served.waited.as_secs_f64() / begun.elapsed().as_secs_f64().max(1e-9);
    observer.say(&format!(
        "data: {} workers, {} steps ahead at most; training waited for it {:.1} % of the time{}",
        served.workers,
        served.ahead,
        share * 100.0,
        if share > 0.05 { "; raise DATALOADER_NUM_WORKERS" } else { "" }
    ));
    // A resumed sweep passes over what it had finished.
    keep(&course)?;
    course.end(settings, *last)
}

impl Course {
    fn begun(variables: Vec<(String, Var)>, settings: &Settings) -> Result<Self> {
        let parameters = variables.iter().map(|(_, v)| v.elem_count()).sum();
        Ok(Course {
            optimizer: AdamW::new(
                variables.clone(),
                settings.weight_decay,
                settings.b_ratio,
                settings.eight_bits,
            )?,
            variables,
            dropout: Chance::new(settings.seed, "dropout"),
            record: TrainingRecord { parameters, ..TrainingRecord::default() },
            best: None,
        })
    }

    /// Measures the loss on tune where that is due after the last step, and tells whether to go on.
    fn evaluate(
        &mut self,
        trainee: &Trainee,
        tune: &[Encoded],
        settings: &Settings,
        observer: &dyn Observer,
    ) -> Result<bool> {
        let record = &mut self.record;
        let step = record.steps;
        let last = step == record.planned_steps;
        let due = last || settings.eval_steps > 0 && step.is_multiple_of(settings.eval_steps);
        let done = record.tune_losses.last().is_some_and(|(at, _)| *at == step);
        if due && !done && !tune.is_empty() {
            let loss = tune_loss(trainee, tune, observer)?;
            record.tune_losses.push((step, loss));
            observer.say(&format!("step {step}: loss on tune {loss:.4}"));
            match &mut self.best {
                Some(best) if loss >= best.loss => best.since += 1,
                best => {
                    let copies = self.variables.iter().map(|(_, v)| v.as_tensor().copy());
                    let values = copies.collect::<candle_core::Result<_>>()?;
                    *best = Some(Best { loss, step, values, since: 0 });
                }
            }
        }
        let since = self.best.as_ref().map_or(0, |best| best.since);
        Ok(!last && (settings.patience == 0 || since < settings.patience))
    }

    /// Sets the weights that are kept, and gives the account.
    fn end(
        mut self,
        settings: &Settings,
        last: Option<&dyn Fn() -> Result<()>>,
    ) -> Result<TrainingRecord> {
        self.record.kept_step = self.record.steps;
        if let (Some(best), true) = (self.best, settings.patience > 0) {
            if let (Some(last), true) = (last, best.step < self.record.steps) {
                last()?;
            }
            for ((_, var), value) in self.variables.iter().zip(&best.values) {
                var.set(value)?;
            }
            self.record.kept_step = best.step;
        }
        Ok(self.record)
    }
}

/// What decides the course of a training; see [`Checkpoints`].
fn identity(
    course: &Course,
    base: &str,
    rows: &[Encoded],
    tune: &[Encoded],
    settings: &Settings,
) -> Result<Identity> {
    let of_rows = |rows: &[Encoded]| {
        let mut hasher = Sha256::new();
        for row in rows {
            hasher.update((row.ids.len() as u64).to_le_bytes());
            for (id, trained) in row.ids.iter().zip(&row.trained) {
                hasher.update([id.to_le_bytes().as_slice(), &[u8::from(*trained)]].concat());
            }
        }
        files::hex(&hasher.finalize())
    };
    let mut start = Sha256::new();
    for (name, var) in &course.variables {
        start.update(name);
        start.update(le_bytes(&var.flatten_all()?.to_vec1::<f32>()?));
    }
    let device = course.variables.first().map(|(_, v)| v.device().location());
    let parts = [
        ("the base model".to_string(), base.to_string()),
        ("the training rows".to_string(), of_rows(rows)),
        ("the tune rows".to_string(), of_rows(tune)),
        ("the adapter it starts from".to_string(), files::hex(&start.finalize())),
        ("DEVICE".to_string(), format!("{device:?}")),
    ];
    let settings = settings.course().into_iter().map(|(key, value)| (key.to_string(), value));
    Ok(parts.into_iter().chain(settings).collect())
}

/// How many steps the settings ask for.
fn planned(
    trainee: &Trainee,
    rows: &[Encoded],
    settings: &Settings,
    observer: &dyn Observer,
) -> Result<usize> {
    let wanted = steps_wanted(rows.len(), settings);
    if settings.time_budget_minutes <= 0.0 {
        return Ok(wanted);
    }
    let total = wanted.min(affordable_steps(trainee, rows, settings)?);
    observer.say(&format!(
        "time budget: {} minutes are {total} steps here; MAX_STEPS={total} replays this run",
        settings.time_budget_minutes
    ));
    Ok(total)
}

/// How many steps fit the time budget, by timing the forward and backward of the first step. The
/// weights stay as they are.
fn affordable_steps(trainee: &Trainee, rows: &[Encoded], settings: &Settings) -> Result<usize> {
    let loader = Loader::new(rows, 1, settings);
    let mut seconds = f64::INFINITY;
    loader.serve(0, |_, batches| {
        for _ in 0..2 {
            let begun = Instant::now();
            for batch in &batches {
                trainee.gradients(batch, 1.0, None, settings.keep)?;
            }
            seconds = seconds.min(begun.elapsed().as_secs_f64());
        }
        Ok(true)
    })?;
    Ok(((settings.time_budget_minutes * 60.0 / seconds) as usize).max(1))
}
