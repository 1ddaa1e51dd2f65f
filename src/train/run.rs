//! The training loop.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};

use crate::chance::Chance;
use crate::model::{Decoder, Lora};
use crate::progress::Observer;
use crate::tokens::Encoded;

use super::batches::{Batch, Loader};
use super::optimizer::AdamW;
use super::plan::Plan;
use super::record::TrainingRecord;
use super::settings::Settings;

/// What is trained: the factors of an adapter, or every weight of a fresh model.
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

    /// The summed loss of a batch, and the gradients of `loss / share` by every variable. With
    /// `checkpointing` an adapter's are computed layer by layer.
    pub fn gradients(
        &self,
        batch: &Batch,
        share: f64,
        chance: Option<&mut Chance>,
        checkpointing: bool,
    ) -> Result<(f32, GradStore)> {
        if let (Some(lora), true) = (self.lora, checkpointing) {
            let ends = (batch.places.as_slice(), batch.targets.as_slice());
            return self.decoder.checkpointed(&batch.packed, ends, share, lora, chance);
        }
        let hidden = self.decoder.hidden(&batch.packed, self.lora, chance)?;
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
        let hidden = trainee.decoder.hidden(&batch.packed, trainee.lora, None)?.detach();
        let losses = trainee.decoder.losses(&hidden, &batch.places, &batch.targets)?;
        sum += losses.iter().sum::<f64>();
        count += losses.len();
    }
    ensure!(count > 0, "no tune row has a trained token");
    Ok(sum / count as f64)
}

/// The weights of the best evaluation so far.
struct Best {
    loss: f64,
    step: usize,
    values: Vec<Tensor>,
    since: usize,
}

/// Trains on `rows`, watching `tune`. `names` are what to call a row in an error.
///
/// The loss of a step is the mean over all its trained tokens, however they are spread over
/// micro-batches, so that accumulation equals one big batch. With early stopping the weights of
/// the best evaluation are kept, otherwise the last.
pub fn train(
    trainee: &Trainee,
    rows: &[Encoded],
    names: &[String],
    tune: &[Encoded],
    settings: &Settings,
    observer: &dyn Observer,
) -> Result<TrainingRecord> {
    let mut useful: Vec<Encoded> = Vec::with_capacity(rows.len());
    let mut useful_names = Vec::with_capacity(rows.len());
    for (row, name) in rows.iter().zip(names) {
        if row.targets() > 0 {
            useful.push(row.clone());
            useful_names.push(name.as_str());
        }
    }
    ensure!(!useful.is_empty(), "no training example has a trained token; nothing can be learnt");
    let variables = trainee.variables();
    let parameters = variables.iter().map(|(_, v)| v.elem_count()).sum();
    let mut total = Plan::new(&useful, trainee.decoder, parameters, 0, settings).steps;
    if settings.time_budget_minutes > 0.0 {
        total = total.min(affordable_steps(trainee, &useful, settings)?);
        observer.say(&format!(
            "time budget: {} minutes are {total} steps here; MAX_STEPS={total} replays this run",
            settings.time_budget_minutes
        ));
    }
    let warmup = (settings.warmup_ratio * total as f64).ceil() as usize;
    let mut record = TrainingRecord {
        examples: useful.len(),
        without_targets: rows.len() - useful.len(),
        parameters,
        planned_steps: total,
        ..TrainingRecord::default()
    };
    let mut optimizer = AdamW::new(variables.clone(), settings.weight_decay)?;
    let mut dropout = Chance::new(settings.seed, "dropout");
    let mut best: Option<Best> = None;
    observer.begin("train", Some(total as u64), "step");
    let loader = Loader::new(&useful, total, settings);
    let begun = Instant::now();
    let served = loader.serve(|step, batches| {
        observer.check()?;
        let targets: usize = batches.iter().map(|b| b.targets.len()).sum();
        let mut loss = 0f64;
        for batch in &batches {
            let (value, gradients) = trainee.gradients(
                batch,
                targets as f64,
                Some(&mut dropout),
                settings.checkpointing,
            )?;
            let value = f64::from(value);
            if !value.is_finite() {
                let rows: Vec<_> = batch.rows.iter().map(|i| useful_names[*i]).collect();
                bail!(
                    "step {}: the loss is {value} on {}; lower LEARNING_RATE or drop these rows",
                    step + 1,
                    rows.join(", ")
                );
            }
            loss += value;
            optimizer.gather(&gradients)?;
            record.tokens += batch.packed.ids.len() as u64;
        }
        let factor = settings.schedule.factor(step, warmup, total);
        optimizer
            .step(settings.learning_rate * factor, settings.max_grad_norm)
            .with_context(|| format!("step {}", step + 1))?;
        record.trained_tokens += targets as u64;
        record.losses.push(loss / targets as f64);
        record.steps = step + 1;
        observer.advance(record.steps as u64, &format!("loss {:.3}", loss / targets as f64));
        if record.steps.is_multiple_of(total.div_ceil(10)) || record.steps == total {
            let recent = &record.losses[record.steps.saturating_sub(total.div_ceil(10))..];
            let mean = recent.iter().sum::<f64>() / recent.len() as f64;
            observer.say(&format!("step {} of {total}: loss {mean:.4}", record.steps));
        }
        let due = settings.eval_steps > 0 && record.steps.is_multiple_of(settings.eval_steps);
        if tune.is_empty() || !(due || record.steps == total) {
            return Ok(true);
        }
        let loss = tune_loss(trainee, tune, observer)?;
        record.tune_losses.push((record.steps, loss));
        observer.say(&format!("step {}: loss on tune {loss:.4}", record.steps));
        let since = best.as_ref().map_or(0, |b| b.since + 1);
        match &mut best {
            Some(best) if loss >= best.loss => best.since = since,
            _ => {
                let copies = variables.iter().map(|(_, v)| v.as_tensor().copy());
                let values = copies.collect::<candle_core::Result<_>>()?;
                best = Some(Best { loss, step: record.steps, values, since: 0 });
            }
        }
        Ok(settings.patience == 0 || best.as_ref().is_none_or(|b| b.since < settings.patience))
    })?;
    observer.end();
    let share = served.waited.as_secs_f64() / begun.elapsed().as_secs_f64().max(1e-9);
    observer.say(&format!(
        "data: {} workers, {} steps ahead at most; training waited for it {:.1} % of the time{}",
        served.workers,
        served.ahead,
        share * 100.0,
        if share > 0.05 { "; raise DATALOADER_NUM_WORKERS" } else { "" }
    ));
    record.kept_step = record.steps;
    if let (Some(best), true) = (best, settings.patience > 0) {
        for ((_, var), value) in variables.iter().zip(&best.values) {
            var.set(value)?;
        }
        record.kept_step = best.step;
    }
    Ok(record)
}

/// How many steps fit the time budget, by timing the forward and backward of the first step. The
/// weights stay as they are.
fn affordable_steps(trainee: &Trainee, rows: &[Encoded], settings: &Settings) -> Result<usize> {
    let loader = Loader::new(rows, 1, settings);
    let mut seconds = f64::INFINITY;
    loader.serve(|_, batches| {
        for _ in 0..2 {
            let begun = Instant::now();
            for batch in &batches {
                trainee.gradients(batch, 1.0, None, settings.checkpointing)?;
            }
            seconds = seconds.min(begun.elapsed().as_secs_f64());
        }
        Ok(true)
    })?;
    Ok(((settings.time_budget_minutes * 60.0 / seconds) as usize).max(1))
}
