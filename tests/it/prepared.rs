//! A base's quantised linears from the cache on disk: what quantising gives, whatever lies there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use candle_core::Device;
use proto::model::decoder::linears;
use proto::model::ops::Precision;
use proto::model::prepared::Prepared;
use proto::model::weights::{Frozen, Quantization, Weights};
use proto::model::{Decoder, Packed};
use proto::progress::Observer;

use crate::tiny_base;

/// Keeps what is said.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn say(&self, line: &str) {
        self.0.lock().unwrap().push(line.into());
    }
}

fn open(
    cache: &Path,
    weights: &Weights,
    quantization: Quantization,
) -> (Option<Prepared>, Vec<String>) {
    let told = Told::default();
    let prepared = Prepared::open(cache, weights, quantization, &told).unwrap();
    (prepared, told.0.into_inner().unwrap())
}

fn same(prepared: &Prepared, weights: &Weights, quantization: Quantization) {
    for (name, ..) in linears(weights.config()) {
        let Frozen::Nf4(made) = weights.linear(&format!("{name}.weight"), quantization).unwrap()
        else {
            panic!("{name} is not in NF4");
        };
        assert_eq!(prepared.linear(&name).unwrap(), *made, "{name}");
    }
    assert!(prepared.linear("model.layers.0.mlp.side_proj").is_err());
}

fn only_file(folder: &Path) -> PathBuf {
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

#[test]
fn the_second_start_maps_what_the_first_quantised() {
    let temp = tempfile::tempdir().unwrap();
    tiny_base::folder(temp.path());
    let weights = Weights::open(temp.path()).unwrap();
    for quantization in [Quantization::Nf4, Quantization::Nf4Double] {
        let cache = temp.path().join(quantization.as_str());
        let (made, told) = open(&cache, &weights, quantization);
        assert!(told.len() == 1 && told[0].contains("is kept in"), "{told:?}");
        let file = only_file(&cache);
        let bytes = fs::read(&file).unwrap();
        let (mapped, told) = open(&cache, &weights, quantization);
        assert!(told.is_empty(), "{told:?}");
        assert_eq!(fs::read(only_file(&cache)).unwrap(), bytes);
        for prepared in [made.unwrap(), mapped.unwrap()] {
            same(&prepared, &weights, quantization);
            let load = |prepared| {
                Decoder::load_prepared(
                    &weights,
                    quantization,
                    &Device::Cpu,
                    Precision::Full,
                    prepared,
                )
                .unwrap()
            };
            let hidden = |decoder: Decoder| {
                let hidden = decoder.hidden(&Packed::new([&[1, 5, 9][..]]), None, None).unwrap();
                hidden.to_vec2::<f32>().unwrap()
            };
            let (with, without) = (load(Some(&prepared)), load(None));
            assert_eq!(with.bytes(), without.bytes());
            assert_eq!(hidden(with), hidden(without));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}

#[test]
fn a_damaged_or_foreign_file_is_said_and_made_again() {
    let temp = tempfile::tempdir().unwrap();
    tiny_base::folder(temp.path());
    let weights = Weights::open(temp.path()).unwrap();
    let cache = temp.path().join("cache");
    open(&cache, &weights, Quantization::Nf4);
    let file = only_file(&cache);
    let whole = fs::read(&file).unwrap();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let longer = [&whole[..], &[0]].concat();
    for (bytes, reason) in [
        (Vec::new(), "0 bytes instead of"),
        (whole[..whole.len() - 1].to_vec(), "bytes instead of"),
        (longer, "bytes instead of"),
        (flipped(50), "belongs to another base"),
        (flipped(130), "checksum"),
        (flipped(whole.len() - 9), "checksum"),
        (flipped(whole.len() - 1), "checksum"),
    ] {
        fs::write(&file, bytes).unwrap();
        let (prepared, told) = open(&cache, &weights, Quantization::Nf4);
        assert!(told[0].contains("is made again") && told[0].contains(reason), "{told:?}");
        same(&prepared.unwrap(), &weights, Quantization::Nf4);
        assert_eq!(fs::read(only_file(&cache)).unwrap(), whole);
    }
}

#[test]
fn other_weights_and_settings_have_other_files() {
    let temp = tempfile::tempdir().unwrap();
    tiny_base::folder(temp.path());
    let cache = temp.path().join("cache");
    let count = || fs::read_dir(&cache).map_or(0, Iterator::count);
    let weights = Weights::open(temp.path()).unwrap();
    for quantization in [Quantization::F32, Quantization::Native] {
        let (prepared, told) = open(&cache, &weights, quantization);
        assert!(prepared.is_none() && told.is_empty() && count() == 0);
    }
    open(&cache, &weights, Quantization::Nf4);
    open(&cache, &weights, Quantization::Nf4Double);
    assert_eq!(count(), 2);
    let mut tensors = tiny_base::tensors();
    tensors[5].2[3] += 0.5;
    tiny_base::write_safetensors(&temp.path().join("model.safetensors"), &tensors);
    let changed = Weights::open(temp.path()).unwrap();
    same(&open(&cache, &changed, Quantization::Nf4).0.unwrap(), &changed, Quantization::Nf4);
    assert_eq!(count(), 3);
}

#[test]
fn where_nothing_can_be_kept_the_base_is_quantised_in_memory() {
    let temp = tempfile::tempdir().unwrap();
    tiny_base::folder(temp.path());
    let weights = Weights::open(temp.path()).unwrap();
    let (prepared, told) = open(&temp.path().join("config.json"), &weights, Quantization::Nf4);
    assert!(prepared.is_none());
    assert!(told.len() == 1 && told[0].contains("CACHE_DIR"), "{told:?}");
}
