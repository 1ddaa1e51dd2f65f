//! How much of a generated test set is found, and how much of what only looks alike is kept; each
//! class by itself.

use std::collections::BTreeMap;

use proto::redact::second;
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

/// The two scanners share no code, and what the first leaves, the second should not object to: each
/// objection costs the row.
#[test]
fn the_second_scan_hardly_objects_to_what_the_first_leaves() {
    let redactor = redactor();
    let cases = cases(SEED + 1, EACH);
    let objections: Vec<String> = cases
        .par_iter()
        .filter_map(|case| {
            let out = redactor.session(&[&case.trace()]).unwrap();
            let row = serde_json::to_string(&out[0].trace).unwrap();
            let found = second::scan(&row);
            let first = found.first()?;
            let (kind, name) = (first.class.as_str(), &case.name);
            Some(format!("{kind}: {} {name}: {}\n", case.class, &row[first.start..first.end]))
        })
        .collect();
    let share = objections.len() as f64 / cases.len() as f64;
    assert!(share < 0.002, "{share:.4} of {}:\n{}", cases.len(), objections.concat());
}
