//! The invented workshop behind the embedded base and the sample, tested as scripts see it.

use std::sync::Arc;

use proto::progress::Silent;
use proto::script::{Script, run_tests};

const TESTS: &str = include_str!("invented.rhai");

#[test]
fn the_workshop_keeps_its_promises() {
    let script = Script::from_text("invented.rhai", TESTS).unwrap();
    let verdicts = run_tests(&script, Arc::new(Silent)).unwrap();
    let failures: Vec<_> = verdicts
        .iter()
        .filter_map(|v| v.failure.as_ref().map(|f| format!("{}: {f}", v.name)))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(verdicts.len(), 9);
}
