//! The frozen base model: files, quantised linears, one decoder, generation.

pub mod config;
pub mod decoder;
pub mod generate;
pub mod lora;
pub mod ops;
pub mod weights;

pub use decoder::{Decoder, Packed};
pub use generate::Generator;
pub use lora::Lora;
//! The frozen base: what its files say, its weights as they are kept in memory.

pub mod config;
pub mod gguf;
pub mod nf4;
pub mod shards;
pub mod weights;
