//! The output head and its loss in one operation: `Σ_i −log softmax(W h_i)[target_i]`.
//!
//! Logits exist for a chunk of rows at a time. The forward already knows everything the backward
//! needs (`dh_i = Wᵀ (p_i − e_target)`), so it computes the gradients while the chunk is at hand
//! and the backward only scales them.

use std::sync::Mutex;

use candle_core::{CpuStorage, CustomOp2, DType, Error, Layout, Result, Shape, Tensor};
use half::bf16;
use rayon::prelude::*;

use super::bf16::{Right, Rows, Straight, Turned, product};
use super::lanes::{exp, largest, sum, wide};
use super::matmul::{View, matmul};
use super::{beside, read, read_table, values};

/// Logits held at a time on the CPU; a head in bf16, which is packed for each chunk, takes twice as
/// many.
pub const LOGITS: usize = 1 << 22;

/// The summed cross-entropy (nats) of rows `hidden` ([n, width]) under the head `weight`
/// ([vocabulary, width]); differentiable in both.
pub fn cross_entropy(hidden: &Tensor, weight: &Tensor, targets: &[u32]) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if hidden.device().is_cuda() {
        return super::cuda::cross_entropy::cross_entropy(hidden, weight, targets);
    }
    if hidden.device().is_cpu() {
        let op = CrossEntropy {
            targets: targets.to_vec(),
            wanted: (hidden.track_op(), weight.track_op()),
            gradients: Mutex::default(),
        };
        hidden.contiguous()?.apply_op2(weight, op)
    } else {
        reference(hidden, weight, targets)
    }
}

/// The same from candle's differentiable operations.
pub fn reference(hidden: &Tensor, weight: &Tensor, targets: &[u32]) -> Result<Tensor> {
    let logits = hidden.matmul(&weight.t()?)?;
    let targets = Tensor::from_slice(targets, (targets.len(), 1), hidden.device())?;
    let top = logits.max_keepdim(1)?.detach();
    let sums = logits.broadcast_sub(&top)?.exp()?.sum_keepdim(1)?.log()?;
    ((sums + top)? - logits.gather(&targets, 1)?)?.sum_all()
}

/// The negative log-likelihood of each row's target and, in place, `softmax(row) − e_target`.
fn row_loss(row: &mut [f32], target: usize) -> f64 {
    let at = row[target];
    let (top, all) = wide(
        #[inline(always)]
        || {
            let top = largest(row);
            row.iter_mut().for_each(|v| *v = exp(*v - top));
            // Parts in f32, their sum in f64.
            let all: f64 =
                row.chunks(1024).map(|part| f64::from(sum(part.len(), |i| part[i]))).sum();
            let scale = (1.0 / all) as f32;
            row.iter_mut().for_each(|v| *v *= scale);
            (top, all)
        },
    );
    row[target] -= 1.0;
    libm::log(all) + (top - at) as f64
}

/// The negative log-likelihood (nats) of each row's target, without gradients.
pub fn losses(hidden: &Tensor, weight: &Tensor, targets: &[u32]) -> Result<Vec<f64>> {
    #[cfg(feature = "cuda")]
    if hidden.device().is_cuda() {
        return super::cuda::cross_entropy::losses(hidden, weight, targets);
    }
    let width = weight.dim(1)?;
    let mut losses = Vec::with_capacity(targets.len());
    let mut all = |h: &[f32], head: Head| {
        chunks(h, head, width, targets, |_, _, _, part| {
            losses.extend_from_slice(part);
            Ok(())
        })
    };
    match weight.dtype() {
        DType::BF16 => read(hidden, |h| read_table(weight, |w| all(h, Head::Rounded(w))))???,
        _ => read(hidden, |h| read(weight, |w| all(h, Head::Full(w))))???,
    }
    Ok(losses)
}

/// The head's weight: [vocabulary, width].
#[derive(Clone, Copy)]
enum Head<'a> {
    Full(&'a [f32]),
    /// Products with it read bf16.
    Rounded(&'a [bf16]),
}

impl Head<'_> {
    fn vocabulary(self, width: usize) -> usize {
        match self {
            Head::Full(weight) => weight.len() / width,
            Head::Rounded(weight) => weight.len() / width,
        }
    }

    /// `h·Wᵀ` of some rows.
    fn logits(self, h: &[f32], width: usize) -> Result<Vec<f32>> {
        let (rows, vocabulary) = (h.len() / width, self.vocabulary(width));
        match self {
            Head::Full(weight) => {
                let mut logits = vec![0f32; rows * vocabulary];
                let (h, weight) = (View::rows(h, width), View::rows(weight, width).t());
                let shape = (rows, width, vocabulary);
                matmul(&mut logits, vocabulary, shape, h, weight, false);
                Ok(logits)
            }
            Head::Rounded(values) => {
                let weight = Turned { values, rows: vocabulary, width };
                let logits = product(&Rows::new(rows, h, width, 0), Right::Columns(&weight));
                logits.map_err(Error::wrap)
            }
        }
    }

    /// `residue·W` of `rows` rows.
    fn back(self, residue: &[f32], rows: usize, width: usize) -> Result<Vec<f32>> {
        let vocabulary = residue.len() / rows;
        match self {
            Head::Full(weight) => {
                let mut dh = vec![0f32; rows * width];
                let (residue, weight) =
                    (View::rows(residue, vocabulary), View::rows(weight, width));
                matmul(&mut dh, width, (rows, vocabulary, width), residue, weight, false);
                Ok(dh)
            }
            Head::Rounded(values) => {
                let weight = Straight { values, stride: width, rows: vocabulary, columns: width };
                let residue = Rows::new(rows, residue, vocabulary, 0);
                product(&residue, Right::Depths(&weight)).map_err(Error::wrap)
            }
        }
    }
}

/// Calls `f` with (first row, rows, `p − e_target`, losses) for consecutive chunks of rows.
fn chunks(
    hidden: &[f32],
    head: Head,
    width: usize,
    targets: &[u32],
    mut f: impl FnMut(usize, usize, &[f32], &[f64]) -> Result<()>,
) -> Result<()> {
    let vocabulary = head.vocabulary(width);
    let logits = match head {
        Head::Full(_) => LOGITS,
        Head::Rounded(_) => 2 * LOGITS,
    };
    let height = (logits / vocabulary).max(1);
    for (chunk, targets) in targets.chunks(height).enumerate() {
        let (first, rows) = (chunk * height, targets.len());
        let mut logits = head.logits(&hidden[first * width..(first + rows) * width], width)?;
        let losses: Vec<f64> = logits
            .par_chunks_mut(vocabulary)
            .zip(targets)
            .map(|(row, target)| row_loss(row, *target as usize))
            .collect();
        f(first, rows, &logits, &losses)?;
    }
    Ok(())
}

type Gradients = (Option<Vec<f32>>, Option<Vec<f32>>);

struct CrossEntropy {
    targets: Vec<u32>,
    wanted: (bool, bool),
    gradients: Mutex<Gradients>,
}

impl CustomOp2 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (vocabulary, width) = l2.shape().dims2()?;
        let hidden = values(s1, l1)?;
        let head = match (s2, l2.contiguous_offsets()) {
            (CpuStorage::BF16(table), Some((from, to))) => Head::Rounded(&table[from..to]),
            _ => Head::Full(values(s2, l2)?),
        };
        if hidden.len() != self.targets.len() * width {
            candle_core::bail!("{} targets for {:?}", self.targets.len(), l1.dims());
        }
        if let Some(bad) = self.targets.iter().find(|t| **t as usize >= vocabulary) {
            candle_core::bail!("target {bad} lies outside the vocabulary of {vocabulary}");
        }
        let mut dh = self.wanted.0.then(|| Vec::with_capacity(hidden.len()));
        let mut dw = self.wanted.1.then(|| vec![0f32; vocabulary * width]);
        let mut total = 0f64;
        chunks(hidden, head, width, &self.targets, |first, rows, residue, losses| {
            total += losses.iter().sum::<f64>();
            if let Some(dh) = &mut dh {
                dh.extend(head.back(residue, rows, width)?);
            }
            let residue = View::rows(residue, vocabulary);
            if let Some(dw) = &mut dw {
                let h = View::rows(&hidden[first * width..], width);
                matmul(dw, width, (vocabulary, rows, width), residue.t(), h, true);
            }
            Ok(())
        })?;
        if let Ok(mut kept) = self.gradients.lock() {
            *kept = (dh, dw);
        }
        Ok((CpuStorage::F32(vec![total as f32]), ().into()))
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        weight: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let scale = grad.to_scalar::<f32>()?;
        let Ok(mut kept) = self.gradients.lock() else {
            candle_core::bail!("the loss's gradients were lost when another thread panicked");
        };
        let give = |values: Option<Vec<f32>>, like: &Tensor| {
            let scaled = values.map(|mut v| {
                v.iter_mut().for_each(|g| *g *= scale);
                v
            });
            scaled.map(|v| beside(like, v, like.shape())).transpose()
        };
        let (dh, dw) = std::mem::take(&mut *kept);
        Ok((give(dh, hidden)?, give(dw, weight)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{difference, normal, same_gradients};
    use super::*;
    use crate::chance::Chance;

    #[test]
    fn agrees_with_the_reference_and_finite_differences() {
        let mut chance = Chance::new(1, "loss");
        let inputs = [normal(&mut chance, &[5, 8]), normal(&mut chance, &[11, 8])];
        let targets = [3, 0, 10, 7, 3];
        same_gradients(
            &inputs,
            |t| cross_entropy(&t[0], &t[1], &targets),
            |t| reference(&t[0], &t[1], &targets),
        );
    }

    #[test]
    fn a_head_in_bf16_agrees_within_the_rounding() {
        let mut chance = Chance::new(2, "loss");
        let (h, w) = (normal(&mut chance, &[40, 48]), normal(&mut chance, &[200, 48]));
        let targets: Vec<u32> = (0..40).map(|i| i * 4).collect();
        let loss = |w: &Tensor| {
            let h = candle_core::Var::from_tensor(&h).unwrap();
            let loss = cross_entropy(h.as_tensor(), w, &targets).unwrap();
            let dh = loss.backward().unwrap().remove(&h).unwrap();
            (loss.to_scalar::<f32>().unwrap(), dh, losses(&h, w, &targets).unwrap())
        };
        let (fine, coarse) = (loss(&w), loss(&w.to_dtype(DType::BF16).unwrap()));
        assert!(fine.0 != coarse.0 && (fine.0 / coarse.0 - 1.0).abs() < 2e-3);
        let apart = difference(&coarse.1, &fine.1);
        assert!(apart > 0.0 && apart < 1e-2, "{apart}");
        assert!((coarse.2.iter().sum::<f64>() - f64::from(coarse.0)).abs() < 1e-3);
    }

    #[test]
    fn a_target_outside_the_vocabulary_is_an_error() {
        let mut chance = Chance::new(1, "loss");
        let (h, w) = (normal(&mut chance, &[1, 8]), normal(&mut chance, &[11, 8]));
        assert!(cross_entropy(&h, &w, &[11]).is_err());
    }
}
