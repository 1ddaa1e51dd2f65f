//! How long single operations take at Qwen2.5-7B's shape, sequence 2,048: where a step's time goes.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Tensor, Var};
use proto::chance::Chance;
use proto::model::nf4::{Nf4, Scales};
use proto::model::ops::attention::{Attention, Rotary, attention, frequencies};
use proto::model::ops::cross_entropy::cross_entropy;
use proto::model::ops::cuda::matmul::{Precision, set_precision};
use proto::model::ops::linear::{FrozenWeight, frozen_linear};
use proto::model::ops::{rms_norm::rms_norm, swiglu::swiglu};
use proto::model::weights::Frozen;

use crate::Check;

/// Milliseconds of forward and backward, the best of five after two; random inputs.
fn time(
    check: &mut Check,
    name: &str,
    shapes: &[(usize, usize)],
    operations: f64,
    op: &dyn Fn(&[Tensor]) -> candle_core::Result<Tensor>,
) -> Result<()> {
    let random = |shape: &(usize, usize)| -> Result<Tensor> {
        let mut chance = Chance::new(1, "speed");
        let values: Vec<f32> = (0..shape.0 * shape.1).map(|_| chance.unit() as f32 - 0.5).collect();
        Ok(Var::from_tensor(&Tensor::from_vec(values, *shape, &check.device)?)?.into_inner())
    };
    let inputs = shapes.iter().map(random).collect::<Result<Vec<_>>>()?;
    let (mut forward, mut both) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..7 {
        check.device.synchronize()?;
        let begun = Instant::now();
        let out = op(&inputs)?;
        check.device.synchronize()?;
        forward = forward.min(begun.elapsed().as_secs_f64());
        let gradients = (&out * &out)?.sum_all()?.backward()?;
        check.device.synchronize()?;
        both = both.min(begun.elapsed().as_secs_f64());
        drop(gradients);
    }
    check.figure(&format!("{name}: forward, ms"), forward * 1e3);
    check.figure(&format!("{name}: with backward, ms"), both * 1e3);
    if operations > 0.0 {
        check.figure(&format!("{name}: forward, TFLOP/s"), operations / forward / 1e12);
    }
    Ok(())
}

pub fn run(check: &mut Check) -> Result<()> {
    let part = if check.dry { 32 } else { 1 };
    let (n, hidden, inner, vocabulary) = (2048 / part, 3584 / part, 18_944 / part, 152_064 / part);
    let codes = vec![0x5a; inner * hidden / 2];
    let scales = Scales::Plain(vec![0.03; (inner * hidden).div_ceil(64)].into());
    let nf4 = Frozen::Nf4(Arc::new(Nf4 { codes: codes.into(), scales, rows: inner, cols: hidden }));
    let weight: Arc<dyn FrozenWeight> = Arc::new(nf4.to_device(&check.device)?);
    let operations = 2.0 * (n * hidden * inner) as f64;
    for (name, precision) in [("f32", Precision::Full), ("bf16", Precision::Half)] {
        set_precision(precision);
        let name = format!("frozen linear {name}");
        time(check, &name, &[(n, hidden)], operations, &|t| frozen_linear(&t[0], &weight))?;
        if precision == Precision::Full || !check.dry {
            let targets: Vec<u32> = (0..n).map(|i| (i * 61 % vocabulary) as u32).collect();
            let operations = 2.0 * (n * hidden * vocabulary) as f64;
            let name = format!("cross_entropy {}", &name[14..]);
            let head = Tensor::ones((vocabulary, hidden), DType::F32, &check.device)?;
            time(check, &name, &[(n, hidden)], operations, &|t| {
                cross_entropy(&t[0], &head, &targets)
            })?;
        }
    }
    set_precision(Precision::Full);
    let (heads, kv_heads, dim) = (28, 4, 128);
    let shape = Attention {
        heads,
        kv_heads,
        dim,
        window: None,
        rotary: Arc::new(Rotary::new(&frequencies(dim, 10_000.0), 8192)),
        sequences: Arc::new(std::iter::once(0..n).collect()),
        tiles: Arc::default(),
    };
    let operations = 4.0 * (n * n / 2 * heads * dim) as f64;
    let shapes = [(n, heads * dim), (n, kv_heads * dim), (n, kv_heads * dim)];
    for (name, precision) in [("f32", Precision::Full), ("bf16", Precision::Half)] {
        set_precision(precision);
        let name = format!("attention {name}");
        time(check, &name, &shapes, operations, &|t| attention(&t[0], &t[1], &t[2], &shape))?;
    }
    set_precision(Precision::Full);
    time(check, "swiglu", &[(n, inner), (n, inner)], 0.0, &|t| swiglu(&t[0], &t[1]))?;
    let ones = Tensor::ones(hidden, DType::F32, &check.device)?;
    time(check, "rms_norm", &[(n, hidden)], 0.0, &|t| rms_norm(&t[0], &ones, 1e-5))?;
    Ok(())
}
