//! `proto export`: an adapter in a form that other programs take.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use candle_core::DType;
use clap::{Args, ValueEnum};

use super::Outcome;
use super::layers::Settings;
use crate::adapter::Adapter;
use crate::model::decoder::linears;
use crate::model::weights::Weights;
use crate::tokens::Codec;

/// Write an adapter as a GGUF LoRA for llama.cpp, or merged into its base
#[derive(Debug, Args)]
pub struct Export {
    /// The adapter's folder: a run's `adapter/`, or any PEFT LoRA for the base
    adapter: PathBuf,
    /// What to write
    #[arg(long, value_enum)]
    to: Form,
    /// The file (gguf-lora) or folder (merged) to write
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A GGUF LoRA: `llama-server --model BASE.gguf --lora FILE`
    GgufLora,
    /// The base with the adapter merged in, as a Hugging Face folder in bf16, with tokenizer and
    /// chat template
    Merged,
}

impl Export {
    pub(super) fn execute(self) -> Result<Outcome> {
        let config = self.settings.layers(&[])?.resolve(&[])?;
        let base = config.path("BASE_MODEL").context("BASE_MODEL names no model")?;
        if self.out.exists() {
            bail!("{} exists already; name another with --out", self.out.display());
        }
        let weights = Weights::open(&base)?;
        let adapter = Adapter::load(&self.adapter, &linears(weights.config()))?;
        match self.to {
            Form::GgufLora => adapter.export_gguf(&weights, &self.out)?,
            Form::Merged => {
                let template = Some(config.text("CHAT_TEMPLATE")).filter(|t| !t.is_empty());
                let codec = Codec::open(&base, template)?;
                std::fs::create_dir_all(&self.out)
                    .with_context(|| format!("cannot make {}", self.out.display()))?;
                codec.save(&self.out)?;
                adapter.merge(&weights, &self.out, DType::BF16)?;
            }
        }
        eprintln!("wrote {}", self.out.display());
        Ok(Outcome::Done)
    }
}
