//! One integration-test binary: every file in this folder is a module named here.

mod architectures;
mod bad_files;
mod base_model;
mod chat;
mod checks;
mod cli;
mod dataset;
mod evaluation;
mod export;
mod failing;
mod gate;
mod invented;
mod keys;
mod policy;
mod prepared;
mod protocol;
mod redaction;
mod report;
mod resuming;
mod rooms;
mod script;
mod tiny_base;
mod tokenizer;
mod toy;
mod traces;
mod training;
