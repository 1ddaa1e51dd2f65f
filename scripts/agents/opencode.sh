#!/usr/bin/env bash
# Runs the real OpenCode against a model that says what opencode.json tells it, and checks that we
# read what it stored and what it exports:
#
#     scripts/agents/opencode.sh            [OPENCODE_VERSION=1.18.33]
#
# Needs node, npm, python3 and curl; 350 MB are installed, once. In target/agents/opencode/made,
# data/opencode is OpenCode's data folder, exports what it exports of each session, requests.jsonl
# what it sent to its model: one of these with tools is what it really tells a model. All of it is
# OpenCode's, so it is made when needed.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=${OPENCODE_VERSION:-1.18.33}
installed=$PWD/target/agents/opencode/$version
agent=$installed/node_modules/.bin/opencode
[ -x "$agent" ] || npm install --silent --prefix "$installed" "opencode-ai@$version"

out=$PWD/target/agents/opencode/made
rm -rf "$out"
mkdir -p "$out"/{home,project,exports}
coproc MODEL { exec python3 scripts/agents/model.py scripts/agents/opencode.json "$out"; }
read -r port <&"${MODEL[0]}"

cd "$out/project"
git init -q .
printf 'def total(rows):\n    retrun sum(rows)\n\nprint(total([1, 2, 3]))\n' >total.py
base64 -d >dot.png <<<iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==
git add -A
git -c user.name=n -c user.email=n@localhost commit -qm start
cat >opencode.json <<JSON
{"provider": {"local": {"npm": "@ai-sdk/openai-compatible", "name": "Local",
  "options": {"baseURL": "http://127.0.0.1:$port/v1", "apiKey": "none"},
  "models": {"scripted": {"name": "Scripted", "tool_call": true, "reasoning": true,
    "attachment": true, "modalities": {"input": ["text", "image"], "output": ["text"]},
    "limit": {"context": 65536, "output": 4096}}}}},
 "model": "local/scripted", "small_model": "local/scripted", "autoupdate": false,
 "permission": {"*": "allow", "webfetch": "ask"}, "share": "disabled"}
JSON

run() {
    HOME=$out/home XDG_DATA_HOME=$out/data XDG_CONFIG_HOME=$out/home/config \
        XDG_CACHE_HOME=$out/home/cache XDG_STATE_HOME=$out/home/state \
        OPENCODE_DISABLE_MODELS_FETCH=1 OPENCODE_DISABLE_AUTOUPDATE=1 \
        exec "$agent" "$@" </dev/null
}
say() { (run run "$@") >>"$out/log" 2>&1 || echo "opencode: exit $? at: ${!#}" >&2; }
# Waits for a condition, a minute at most.
wait_for() {
    for _ in {1..300}; do
        "$@" && return
        sleep 0.2
    done
    echo "opencode: no end of waiting for: $*" >&2
    exit 1
}
# Stops a process and its children as Ctrl-C does.
interrupt() {
    pkill -INT -P "$1" || true
    kill -INT "$1" || true
}
# Ends the agent while it waits for something.
stop() {
    rm -f "$out/waiting"
    (run run "$1") >>"$out/log" 2>&1 &
    wait_for test -e "$out/waiting"
    sleep 1
    interrupt $!
    wait $! || true
}

say "success: fix the typo in total.py and run it"
say "edit: say \"it\" right"
say "schema: list the files"
say "unknown: open the file"
say "denied: fetch the page"
stop "slow: wait for it"
stop "stalled: think about it"
say "first: count"
say --continue "second: count on"
say "delegate: count the files"
say "long: tell me everything"
say "refused: hello"
say --file dot.png -- "picture: what is this"

# What only its server's interface can be asked for.
(run serve --port 0) >"$out/serve" 2>&1 &
serve=$!
trap 'interrupt $serve' EXIT
wait_for grep -qs 'http://' "$out/serve"
url=$(grep -o 'http://[0-9.:]*' "$out/serve")
api() { curl -sSf -H 'content-type: application/json' ${2:+-d "$2"} "$url/session$1"; }
created() { api "" '{}' | python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])'; }
prompt() { printf '{"parts": [{"type": "text", "text": "%s"}]}' "$1"; }
{
    id=$(created)
    rm -f "$out/waiting"
    api "/$id/prompt_async" "$(prompt "slow: and stop")"
    wait_for test -e "$out/waiting"
    sleep 1
    api "/$id/abort" '{}'

    id=$(created)
    api "/$id/message" "$(prompt "first: keep this")"
    api "/$id/message" "$(prompt "second: undo this")"
    asked='import json, sys; print([m["info"]["id"] for m in json.load(sys.stdin)
        if m["info"]["role"] == "user"][-1])'
    api "/$id/revert" "{\"messageID\": \"$(api "/$id/message" | python3 -c "$asked")\"}"

    id=$(created)
    api "/$id/shell" '{"agent": "build", "command": "echo by hand; exit 4"}'
    api "/$id/message" "$(prompt "first: after the command")"

    id=$(created)
    api "/$id/message" "$(prompt "first: before the summary")"
    api "/$id/summarize" '{"providerID": "local", "modelID": "scripted"}'
    api "/$id/message" "$(prompt "second: after the summary")"
} >>"$out/log"
interrupt $serve
trap - EXIT

sessions='import sqlite3, sys
for (id,) in sqlite3.connect(sys.argv[1]).execute("SELECT id FROM session"): print(id)'
for id in $(python3 -c "$sessions" "$out/data/opencode/opencode.db"); do
    (run export "$id") >"$out/exports/$id.json" 2>>"$out/log"
done

cd - >/dev/null
OPENCODE_CHECK=$out cargo test --test agents -- --nocapture --include-ignored opencode
