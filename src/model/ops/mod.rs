//! The operations of the decoder, one a file: equation, forward, backward, and the naive
//! reference it is tested against.
//!
//! Each runs as one fused [`candle_core::CustomOp1`] (or 2, 3) with a backward of its own, on the
//! CPU and, with the feature `cuda`, on an NVIDIA card, where its kernels lie in `cuda`. On any
//! other device the reference, composed of candle's differentiable operations, runs in its place.

use candle_core::{CpuStorage, Device, Layout, Result, Storage, Tensor, bail};

pub mod adapted_linear;
pub mod attention;
pub mod bf16;
pub mod bias;
pub mod cross_entropy;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod dropout;
pub mod few_rows;
pub mod lanes;
pub mod linear;
pub mod matmul;
pub mod residual;
pub mod rms_norm;
pub mod swiglu;

/// What products with frozen weights read; sums are f32 in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// f32.
    Full,
    /// bf16 operands, as QLoRA computes (Dettmers et al. 2023), and TF32 elsewhere on a card:
    /// faster, at about 3 significant digits.
    Half,
}

/// Whether the fused operations run on this device.
pub(crate) fn fused(device: &Device) -> bool {
    device.is_cpu() || (cfg!(feature = "cuda") && device.is_cuda())
}

/// The values of a contiguous f32 storage.
pub(crate) fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&storage.as_slice::<f32>()?[from..to]),
        None => {
            bail!("a fused operation needs a contiguous input, got strides {:?}", layout.stride())
        }
    }
}

/// Runs `f` on the values of a contiguous f32 tensor on the CPU.
pub(crate) fn read<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(cpu) => Ok(f(values(cpu, layout)?)),
        _ => bail!("a CPU operation was given a tensor on another device"),
    }
}

/// Runs `f` on the values of a contiguous bf16 tensor on the CPU.
pub(crate) fn read_table<R>(tensor: &Tensor, f: impl FnOnce(&[half::bf16]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(cpu), Some((from, to))) => Ok(f(&cpu.as_slice::<half::bf16>()?[from..to])),
        _ => bail!("a table that does not lie in host memory as it is"),
    }
}

/// A new tensor beside `like`, of the same device.
pub(crate) fn beside(
    like: &Tensor,
    values: Vec<f32>,
    shape: impl candle_core::shape::ShapeWithOneHole,
) -> Result<Tensor> {
    Tensor::from_vec(values, shape, like.device())
}

#[cfg(test)]
pub(crate) mod testing {
    //! Finite differences and comparisons for the operations' tests.

    use candle_core::{Device, Result, Tensor, Var};

    use crate::chance::Chance;

    /// A tensor of normal numbers.
    pub fn normal(chance: &mut Chance, shape: &[usize]) -> Tensor {
        let n = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|_| chance.normal() as f32).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// The largest difference relative to the largest value of `b`.
    pub fn difference(a: &Tensor, b: &Tensor) -> f64 {
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (a, b) = (flat(a), flat(b));
        assert_eq!(a.len(), b.len());
        let scale = b.iter().fold(1e-6f32, |m, v| m.max(v.abs()));
        a.iter().zip(&b).fold(0f32, |m, (x, y)| m.max((x - y).abs())) as f64 / scale as f64
    }

    /// Compares the gradients of `fast` and `slow` of a fixed random projection of their output,
    /// for every input, and `slow`'s against finite differences on a few coordinates.
    pub fn same_gradients(
        inputs: &[Tensor],
        fast: impl Fn(&[Tensor]) -> Result<Tensor>,
        slow: impl Fn(&[Tensor]) -> Result<Tensor>,
    ) {
        let mut chance = Chance::new(3, "projection");
        let shape = slow(inputs).unwrap().dims().to_vec();
        let projection = normal(&mut chance, &shape);
        let gradients = |f: &dyn Fn(&[Tensor]) -> Result<Tensor>| {
            let vars: Vec<Var> = inputs.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
            let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
            let out = f(&tensors).unwrap();
            let loss = (out.clone() * &projection).unwrap().sum_all().unwrap();
            let grads = loss.backward().unwrap();
            let each: Vec<_> = vars.iter().map(|v| grads.get(v).cloned()).collect();
            (out, each)
        };
        let (out_fast, grads_fast) = gradients(&fast);
        let (out_slow, grads_slow) = gradients(&slow);
        assert!(difference(&out_fast, &out_slow) < 1e-5, "forward differs");
        for (i, (a, b)) in grads_fast.iter().zip(&grads_slow).enumerate() {
            let (a, b) = (a.as_ref().expect("fast gradient"), b.as_ref().expect("slow gradient"));
            assert!(difference(a, b) < 1e-4, "gradient of input {i} differs");
        }
        let value = |tensors: &[Tensor]| -> f64 {
            let out = fast(tensors).unwrap();
            let out = out.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let weights = projection.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            out.iter().zip(&weights).map(|(a, b)| *a as f64 * *b as f64).sum()
        };
        for (i, input) in inputs.iter().enumerate() {
            let flat = input.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let grad = grads_fast[i].as_ref().unwrap().flatten_all().unwrap();
            let grad = grad.to_vec1::<f32>().unwrap();
            let scale = grad.iter().fold(1e-3f32, |m, v| m.max(v.abs())) as f64;
            for _ in 0..6 {
                let at = chance.below(flat.len());
                let h = 1e-2f32;
                let shifted = |by: f32| {
                    let mut moved = flat.clone();
                    moved[at] += by;
                    let mut all = inputs.to_vec();
                    all[i] = Tensor::from_vec(moved, input.dims(), &Device::Cpu).unwrap();
                    value(&all)
                };
                let numeric = (shifted(h) - shifted(-h)) / (2.0 * h as f64);
                let analytic = grad[at] as f64;
                assert!(
                    (numeric - analytic).abs() / scale < 2e-2,
                    "input {i}[{at}]: finite difference {numeric}, gradient {analytic}"
                );
            }
        }
    }
}
