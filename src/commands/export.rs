//! `proto export`: an adapter in a form that other programs take.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use candle_core::DType;
use clap::{Args, ValueEnum};

use super::Outcome;
use super::layers::Settings;
use crate::adapter::Adapter;
use crate::files::gguf::Storage;
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
    /// How merged-gguf stores matrices [default: f16]
    #[arg(long, value_enum)]
    gguf_type: Option<Type>,
    /// The file (gguf-lora, merged-gguf) or folder (merged) to write
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
    /// The base with the adapter merged in, as a GGUF: `llama-server --model FILE`
    MergedGguf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Type {
    /// 16 bits a weight
    F16,
    /// 8.5 bits a weight
    #[value(name = "q8_0")]
    Q8_0,
    /// 4.5 bits a weight; 5.5 where rows are no multiple of 256
    #[value(name = "q4_k")]
    Q4K,
}

impl Export {
    pub(super) fn execute(self) -> Result<Outcome> {
        let config = self.settings.layers(&[])?.resolve(&[])?;
        let base = config.path("BASE_MODEL").context("BASE_MODEL names no model")?;
        if self.out.exists() {
            bail!("{} exists already; name another with --out", self.out.display());
        }
        if self.gguf_type.is_some() && self.to != Form::MergedGguf {
            bail!("--gguf-type goes with --to merged-gguf only");
        }
        let weights = Weights::open(&base)?;
        let adapter = Adapter::load(&self.adapter, &linears(weights.config()))?;
        let template = Some(config.text("CHAT_TEMPLATE")).filter(|t| !t.is_empty());
        match self.to {
            Form::GgufLora => adapter.export_gguf(&weights, &self.out)?,
            Form::Merged => {
                let codec = Codec::open(&base, template)?;
                std::fs::create_dir_all(&self.out)
                    .with_context(|| format!("cannot make {}", self.out.display()))?;
                codec.save(&self.out)?;
                adapter.merge(&weights, &self.out, DType::BF16)?;
            }
            Form::MergedGguf => {
                let storage = match self.gguf_type.unwrap_or(Type::F16) {
                    Type::F16 => Storage::F16,
                    Type::Q8_0 => Storage::Q8_0,
                    Type::Q4K => Storage::Q4K,
                };
                let codec = Codec::open(&base, template)?;
                let tokenizer = codec.gguf_metadata(&base, weights.config().vocab_size)?;
                let others = adapter.merge_gguf(&weights, tokenizer, storage, &self.out)?;
                for (name, count) in others {
                    let wanted = storage.name();
                    eprintln!("{count} matrices are in {name}: their width does not fit {wanted}");
                }
            }
        }
        eprintln!("wrote {}", self.out.display());
        Ok(Outcome::Done)
    }
}
