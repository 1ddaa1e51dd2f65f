//! A base model ready for use: tokenizer, chat template and frozen decoder, opened once.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::Device;

use super::decoder::Decoder;
use super::ops::Precision;
use super::ops::bf16::Kernel;
#[cfg(feature = "cuda")]
use super::ops::cuda::matmul::set_precision;
use super::prepared::Prepared;
use super::weights::{Quantization, Weights};
use crate::config::Config;
use crate::files;
use crate::progress::Observer;
use crate::tokens::Codec;

/// A base model.
pub struct Base {
    /// Its name: that of its folder or file, never a path of this machine.
    pub name: String,
    /// Tokenizer and chat template.
    pub codec: Codec,
    /// The frozen decoder.
    pub decoder: Decoder,
    /// A digest of weights, storage, tokenizer and template: all that shapes an answer.
    pub digest: String,
    /// What the decoder's weights take in memory, in bytes.
    pub bytes: u64,
}

impl Base {
    /// Opens `BASE_MODEL` with `CHAT_TEMPLATE`, `QUANTIZATION`, `NF4_DOUBLE_QUANT`, `DEVICE` and
    /// `CACHE_DIR` as configured.
    pub fn open(config: &Config, observer: &dyn Observer) -> Result<Self> {
        let path = config.path("BASE_MODEL").context("BASE_MODEL names no model")?;
        let opened = || -> Result<Base> {
            let device = device(config)?;
            let precision = if config.flag("BF16") { Precision::Half } else { Precision::Full };
            #[cfg(feature = "cuda")]
            set_precision(precision);
            let weights = Weights::open(&path)?;
            let template = Some(config.text("CHAT_TEMPLATE")).filter(|t| !t.is_empty());
            let codec = Codec::open(&path, template)?;
            let (tokens, rows) = (codec.vocab_size(), weights.config().vocab_size);
            ensure!(
                tokens <= rows,
                "its tokenizer has {tokens} tokens, its embedding only {rows} rows"
            );
            let quantization = Quantization::configured(config)?;
            let prepared = match config.path("CACHE_DIR") {
                Some(folder) => {
                    weights.digest_with(&|path| files::digests::remembered(path, &folder))?;
                    Prepared::open(&folder, &weights, quantization, observer)?
                }
                None => None,
            };
            let decoder = Decoder::load_prepared(
                &weights,
                quantization,
                &device,
                precision,
                prepared.as_ref(),
            )?;
            let (weights, codes) = (weights.digest()?, codec.digest()?);
            let parts = [&weights, quantization.as_str(), &codes, &codec.template_digest()];
            Ok(Base {
                name: name(&path),
                digest: files::digest(parts.join("\n").as_bytes()),
                bytes: decoder.bytes(),
                codec,
                decoder,
            })
        };
        opened().with_context(|| format!("cannot use the base model {}", path.display()))
    }
}

impl Base {
    /// All that decides which bits this machine computes with the base, weights included.
    pub fn arithmetic(&self) -> String {
        let device = self.decoder.device();
        let mut parts = vec![self.digest.clone(), format!("{:?}", device.location())];
        #[cfg(target_arch = "x86_64")]
        parts.push(format!(
            "fma {} avx2 {} avx512 {}",
            is_x86_feature_detected!("fma"),
            is_x86_feature_detected!("avx2"),
            is_x86_feature_detected!("avx512f")
        ));
        if device.is_cpu() && self.decoder.precision() == Precision::Half {
            parts.push(format!("bf16 by {:?}", Kernel::best()));
        }
        #[cfg(feature = "cuda")]
        if device.is_cuda() {
            parts.push(format!("{:?}", super::ops::cuda::matmul::precision()));
            let cards = std::fs::read_dir("/proc/driver/nvidia/gpus").into_iter().flatten();
            let said = cards
                .flatten()
                .map(|card| std::fs::read_to_string(card.path().join("information")));
            let models = said.flatten().flat_map(|text| {
                text.lines()
                    .filter(|l| l.starts_with("Model:"))
                    .map(String::from)
                    .collect::<Vec<_>>()
            });
            parts.extend(models);
            parts.extend(std::fs::read_to_string("/proc/driver/nvidia/version"));
        }
        parts.join("\n")
    }
}

fn name(path: &Path) -> String {
    path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The one place where the device is chosen.
fn device(config: &Config) -> Result<Device> {
    match config.text("DEVICE") {
        "cpu" => Ok(Device::Cpu),
        "cuda" => card().context("DEVICE=cuda, but no CUDA device can be used"),
        // Where the driver, a library or the card is missing, the CPU does the work.
        _ => Ok(card().unwrap_or(Device::Cpu)),
    }
}

#[cfg(feature = "cuda")]
fn card() -> Result<Device> {
    super::ops::cuda::device()
}

#[cfg(not(feature = "cuda"))]
fn card() -> Result<Device> {
    anyhow::bail!("this binary was built without CUDA; build it with scripts/cuda/build.sh")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;

    fn chosen(name: &str) -> Result<Device> {
        let mut layers = Layers::new();
        layers.command_line(&format!("DEVICE={name}"))?;
        device(&layers.resolve(&[])?)
    }

    #[test]
    fn a_card_that_cannot_be_used_is_an_error_only_when_asked_for() {
        assert!(chosen("cpu").unwrap().is_cpu());
        let automatic = chosen("auto").unwrap();
        match chosen("cuda") {
            Ok(device) => assert!(device.is_cuda() && automatic.is_cuda()),
            Err(error) => {
                assert!(automatic.is_cpu());
                let message = format!("{error:#}");
                assert!(message.starts_with("DEVICE=cuda, but no CUDA device"), "{message}");
            }
        }
    }
}
