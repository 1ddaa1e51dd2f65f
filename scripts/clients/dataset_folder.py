"""A dataset folder as Hugging Face's datasets and as mlcroissant read it.

    dataset_folder.py FOLDER

Prints for each part its rows and, for each reader, how many of them it gives as they stand in the
file; fails where a file is not what croissant.json says.
"""

import hashlib
import json
import os
import pathlib
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import datasets
import mlcroissant

PARTS = ("train", "tune", "val")


def without_none(value):
    """What was not in the file is None in a table."""
    if isinstance(value, dict):
        return {key: without_none(v) for key, v in value.items() if v is not None}
    return value


def same(rows, read):
    """How many rows were read as they are, at their place."""
    return sum(a == b for a, b in zip(rows, read)) if len(rows) == len(read) else 0


def main():
    folder = pathlib.Path(sys.argv[1])
    lines = {p: (folder / f"{p}.jsonl").read_text().splitlines() for p in PARTS}
    lines = {p: [json.loads(line) for line in text] for p, text in lines.items() if text}
    with tempfile.TemporaryDirectory() as cache:
        card = datasets.load_dataset(str(folder), cache_dir=cache)
        files = {p: str(folder / f"{p}.jsonl") for p in lines}
        features = card["train"].features
        json_files = datasets.load_dataset(
            "json", data_files=files, features=features, cache_dir=f"{cache}/json"
        )
        try:
            guessed = datasets.load_dataset("json", data_files=files, cache_dir=f"{cache}/guess")
        except Exception as error:  # Reported, not required.
            print(f"# load_dataset('json') without features: {error}")
            guessed = {}
        for part, rows in lines.items():
            print(f"{part}.rows {len(rows)}")
            for name, read in (("card", card), ("json", json_files), ("guessed", guessed)):
                if part in read:
                    print(f"{part}.{name} {same(rows, [without_none(r) for r in read[part]])}")

    croissant = mlcroissant.Dataset(jsonld=str(folder / "croissant.json"))
    for resource in json.loads((folder / "croissant.json").read_text())["distribution"]:
        bytes_ = (folder / resource["contentUrl"]).read_bytes()
        assert hashlib.sha256(bytes_).hexdigest() == resource["sha256"], resource["@id"]
    print(f"croissant.errors {len(croissant.metadata.ctx.issues.errors)}")
    for part, rows in lines.items():
        records = list(croissant.records(part))
        text = lambda record, field: record[f"{part}/{field}"].decode()
        read = [
            (text(r, "id"), text(r, "kind"), [m[f"{part}/messages/content"] for m in r[f"{part}/messages"]])
            for r in records
        ]
        wanted = [
            (r["id"], r["kind"], [m["content"].encode() for m in r["messages"]]) for r in rows
        ]
        print(f"{part}.croissant {same(wanted, read)}")


main()
