//! With the feature `cuda`: compiles the kernels of `src/model/ops/cuda` to PTX.

use std::env;
use std::path::PathBuf;
use std::process::Command;

const FOLDER: &str = "src/model/ops/cuda";

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return Ok(());
    }
    println!("cargo::rerun-if-changed={FOLDER}");
    for name in ["NVCC", "CUDA_HOME", "CUDA_COMPUTE_CAP"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let nvcc = env::var_os("NVCC").map(PathBuf::from).unwrap_or_else(|| {
        let home = env::var_os("CUDA_HOME").unwrap_or("/usr/local/cuda".into());
        PathBuf::from(home).join("bin/nvcc")
    });
    let capability = env::var("CUDA_COMPUTE_CAP").unwrap_or("80".into());
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let files = std::fs::read_dir(FOLDER).map_err(|e| format!("{FOLDER}: {e}"))?;
    for file in files {
        let file = file.map_err(|e| format!("{FOLDER}: {e}"))?.path();
        if file.extension().is_none_or(|e| e != "cu") {
            continue;
        }
        let ptx = out.join(file.with_extension("ptx").file_name().unwrap_or_default());
        let status = Command::new(&nvcc)
            .args(["--ptx", "-O3", "-std=c++17", "-o"])
            .arg(&ptx)
            .arg(format!("-arch=compute_{capability}"))
            .arg(&file)
            .status()
            .map_err(|e| format!("{}: {e}; scripts/cuda/build.sh fetches one", nvcc.display()))?;
        if !status.success() {
            return Err(format!("nvcc failed on {}: {status}", file.display()));
        }
    }
    Ok(())
}
