//! The frozen base model: files, quantised linears, one decoder, generation.

pub mod ops;
