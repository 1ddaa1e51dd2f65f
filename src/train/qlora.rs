//! `train_qlora`: an adapter on the frozen base, from dataset rows to files that were read back.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::checkpoint::Checkpoints;
use super::memory::free_bytes;
use super::plan::Plan;
use super::record::TrainingRecord;
use super::resident;
use super::run::{Trainee, Training, train};
use super::settings::Settings;
use super::tokenised::Encoder;
use crate::adapter::{Adapter, Shape};
use crate::config::Config;
use crate::dataset::Example;
use crate::model::base::Base;
use crate::model::ops::Precision;
use crate::model::ops::bf16::Kernel;
#[cfg(feature = "cuda")]
use crate::model::ops::cuda;
use crate::model::{Lora, Packed};
use crate::progress::Observer;
use crate::tokens::Encoded;

/// A trained adapter and how it came about.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The adapter.
    pub adapter: Adapter,
    /// The digest of its files.
    pub digest: String,
    /// The account of the training.
    pub record: TrainingRecord,
}

/// What to call an example in a message: its id and where it was read.
pub fn called(example: &Example) -> String {
    format!("{} ({})", example.id, example.trace.origin)
}

/// Where the weights of the last step lie, when better ones of an earlier step are the adapter.
const LAST: &str = "last";

/// Trains an adapter on `rows`, watching `tune`, and writes it to `folder`.
///
/// The files are read back and compared with what is in memory before anyone may rely on them.
pub fn qlora(
    base: &Base,
    config: &Config,
    rows: &[&Example],
    tune: &[&Example],
    folder: &Path,
    checkpoints: &Checkpoints,
    observer: &dyn Observer,
) -> Result<Trained> {
    let settings = Settings::new(config);
    let linears = base.decoder.linears();
    let mut adapter = match config.path("ADAPTER") {
        Some(start) => Adapter::load(&start, &linears).context("ADAPTER cannot be trained on")?,
        None => {
            let shape = Shape {
                r: config.size("LORA_R"),
                alpha: config.float("LORA_ALPHA"),
                rslora: config.flag("USE_RSLORA"),
                dropout: config.float("LORA_DROPOUT"),
                targets: config.list("LORA_TARGET_MODULES"),
                base: base.name.clone(),
            };
            Adapter::fresh(&shape, &linears, settings.seed)?
        }
    };
    adapter.lora = adapter.lora.to_device(base.decoder.device())?;
    let longest = config.size("MAX_SEQ_LENGTH").min(base.decoder.max_positions());
    let cache = config.path("CACHE_DIR");
    let encoder = Encoder {
        codec: &base.codec,
        longest,
        threads: config.size("DATASET_MAP_NUM_PROC"),
        cache: cache.as_deref(),
        observer,
    };
    let (names, encoded): (Vec<String>, Vec<Encoded>) = encoder
        .encode(rows)?
        .into_iter()
        .map(|(example, row)| (called(rows[example]), row))
        .unzip();
    let watched: Vec<Encoded> = encoder.encode(tune)?.into_iter().map(|(_, row)| row).collect();
    if config.flag("DATALOADER_PIN_MEMORY") {
        observer.say(
            "DATALOADER_PIN_MEMORY has no effect: a batch is some kilobytes of token ids, copied \
             as they are",
        );
    }
    if base.decoder.device().is_cpu() {
        if config.flag("ACTIVATION_OFFLOADING") {
            observer.say("ACTIVATION_OFFLOADING has no effect: this run trains on the CPU");
        }
        if base.decoder.precision() == Precision::Half {
            observer.say(&format!("BF16: products are computed by {}", Kernel::best().as_str()));
        }
    }
    let trainable = adapter.lora.parameters();
    let plan = Plan::new(&encoded, &base.decoder, trainable, base.bytes, &settings);
    plan.lines().iter().for_each(|line| observer.say(line));
    let on_card = base.decoder.device().is_cuda();
    if let Some(free) = free_bytes(on_card)? {
        ensure!(
            plan.memory.more() <= free,
            "training needs about {} MiB more and {} MiB are free {}; set \
             GRADIENT_CHECKPOINTING=true{}, or lower PER_DEVICE_TRAIN_BATCH_SIZE, EVAL_BATCH_SIZE \
             or MAX_SEQ_LENGTH",
            plan.memory.more() >> 20,
            free >> 20,
            if on_card { "on the card" } else { "on this machine" },
            if on_card { " and ACTIVATION_OFFLOADING=true" } else { "" }
        );
    }
    let trainee = Trainee { decoder: &base.decoder, lora: Some(&adapter.lora) };
    let training = Training {
        trainee,
        rows: &encoded,
        names: &names,
        tune: &watched,
        settings: &settings,
        kept: Some((checkpoints, &base.digest)),
        last: Some(&|| adapter.save(&folder.join(LAST))),
    };
    resident::forget_peak();
    let record = train(&training, observer)?;
    #[cfg(feature = "cuda")]
    if on_card {
        cuda::parked::release(base.decoder.device())?;
    }
    if let Some(peak) = peak_bytes(on_card)? {
        let planned = plan.memory.training();
        observer.say(&format!(
            "memory: {} MiB at the peak of training, {} planned{}",
            peak >> 20,
            planned >> 20,
            if peak > planned { "; the plan was too low" } else { "" }
        ));
    }
    adapter.save(folder)?;
    let again = Adapter::load(folder, &linears).context("the adapter just written")?;
    ensure!(
        again.equals(&adapter)?,
        "the adapter read back from {} is not the one that was trained",
        folder.display()
    );
    if settings.learning_rate > 0.0 {
        let lora = again.lora.to_device(base.decoder.device())?;
        ensure!(
            moves(base, &lora, &encoded)?,
            "the adapter read back from {} changes no output of the base",
            folder.display()
        );
    }
    Ok(Trained { digest: Adapter::digest(folder)?, adapter, record })
}

/// Whether the adapter changes what the base computes on the first tokens of some row.
fn moves(base: &Base, lora: &Lora, rows: &[Encoded]) -> Result<bool> {
    const ENOUGH: usize = 32;
    for row in rows.iter().take(ENOUGH) {
        let packed = Packed::new([&row.ids[..row.ids.len().min(ENOUGH)]]);
        let plain = base.decoder.forward(&packed, None)?;
        let moved = (base.decoder.forward(&packed, Some(lora))? - plain)?.abs()?.max_all()?;
        if moved.to_scalar::<f32>()? > 0.0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The most that was taken there.
fn peak_bytes(on_card: bool) -> Result<Option<u64>> {
    #[cfg(feature = "cuda")]
    if on_card {
        return Ok(Some(cuda::peak_bytes()?));
    }
    debug_assert!(!on_card, "a card without the feature for it");
    Ok(resident::peak())
}
