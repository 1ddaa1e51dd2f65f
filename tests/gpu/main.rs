//! The GPU check: does a card compute what the CPU computes, and how fast?
//!
//!     target/cuda/gpu [--dry] [--results FILE] PART...
//!
//! - `kernels`: every operation, forward and backward, on fresh random inputs;
//! - `training`: steps at SmolLM2-135M's shape on random NF4 weights; `training-bf16`: the same
//!   where products may read bf16 and TF32;
//! - `large` and `large-bf16`: steps at Qwen2.5-7B's shape, sequence 2,048; `checkpointed-N`: the
//!   same with gradient checkpointing at sequence N, 2048 to 16384, in bf16; `offloaded-N`: with
//!   layer inputs in host memory and 8-bit optimiser states too; `llama-checkpointed-N` and
//!   `llama-N`: both at Llama-3.1-8B's shape;
//! - `speed`: single operations at that shape;
//! - `decoding`: answers at SmolLM2-135M's shape;
//! - `agreement`: logits and greedy answers of the model in `models/embedded`.
//!
//! Each takes a few minutes at most and appends one JSON line to FILE. `--dry` runs the same on
//! the CPU, reduced, so that the check itself can be checked without a card; there, operations
//! meet their references.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use candle_core::Device;
use proto::model::ops::cuda;
use proto::model::ops::cuda::matmul::Precision;
use serde_json::{Map, Value, json};

mod agreement;
mod kernels;
mod speed;
mod training;

use training::Saving;

/// Where a part runs, and what it found.
pub struct Check {
    /// The card; the CPU in a dry run.
    pub device: Device,
    /// On the CPU, reduced.
    pub dry: bool,
    figures: Map<String, Value>,
    failures: usize,
}

impl Check {
    /// Keeps a figure for the results file and shows it.
    pub fn figure(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        println!("  {name}: {value}");
        self.figures.insert(name.into(), value);
    }

    /// Counts a failure unless `holds`.
    pub fn expect(&mut self, holds: bool, what: &str) {
        if !holds {
            println!("  FAILED: {what}");
            self.failures += 1;
        }
    }
}

fn shell(command: &str, args: &[&str]) -> String {
    let output = std::process::Command::new(command).args(args).output();
    output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_string()).unwrap_or_default()
}

fn main() -> Result<()> {
    let (mut dry, mut results, mut parts) = (false, None, Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--dry" => dry = true,
            "--results" => results = Some(args.next().context("--results names no file")?),
            _ => parts.push(arg),
        }
    }
    let device = if dry { Device::Cpu } else { cuda::device()? };
    let mut failures = 0;
    for part in parts {
        println!("{part}");
        let (begun, figures) = (Instant::now(), Map::new());
        let mut check = Check { device: device.clone(), dry, figures, failures: 0 };
        match part.as_str() {
            "kernels" => kernels::run(&mut check)?,
            "speed" => speed::run(&mut check)?,
            "training" => training::small(&mut check, Precision::Full)?,
            "training-bf16" => training::small(&mut check, Precision::Half)?,
            "decoding" => training::decoding(&mut check)?,
            "large" => training::large(&mut check, Precision::Full, Saving::None, 2048)?,
            "large-bf16" => training::large(&mut check, Precision::Half, Saving::None, 2048)?,
            "agreement" => agreement::run(&mut check)?,
            other => match other.rsplit_once('-').and_then(|(n, l)| Some((n, l.parse().ok()?))) {
                Some(("checkpointed", length)) => {
                    training::large(&mut check, Precision::Half, Saving::Checkpoints, length)?
                }
                Some(("offloaded", length)) => {
                    training::large(&mut check, Precision::Half, Saving::Offloading, length)?
                }
                Some(("llama", length)) => training::llama(&mut check, Saving::Offloading, length)?,
                Some(("llama-checkpointed", length)) => {
                    training::llama(&mut check, Saving::Checkpoints, length)?
                }
                _ => bail!("no part is called {other:?}"),
            },
        }
        let card =
            shell("nvidia-smi", &["--query-gpu=name,driver_version", "--format=csv,noheader"]);
        let (card, driver) = card.split_once(", ").unwrap_or(("CPU", ""));
        let line = json!({
            "part": part,
            "dry": dry,
            "device": if dry { "CPU" } else { card },
            "driver": if dry { "" } else { driver },
            "date": shell("date", &["-u", "+%Y-%m-%d"]),
            "commit": option_env!("PROTO_COMMIT").unwrap_or("unknown"),
            "seconds": begun.elapsed().as_secs_f64().round(),
            "failures": check.failures,
            "figures": check.figures,
        });
        failures += check.failures;
        println!("{line}");
        if let Some(path) = &results {
            let mut file = OpenOptions::new().create(true).append(true).open(path)?;
            writeln!(file, "{line}")?;
        }
    }
    if failures > 0 {
        bail!("{failures} failures");
    }
    Ok(())
}
