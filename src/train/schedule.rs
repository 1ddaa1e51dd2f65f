//! The learning rate over the steps, as transformers' schedulers of the same names.

/// How the rate falls after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// Not at all.
    Constant,
    /// In a straight line to zero.
    Linear,
    /// Along half a cosine to zero.
    Cosine,
}

impl Schedule {
    /// The schedule of that name in the configuration, whose key admits these three only.
    pub fn named(name: &str) -> Self {
        match name {
            "constant" => Schedule::Constant,
            "linear" => Schedule::Linear,
            _ => Schedule::Cosine,
        }
    }

    /// The factor on the peak rate at `step` (from 0) of `total`, after `warmup` rising steps.
    pub fn factor(self, step: usize, warmup: usize, total: usize) -> f64 {
        if step < warmup {
            return (step + 1) as f64 / (warmup + 1) as f64;
        }
        let progress = (step - warmup) as f64 / (total.saturating_sub(warmup)).max(1) as f64;
        match self {
            Schedule::Constant => 1.0,
            Schedule::Linear => 1.0 - progress,
            Schedule::Cosine => 0.5 * (1.0 + libm::cos(std::f64::consts::PI * progress)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_then_falls_to_almost_nothing() {
        for schedule in [Schedule::Linear, Schedule::Cosine] {
            let factors: Vec<f64> = (0..100).map(|s| schedule.factor(s, 10, 100)).collect();
            assert!(factors[..10].windows(2).all(|w| w[0] < w[1]));
            assert!(factors[10..].windows(2).all(|w| w[0] > w[1]));
            assert!((factors[10] - 1.0).abs() < 1e-12 && factors[99] < 0.02);
        }
        assert_eq!(Schedule::Constant.factor(99, 10, 100), 1.0);
    }
}
