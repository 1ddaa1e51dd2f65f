//! The 8-bit dynamic map (Dettmers 2015, arXiv:1511.04561) with which bitsandbytes quantises
//! scales and optimiser states: more steps for large numbers, seven decades for small ones.

use std::sync::LazyLock;

/// Codes of 8 bits for numbers in [-1, 1], or in [0, 1].
pub struct DynamicMap {
    /// What each code stands for, ascending.
    pub values: [f32; 256],
    /// Halfway between neighbours; a number exactly there takes the lower code.
    between: [f32; 255],
}

/// For numbers in [-1, 1].
pub static SIGNED: LazyLock<DynamicMap> = LazyLock::new(|| DynamicMap::new(true));
/// For numbers in [0, 1], with twice the steps.
pub static UNSIGNED: LazyLock<DynamicMap> = LazyLock::new(|| DynamicMap::new(false));

impl DynamicMap {
    /// For every exponent `e` in -6..=0 the middles of 2^(e+6) equal steps over [0.1, 1] (twice
    /// as many where there are no negatives), times 10^e, and their negatives; a zero and a one.
    /// Rounded to f32 where `create_dynamic_map` of bitsandbytes rounds.
    fn new(signed: bool) -> Self {
        let mut values = vec![0.0, 1.0];
        for (doublings, power) in (0..).zip([1e-6f32, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]) {
            let n = if signed { 1usize << doublings } else { 2 << doublings };
            let step = (1.0 - 0.1) / n as f32;
            // torch.linspace counts from the nearer end, each time with one rounding.
            let bound = |i: usize| match i < n.div_ceil(2) {
                true => step.mul_add(i as f32, 0.1),
                false => (-step).mul_add((n - i) as f32, 1.0),
            };
            for i in 0..n {
                let value = (bound(i) + bound(i + 1)) / 2.0 * power;
                values.push(value);
                if signed {
                    values.push(-value);
                }
            }
        }
        values.sort_by(f32::total_cmp);
        let values: [f32; 256] = std::array::from_fn(|i| values[i]);
        DynamicMap { between: std::array::from_fn(|i| (values[i] + values[i + 1]) / 2.0), values }
    }

    /// The values, then the bounds between them and one no number reaches: for a card.
    #[cfg(feature = "cuda")]
    pub fn table(&self) -> Vec<f32> {
        [&self.values[..], &self.between[..], &[f32::INFINITY]].concat()
    }

    /// The code nearest to a number.
    pub fn code(&self, x: f32) -> u8 {
        self.between.partition_point(|bound| x > *bound) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::digest;

    #[test]
    fn the_maps_are_bitsandbytes_to_the_last_bit() {
        let bytes = |map: &DynamicMap| -> Vec<u8> {
            map.values.iter().flat_map(|x| x.to_le_bytes()).collect()
        };
        let signed = "e732639a65f497b4ad684bb166a4467708255edd5207757de8b8f0c7e1fda89c";
        let unsigned = "305f002cc11278fb769d13b25b9fd0c7c83c8402c40a878fe086f4039fde6398";
        assert_eq!(digest(&bytes(&SIGNED)), signed);
        assert_eq!(digest(&bytes(&UNSIGNED)), unsigned);
        assert_eq!((SIGNED.values[0], SIGNED.values[127]), (-0.99296874, 0.0));
    }

    #[test]
    fn a_number_takes_the_nearest_code() {
        for map in [&*SIGNED, &*UNSIGNED] {
            for (code, value) in map.values.iter().enumerate() {
                assert_eq!(usize::from(map.code(*value)), code);
            }
            for i in -300..=300 {
                let x = i as f32 / 290.0;
                let away = |value: f32| (f64::from(x) - f64::from(value)).abs();
                let nearest = map.values.iter().map(|v| away(*v)).fold(f64::INFINITY, f64::min);
                assert!(away(map.values[usize::from(map.code(x))]) <= nearest + 1e-7, "{x}");
            }
        }
    }
}
