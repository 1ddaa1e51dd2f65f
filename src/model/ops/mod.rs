//! The operations of the decoder, one a file: equation, forward, backward, and the naive
//! reference it is tested against.
//!
//! Each runs as one fused [`candle_core::CustomOp1`] (or 2, 3) with a backward of its own, on the
//! CPU and, with the feature `cuda`, on an NVIDIA card, where its kernels lie in `cuda`. On any
//! other device the reference, composed of candle's differentiable operations, runs in its place.

use candle_core::{CpuStorage, Device, Layout, Result, Storage, Tensor, bail};

pub mod adapted_linear;
pub mod attention;
pub mod bias;
pub mod cross_entropy;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod dropout;
pub mod few_rows;
pub mod linear;
pub mod matmul;
pub mod rms_norm;
pub mod swiglu;

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

/// A new tensor beside `like`, of the same device.
pub(crate) fn beside(
    like: &Tensor,
    values: Vec<f32>,
    shape: impl candle_core::shape::ShapeWithOneHole,
) -> Result<Tensor> {
    Tensor::from_vec(values, shape, like.device())
}

/// A function compiled for the widest vectors of several kinds of processor, of which the one at
/// hand is asked. Loops in it become vectors; the bits are the same at any width.
macro_rules! vectorised {
    ($(#[$doc:meta])* $see:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)?
        $body:block) => {
        $(#[$doc])*
        $see fn $name($($arg: $type),*) $(-> $out)? {
            #[inline(always)]
            fn plain($($arg: $type),*) $(-> $out)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl")]
                fn in_512($($arg: $type),*) $(-> $out)? {
                    plain($($arg),*)
                }
                #[target_feature(enable = "avx2")]
                fn in_256($($arg: $type),*) $(-> $out)? {
                    plain($($arg),*)
                }
                if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                    // SAFETY: the processor was asked.
                    return unsafe { in_512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor was asked.
                    return unsafe { in_256($($arg),*) };
                }
            }
            plain($($arg),*)
        }
    };
}
pub(crate) use vectorised;

/// `e^x` for `x ≤ 0` to the last places, without a branch or a call, so that loops over it become
/// vectors; below -87 it is that of -87, next to the least number that is not denormal.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // e^x = 2^n · e^r, n the nearest whole number of ln 2 in x, |r| ≤ ln 2 / 2.
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2²³: a sum with it has no fraction, and ends in n
    let x = x.max(-87.0);
    let sum = x * std::f32::consts::LOG2_E + ROUND;
    let n = sum - ROUND;
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let mut p = 1.0 / 5040.0;
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = p * r + c;
    }
    p * f32::from_bits(sum.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23)
}

#[cfg(test)]
mod tests {
    use super::exp;

    vectorised! {
        fn exponentials(inputs: &mut [f32]) {
            inputs.iter_mut().for_each(|x| *x = exp(*x));
        }
    }

    #[test]
    fn the_exponential_is_right_to_the_last_places() {
        let inputs: Vec<f32> = (0..=870_000).map(|i| i as f32 * -1e-4).collect();
        let mut results = inputs.clone();
        exponentials(&mut results);
        for (x, e) in inputs.iter().zip(results) {
            let want = f64::from(*x).exp();
            assert!((f64::from(e) - want).abs() <= 2.5e-7 * want, "{x}: {e} instead of {want}");
        }
        assert_eq!((exp(0.0), exp(-1e9), exp(f32::NEG_INFINITY)), (1.0, exp(-87.0), exp(-87.0)));
        assert!(exp(-87.0) < 1.7e-38);
    }
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
