//! The output head and its loss on the card; the equations stand in
//! [`crate::model::ops::cross_entropy`].

use std::sync::Mutex;

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp2, Layout, Result, Shape, Storage, Tensor, bail,
};

use super::linear::product;
use super::{Module, at_tensor, card, launch, module, room, tensor};

const MODULE: Module = module!("cross_entropy");

/// Logits held at a time.
const LOGITS: usize = 1 << 25;

/// The negative log-likelihood of each target, and the gradients of their sum that are wanted.
struct Known {
    losses: Tensor,
    dh: Option<Tensor>,
    dw: Option<Tensor>,
}

impl Known {
    fn new(
        hidden: &Tensor,
        weight: &Tensor,
        targets: &[u32],
        (wants_dh, wants_dw): (bool, bool),
    ) -> Result<Self> {
        let (hidden, weight) = (hidden.detach().contiguous()?, weight.detach());
        let (n, vocabulary) = (targets.len(), weight.dim(0)?);
        if hidden.dim(0)? != n {
            bail!("{n} targets for {:?}", hidden.dims());
        }
        if let Some(bad) = targets.iter().find(|t| **t as usize >= vocabulary) {
            bail!("target {bad} lies outside the vocabulary of {vocabulary}");
        }
        let device = card(hidden.device())?;
        let targets = Tensor::from_slice(targets, n, hidden.device())?;
        let (losses, losses_at) = room(device, n)?;
        let (targets_at, mut parts, mut dw) = (at_tensor(&targets)?, Vec::new(), None);
        let height = (LOGITS / vocabulary).max(1);
        for first in (0..n).step_by(height) {
            let rows = height.min(n - first);
            let h = hidden.narrow(0, first, rows)?;
            let logits = product(&h, &weight, true)?;
            let args = [
                at_tensor(&logits)?,
                targets_at.skip(first),
                losses_at.skip(first),
                vocabulary.into(),
            ];
            launch(device, &MODULE, "residues", (rows, 1), 0, &args)?;
            if wants_dh {
                parts.push(product(&logits, &weight, false)?);
            }
            if wants_dw {
                let part = logits.t()?.matmul(&h)?;
                dw = Some(match dw {
                    Some(sum) => (sum + part)?,
                    None => part,
                });
            }
        }
        let dh = (!parts.is_empty()).then(|| Tensor::cat(&parts, 0)).transpose()?;
        Ok(Known { losses: tensor(losses, device, n), dh, dw })
    }
}

/// The negative log-likelihood (nats) of each row's target, without gradients.
pub(crate) fn losses(hidden: &Tensor, weight: &Tensor, targets: &[u32]) -> Result<Vec<f64>> {
    let losses = Known::new(hidden, weight, targets, (false, false))?.losses.to_vec1::<f32>()?;
    Ok(losses.into_iter().map(f64::from).collect())
}

/// The summed cross-entropy (nats), differentiable in both.
pub(crate) fn cross_entropy(hidden: &Tensor, weight: &Tensor, targets: &[u32]) -> Result<Tensor> {
    let wanted = (hidden.track_op(), weight.track_op());
    let Known { losses, dh, dw } = Known::new(hidden, weight, targets, wanted)?;
    let op = Loss { value: losses.sum_all()?, gradients: Mutex::new((dh, dw)) };
    hidden.apply_op2(weight, op)
}

/// A loss whose gradients are known already.
struct Loss {
    value: Tensor,
    gradients: Mutex<(Option<Tensor>, Option<Tensor>)>,
}

impl CustomOp2 for Loss {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        bail!("a loss computed on a card was given tensors in host memory")
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (value, layout) = self.value.storage_and_layout();
        match &*value {
            Storage::Cuda(value) => Ok((value.try_clone(layout)?, ().into())),
            _ => bail!("a loss computed on a card has left it"),
        }
    }

    fn bwd(
        &self,
        _hidden: &Tensor,
        _weight: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Ok(mut kept) = self.gradients.lock() else {
            bail!("the loss's gradients were lost when another thread panicked");
        };
        let (dh, dw) = std::mem::take(&mut *kept);
        let scaled = |g: Option<Tensor>| g.map(|g| g.broadcast_mul(grad)).transpose();
        Ok((scaled(dh)?, scaled(dw)?))
    }
}
