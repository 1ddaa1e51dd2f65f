#!/usr/bin/env bash
# Compares what we write with what its readers make of it, models on SmolLM2's weights:
#
#     scripts/clients/check.sh peft       adapters in PEFT, and their training (6 GB to install)
#     scripts/clients/check.sh llama      GGUF LoRAs and models in llama.cpp (20 minutes to build)
#     scripts/clients/check.sh datasets   dataset folders in Hugging Face's datasets and mlcroissant
#
# Each goes into a virtual environment under target/, unless CLIENT_PYTHON names a Python that has
# it.
set -euo pipefail
cd "$(dirname "$0")/../.."

case "${1:-}" in
peft) packages="torch transformers peft bitsandbytes accelerate safetensors" ;;
llama) packages="llama-cpp-python safetensors numpy" ;;
datasets) packages="datasets mlcroissant" ;;
*)
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
if [ -z "${CLIENT_PYTHON:-}" ]; then
    CLIENT_PYTHON=target/clients/$1/bin/python
    [ -x "$CLIENT_PYTHON" ] || python3 -m venv "target/clients/$1"
    # shellcheck disable=SC2086
    "$CLIENT_PYTHON" -m pip install --quiet --disable-pip-version-check $packages
fi
export CLIENT_PYTHON
[ "$1" = datasets ] || scripts/fetch_smollm2.sh
cargo test --test clients -- --nocapture --test-threads=1 "$1"
