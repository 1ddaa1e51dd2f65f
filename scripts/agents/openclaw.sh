#!/usr/bin/env bash
# Runs the real OpenClaw against a model that says what openclaw.json tells it, so that we can see
# what it stores of each turn:
#
#     scripts/agents/openclaw.sh            into target/agents/openclaw (650 MB to install)
#     scripts/agents/openclaw.sh FOLDER     elsewhere
#
# Needs npm and python3. FOLDER/state is OpenClaw's state folder, FOLDER/requests.jsonl what it
# sent to its model: a request of it with tools is what it really tells a model. All of it is
# OpenClaw's, so it is made when needed. FOLDER/state can then be read like any other.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=${OPENCLAW_VERSION:-2026.9.6}
mkdir -p "${1:-target/agents/openclaw}"
out=$(cd "${1:-target/agents/openclaw}" && pwd)
bin=$out/agent-$version/node_modules/.bin
# It wants a newer Node than most machines have; npm has one as a package.
[ -x "$bin/node" ] || npm install --silent --prefix "$out/agent-$version" node@24
export PATH=$bin:$PATH
[ -x "$bin/openclaw" ] || npm install --silent --prefix "$out/agent-$version" "openclaw@$version"

rm -rf "$out"/{home,state,project,requests.jsonl,waiting,log}
mkdir -p "$out"/{home,state,project}
coproc MODEL { exec python3 scripts/agents/model.py scripts/agents/openclaw.json "$out"; }
read -r port <&"${MODEL[0]}"

cd "$out/project"
printf 'def total(rows):\n    retrun sum(rows)\n\nprint(total([1, 2, 3]))\n' >total.py
cat >"$out/state/openclaw.json" <<JSON
{"agents": {"defaults": {"model": {"primary": "local/scripted"}, "workspace": "$out/project"}},
 "models": {"mode": "merge", "providers": {"local": {"baseUrl": "http://127.0.0.1:$port/v1",
  "apiKey": "none", "api": "openai-completions", "models": [{"id": "scripted", "name": "Scripted",
   "reasoning": false, "input": ["text"], "contextWindow": 65536, "maxTokens": 4096,
   "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0}}]}}}}
JSON

# OpenClaw puts the time before the first line.
run() {
    HOME=$out/home OPENCLAW_STATE_DIR=$out/state \
        exec openclaw agent --local --agent main --message "Please do this."$'\n'"$1" </dev/null
}
say() { (run "$@") >>"$out/log" 2>&1 || echo "openclaw: exit $? at: $1" >&2; }
# Ends the agent as soon as it waits for something.
stop() {
    rm -f "$out/waiting"
    (run "$1") >>"$out/log" 2>&1 &
    until [ -e "$out/waiting" ]; do sleep 0.2; done
    sleep 1
    kill -INT $! || true
    wait $! || true
}

say "success: fix the typo in total.py and run it"
say "edit: say it right"
say "schema: list the files"
say "unknown: open the file"
stop "stalled: think about it"
echo "$out/state"
