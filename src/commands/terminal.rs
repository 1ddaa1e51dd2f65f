//! Progress on a terminal, and Ctrl-C.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::progress::Observer;

/// Shows a bar for the current stage on stderr (none where stderr is not a terminal) and prints
/// lines above it.
pub struct Terminal {
    bar: Mutex<Option<ProgressBar>>,
    stop: Arc<AtomicBool>,
}

impl Terminal {
    /// Also listens for Ctrl-C and SIGTERM: the first asks the work to stop, a second one kills.
    pub fn new() -> Result<Arc<Self>> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // The order matters: the second signal finds the flag already set.
            signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone())
                .and_then(|_| signal_hook::flag::register(signal, stop.clone()))
                .context("cannot listen for Ctrl-C")?;
        }
        Ok(Arc::new(Terminal { bar: Mutex::new(None), stop }))
    }

    fn with_bar<T>(&self, act: impl FnOnce(&mut Option<ProgressBar>) -> T) -> T {
        act(&mut self.bar.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Observer for Terminal {
    fn begin(&self, stage: &str, total: Option<u64>, unit: &str) {
        let bar = match total {
            Some(total) => ProgressBar::new(total).with_style(style(&format!(
                "{{prefix}} {{wide_bar}} {{human_pos}}/{{human_len}} {unit} {{per_sec}} \
                 {{eta}} left {{msg}}"
            ))),
            None => ProgressBar::new_spinner().with_style(style(&format!(
                "{{prefix}} {{spinner}} {{human_pos}} {unit} {{per_sec}} {{elapsed}} {{msg}}"
            ))),
        };
        bar.set_draw_target(ProgressDrawTarget::stderr());
        bar.set_prefix(stage.to_string());
        bar.enable_steady_tick(Duration::from_millis(250));
        self.with_bar(|current| {
            if let Some(old) = current.replace(bar) {
                old.finish_and_clear();
            }
        });
    }

    fn advance(&self, done: u64, detail: &str) {
        self.with_bar(|bar| {
            if let Some(bar) = bar {
                bar.set_position(done);
                if !detail.is_empty() {
                    bar.set_message(detail.to_string());
                }
            }
        });
    }

    fn end(&self) {
        self.with_bar(|bar| {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
        });
    }

    fn say(&self, line: &str) {
        self.with_bar(|bar| match bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        });
    }

    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.end();
    }
}

fn style(template: &str) -> ProgressStyle {
    // A unit with braces would not parse; the default style is then good enough.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
