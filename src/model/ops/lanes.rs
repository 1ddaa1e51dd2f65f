//! Sums and exponentials over slices, in sixteen lanes: the same bits whatever the machine's
//! vectors hold, since every lane adds in order and the lanes are added in a fixed tree.

const LANES: usize = 16;

/// Runs `f`, compiled for the widest vectors that this machine has. What `f` calls must be inlined
/// into it to gain by that.
#[inline]
pub fn wide<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw")]
        unsafe fn avx512<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        #[target_feature(enable = "avx2")]
        unsafe fn avx2<R>(f: impl FnOnce() -> R) -> R {
            f()
        }
        if is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
        {
            // SAFETY: the machine has it.
            return unsafe { avx512(f) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the machine has it.
            return unsafe { avx2(f) };
        }
    }
    f()
}

/// `e^x`, to two units in the last place; 0 below −87.3 and infinite above 88.7. The reduction and
/// the polynomial of Cephes' `expf` (Moshier 1989).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding and taking away 1.5·2²³ rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    let bounded = x.clamp(-87.336_54, 88.722_83);
    let shifted = bounded * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = bounded - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_6e-1, 0.5] {
        p = p * r + c;
    }
    let e = p * r * r + r + 1.0;
    // 2ⁿ in two steps, since n may be 128; the whole number stands in the low bits of `shifted`.
    let n = (shifted.to_bits() as i32) - (ROUND.to_bits() as i32);
    let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
    let value = e * power(n >> 1) * power(n - (n >> 1));
    if x < -87.336_54 {
        0.0
    } else if x > 88.722_83 {
        f32::INFINITY
    } else {
        // A NaN stays one: `clamp` keeps it.
        value
    }
}

/// Folds by lanes, and the lanes by halves.
#[inline(always)]
fn fold(n: usize, start: f32, each: impl Fn(usize) -> f32, with: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let whole = n / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane = with(*lane, each(at + i));
        }
    }
    for at in whole..n {
        lanes[at - whole] = with(lanes[at - whole], each(at));
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            lanes[i] = with(lanes[i], lanes[i + width]);
        }
    }
    lanes[0]
}

/// `Σ each(i)` for `i < n`.
#[inline(always)]
pub fn sum(n: usize, each: impl Fn(usize) -> f32) -> f32 {
    fold(n, 0.0, each, |a, b| a + b)
}

/// The largest value; −∞ of none. A NaN is passed over.
#[inline(always)]
pub fn largest(values: &[f32]) -> f32 {
    fold(values.len(), f32::NEG_INFINITY, |i| values[i], |a, b| if b > a { b } else { a })
}

/// Turns scores into `exp(scale · (score − most))`, and sums these.
pub fn exponentials(scores: &mut [f32], scale: f32) -> f32 {
    wide(
        #[inline(always)]
        || {
            let most = largest(scores);
            scores.iter_mut().for_each(|v| *v = exp((*v - most) * scale));
            sum(scores.len(), |i| scores[i])
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_right_to_two_units() {
        let mut worst = 0.0f64;
        for i in -87_000..=88_000 {
            let x = i as f32 / 1000.0 + 0.000_37;
            let (got, want) = (
                wide(
                    #[inline(always)]
                    || exp(x),
                ) as f64,
                libm::exp(x as f64),
            );
            let unit = f64::from((want as f32).next_up()) - f64::from(want as f32);
            worst = worst.max((got - want).abs() / unit);
        }
        assert!(worst < 2.0, "{worst}");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!([exp(-88.0), exp(-1e30), exp(f32::NEG_INFINITY)], [0.0; 3]);
        assert_eq!([exp(89.0), exp(f32::INFINITY)], [f32::INFINITY; 2]);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn folds_agree_with_loops() {
        for n in [0, 1, 15, 16, 17, 100] {
            let values: Vec<f32> = (0..n).map(|i| ((i * 7) % 13) as f32 - 6.0).collect();
            assert_eq!(
                wide(
                    #[inline(always)]
                    || sum(n, |i| values[i])
                ),
                values.iter().sum::<f32>()
            );
            let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(largest(&values), most);
        }
    }
}
