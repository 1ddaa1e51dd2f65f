//! Training at real models' shapes on random NF4 weights: does the loss fall, how many tokens a
//! second, how much of the card's memory.

use std::time::Instant;

use anyhow::Result;
use proto::adapter::{Adapter, Shape};
use proto::chance::Chance;
use proto::config::Layers;
use proto::model::config::{Architecture, ModelConfig, RopeScaling};
use proto::model::ops::cuda::matmul::{Precision, set_precision};
use proto::model::ops::cuda::peak_bytes;
use proto::model::{Decoder, Generator};
use proto::progress::Silent;
use proto::tokens::Encoded;
use proto::train::{Memory, Plan, Settings, Trainee, Training, train};

use crate::Check;

/// What a run is made of.
struct Run {
    model: ModelConfig,
    batch: usize,
    length: usize,
    steps: usize,
    precision: Precision,
    saving: Saving,
}

/// What is done to need less memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Saving {
    /// Nothing.
    None,
    /// Gradient checkpointing.
    Checkpoints,
    /// That, layer inputs in host memory, and optimiser states in 8 bits.
    Offloading,
}

fn model(
    (vocab_size, hidden_size, intermediate_size): (usize, usize, usize),
    (num_layers, num_heads, num_kv_heads): (usize, usize, usize),
    tie_word_embeddings: bool,
) -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Llama,
        vocab_size,
        hidden_size,
        intermediate_size,
        num_layers,
        num_heads,
        num_kv_heads,
        head_dim: hidden_size / num_heads,
        rope_theta: 100_000.0,
        rope_scaling: RopeScaling::None,
        window: None,
        rms_norm_eps: 1e-5,
        max_positions: 16_384,
        tie_word_embeddings,
        bos: None,
        eos: vec![2],
        pad: None,
    }
}

fn smollm2(dry: bool) -> ModelConfig {
    match dry {
        false => model((49_152, 576, 1536), (30, 9, 3), true),
        true => model((128, 48, 96), (2, 3, 1), true),
    }
}

/// SmolLM2-135M, batch 4 × 256.
pub fn small(check: &mut Check, precision: Precision) -> Result<()> {
    let model = smollm2(check.dry);
    let (length, steps) = if check.dry { (32, 8) } else { (256, 60) };
    run(check, Run { model, batch: 4, length, steps, precision, saving: Saving::None })
}

/// Qwen2.5-7B (without its attention bias), batch 1 × `length`.
pub fn large(check: &mut Check, precision: Precision, saving: Saving, length: usize) -> Result<()> {
    let shape = ((152_064, 3584, 18_944), (28, 28, 4));
    one_row(check, shape, precision, saving, length)
}

/// Llama-3.1-8B, batch 1 × `length`.
pub fn llama(check: &mut Check, saving: Saving, length: usize) -> Result<()> {
    let shape = ((128_256, 4096, 14_336), (32, 32, 8));
    one_row(check, shape, Precision::Half, saving, length)
}

fn one_row(
    check: &mut Check,
    (widths, counts): ((usize, usize, usize), (usize, usize, usize)),
    precision: Precision,
    saving: Saving,
    length: usize,
) -> Result<()> {
    let model = match check.dry {
        false => model(widths, counts, false),
        true => model((128, 48, 96), (2, 3, 1), false),
    };
    let (length, steps) = if check.dry { (32, 8) } else { (length, (12_288 / length).max(3)) };
    run(check, Run { model, batch: 1, length, steps, precision, saving })
}

/// Answers of SmolLM2-135M's shape: 32 prompts of 64 tokens, 64 new tokens each.
pub fn decoding(check: &mut Check) -> Result<()> {
    let model = smollm2(check.dry);
    let decoder = Decoder::random(model.clone(), 1, &check.device)?;
    let mut chance = Chance::new(3, "prompts");
    let mut prompt = |_| (0..64).map(|_| chance.below(model.vocab_size) as u32).collect();
    let prompts: Vec<Vec<u32>> = (0..if check.dry { 2 } else { 32 }).map(&mut prompt).collect();
    for batch in [1, 32] {
        let generator = Generator { decoder: &decoder, lora: None, batch };
        let some = if batch == 1 { &prompts[..2] } else { &prompts };
        generator.generate(&prompts[..1], 2, &[], &Silent)?;
        let begun = Instant::now();
        let answers = generator.generate(some, 64, &[], &Silent)?;
        let tokens: usize = answers.iter().map(|(ids, _)| ids.len()).sum();
        let name = format!("tokens a second, {batch} at a time");
        check.figure(&name, tokens as f64 / begun.elapsed().as_secs_f64());
    }
    Ok(())
}

/// Sequences that walk the vocabulary in one fixed stride each: something to learn.
fn rows(run: &Run) -> Vec<Encoded> {
    let mut chance = Chance::new(7, "rows");
    let vocabulary = run.model.vocab_size.min(64);
    let row = |_| {
        let (start, stride) = (chance.below(vocabulary), 1 + chance.below(3));
        let ids = (0..run.length).map(|i| ((start + i * stride) % vocabulary) as u32).collect();
        Encoded { ids, trained: vec![true; run.length], turns: Vec::new() }
    };
    (0..run.batch * 8).map(row).collect()
}

fn run(check: &mut Check, run: Run) -> Result<()> {
    set_precision(run.precision);
    let begun = Instant::now();
    let decoder = Decoder::random(run.model.clone(), 1, &check.device)?;
    check.figure("parameters", decoder.parameters());
    check.figure("seconds to make the base", begun.elapsed().as_secs_f64());
    let (rows, device) = (rows(&run), check.device.clone());
    let names: Vec<String> = (0..rows.len()).map(|i| i.to_string()).collect();
    let offloading = run.saving == Saving::Offloading;
    let trained = |steps: usize| -> Result<(Vec<f64>, f64, Memory)> {
        let mut layers = Layers::new();
        for (key, value) in [
            ("MAX_STEPS", steps.to_string()),
            ("PER_DEVICE_TRAIN_BATCH_SIZE", run.batch.to_string()),
            ("GRADIENT_ACCUMULATION_STEPS", "1".into()),
            ("LEARNING_RATE", "0.001".into()),
            ("GRADIENT_CHECKPOINTING", (run.saving != Saving::None).to_string()),
            ("ACTIVATION_OFFLOADING", offloading.to_string()),
            ("OPTIM", if offloading { "adamw_8bit" } else { "adamw" }.into()),
        ] {
            layers.command_line(&format!("{key}={value}"))?;
        }
        let shape = Shape {
            r: 16,
            alpha: 16.0,
            rslora: false,
            dropout: 0.0,
            targets: vec!["all-linear".into()],
            base: "random".into(),
        };
        let adapter = Adapter::fresh(&shape, &decoder.linears(), 1)?;
        let lora = adapter.lora.to_device(&device)?;
        let trainee = Trainee { decoder: &decoder, lora: Some(&lora) };
        let settings = Settings::new(&layers.resolve(&[])?);
        let begun = Instant::now();
        let plan = Plan::new(&rows, &decoder, lora.parameters(), decoder.bytes(), &settings);
        let (rows, names) = (rows.as_slice(), names.as_slice());
        let training = Training {
            trainee,
            rows,
            names,
            tune: &[],
            settings: &settings,
            kept: None,
            last: None,
        };
        let record = train(&training, &Silent)?;
        Ok((record.losses, begun.elapsed().as_secs_f64(), plan.memory))
    };
    // The first run finishes the kernels for the card; the second must repeat it to the bit.
    let (before, ..) = trained(run.steps)?;
    if !check.dry {
        check.figure("bytes before", peak_bytes()?);
    }
    let (losses, seconds, memory) = trained(run.steps)?;
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&losses[..2]), mean(&losses[losses.len() - 2..]));
    let tokens = run.steps * run.batch * run.length;
    check.figure("products", if run.precision == Precision::Half { "bf16, TF32" } else { "f32" });
    check.figure("gradient checkpointing", run.saving != Saving::None);
    check.figure("inputs offloaded, 8-bit states", offloading);
    check.figure("steps", run.steps);
    check.figure("batch", run.batch);
    check.figure("sequence", run.length);
    if losses.len() < 8 {
        check.figure("losses", losses.clone());
    }
    check.figure("first loss", first);
    check.figure("last loss", last);
    check.figure("seconds a step", seconds / run.steps as f64);
    check.figure("tokens a second", tokens as f64 / seconds);
    if !check.dry {
        let peak = peak_bytes()?;
        let planned = memory.training();
        check.figure("planned bytes", planned);
        check.figure("peak bytes on the card", peak);
        check.expect(peak <= planned, "the plan is under the peak");
    }
    if !check.dry {
        // Answers after the longest prompt that training had, as an evaluation asks for them.
        peak_bytes()?;
        let prompt: Vec<u32> = rows[0].ids[..run.length - 32.min(run.length / 2)].to_vec();
        let generator = Generator { decoder: &decoder, lora: None, batch: 1 };
        generator.generate(&[prompt], 32, &[], &Silent)?;
        let peak = peak_bytes()?;
        check.figure("peak bytes with evaluation", peak);
        check.expect(peak <= memory.peak(), "evaluation takes more than the plan has");
    }
    check.expect(last < first, "the loss does not fall");
    check.expect(losses == before, "the same run again gave other losses");
    set_precision(Precision::Full);
    Ok(())
}
