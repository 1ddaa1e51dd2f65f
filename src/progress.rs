//! How long work tells the outside what it is doing, and hears that it should stop.
//!
//! Domain rooms never print. They talk to an [`Observer`]; the terminal, a log file or nothing at
//! all stands behind it.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail};

/// Receives progress from a stage and carries the wish to stop back into it.
pub trait Observer: Send + Sync {
    /// A stage begins. `total` is the number of `unit`s it will work through, where known.
    fn begin(&self, _stage: &str, _total: Option<u64>, _unit: &str) {}
    /// The current stage has finished `done` units in all; `detail` is a short live figure.
    fn advance(&self, _done: u64, _detail: &str) {}
    /// The current stage ended; its bar disappears.
    fn end(&self) {}
    /// A finished line for the reader: what came in, what went out, why the rest was dropped.
    fn say(&self, _line: &str) {}
    /// True once the user asked to stop (Ctrl-C, SIGTERM).
    fn cancelled(&self) -> bool {
        false
    }

    /// Fails with [`Cancelled`] once the user asked to stop; call it at every natural pause.
    fn check(&self) -> Result<()> {
        if self.cancelled() {
            bail!(Cancelled);
        }
        Ok(())
    }
}

/// The error a stage ends with when the user asked to stop.
#[derive(Debug)]
pub struct Cancelled;

impl std::fmt::Display for Cancelled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted; nothing half-written was left under a final name")
    }
}

impl std::error::Error for Cancelled {}

/// An observer that hears nothing: for tests and for library use.
pub struct Silent;

impl Observer for Silent {}

/// Counts finished units from several threads and tells the observer now and then.
pub struct Counter<'a> {
    observer: &'a dyn Observer,
    done: AtomicU64,
}

impl<'a> Counter<'a> {
    /// Nothing is done yet.
    pub fn new(observer: &'a dyn Observer) -> Self {
        Counter { observer, done: AtomicU64::new(0) }
    }

    /// One more unit is done; fails once the user asked to stop.
    pub fn tick(&self) -> Result<()> {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(64) {
            self.observer.advance(done, "");
        }
        self.observer.check()
    }
}
