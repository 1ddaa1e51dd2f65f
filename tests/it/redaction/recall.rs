//! How much of a generated test set is found, and how much of what only looks alike is kept; each
//! class by itself.

use std::collections::BTreeMap;

use super::grammar::judge::judge;
use super::grammar::{Kind, cases, names, texts};
use super::redactor;

/// Cases of each class and kind.
const EACH: usize = 100;

/// No seed that anybody looked at while writing rules.
const SEED: u64 = 20_240_731;

/// The least share of each kind, per class.
const WANTED: [(Kind, f64); 3] = [(Kind::Plain, 0.99), (Kind::Awkward, 0.95), (Kind::Alike, 0.99)];

#[test]
fn every_class_is_found_and_its_look_alikes_are_kept() {
    let redactor = redactor();
    let mut tally: BTreeMap<(&str, Kind), (usize, Vec<String>)> = BTreeMap::new();
    for case in cases(SEED, EACH) {
        let out = redactor.session(&[&case.trace()]).unwrap();
        let outputs = texts(&out[0].trace);
        let verdict = judge(&case, &outputs);
        let failed = match case.kind {
            Kind::Alike => !verdict.changed.is_empty(),
            _ => !verdict.left.is_empty(),
        };
        let entry = tally.entry((case.class, case.kind)).or_default();
        entry.0 += 1;
        if failed {
            entry.1.push(format!("  {}\n    {:?}\n    {:?}", case.name, case.texts, outputs));
        }
    }
    let mut short = String::new();
    for (class, _) in names() {
        for (kind, wanted) in WANTED {
            let (all, failed) = &tally[&(class, kind)];
            let share = 1.0 - failed.len() as f64 / *all as f64;
            if share < wanted {
                short.push_str(&format!("{class}, {kind:?}: {share:.3} of {all}\n"));
                short.push_str(&failed[..failed.len().min(3)].join("\n"));
                short.push('\n');
            }
        }
    }
    assert!(short.is_empty(), "too little was found or kept:\n{short}");
}
