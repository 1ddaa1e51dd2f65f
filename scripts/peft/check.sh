#!/usr/bin/env bash
# Compares our adapter with stock PEFT on SmolLM2's weights. Needs about 6 GB of disk for PyTorch,
# transformers and PEFT, which go into target/peft unless PEFT_PYTHON names a Python that has them.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ -z "${PEFT_PYTHON:-}" ]; then
    PEFT_PYTHON=target/peft/bin/python
    [ -x "$PEFT_PYTHON" ] || python3 -m venv target/peft
    "$PEFT_PYTHON" -m pip install --quiet --disable-pip-version-check \
        torch transformers peft safetensors
fi
export PEFT_PYTHON
scripts/fetch_smollm2.sh
cargo test --test peft -- --nocapture
