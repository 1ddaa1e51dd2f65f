#!/usr/bin/env bash
# Builds proto for NVIDIA cards on a machine that has neither a card nor a CUDA toolkit.
#
#     scripts/cuda/build.sh              -> target/cuda/proto, target/cuda/gpu (the GPU check)
#     CUDA_COMPUTE_CAP=90 scripts/cuda/build.sh    for that generation of cards and newer
#
# The compiler comes from PyPI (pip's own configuration holds). The kernels are compiled to PTX,
# which the driver finishes at the first start: any card from CUDA_COMPUTE_CAP on, driver 580 or
# newer. The binary loads CUDA when it runs, and runs on machines without it.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$PWD/target/cuda
mkdir -p "$out"

toolkit=$out/toolkit/nvidia/cu13
if [ ! -f "$out/toolkit/complete" ]; then
    rm -rf "$out/toolkit"
    python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$out/wheels" \
        nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 \
        nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85 nvidia-curand==10.4.5.25
    for wheel in "$out"/wheels/*.whl; do
        python3 -m zipfile --extract "$wheel" "$out/toolkit"
    done
    chmod +x "$toolkit"/bin/* "$toolkit"/nvvm/bin/*
    touch "$out/toolkit/complete"
fi

# Two crates are built from edited copies, so that the toolkit above is enough:
# - candle-kernels without its statically linked kernels (MMQ, MoE), which proto never calls and
#   which take many minutes and 12 MB each; in their place stand stubs that abort;
# - cudarc with its features for linking and loading swapped: candle asks for linking.
cargo fetch --locked --quiet
crate() {
    cargo metadata --locked --format-version 1 --features cuda | python3 -c '
import json, os, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == sys.argv[1]:
        print(os.path.dirname(package["manifest_path"]))' "$1"
}
kernels=$out/candle-kernels
cudarc=$out/cudarc
if [ ! -f "$out/edited" ]; then
    rm -rf "$kernels" "$cudarc"
    cp -r "$(crate candle-kernels)" "$kernels"
    cp -r "$(crate cudarc)" "$cudarc"
    chmod -R u+w "$kernels" "$cudarc"
    sed -i '/let mut moe_sources/,$d' "$kernels/build.rs"
    printf '    Ok(())\n}\n' >>"$kernels/build.rs"
    sed -i -E -e 's/^extern "C" \{//' -e 's/^    pub fn /pub unsafe extern "C" fn /' \
        -e 's/^    \)( -> i32)?;/)\1 { std::process::abort() }/' -e '$d' "$kernels/src/ffi.rs"
    sed -i '1i #![allow(unused_variables, dead_code, clippy::all)]' "$kernels/src/ffi.rs"
    grep -rlE 'dynamic-(linking|loading)' "$cudarc/src" "$cudarc/build.rs" | xargs sed -i \
        -e 's/dynamic-linking/@linking@/g' -e 's/\([^-]\)dynamic-loading/\1dynamic-linking/g' \
        -e 's/@linking@/dynamic-loading/g'
    touch "$out/edited"
fi

export CUDA_HOME=$toolkit CUDA_PATH=$toolkit NVCC=$toolkit/bin/nvcc
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-80} CUDARC_CUDA_VERSION=13000
export CARGO_TARGET_DIR=$out/build
export PROTO_COMMIT
PROTO_COMMIT=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
cargo build --release --locked --features cuda --config "paths=['$kernels', '$cudarc']" \
    --bin proto --test gpu --message-format json-render-diagnostics >"$out/messages"
strip -o "$out/proto" "$out/build/release/proto"
strip -o "$out/gpu" "$(python3 -c '
import json, sys
for line in open(sys.argv[1]):
    message = json.loads(line)
    if message.get("executable") and message["target"]["name"] == "gpu":
        print(message["executable"])' "$out/messages")"
ls -l "$out/proto" "$out/gpu"
