//! Engines with every limit set, so that a debug build behaves as a release build.

use std::sync::Arc;

use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicFnPackage, BasicIteratorPackage, BasicMapPackage,
    BasicMathPackage, BasicStringPackage, BitFieldPackage, LogicPackage, MoreStringPackage,
    Package,
};
use rhai::{Dynamic, Engine, OptimizationLevel};

use super::host::Host;
use super::library::Library;
use super::{compare, verbs};
use crate::redact::fit_to_show;

/// What a script may use up.
pub struct Limits {
    /// Operations of one call tree; work inside a row's closure is counted per row.
    pub operations: u64,
    /// Nested calls.
    pub calls: usize,
    /// Variables alive at once.
    pub variables: usize,
    /// Characters of a string, strings inside containers added up.
    pub string: usize,
    /// Elements of an array or map, nested ones added up.
    pub elements: usize,
}

/// The limits of protocol scripts.
pub const SCRIPT: Limits = Limits {
    operations: 200_000_000,
    calls: 48,
    variables: 1024,
    string: 64 << 20,
    elements: 4_000_000,
};

/// The limits of gate policies.
pub const POLICY: Limits =
    Limits { operations: 1_000_000, calls: 32, variables: 256, string: 64 << 10, elements: 10_000 };

/// The language without anything that touches the outside: no files, clock, sleep, `eval`,
/// randomness or reflection.
pub fn bare(limits: &Limits) -> Engine {
    let mut engine = Engine::new_raw();
    engine
        .register_global_module(ArithmeticPackage::new().as_shared_module())
        .register_global_module(BasicStringPackage::new().as_shared_module())
        .register_global_module(BasicIteratorPackage::new().as_shared_module())
        .register_global_module(BasicFnPackage::new().as_shared_module())
        .register_global_module(LogicPackage::new().as_shared_module())
        .register_global_module(BitFieldPackage::new().as_shared_module())
        .register_global_module(BasicMathPackage::new().as_shared_module())
        .register_global_module(BasicArrayPackage::new().as_shared_module())
        .register_global_module(BasicMapPackage::new().as_shared_module())
        .register_global_module(MoreStringPackage::new().as_shared_module());
    engine
        .set_max_operations(limits.operations)
        .set_max_call_levels(limits.calls)
        .set_max_expr_depths(64, 32)
        .set_max_variables(limits.variables)
        .set_max_functions(512)
        .set_max_modules(64)
        .set_max_string_size(limits.string)
        .set_max_array_size(limits.elements)
        .set_max_map_size(limits.elements)
        .set_strict_variables(true)
        .set_fail_on_invalid_map_property(true)
        // What is checked is what runs: the optimiser folds `5 < "7"` to `false` before the
        // strict comparisons see it, and drops code that `proto check` should look at.
        .set_optimization_level(OptimizationLevel::None)
        .disable_symbol("eval");
    compare::register(&mut engine);
    engine
}

/// The engine of protocol scripts.
pub fn protocol(host: &Arc<Host>, library: &Library) -> Engine {
    let operations = host.config.int("SCRIPT_MAX_OPERATIONS").unsigned_abs();
    let mut engine = bare(&Limits { operations, ..SCRIPT });
    verbs::register(&mut engine);
    engine.set_default_tag(Dynamic::from(verbs::HostHandle(host.clone())));
    engine.set_module_resolver(library.clone());
    let observer = host.observer.clone();
    // What a script shows of a row may not be redacted yet.
    engine.on_print(move |text| observer.say(&fit_to_show(text)));
    let observer = host.observer.clone();
    engine.on_debug(move |text, source, position| {
        let text = fit_to_show(text);
        observer.say(&format!("{}:{position:?}: {text}", source.unwrap_or("script")));
    });
    let observer = host.observer.clone();
    engine.on_progress(move |operations| {
        // One look every few thousand operations keeps the question free.
        (operations % 4096 == 0 && observer.cancelled()).then_some(Dynamic::UNIT)
    });
    engine
}
