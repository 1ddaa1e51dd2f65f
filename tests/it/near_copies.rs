//! Deduplication and split on a generated set of which every copy is known. The large form of it,
//! with a table, is `benches/near_copies.rs`.

use proto::dataset::Part;

mod set;

use set::judge::{deduplicated, found, leaks, parted};
use set::{Made, Plan, Row};

const PLAN: Plan = Plan { seed: 20_240_801, clusters: 360, words: (80, 1200) };

#[test]
fn copies_are_found_and_nothing_else() {
    let rows = PLAN.rows();
    let found = found(&rows, &deduplicated(&rows));
    let bars: [(&str, f64, fn(Made) -> bool); 7] = [
        ("strict", 0.99, Made::is_strict),
        ("10 % edited", 0.8, |made| made == Made::Edited(10)),
        ("prefixes", 0.8, Made::is_prefix),
        ("short prefixes", 0.8, |made| made == Made::ShortPrefix),
        ("cut", 0.8, |made| made == Made::Cut),
        ("resumed", 0.8, |made| made == Made::Resumed),
        ("nobody's copies", 0.998, Made::is_alone),
    ];
    for (name, bar, of) in bars {
        let share = found.share(of);
        assert!(share.of >= 30 && share.part() >= bar, "{name}: {share:?}");
    }
    assert_eq!(found.lost, 0);
    assert!(found.wrong.is_empty(), "{:?}", found.wrong);
}

#[test]
fn no_cluster_and_no_session_is_on_two_sides() {
    // Those with a fifth of the words changed resemble their original too little to be copies.
    let rows: Vec<Row> =
        PLAN.rows().into_iter().filter(|row| row.made != Made::Edited(20)).collect();
    let (places, _) = parted(&deduplicated(&rows), None);
    assert!(places.values().filter(|part| **part == Part::Val).count() > 50);
    assert_eq!(leaks(&rows, &places), (0, 0));
}

#[test]
fn new_rows_move_no_old_row_from_validation_to_training() {
    let mut rows = PLAN.rows();
    let (before, ledger) = parted(&deduplicated(&rows), None);
    let more = PLAN.more();
    assert_eq!(more.len(), rows.len() / 10);
    rows.extend(more);
    let (after, _) = parted(&deduplicated(&rows), Some(&ledger));
    let of = |part: Part| before.iter().filter(move |(_, p)| **p == part).map(|(id, _)| id);
    let still = of(Part::Val).filter(|id| after.contains_key(*id)).count();
    assert!(still > 50, "{still} rows of validation are left");
    let moved = of(Part::Val).filter(|id| after.get(*id) == Some(&Part::Train)).count();
    assert_eq!(moved, 0);
}
