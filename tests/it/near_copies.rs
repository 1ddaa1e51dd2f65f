//! Deduplication and split on a generated set of which every copy is known.

mod set;

use set::judge::{deduplicated, found, leaks, parted};
use set::{Made, Plan};

const PLAN: Plan = Plan { seed: 20_240_801, clusters: 360, words: (80, 1200) };

#[test]
fn copies_are_found_and_nothing_else() {
    let rows = PLAN.rows();
    let found = found(&rows, &deduplicated(&rows));
    println!("{found:#?}");
}
