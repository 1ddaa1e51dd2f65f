//! The Rhai host: the only room that knows the scripting language.
//!
//! A [`Script`] is read and parsed, its parameters are found without running it, and then it runs
//! against a [`Host`], which holds the configuration, the run and the observer. What scripts can
//! call lives in `verbs/`, one module per noun; `proto/…` modules are Rhai themselves and are
//! embedded from `stdlib/`. A gate [`policy`] runs in an engine of its own that can do nothing but
//! look at evidence.

use rhai::EvalAltResult;

mod captures;
mod check;
mod closures;
mod compare;
mod doc;
mod engine;
mod failure;
mod host;
mod library;
pub mod options;
mod params;
pub mod policy;
mod source;
mod stdlib;
mod surface;
mod testing;
mod verbs;

pub use check::check;
pub use doc::{definitions, describe};
pub use failure::ScriptFailure;
pub use host::Host;
pub use source::Script;
pub use testing::{Verdict, run_tests};

/// What a native function gives back to a script. Named as in Rhai, whose generated definitions
/// know this name and leave it out.
pub(crate) type RhaiResultOf<T> = Result<T, Box<EvalAltResult>>;

/// Turns a domain error into one that a script sees at the place of the call. A wish to stop
/// stays uncatchable.
pub(crate) fn fail(error: anyhow::Error) -> Box<EvalAltResult> {
    if error.is::<crate::progress::Cancelled>() {
        return EvalAltResult::ErrorTerminated(rhai::Dynamic::UNIT, rhai::Position::NONE).into();
    }
    format!("{error:#}").into()
}
