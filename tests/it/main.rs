//! One integration-test binary: every file in this folder is a module named here.

mod base_model;
mod chat;
mod cli;
mod evaluation;
mod gate;
mod policy;
mod report;
mod redaction;
mod rooms;
mod evaluation;
mod gate;
mod invented;
mod report;
mod cli;
mod policy;
mod rooms;
mod traces;
mod training;
mod base_model;
mod chat;
mod tiny_base;
mod script;
mod tiny_base;
mod tokenizer;
mod traces;
mod training;
