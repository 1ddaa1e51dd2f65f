#!/usr/bin/env python3
"""A language model that says what it is told to: an OpenAI-compatible server on loopback.

    model.py TURNS.json FOLDER

TURNS.json maps a word to the steps of one turn. A prompt that begins with `word:` is answered by
these steps, one a request, whichever session it stands in. A step has any of `think`, `say`,
`calls` (a list of [tool, arguments]; arguments given as text are sent as they stand), `finish`,
`status` (an HTTP error instead of an answer) and `stall` (stops in the middle of the answer).

FOLDER gets `requests.jsonl`, every request with its system prompt and tools as the agent sent it,
and an empty file `waiting` once an answer stalls. The port is printed on the first line. The
server ends when its input does.
"""

import http.server
import json
import pathlib
import re
import sys
import threading
import time

TURNS = json.loads(pathlib.Path(sys.argv[1]).read_text())
FOLDER = pathlib.Path(sys.argv[2])
LOCK = threading.Lock()


def words(message):
    content = message.get("content") or ""
    if isinstance(content, list):
        content = "\n".join(part.get("text", "") for part in content)
    return content


def step(messages):
    """The next step of the turn that the last prompt with a known word began."""
    for at in range(len(messages) - 1, -1, -1):
        found = re.search(r"(?m)^\W?(\w+):", words(messages[at]))
        if messages[at]["role"] == "user" and found and found[1] in TURNS:
            taken = sum(message["role"] == "assistant" for message in messages[at:])
            steps = TURNS[found[1]]
            return steps[taken] if taken < len(steps) else {"say": "Nothing more."}
    return {"say": "Nothing to do."}


class Model(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        request = json.loads(body)
        with LOCK, open(FOLDER / "requests.jsonl", "a") as log:
            log.write(json.dumps(request) + "\n")
        # Without tools it is a title that is asked for.
        told = step(request["messages"]) if request.get("tools") else {"say": "A title"}
        if "status" in told:
            error = json.dumps({"error": {"message": "no such key", "type": "invalid"}}).encode()
            self.send_response(told["status"])
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(error)))
            self.end_headers()
            self.wfile.write(error)
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        if "think" in told:
            self.chunk({"reasoning_content": told["think"]})
        if "say" in told:
            self.chunk({"content": told["say"]})
        if told.get("stall"):
            (FOLDER / "waiting").touch()
            time.sleep(300)
        for nth, (name, arguments) in enumerate(told.get("calls", [])):
            text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            function = {"name": name, "arguments": text}
            # Not unique within a session, as with some servers.
            call = {"index": nth, "id": f"call_{nth}", "type": "function", "function": function}
            self.chunk({"tool_calls": [call]})
        self.chunk({}, told.get("finish", "tool_calls" if told.get("calls") else "stop"))
        self.wfile.write(b"data: [DONE]\n\n")

    def chunk(self, delta, finish=None):
        choice = {"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": finish}
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "scripted"}
        chunk["choices"] = [choice]
        if finish:
            chunk["usage"] = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.flush()


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
sys.stdin.read()
