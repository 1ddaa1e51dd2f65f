//! The frozen base model: files, quantised linears, one decoder, generation.

pub mod base;

pub mod config;
pub mod decoder;
pub mod dynamic;
pub mod generate;
pub mod gguf;
pub mod lora;
pub mod nf4;
pub mod ops;
pub mod prepared;
pub mod save;
pub mod shards;
pub mod slab;
pub mod weights;

pub use base::Base;
pub use decoder::{Decoder, Keep, Packed};
pub use generate::{Decoding, Generator, Prompt};
pub use lora::Lora;
