//! Every operation on the card against the CPU's, forward and backward.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor, Var};
use proto::chance::Chance;
use proto::model::nf4::Nf4;
use proto::model::ops::adapted_linear::{Dropped, adapted_linear};
use proto::model::ops::attention::{self, Attention, Past, Rotary, attend, attention, frequencies};
use proto::model::ops::cross_entropy::{self, cross_entropy};
use proto::model::ops::cuda::matmul::{Precision, set_precision};
use proto::model::ops::dropout::Dropout;
use proto::model::ops::linear::{FrozenWeight, frozen_linear, linear};
use proto::model::ops::{cuda, rms_norm, swiglu};
use proto::model::weights::Frozen;
use proto::train::AdamW;

use crate::Check;

/// What f32 arithmetic in another order stays under.
const BOUND: f64 = 1e-5;
/// What bf16 operands stay under.
const HALF_BOUND: f64 = 1e-2;

type Op<'a> = &'a dyn Fn(&[Tensor]) -> candle_core::Result<Tensor>;

fn normal(chance: &mut Chance, shape: &[usize]) -> Result<Tensor> {
    let values = (0..shape.iter().product()).map(|_| chance.normal() as f32).collect::<Vec<_>>();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

fn flat(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

/// ‖out − reference‖ / ‖reference‖, NaN where anything is. What cancels to nothing is measured
/// against a tenth an element.
fn error(out: &Tensor, reference: &Tensor) -> Result<f64> {
    let (out, reference) = (flat(out)?, flat(reference)?);
    let square = |x: f32| f64::from(x) * f64::from(x);
    let off: f64 = out.iter().zip(&reference).map(|(a, b)| square(a - b)).sum();
    let all: f64 = reference.iter().map(|b| square(*b)).sum();
    Ok((off / all.max(0.01 * reference.len() as f64)).sqrt())
}

/// The output, and the gradients of its product with a fixed random tensor.
fn results(inputs: &[Tensor], device: &Device, op: Op) -> Result<Vec<Tensor>> {
    let vars = inputs.iter().map(|t| Var::from_tensor(&t.to_device(device)?));
    let vars = vars.collect::<candle_core::Result<Vec<_>>>()?;
    let out = op(&vars.iter().map(|v| v.as_tensor().clone()).collect::<Vec<_>>())?;
    let projection = normal(&mut Chance::new(3, "projection"), out.dims())?.to_device(device)?;
    let gradients = (&out * projection)?.sum_all()?.backward()?;
    let mut all = vec![out.detach()];
    for var in &vars {
        all.push(gradients.get(var).context("an input got no gradient")?.clone());
    }
    Ok(all)
}

impl Check {
    fn error(&mut self, name: &str, error: f64, bound: f64) {
        self.figure(name, error);
        self.expect(error <= bound, &format!("{name}: {error:e} is over {bound:e}"));
    }

    /// The card against the CPU; in a dry run the CPU against the reference.
    fn compare(&mut self, name: &str, inputs: &[Tensor], fast: Op, reference: Op) -> Result<()> {
        self.compare_within(name, inputs, fast, reference, BOUND)
    }

    fn compare_within(
        &mut self,
        name: &str,
        inputs: &[Tensor],
        fast: Op,
        reference: Op,
        bound: f64,
    ) -> Result<()> {
        let wanted = results(inputs, &Device::Cpu, if self.dry { reference } else { fast })?;
        let got = results(inputs, &self.device, fast)?;
        let again = results(inputs, &self.device, fast)?;
        let mut worst = 0f64;
        for ((got, again), wanted) in got.iter().zip(&again).zip(&wanted) {
            let error = error(got, wanted)?;
            worst = if error.is_nan() { error } else { worst.max(error) };
            let same =
                flat(got)?.iter().zip(&flat(again)?).all(|(a, b)| a.to_bits() == b.to_bits());
            self.expect(same, &format!("{name}: the same inputs gave other bytes"));
        }
        self.error(name, worst, bound);
        Ok(())
    }
}

fn shape(heads: usize, kv_heads: usize, dim: usize, lengths: &[usize]) -> Attention {
    let mut at = 0;
    let sequences = lengths.iter().map(|n| {
        at += n;
        at - n..at
    });
    Attention {
        heads,
        kv_heads,
        dim,
        window: None,
        rotary: Arc::new(Rotary::new(&frequencies(dim, 10_000.0), 1024)),
        sequences: Arc::new(sequences.collect()),
        tiles: Arc::default(),
    }
}

pub fn run(check: &mut Check) -> Result<()> {
    cuda::POISON.store(true, Ordering::Relaxed);
    let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    check.figure("seed", seed);
    let chance = &mut Chance::new(seed, "gpu check");

    for (rows, cols) in [(3, 64), (7, 37), (1, 1), (300, 256), (1536, 576), (211, 3584)] {
        let weights = flat(&normal(chance, &[rows, cols])?)?;
        let nf4 = Frozen::Nf4(Arc::new(Nf4::quantize(&weights, rows, cols)));
        let wanted = nf4.dequantize()?;
        let card = nf4.clone().to_device(&check.device)?;
        check.error(&format!("nf4 {rows}x{cols}"), error(&card.dequantize()?, &wanted)?, BOUND);
        let double = Frozen::Nf4(Arc::new(Nf4::quantize(&weights, rows, cols).doubled()));
        let on_card = double.clone().to_device(&check.device)?.dequantize()?;
        let off = error(&on_card, &double.dequantize()?)?;
        check.error(&format!("nf4 with doubled scales {rows}x{cols}"), off, BOUND);
        for n in [1, 67] {
            let weight: [Arc<dyn FrozenWeight>; 2] =
                [Arc::new(nf4.clone()), Arc::new(card.clone())];
            let on = |t: &[Tensor]| &weight[usize::from(t[0].device().is_cuda())];
            let plain: Op = &|t| t[0].matmul(&wanted.t()?);
            let adapted: Op =
                &|t| plain(t)? + (t[0].matmul(&t[1].t()?)?.matmul(&t[2].t()?)? * 2.0)?;
            let inputs = [
                normal(chance, &[n, cols])?,
                normal(chance, &[3, cols])?,
                normal(chance, &[rows, 3])?,
            ];
            let fast: [Op; 2] = [&|t| frozen_linear(&t[0], on(t)), &|t| {
                adapted_linear(&t[0], on(t), (&t[1], &t[2]), 2.0, None)
            }];
            let size = format!("{n}x{rows}x{cols}");
            check.compare(&format!("frozen linear {size}"), &inputs[..1], fast[0], plain)?;
            check.compare(&format!("adapted linear {size}"), &inputs, fast[1], adapted)?;
            let state = chance.bits();
            let mask = Dropout { share: 0.3, chance: &mut Chance::resume(state) }.mask(n * cols);
            let mask = Tensor::from_vec(mask, (n, cols), &Device::Cpu)?;
            let dropped: Op = &|t| {
                let inner = (&t[0] * &mask)?.matmul(&t[1].t()?)?;
                plain(t)? + (inner.matmul(&t[2].t()?)? * 2.0)?
            };
            let fast_dropped: Op = &|t| {
                let dropped = Dropped { share: 0.3, chance: Chance::resume(state) };
                adapted_linear(&t[0], on(t), (&t[1], &t[2]), 2.0, Some(dropped))
            };
            let name = format!("adapted linear with dropout {size}");
            check.compare(&name, &inputs, fast_dropped, dropped)?;
            if n > 1 && rows > 1 {
                set_precision(Precision::Half);
                let name = format!("adapted linear in bf16 {size}");
                check.compare_within(&name, &inputs, fast[1], adapted, HALF_BOUND)?;
                set_precision(Precision::Full);
            }
        }
    }
    for (n, out, width) in [(6, 7, 10), (100, 16, 576), (33, 1536, 16)] {
        let inputs = [normal(chance, &[n, width])?, normal(chance, &[out, width])?];
        let name = format!("linear {n}x{out}x{width}");
        check.compare(&name, &inputs, &|t| linear(&t[0], &t[1]), &|t| t[0].matmul(&t[1].t()?))?;
    }
    for (n, width) in [(5, 12), (1, 1), (33, 3584), (1000, 576)] {
        let inputs = [normal(chance, &[n, width])?, normal(chance, &[width])?];
        let fast: Op = &|t| rms_norm::rms_norm(&t[0], &t[1], 1e-5);
        let reference: Op = &|t| rms_norm::reference(&t[0], &t[1], 1e-5);
        check.compare(&format!("rms_norm {n}x{width}"), &inputs, fast, reference)?;
    }
    for (n, width) in [(4, 9), (1, 1), (257, 1536)] {
        let inputs = [normal(chance, &[n, width])?, normal(chance, &[n, width])?];
        let fast: Op = &|t| swiglu::swiglu(&t[0], &t[1]);
        let reference: Op = &|t| swiglu::reference(&t[0], &t[1]);
        check.compare(&format!("swiglu {n}x{width}"), &inputs, fast, reference)?;
    }
    let cases: [(usize, usize, usize, &[usize]); 6] = [
        (4, 2, 6, &[3, 1, 5]),
        (1, 1, 2, &[1]),
        (4, 2, 40, &[32, 33, 31, 64]),
        (9, 3, 64, &[200, 1, 97]),
        (14, 2, 128, &[161]),
        (3, 3, 100, &[70, 12]),
    ];
    for (heads, kv_heads, dim, lengths) in cases {
        let (n, shape) = (lengths.iter().sum(), shape(heads, kv_heads, dim, lengths));
        let (q, kv) = (heads * dim, kv_heads * dim);
        let inputs =
            [normal(chance, &[n, q])?, normal(chance, &[n, kv])?, normal(chance, &[n, kv])?];
        // A table of tiles belongs to one device.
        let on = |s: &Attention| Attention { tiles: Arc::default(), ..s.clone() };
        let name = format!("attention {heads}/{kv_heads}x{dim} {lengths:?}");
        let fast: Op = &|t| attention(&t[0], &t[1], &t[2], &on(&shape));
        let reference: Op = &|t| attention::reference(&t[0], &t[1], &t[2], &shape);
        check.compare(&name, &inputs, fast, reference)?;
        if [64, 128].contains(&dim) {
            set_precision(Precision::Half);
            let name = format!("{name} in bf16");
            check.compare_within(&name, &inputs, fast, reference, HALF_BOUND)?;
            set_precision(Precision::Full);
        }
    }
    cached(check, chance)?;
    for (n, width, vocabulary) in [(5, 8, 11), (1, 4, 2), (700, 64, 50_001)] {
        let inputs = [normal(chance, &[n, width])?, normal(chance, &[vocabulary, width])?];
        let targets: Vec<u32> = (0..n).map(|_| chance.below(vocabulary) as u32).collect();
        let fast: Op = &|t| cross_entropy(&t[0], &t[1], &targets);
        let reference: Op = &|t| cross_entropy::reference(&t[0], &t[1], &targets);
        check.compare(
            &format!("cross_entropy {n}x{width}x{vocabulary}"),
            &inputs,
            fast,
            reference,
        )?;
    }
    adamw(check, chance, false)?;
    adamw(check, chance, true)?;
    cuda::POISON.store(false, Ordering::Relaxed);
    Ok(())
}

/// Attention over a cache, in steps, against attention over the whole.
fn cached(check: &mut Check, chance: &mut Chance) -> Result<()> {
    let (a, b) = (90, 41);
    let inputs = [
        normal(chance, &[a + b, 4 * 40])?,
        normal(chance, &[a + b, 2 * 40])?,
        normal(chance, &[a + b, 2 * 40])?,
    ];
    let whole = attention(&inputs[0], &inputs[1], &inputs[2], &shape(4, 2, 40, &[a, b]))?;
    let (mut first, mut second) = (Past::default(), Past::default());
    let (mut outs, mut seen) = ([Vec::new(), Vec::new()], (0, 0));
    for (m, n) in [(33, 1), (1, 32), (56, 8)] {
        let cut = |t: &Tensor| -> Result<Tensor> {
            let parts = [t.narrow(0, seen.0, m)?, t.narrow(0, a + seen.1, n)?];
            Ok(Tensor::cat(&parts, 0)?.to_device(&check.device)?)
        };
        let [q, k, v] = [cut(&inputs[0])?, cut(&inputs[1])?, cut(&inputs[2])?];
        let shape = shape(4, 2, 40, &[m, n]);
        let out = attend(&q, &k, &v, &shape, &mut [&mut first, &mut second])?;
        outs[0].push(out.narrow(0, 0, m)?);
        outs[1].push(out.narrow(0, m, n)?);
        seen = (seen.0 + m, seen.1 + n);
    }
    let out = Tensor::cat(&outs.concat(), 0)?;
    check.error("attention with a cache", error(&out, &whole)?, BOUND);
    Ok(())
}

/// Four clipped steps of the optimiser on both devices, its states in f32 or in 8 bits.
fn adamw(check: &mut Check, chance: &mut Chance, eight: bool) -> Result<()> {
    let starts = [normal(chance, &[37, 300])?, normal(chance, &[5])?];
    let pulls = [normal(chance, &[37, 300])?, normal(chance, &[5])?];
    let steps = |device: &Device| -> Result<Vec<Tensor>> {
        let vars = starts.iter().map(|t| Var::from_tensor(&t.to_device(device)?));
        let vars = vars.collect::<candle_core::Result<Vec<_>>>()?;
        let named = ["matrix", "vector.lora_B"].map(String::from).into_iter().zip(vars.clone());
        let mut adam = AdamW::new(named.collect(), 0.1, 4.0, eight)?;
        let mut norms = Vec::new();
        for _ in 0..4 {
            let loss = |(v, p): (&Var, &Tensor)| -> Result<Tensor> {
                Ok((v.as_tensor().sqr()? * p.to_device(device)?)?.sum_all()?)
            };
            let losses = vars.iter().zip(&pulls).map(loss).collect::<Result<Vec<_>>>()?;
            let loss = (&losses[0] + &losses[1])?;
            adam.gather(&loss.backward()?)?;
            adam.gather(&loss.backward()?)?;
            norms.push(adam.step(0.01, 1.0)? as f32);
        }
        let mut all: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
        all.push(Tensor::new(norms, &Device::Cpu)?);
        if !device.is_cpu() {
            states_come_back(&adam)?;
        }
        Ok(all)
    };
    let (wanted, got) = (steps(&Device::Cpu)?, steps(&check.device)?);
    for (name, (got, wanted)) in ["matrix", "vector", "norms"].iter().zip(got.iter().zip(&wanted)) {
        let bits = if eight { " in 8 bits" } else { "" };
        // A number on the bound between two codes may take either.
        let bound = if eight { 5e-3 } else { BOUND };
        check.error(&format!("adamw {name}{bits}"), error(got, wanted)?, bound);
    }
    Ok(())
}

/// What a checkpoint would hold can be set again.
fn states_come_back(adam: &AdamW) -> Result<()> {
    for part in adam.parts() {
        let bytes = adam.part(&part.name)?;
        let wanted: usize = part.shape.iter().product::<usize>() * part.dtype.bitsize() / 8;
        ensure!(bytes.len() == wanted, "{} has {} bytes, not {wanted}", part.name, bytes.len());
    }
    Ok(())
}
