//! Checkpoints: all that decides how a training run goes on, in one file.
//!
//! A checkpoint holds the trained weights, the optimiser's state, the stream that dropout draws
//! from, and the record with the step, from which schedule and data position follow. Resumed on a
//! CPU, the weights at the end are those of a run that was never interrupted, to the last bit.
//!
//! Its name is a digest of everything that decides the course of the training, so that a resumed
//! run, which trains in the order of the first, finds each training's own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use ::safetensors::tensor::SafeTensors;
use anyhow::{Context, Result, bail, ensure};
use candle_core::{Tensor, Var};
use serde::{Deserialize, Serialize};

use super::optimizer::AdamW;
use super::record::TrainingRecord;
use crate::chance::Chance;
use crate::files;
use crate::files::safetensors::{self, Entry};

const STATE: &str = "state";
const WEIGHT: &str = "weight.";
const BEST: &str = "best.";
const OPTIMIZER: &str = "optimizer.";

/// What decides the course of a training, part by part, each under the name a person knows it by.
pub type Identity = Vec<(String, String)>;

/// Where checkpoints are written, and where those of an interrupted run lie.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    resumed: Option<PathBuf>,
    /// Whether one of those has been taken up.
    taken_up: AtomicBool,
}

/// The weights of the best evaluation so far.
pub(super) struct Best {
    pub loss: f64,
    pub step: usize,
    pub values: Vec<Tensor>,
    /// Evaluations since.
    pub since: usize,
}

/// A training run between two steps.
pub(super) struct Course {
    pub variables: Vec<(String, Var)>,
    pub optimizer: AdamW,
    pub dropout: Chance,
    pub record: TrainingRecord,
    pub best: Option<Best>,
}

#[derive(Serialize, Deserialize)]
struct State {
    identity: Identity,
    updates: i32,
    dropout: u64,
    record: TrainingRecord,
    /// Loss, step, and evaluations since.
    best: Option<(f64, usize, usize)>,
}

impl Checkpoints {
    /// Writes to `folder`, and begins with what lies in `resumed`.
    pub fn new(folder: PathBuf, resumed: Option<PathBuf>) -> Self {
        Checkpoints { folder, resumed, taken_up: AtomicBool::new(false) }
    }

    /// Where they are written.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn file(identity: &Identity) -> Result<String> {
        let digest = files::digest(&serde_json::to_vec(identity)?);
        Ok(format!("{}.safetensors", &digest[..16]))
    }

    /// Writes the course in place of an earlier one of this training.
    pub(super) fn write(&self, identity: &Identity, course: &Course) -> Result<()> {
        let state = State {
            identity: identity.clone(),
            updates: course.optimizer.updates(),
            dropout: course.dropout.state(),
            record: course.record.clone(),
            best: course.best.as_ref().map(|b| (b.loss, b.step, b.since)),
        };
        let best = course.best.iter().flat_map(|best| &best.values);
        let variables = || course.variables.iter();
        let tensors: Vec<(String, &Tensor)> = variables()
            .map(|(name, var)| (format!("{WEIGHT}{name}"), var.as_tensor()))
            .chain(variables().zip(best).map(|((name, _), kept)| (format!("{BEST}{name}"), kept)))
            .collect();
        let mut entries: Vec<Entry> =
            tensors.iter().map(|(name, tensor)| Entry::f32(name, tensor.dims())).collect();
        entries.extend(course.optimizer.parts().into_iter().map(|mut part| {
            part.name = format!("{OPTIMIZER}{}", part.name);
            part
        }));
        let path = self.folder.join(Self::file(identity)?);
        let state = serde_json::to_string(&state)?;
        safetensors::write(&path, (STATE, &state), entries, |entry| {
            if let Some(part) = entry.name.strip_prefix(OPTIMIZER) {
                return course.optimizer.part(part);
            }
            let tensor = tensors.iter().find(|(name, _)| *name == entry.name);
            let (_, tensor) = tensor.context("listed above")?;
            Ok(safetensors::le_bytes(&tensor.flatten_all()?.to_vec1::<f32>()?))
        })
    }

    /// Sets the course to the checkpoint of this training, where a resumed run left one; tells
    /// whether it did. The first training of a resumed run must have one.
    pub(super) fn take_up(&self, identity: &Identity, course: &mut Course) -> Result<bool> {
        let Some(resumed) = &self.resumed else { return Ok(false) };
        let path = resumed.join(Self::file(identity)?);
        if !path.exists() {
            if self.taken_up.load(Ordering::Relaxed) {
                return Ok(false);
            }
            bail!("{}", self.why_none(resumed, identity)?);
        }
        restore(&path, course).with_context(|| {
            format!("the checkpoint {} cannot be used; start anew without --resume", path.display())
        })?;
        self.taken_up.store(true, Ordering::Relaxed);
        Ok(true)
    }

    /// What a person must know whose checkpoints all belong to other trainings.
    fn why_none(&self, resumed: &Path, identity: &Identity) -> Result<String> {
        let mut closest: Option<Vec<String>> = None;
        for entry in resumed.read_dir().into_iter().flatten() {
            let bytes = std::fs::read(entry?.path())?;
            let Ok(state) = state_of(&bytes) else { continue };
            let theirs = |name: &str| state.identity.iter().find(|(n, _)| n == name);
            let differs = |(name, value): &&(String, String)| {
                theirs(name).is_none_or(|(_, other)| other != value)
            };
            let names: Vec<String> =
                identity.iter().filter(differs).map(|(name, _)| name.clone()).collect();
            if closest.as_ref().is_none_or(|c| names.len() < c.len()) {
                closest = Some(names);
            }
        }
        Ok(match closest {
            None => {
                format!("{} holds no checkpoint; start anew without --resume", resumed.display())
            }
            Some(names) => format!(
                "no checkpoint in {} belongs to this training: {} changed since; set back what \
                 changed, or start anew without --resume",
                resumed.display(),
                names.join(", ")
            ),
        })
    }

    /// Removes what was written: the run ended well, and its adapters hold the outcome.
    pub fn remove(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.folder) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).with_context(|| format!("cannot remove {}", self.folder.display()))
            }
            _ => Ok(()),
        }
    }
}

fn state_of(bytes: &[u8]) -> Result<State> {
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let state = header.metadata().as_ref().and_then(|m| m.get(STATE));
    Ok(serde_json::from_str(state.context("it is not a checkpoint")?)?)
}

fn restore(path: &Path, course: &mut Course) -> Result<()> {
    let bytes = std::fs::read(path)?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let state = state_of(&bytes)?;
    let read = |name: &str, var: &Var| -> Result<Tensor> {
        let view = tensors.tensor(name)?;
        ensure!(view.shape() == var.dims(), "`{name}` is {:?}", view.shape());
        let dtype = view.dtype().try_into()?;
        Ok(Tensor::from_raw_buffer(view.data(), dtype, view.shape(), var.device())?)
    };
    for (name, var) in &course.variables {
        var.set(&read(&format!("{WEIGHT}{name}"), var)?)?;
    }
    if let Some((loss, step, since)) = state.best {
        let kept = |(name, var): &(String, Var)| read(&format!("{BEST}{name}"), var);
        let values = course.variables.iter().map(kept).collect::<Result<_>>()?;
        course.best = Some(Best { loss, step, values, since });
    }
    for part in course.optimizer.parts() {
        let data = tensors.tensor(&format!("{OPTIMIZER}{}", part.name))?.data();
        course.optimizer.set_part(&part.name, data)?;
    }
    course.optimizer.set_updates(state.updates);
    course.dropout = Chance::resume(state.dropout);
    course.record = state.record;
    Ok(())
}
