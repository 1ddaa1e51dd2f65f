#!/usr/bin/env bash
# Makes datasets from one generated file of raw traces: with proto, with the plain Python a team
# would write, and, for near copies alone, with rensa and datasketch. Prints the table:
#
#     scripts/dataset/peers.sh PROTO [MB [WAY…]]
#
# PROTO is a release binary (`-` leaves it out), MB is how much to generate (200), the ways are
# guarded, plain, json, rensa, datasketch, proto (all). The file is target/peers/traces-MB.jsonl unless
# TRACES names another one. The Python packages go into a virtual environment under target/, unless
# PEERS_PYTHON names the Python of one that has them.
set -euo pipefail
proto=${1:?"usage: $0 PROTO [MB [WAY...]]"}
[ "$proto" = - ] || proto=$(realpath "$proto")
megabytes=${2:-200}
shift $(($# < 2 ? $# : 2))
cd "$(dirname "$0")/../.."

mkdir -p target/peers
if [ -z "${PEERS_PYTHON:-}" ]; then
    PEERS_PYTHON=$PWD/target/peers/dataset/bin/python
    [ -x "$PEERS_PYTHON" ] || python3 -m venv target/peers/dataset
    "$PEERS_PYTHON" -m pip install --quiet --disable-pip-version-check \
        rensa==0.5.0 datasketch==2.0.0
fi
traces=${TRACES:-$PWD/target/peers/traces-$megabytes.jsonl}
if [ ! -s "$traces" ]; then
    cargo bench --bench near_copies -- "write=$traces.part" "MB=$megabytes"
    mv "$traces.part" "$traces"
fi
exec "$PEERS_PYTHON" scripts/dataset/peers.py "$traces" "$proto" "$@"
