//! From traces to `train.jsonl`, `tune.jsonl`, `val.jsonl` and their manifest.

pub mod example;
pub mod rows;

pub use example::{Example, Kind};
pub use rows::{Rows, Stage};
