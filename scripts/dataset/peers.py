"""What peers.sh runs: each way of making a dataset in a process of its own, and the table.

    peers.py TRACES PROTO [WAY…]      times each way over a file of raw traces
    peers.py way WAY TRACES FOLDER    is one of them
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time

# Name, pattern, and what a text must hold for it to be worth a search; nothing where no literal
# is sure to be there. The ones people put together for such a job.
PATTERNS = [
    ("AWS_KEY", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b", ("AKIA", "ASIA")),
    ("AWS_SECRET", r"(?i)aws_secret_access_key\s*[=:]\s*\S{40}", ("AWS_SECRET", "aws_secret")),
    ("GITHUB", r"\bgh[pousr]_[A-Za-z0-9]{36,}\b", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_")),
    ("OPENAI", r"\bsk-[A-Za-z0-9_-]{20,}\b", ("sk-",)),
    ("SLACK", r"\bxox[baprs]-[A-Za-z0-9-]{10,}\b", ("xox",)),
    ("STRIPE", r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}\b", ("k_live_", "k_test_")),
    ("GOOGLE", r"\bAIza[0-9A-Za-z_-]{35}\b", ("AIza",)),
    ("JWT", r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\b", ("eyJ",)),
    ("PEM", r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]+?-----END [A-Z ]*PRIVATE KEY-----", ("-----BEGIN",)),
    ("URL_PASSWORD", r"\b[a-z][a-z0-9+.-]*://[^\s:/@]+:[^\s/@]+@", ("://",)),
    ("BEARER", r"(?i)\bbearer\s+[A-Za-z0-9._~+/-]{16,}=*", ("earer", "EARER")),
    ("ASSIGNED", r"(?i)\b[a-z_]*(?:password|passwd|secret|api_?key|token)\s*[=:]\s*['\"]?[^\s'\"]{8,}", ("=", ":")),
    ("EMAIL", r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}\b", ("@",)),
    ("IP", r"\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b", ()),
    ("PHONE", r"\+\d{1,3}[ .-]?\(?\d{1,4}\)?(?:[ .-]?\d{2,4}){2,4}\b", ("+",)),
    ("CARD", r"\b(?:\d[ -]?){13,16}\b", ()),
    ("HOME", r"(?:/home/|/Users/)[^/\s\"']+", ("/home/", "/Users/")),
]
COMPILED = [(f"<{name}>", re.compile(pattern), literals) for name, pattern, literals in PATTERNS]


def redact_plain(text):
    for name, pattern, _ in COMPILED:
        text = pattern.sub(name, text)
    return text


def redact_guarded(text):
    for name, pattern, literals in COMPILED:
        if not literals or any(literal in text for literal in literals):
            text = pattern.sub(name, text)
    return text


def rewritten(value, redact):
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [rewritten(item, redact) for item in value]
    if isinstance(value, dict):
        return {key: rewritten(item, redact) for key, item in value.items()}
    return value


def dataset(traces, folder, redact):
    """Patterns, exact copies, a split by session, two files."""
    seen, rows = set(), 0
    with (
        open(traces, encoding="utf-8") as lines,
        open(f"{folder}/train.jsonl", "w", encoding="utf-8") as train,
        open(f"{folder}/val.jsonl", "w", encoding="utf-8") as val,
    ):
        for line in lines:
            row = json.loads(line)
            row["messages"] = rewritten(row["messages"], redact)
            said = json.dumps(row["messages"], sort_keys=True, ensure_ascii=False)
            digest = hashlib.sha256(said.encode()).digest()
            if digest in seen:
                continue
            seen.add(digest)
            place = hashlib.sha256(row["session"].encode()).digest()[0]
            out = val if place < 38 else train
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            rows += 1
    return f"{rows} rows left"


WORD = re.compile(r"\w+")


def shingles(row):
    """Every five words in a row of what was said, system prompt and tools left out."""
    parts = []
    for message in row["messages"]:
        if message["role"] != "system":
            parts.append(message.get("content") or "")
            for call in message.get("tool_calls", ()):
                parts.append(json.dumps(call["function"]["arguments"], ensure_ascii=False))
    words = WORD.findall("\n".join(parts).lower())
    return [" ".join(words[at : at + 5]) for at in range(len(words) - 4)]


def with_rensa(traces):
    from rensa import RMinHash, RMinHashLSH

    index, copies = RMinHashLSH(threshold=0.6, num_perm=128, num_bands=32), 0
    with open(traces, encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            minhash = RMinHash(num_perm=128, seed=1)
            minhash.update(shingles(json.loads(line)))
            if index.query(minhash):
                copies += 1
            else:
                index.insert(number, minhash)
    return f"{copies} candidates"


def with_datasketch(traces):
    from datasketch import MinHash, MinHashLSH

    index, copies = MinHashLSH(params=(32, 4), num_perm=128), 0
    with open(traces, encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            minhash = MinHash(num_perm=128, seed=1)
            minhash.update_batch([s.encode() for s in shingles(json.loads(line))])
            if index.query(minhash):
                copies += 1
            else:
                index.insert(number, minhash)
    return f"{copies} candidates"


def read_only(traces):
    rows = 0
    with open(traces, encoding="utf-8") as lines:
        for line in lines:
            json.loads(line)
            rows += 1
    return f"{rows} rows read"


WAYS = {
    "guarded": ("Python, patterns behind literals", lambda t, f: dataset(t, f, redact_guarded)),
    "plain": ("Python, patterns alone", lambda t, f: dataset(t, f, redact_plain)),
    "json": ("Python, json.loads alone", lambda t, f: read_only(t)),
    "rensa": ("rensa, near copies only", lambda t, f: with_rensa(t)),
    "datasketch": ("datasketch, near copies only", lambda t, f: with_datasketch(t)),
    "proto": ("proto, every step", None),
}


def measure(command, log):
    """Seconds by the clock, seconds of the processor, peak memory in MB and whether it worked."""
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - begun
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, process.returncode


def main():
    if sys.argv[1] == "way":
        print(WAYS[sys.argv[2]][1](sys.argv[3], sys.argv[4]))
        return
    traces, proto, *ways = sys.argv[1:]
    size = os.path.getsize(traces) / 1e6
    print(f"{traces}: {size:.0f} MB; {os.cpu_count()} cores")
    print("times: how often the first way's time by the clock, and by the processor, holds this one's")
    head = ("", "seconds", "processor", "MB/s", "MB/s a core", "peak MB", "times", "a core")
    print("{:34} {:>8} {:>10} {:>8} {:>12} {:>8} {:>7} {:>7}".format(*head))
    first = None
    for way in ways or WAYS:
        if way == "proto" and proto == "-":
            continue
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as log:
            command = [sys.executable, __file__, "way", way, traces, folder]
            if way == "proto":
                command = [proto, "run", "scripts/dataset/dataset.rhai", "--out", folder]
                command += [f"TRACES={traces}", "TRACE_DAYS=0"]
            wall, processor, peak, code = measure(command, log)
            log.seek(0)
            said = log.read().strip().splitlines()
        if code != 0:
            print(f"{WAYS[way][0]:34} failed:\n" + "\n".join(said[-8:]))
            continue
        first = first or (wall, processor)
        told = said[-1] if said and way != "proto" else ""
        print(
            f"{WAYS[way][0]:34} {wall:8.1f} {processor:10.1f} {size / wall:8.1f} "
            f"{size / processor:12.1f} {peak:8.0f} {first[0] / wall:7.2f} "
            f"{first[1] / processor:7.2f}  {told}",
            flush=True,
        )


main()
