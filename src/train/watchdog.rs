//! Stops a training that runs away before it has spent the night on it.

use anyhow::{Result, bail};

/// How much of the smoothed loss stays from step to step.
const SMOOTH: f64 = 0.9;
/// Micro-batches whose examples are remembered.
const REMEMBERED: usize = 64;
/// How many of them are named.
const NAMED: usize = 3;

/// Watches the smoothed loss: once it is `allowed` nats above its lowest, the steps since are not
/// noise, and the model unlearns.
pub(super) struct Watchdog {
    allowed: f64,
    smoothed: Option<f64>,
    lowest: f64,
    /// Step, loss and examples of the newest micro-batches.
    recent: Vec<(usize, f64, String)>,
}

impl Watchdog {
    /// Goes on after the losses of earlier steps; `allowed` 0 watches nothing.
    pub fn new(allowed: f64, losses: &[f64]) -> Self {
        let mut watchdog =
            Watchdog { allowed, smoothed: None, lowest: f64::INFINITY, recent: Vec::new() };
        losses.iter().for_each(|loss| watchdog.smooth(*loss));
        watchdog
    }

    fn smooth(&mut self, loss: f64) {
        let before = self.smoothed.unwrap_or(loss);
        let smoothed = SMOOTH * before + (1.0 - SMOOTH) * loss;
        self.smoothed = Some(smoothed);
        self.lowest = self.lowest.min(smoothed);
    }

    /// Remembers the mean loss (nats per token) of a micro-batch and what its examples are called.
    pub fn saw(&mut self, step: usize, loss: f64, names: impl FnOnce() -> String) {
        if self.allowed > 0.0 {
            if self.recent.len() == REMEMBERED {
                self.recent.remove(0);
            }
            self.recent.push((step, loss, names()));
        }
    }

    /// Takes in the loss of a step; an error when the training runs away.
    pub fn judge(&mut self, loss: f64) -> Result<()> {
        self.smooth(loss);
        let (smoothed, lowest) = (self.smoothed.unwrap_or(loss), self.lowest);
        if self.allowed == 0.0 || smoothed - lowest < self.allowed {
            return Ok(());
        }
        self.recent.sort_by(|a, b| b.1.total_cmp(&a.1));
        let worst = self.recent.iter().take(NAMED);
        let worst: Vec<_> = worst
            .map(|(step, loss, names)| format!("step {step}, loss {loss:.2}: {names}"))
            .collect();
        bail!(
            "the training runs away: its smoothed loss rose from {lowest:.2} to {smoothed:.2} nats \
             a token. Lower LEARNING_RATE, or look at the worst examples ({}); LOSS_WATCHDOG is \
             how far it may rise",
            worst.join("; ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(allowed: f64, losses: impl IntoIterator<Item = f64>) -> Option<String> {
        let mut watchdog = Watchdog::new(allowed, &[]);
        for (step, loss) in losses.into_iter().enumerate() {
            watchdog.saw(step, loss, || ["calm", "wild"][usize::from(loss > 5.0)].into());
            if let Err(error) = watchdog.judge(loss) {
                return Some(format!("after {step}: {error}"));
            }
        }
        None
    }

    #[test]
    fn a_spike_passes_and_a_runaway_is_stopped_by_name() {
        let falling = (0..50).map(|i| 4.0 / (1.0 + i as f64));
        assert_eq!(run(2.0, falling.clone()), None);
        assert_eq!(run(2.0, falling.clone().chain([9.0]).chain(falling.clone())), None);
        let stopped = run(2.0, falling.clone().chain([9.0; 10])).unwrap();
        assert!(stopped.contains("loss 9.00: wild"), "{stopped}");
        assert_eq!(run(0.0, falling.chain([9.0; 10])), None);
    }

    #[test]
    fn goes_on_where_an_interrupted_run_stood() {
        let losses: Vec<f64> = (0..20).map(|i| 3.0 / (1.0 + i as f64)).collect();
        let mut whole = Watchdog::new(1.0, &[]);
        losses.iter().for_each(|loss| whole.judge(*loss).unwrap());
        let resumed = Watchdog::new(1.0, &losses);
        assert_eq!((whole.smoothed, whole.lowest), (resumed.smoothed, resumed.lowest));
    }
}
