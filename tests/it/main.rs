//! One integration-test binary: every file in this folder is a module named here.

mod evaluation;
mod gate;
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
mod tokenizer;
