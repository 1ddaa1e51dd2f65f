//! How much of a generated test set is found, and how much of what only looks alike is kept; each
//! class by itself.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::grammar::judge::judge;
use super::grammar::{Kind, cases, names, texts};
use super::redactor;

/// Cases of each class and kind.
const EACH: usize = 100;

/// No seed that anybody looked at while writing rules.
const SEED: u64 = 20_240_731;

/// What is counted, and the least share of it in each class.
const WANTED: [(&str, f64); 4] =
    [("plain", 0.99), ("awkward", 0.95), ("look-alikes kept", 0.99), ("text around kept", 0.95)];

#[test]
fn every_class_is_found_and_its_look_alikes_are_kept() {
    let redactor = redactor();
    let mut tally: BTreeMap<(&str, &str), (usize, Vec<String>)> = BTreeMap::new();
    let cases = cases(SEED, EACH);
    let judged = cases.par_iter().map(|case| {
        let out = redactor.session(&[&case.trace()]).unwrap();
        let outputs = texts(&out[0].trace);
        (judge(case, &outputs), outputs)
    });
    for (case, (verdict, outputs)) in cases.iter().zip(judged.collect::<Vec<_>>()) {
        let mut count = |what, failed: bool| {
            let (all, failures) = tally.entry((case.class, what)).or_default();
            *all += 1;
            if failed {
                failures.push(format!("  {}\n    {:?}\n    {outputs:?}\n", case.name, case.texts));
            }
        };
        match case.kind {
            Kind::Plain => count("plain", !verdict.left.is_empty()),
            Kind::Awkward => count("awkward", !verdict.left.is_empty()),
            Kind::Alike => count("look-alikes kept", !verdict.changed.is_empty()),
        }
        if case.kind == Kind::Plain && !case.kept.is_empty() {
            count("text around kept", !verdict.changed.is_empty());
        }
    }
    let mut short = String::new();
    for (class, _) in names() {
        for (what, wanted) in WANTED {
            let Some((all, failures)) = tally.get(&(class, what)) else { continue };
            let share = 1.0 - failures.len() as f64 / *all as f64;
            if share < wanted {
                short.push_str(&format!("{class}, {what}: {share:.3} of {all}\n"));
                short.extend(failures.iter().take(3).map(String::as_str));
            }
        }
    }
    assert!(short.is_empty(), "too little was found or kept:\n{short}");
}
