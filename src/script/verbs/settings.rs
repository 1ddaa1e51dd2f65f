//! `param` and `setting`: what the configuration says.

use rhai::plugin::*;
use serde_json::Value;

use super::host;
use crate::config::KEYS;
use crate::script::failure::nearest;
use crate::script::{RhaiResultOf, fail};

/// Registers reading access to the configuration.
pub fn register(engine: &mut Engine) {
    engine.register_global_module(exported_module!(verbs).into());
}

#[export_module]
mod verbs {
    /// Declares a parameter of the main script with its default and meaning, and returns its
    /// value: the default, or what an `.env` file, `PROTO_<NAME>` or `NAME=VALUE` on the command
    /// line says. The arguments must be literals; the default's type is the parameter's type.
    #[rhai_fn(name = "param", return_raw)]
    pub fn declare(
        ctx: NativeCallContext,
        name: &str,
        default: Dynamic,
        doc: &str,
    ) -> RhaiResultOf<Dynamic> {
        let _ = (default, doc);
        read(ctx, name)
    }

    /// The value of a parameter that the main script declares.
    #[rhai_fn(name = "param", return_raw)]
    pub fn read(ctx: NativeCallContext, name: &str) -> RhaiResultOf<Dynamic> {
        let host = host(&ctx)?;
        let value = host.config.param(name).ok_or_else(|| {
            fail(anyhow::anyhow!(
                "the main script declares no parameter `{name}`; declare it there with \
                 param(\"{name}\", default, \"meaning\"), all three literals"
            ))
        })?;
        typed(value)
    }

    /// The value of a configuration key; `proto config` lists every key.
    #[rhai_fn(return_raw)]
    pub fn setting(ctx: NativeCallContext, key: &str) -> RhaiResultOf<Dynamic> {
        let host = host(&ctx)?;
        match host.config.entries().find(|(name, ..)| *name == key) {
            Some((_, value, _)) => typed(value),
            None => Err(unknown_key(key).into()),
        }
    }
}

fn typed(value: &Value) -> RhaiResultOf<Dynamic> {
    rhai::serde::to_dynamic(value)
}

/// What is said about a key that nothing declares.
pub fn unknown_key(key: &str) -> String {
    match nearest(key, KEYS.iter().map(|k| k.name)) {
        Some(name) => format!("unknown configuration key `{key}`; did you mean `{name}`?"),
        None => format!("unknown configuration key `{key}`; `proto config` lists every key"),
    }
}
