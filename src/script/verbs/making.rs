//! What makes the shipped parts: files of invented sessions, and a base model of our own.

use std::io::Write;

use rhai::plugin::*;
use rhai::{Array, FnPtr, Map};
use serde_json::Value;

use super::host;
use crate::dataset::source::{Recent, from_traces};
use crate::dataset::{Example, Kind, Rows};
use crate::evaluate::exact_share;
use crate::files;
use crate::model::Base;
use crate::script::closures::each_index;
use crate::script::options::Options;
use crate::script::{RhaiResultOf, fail};
use crate::tokens::{Codec, training};
use crate::trace;
use crate::train::full::{Shape, full};

/// Registers the makers.
pub fn register(engine: &mut Engine) {
    engine.register_global_module(exported_module!(verbs).into());
}

/// Where the model that is being made lies, inside the run.
const MODEL: &str = "model";

/// Configuration keys that `train_full` takes as options.
const TRAINING: [&str; 7] = [
    "LEARNING_RATE",
    "WARMUP_RATIO",
    "WEIGHT_DECAY",
    "PER_DEVICE_TRAIN_BATCH_SIZE",
    "GRADIENT_ACCUMULATION_STEPS",
    "MAX_STEPS",
    "MAX_SEQ_LENGTH",
];

/// Writes values into the run, one a line.
fn written(ctx: &NativeCallContext, name: &str, values: &[Value]) -> RhaiResultOf<()> {
    let host = host(ctx)?;
    let write = || -> anyhow::Result<()> {
        let path = host.writable(name)?;
        files::write_atomically(&path, |out| {
            for value in values {
                serde_json::to_writer(&mut *out, value)?;
                out.write_all(b"\n")?;
            }
            Ok(())
        })?;
        host.observer.say(&format!("{}: {} rows", path.display(), values.len()));
        Ok(())
    };
    write().map_err(fail)
}

#[export_module]
mod verbs {
    /// Writes an array of maps, raw traces in any of their forms, as a JSONL file of that name
    /// into the run.
    #[rhai_fn(return_raw)]
    pub fn write_jsonl(ctx: NativeCallContext, name: &str, list: Array) -> RhaiResultOf<()> {
        let values: Vec<Value> =
            list.iter().map(rhai::serde::from_dynamic).collect::<RhaiResultOf<_>>()?;
        written(&ctx, name, &values)
    }

    /// Writes the raw traces that the closure makes of 0, 1, … `count` - 1, in parallel, as a
    /// JSONL file of that name into the run, and gives them as rows.
    #[rhai_fn(name = "write_jsonl", return_raw)]
    pub fn write_jsonl_each(
        ctx: NativeCallContext,
        name: &str,
        count: i64,
        make: FnPtr,
    ) -> RhaiResultOf<Rows> {
        let count = usize::try_from(count).map_err(|_| format!("{count} rows cannot be made"))?;
        let read = |value: Dynamic| rhai::serde::from_dynamic(&value).map_err(|e| e.to_string());
        let values = each_index(&ctx, count, name, make, read)?;
        written(&ctx, name, &values)?;
        Rows::from_values(name, values).map_err(fail)
    }

    /// Writes texts as the lines of a file of that name into the run.
    #[rhai_fn(return_raw)]
    pub fn write_lines(ctx: NativeCallContext, name: &str, lines: Array) -> RhaiResultOf<()> {
        let host = host(&ctx)?;
        let mut text = String::new();
        for line in &lines {
            let line = line.as_immutable_string_ref().map_err(|kind| {
                format!("write_lines writes texts, not {kind}; a map has `to_json()`")
            })?;
            text += &line;
            text.push('\n');
        }
        let write = || {
            let path = host.writable(name)?;
            files::write_bytes(&path, text.as_bytes())?;
            host.observer.say(&format!("{}: {} lines", path.display(), lines.len()));
            Ok(())
        };
        write().map_err(fail)
    }

    /// Trains a byte-level BPE tokenizer on every text of the rows and writes it, with the shipped
    /// chat template, as the beginning of a new model inside the run. Options: `vocab_size`;
    /// `rows`, how many of them are enough; `special`, texts that are always one token.
    #[rhai_fn(return_raw)]
    pub fn train_tokenizer(ctx: NativeCallContext, rows: Rows, options: Map) -> RhaiResultOf<()> {
        let host = host(&ctx)?;
        let options =
            Options::read("train_tokenizer", options, &["vocab_size", "rows", "special"])?;
        let size = options.int("vocab_size")?.unwrap_or(1024).max(0) as usize;
        let special = options.texts("special")?.unwrap_or_default();
        let special: Vec<&str> = special.iter().map(String::as_str).collect();
        let enough = options.int("rows")?.map_or(usize::MAX, |n| n.max(1) as usize);
        let rows = rows.first(enough).each(|_, row| Ok(row.clone())).map_err(fail)?;
        let texts = training::texts(rows.iter().map(|e| &e.trace));
        let texts = texts.map_err(fail)?;
        let folder = host.writable(MODEL).map_err(fail)?;
        training::train(texts.iter().map(String::as_str), size, &special, &folder).map_err(fail)
    }

    /// Trains every weight of a fresh Llama-architecture model on the rows, after
    /// `train_tokenizer`. Options: the shape (`hidden_size`, `intermediate_size`, `layers`,
    /// `heads`, `kv_heads`, `max_positions`) and the training settings by their configuration
    /// keys in lower case (`learning_rate`, `max_steps`, …); `from`, the folder of a model of that
    /// shape and tokenizer to go on from. Gives the folder of the model.
    #[rhai_fn(return_raw)]
    pub fn train_full(ctx: NativeCallContext, rows: Rows, options: Map) -> RhaiResultOf<String> {
        let host = host(&ctx)?;
        let (mut shape, mut settings) = (Map::new(), Map::new());
        for (key, value) in options {
            let setting = TRAINING.iter().any(|k| k.to_lowercase() == key.as_str());
            if setting { &mut settings } else { &mut shape }.insert(key, value);
        }
        let known = [
            "hidden_size",
            "intermediate_size",
            "layers",
            "heads",
            "kv_heads",
            "max_positions",
            "from",
        ];
        let shape = Options::read("train_full", shape, &known)?;
        let from = shape.text("from")?.map(|p| host.readable(&p)).transpose().map_err(fail)?;
        let size = |key: &str, default: i64| -> RhaiResultOf<usize> {
            let value = shape.int(key)?.unwrap_or(default);
            usize::try_from(value).ok().filter(|v| *v > 0).ok_or_else(|| {
                format!("train_full: option `{key}` must be above zero, not {value}").into()
            })
        };
        let shape = Shape {
            hidden_size: size("hidden_size", 160)?,
            intermediate_size: size("intermediate_size", 416)?,
            layers: size("layers", 4)?,
            heads: size("heads", 4)?,
            kv_heads: size("kv_heads", 2)?,
            max_positions: size("max_positions", 1024)?,
        };
        let overrides = Options::overrides("train_full", settings, &TRAINING)?;
        let config = host.config.with(&overrides).map_err(fail)?;
        let rows = rows.each(|_, row| Ok(row.clone())).map_err(fail)?;
        let rows: Vec<&Example> = rows.iter().map(|e| e.as_ref()).collect();
        let folder = host.writable(MODEL).map_err(fail)?;
        let observer = host.observer.as_ref();
        let run = || -> anyhow::Result<()> {
            if let Some(from) = from.as_deref().filter(|from| *from != folder) {
                Codec::open(from, None)?.save(&folder)?;
            }
            full(&shape, from.as_deref(), &config, &rows, &folder, observer)?;
            Ok(())
        };
        run().map_err(fail)?;
        observer.say(&format!("the model is in {}", folder.display()));
        Ok(folder.display().to_string())
    }

    /// The share of a suite's turns that the model just made answers exactly, with its linears
    /// quantised as configured.
    #[rhai_fn(return_raw)]
    pub fn evaluate_suite(ctx: NativeCallContext, path: &str) -> RhaiResultOf<f64> {
        let host = host(&ctx)?;
        let measure = || -> anyhow::Result<f64> {
            let folder = host.writable(MODEL)?.display().to_string();
            let observer = host.observer.as_ref();
            let base = Base::open(&host.config.with(&[("BASE_MODEL".into(), folder)])?, observer)?;
            let suite =
                trace::load(&[host.readable(path)?], &host.project, host.observer.as_ref())?;
            let rows = from_traces(suite.refuse_empty()?, Kind::Real, &Recent::default());
            exact_share(&base, &rows, &host.config, host.observer.as_ref())
        };
        measure().map_err(fail)
    }
}
