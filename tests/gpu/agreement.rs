//! The model that ships, on the card and on the CPU: the same logits, the same answers.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use candle_core::{Device, Tensor};
use proto::model::ops::linear::linear;
use proto::model::weights::{Quantization, Weights};
use proto::model::{Decoder, Generator, Packed};
use proto::progress::Silent;
use proto::tokens::Codec;
use proto::trace::Message;

use crate::Check;

/// What summing in another order may do to a logit, relative to the norm of all.
const BOUND: f64 = 1e-4;

pub fn run(check: &mut Check) -> Result<()> {
    let folder = Path::new("models/embedded");
    let (weights, codec) = (Weights::open(folder)?, Codec::open(folder, None)?);
    let mut prompts: Vec<Vec<u32>> = Vec::new();
    for line in std::fs::read_to_string(folder.join("general_suite.jsonl"))?.lines() {
        let session: serde_json::Value = serde_json::from_str(line)?;
        let messages: Vec<Message> = serde_json::from_value(session["messages"].clone())?;
        let asked: Vec<_> =
            messages.into_iter().take_while(|m| !m.content.is_empty()).take(2).collect();
        prompts.push(codec.prompt(&asked, &[])?);
    }
    prompts.truncate(if check.dry { 4 } else { 128 });
    check.figure("prompts", prompts.len());
    let open = |device: &Device| Decoder::load(&weights, Quantization::Nf4, device);
    let (host, card) = (open(&Device::Cpu)?, open(&check.device)?);
    let logits = |decoder: &Decoder| -> Result<Tensor> {
        let packed = Packed::new(prompts.iter().map(Vec::as_slice));
        let hidden = decoder.hidden(&packed, None, None)?;
        Ok(linear(&hidden, decoder.head())?.to_device(&Device::Cpu)?)
    };
    let (wanted, got) = (logits(&host)?, logits(&card)?);
    let norm = |t: &Tensor| -> Result<f32> { Ok(t.sqr()?.sum_all()?.sqrt()?.to_scalar()?) };
    let error = f64::from(norm(&(&got - &wanted)?)? / norm(&wanted)?);
    check.figure("logits: relative error", error);
    check.expect(error <= BOUND, "the logits differ");
    let mut answers = |decoder: &Decoder, name: &str| -> Result<_> {
        let begun = Instant::now();
        let generator = Generator { decoder, lora: None, batch: 32 };
        let answers = generator.generate(&prompts, 48, codec.stop_ids(), &Silent)?;
        let tokens: usize = answers.iter().map(|(ids, _)| ids.len() + 1).sum();
        check.figure(name, tokens as f64 / begun.elapsed().as_secs_f64());
        Ok(answers)
    };
    let wanted = answers(&host, "CPU: answer tokens a second")?;
    let got = answers(&card, "card: answer tokens a second")?;
    let same = wanted.iter().zip(&got).filter(|(a, b)| a == b).count();
    check.figure("same greedy answers", same);
    check.expect(same == prompts.len(), "an answer differs");
    Ok(())
}
