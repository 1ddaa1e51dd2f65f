//! From traces to `train.jsonl`, `tune.jsonl`, `val.jsonl` and their manifest.
//!
//! ```text
//! source ─▶ generate ─▶ redaction ─▶ quality ─▶ dedup ─▶ split ─▶ decontaminate ─▶ mix ─▶ snapshot + manifest
//! ```
//!
//! Every step takes [`Rows`] and gives new ones, with a [`Stage`] that says what went in, what
//! came out and why the rest was dropped. Nothing here knows a tokenizer: where lengths matter
//! the caller passes what counts tokens.

pub mod card;
mod components;
mod corrected;
pub mod decontaminate;
pub mod dedup;
pub mod example;
pub mod gauge;
pub mod generate;
pub mod labels;
pub mod layout;
pub mod leakage;
pub mod ledger;
pub mod manifest;
pub mod minhash;
pub mod mix;
pub mod normal;
pub mod paging;
pub mod print;
pub mod quality;
pub mod redaction;
pub mod rows;
pub mod schema;
pub mod similarity;
pub mod snapshot;
pub mod source;
pub mod split;
mod store;
mod table;
pub mod tally;
#[cfg(test)]
mod testing;
pub mod verify;
pub mod windows;
pub mod written;

pub use example::{Example, Kind};
pub use gauge::TokenCount;
pub use mix::Dataset;
pub use paging::{Held, Pager};
pub use rows::{Account, Rows, Stage};
pub use split::{Part, Parts};
