//! `proto` turns a coding agent's own sessions into a better local model, and refuses to ship a
//! worse one.
//!
//! # The map
//!
//! ```text
//! sessions on disk ─ trace ─▶ Trace ─ dataset ─▶ Example ─ redact, filter, dedup, split, mix ─▶ Dataset + manifest
//! Dataset ─ tokens ─▶ token ids and loss masks ─ train ─▶ Adapter ─ evaluate ─▶ Evaluation ─ gate ─▶ Decision
//! ```
//!
//! | room | what it makes | what it never does |
//! |---|---|---|
//! | [`trace`] | canonical sessions from agents' files | interpret, redact or drop a message |
//! | [`label`] | what each turn is worth and whether it is trained, with the evidence | change what was said |
//! | [`review`] | turns as a person reads them, and the verdicts they give | touch a terminal |
//! | [`redact`] | sessions without secrets and personal data, and the proof | write a secret anywhere |
//! | [`ingest`] | the agents' sessions as redacted files | read a session twice |
//! | [`dataset`] | examples, quality, dedup, split, mix, manifest | know a model |
//! | [`tokens`] | token ids and loss masks from a chat template | know weights |
//! | [`model`] | the frozen base: files, quantised linears, decoder, generation | compute a weight gradient |
//! | [`adapter`] | LoRA tensors in PEFT's format | train |
//! | [`train`] | an adapter from a dataset | judge it |
//! | [`evaluate`] | metrics and paired statistics | decide |
//! | [`gate`] | a decision from evidence; pure | touch a file, a clock or chance |
//! | [`simulate`] | how often a gate errs, by nights whose truth is known | judge a real run |
//! | [`report`] | what a person reads at the end: table and `report.html` | compute a figure |
//! | [`run`] | one run's folder: name, lock, `run.json` | know what a file means |
//! | [`lineage`] | the way from a row, an adapter or a decision back to the sessions, and on from a session | change what a run left |
//! | [`history`] | earlier runs side by side, and what a run's failures can teach | judge anew |
//! | [`protocol`] | the steps from a dataset to a decision, in order | decide what a script decides |
//! | [`script`] | the Rhai host and its verbs | do domain work |
//! | [`commands`] | one file per command | anything a script could not do |
//!
//! A room uses only rooms above it in this list, besides the four anyone may use: [`config`]
//! (settings), [`progress`] (telling the outside, hearing Ctrl-C), [`files`] (atomic writes,
//! digests) and [`chance`] (seeded randomness). Only [`script`] knows Rhai, only
//! [`commands`] knows the command line and the terminal. `tests/it/rooms.rs` enforces it.

pub mod adapter;
pub mod chance;
pub mod commands;
pub mod config;
pub mod dataset;
pub mod evaluate;
pub mod files;
pub mod gate;
pub mod history;
pub mod ingest;
pub mod label;
pub mod lineage;
pub mod model;
pub mod progress;
pub mod protocol;
pub mod redact;
pub mod report;
pub mod review;
pub mod run;
pub mod script;
pub mod simulate;
pub mod tokens;
pub mod trace;
pub mod train;
