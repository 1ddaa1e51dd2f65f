//! Low-rank deltas (Hu et al. 2021) on the decoder's linears: `y = W x + s · B A x`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Var};

/// The two factors of one linear's delta.
#[derive(Debug, Clone)]
pub struct Pair {
    /// [r, in].
    pub a: Var,
    /// [out, r].
    pub b: Var,
}

/// All deltas of an adapter, by the linear's name (`model.layers.0.self_attn.q_proj`).
#[derive(Debug, Clone)]
pub struct Lora {
    /// What the delta is multiplied by: `alpha / r`, or `alpha / √r` for rsLoRA.
    pub scale: f64,
    /// The share of inputs the delta does not see while training.
    pub dropout: f64,
    /// The factors.
    pub pairs: BTreeMap<String, Pair>,
}

impl Lora {
    /// The same factors as variables of their own where the base computes.
    pub fn to_device(&self, device: &Device) -> candle_core::Result<Lora> {
        let moved = |v: &Var| Var::from_tensor(&v.as_tensor().to_device(device)?);
        let pairs = self
            .pairs
            .iter()
            .map(|(name, Pair { a, b })| Ok((name.clone(), Pair { a: moved(a)?, b: moved(b)? })));
        Ok(Lora { pairs: pairs.collect::<candle_core::Result<_>>()?, ..*self })
    }

    /// Every factor with its name, in a fixed order.
    pub fn variables(&self) -> Vec<(String, Var)> {
        let each = |(name, pair): (&String, &Pair)| {
            [(format!("{name}.lora_A"), pair.a.clone()), (format!("{name}.lora_B"), pair.b.clone())]
        };
        self.pairs.iter().flat_map(each).collect()
    }

    /// How many numbers the factors hold.
    pub fn parameters(&self) -> usize {
        self.variables().iter().map(|(_, v)| v.elem_count()).sum()
    }
}

/// Checks that the factors of shapes `a` and `b` have a linear of the right shape to act on; an
/// adapter under names that nothing reads would otherwise be silently without effect.
pub fn fits(
    name: &str,
    a: &[usize],
    b: &[usize],
    linears: &[(String, usize, usize)],
) -> Result<()> {
    let (_, out, width) = linears.iter().find(|linear| linear.0 == name).with_context(|| {
        format!("the adapter has factors for `{name}`, which the base does not have")
    })?;
    ensure!(
        a.len() == 2 && b.len() == 2 && a[1] == *width && b[0] == *out && a[0] == b[1],
        "the adapter's factors for `{name}` are {a:?} and {b:?}; the base wants [r, {width}] and [{out}, r]"
    );
    Ok(())
}
