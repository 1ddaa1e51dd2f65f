//! What scripts can call: one file per noun. A verb borrows handles, calls one domain function
//! and wraps its result; a verb with a loop in it has stolen domain work.
//!
//! To add a noun: a file with `pub fn register(engine: &mut Engine)`, and its line in
//! [`register`].

use std::sync::Arc;

use rhai::{Engine, NativeCallContext};

use super::RhaiResultOf;
use super::host::Host;

mod asserts;
mod chance;
mod dataset;
mod judging;
mod making;
mod row;
mod rows;
mod scoring;
mod settings;
mod traces;

pub use row::Row;
pub use settings::unknown_key;

/// Registers every noun.
pub fn register(engine: &mut Engine) {
    settings::register(engine);
    traces::register(engine);
    making::register(engine);
    dataset::register(engine);
    judging::register(engine);
    chance::register(engine);
    rows::register(engine);
    row::register(engine);
    scoring::register(engine);
    super::policy::register(engine);
}

/// Registers what only test functions may call.
pub fn register_for_tests(engine: &mut Engine) {
    asserts::register(engine);
}

/// The host as the engine carries it.
#[derive(Clone)]
pub struct HostHandle(pub Arc<Host>);

/// The host of the script that is calling.
pub fn host(ctx: &NativeCallContext) -> RhaiResultOf<Arc<Host>> {
    let handle = ctx.tag().and_then(|tag| tag.read_lock::<HostHandle>());
    match handle {
        Some(handle) => Ok(handle.0.clone()),
        None => Err("this can only be called by a script that `proto run` runs".into()),
    }
}
