//! A moment of AdamW for one variable: in f32, or in 8 bits a number (Dettmers et al. 2022): codes
//! of a dynamic map, with a scale for each block of 256.

use anyhow::{Result, ensure};
use safetensors::tensor::Dtype;

use super::CHUNK;
use crate::files::safetensors::{Entry, le_bytes};
use crate::model::dynamic::DynamicMap;

/// Numbers that share a scale; divides [`CHUNK`].
const BLOCK: usize = 256;
/// A variable with fewer numbers keeps its states in f32, as bitsandbytes has it.
pub(super) const SMALL: usize = 4096;

pub(super) enum Moment {
    Full(Vec<f32>),
    Eight { codes: Vec<u8>, scales: Vec<f32>, map: &'static DynamicMap },
}

/// Consecutive numbers of a moment, [`CHUNK`] at most.
pub(super) enum Part<'a> {
    Full(&'a mut [f32]),
    Eight { codes: &'a mut [u8], scales: &'a mut [f32], map: &'static DynamicMap },
}

impl Moment {
    /// `n` zeros; in 8 bits where a map is given and it is worth it.
    pub fn zeros(n: usize, map: Option<&'static DynamicMap>) -> Self {
        match map {
            Some(map) if n >= SMALL => {
                let scales = vec![0.0; n.div_ceil(BLOCK)];
                Moment::Eight { codes: vec![map.code(0.0); n], scales, map }
            }
            _ => Moment::Full(vec![0.0; n]),
        }
    }

    pub fn parts(&mut self) -> Vec<Part<'_>> {
        match self {
            Moment::Full(values) => values.chunks_mut(CHUNK).map(Part::Full).collect(),
            Moment::Eight { codes, scales, map } => codes
                .chunks_mut(CHUNK)
                .zip(scales.chunks_mut(CHUNK / BLOCK))
                .map(|(codes, scales)| Part::Eight { codes, scales, map })
                .collect(),
        }
    }

    /// What a checkpoint holds of it, under names that begin with `name`.
    pub fn entries(&self, name: &str) -> Vec<Entry> {
        match self {
            Moment::Full(values) => vec![Entry::f32(name, &[values.len()])],
            Moment::Eight { codes, scales, .. } => {
                let codes = Entry {
                    name: format!("{name}.codes"),
                    dtype: Dtype::U8,
                    shape: vec![codes.len()],
                };
                vec![codes, Entry::f32(format!("{name}.scales"), &[scales.len()])]
            }
        }
    }

    /// The bytes of an entry whose name ends with `end`.
    pub fn bytes(&self, end: &str) -> Vec<u8> {
        match self {
            Moment::Full(values) => le_bytes(values),
            Moment::Eight { codes, .. } if end == "codes" => codes.clone(),
            Moment::Eight { scales, .. } => le_bytes(scales),
        }
    }

    /// Sets the entry whose name ends with `end`.
    pub fn set(&mut self, end: &str, bytes: &[u8]) -> Result<()> {
        let place = match self {
            Moment::Full(values) => values,
            Moment::Eight { codes, .. } if end == "codes" => {
                ensure!(codes.len() == bytes.len(), "{} codes", bytes.len());
                codes.copy_from_slice(bytes);
                return Ok(());
            }
            Moment::Eight { scales, .. } => scales,
        };
        let (values, rest) = bytes.as_chunks();
        ensure!(rest.is_empty() && values.len() == place.len(), "{} bytes", bytes.len());
        place.iter_mut().zip(values).for_each(|(place, value)| *place = f32::from_le_bytes(*value));
        Ok(())
    }
}

/// The nearest code, but none that makes a second moment zero: the step divides by its root, and
/// where one block holds large and small gradients the small ones' steps would be thousands of
/// times too long.
fn code_of(map: &DynamicMap, x: f32) -> u8 {
    let code = map.code(x);
    if x > 0.0 && map.values[usize::from(code)] == 0.0 { code + 1 } else { code }
}

impl Part<'_> {
    /// Lets `change` work on the numbers in f32.
    pub fn update(&mut self, change: impl FnOnce(&mut [f32])) {
        match self {
            Part::Full(values) => change(values),
            Part::Eight { codes, scales, map } => {
                let map: &DynamicMap = map;
                let mut values: Vec<f32> = codes
                    .chunks(BLOCK)
                    .zip(scales.iter())
                    .flat_map(|(codes, scale)| {
                        codes.iter().map(move |code| map.values[usize::from(*code)] * scale)
                    })
                    .collect();
                change(&mut values);
                let blocks = values.chunks(BLOCK).zip(codes.chunks_mut(BLOCK));
                for ((values, codes), scale) in blocks.zip(scales.iter_mut()) {
                    *scale = values.iter().fold(0f32, |most, v| most.max(v.abs()));
                    let inverse = if *scale > 0.0 { 1.0 / *scale } else { 0.0 };
                    for (code, value) in codes.iter_mut().zip(values) {
                        *code = code_of(map, value * inverse);
                    }
                }
            }
        }
    }
}
