"""Greedy answers by llama.cpp: `GGUF THREADS BATCH NEW`, prompts' tokens as JSON on stdin.

Prints the seconds it took. `BATCH` prompts are answered at a time, in one llama.cpp batch a step;
nothing ends an answer early.
"""

import ctypes
import json
import sys
import time

import llama_cpp
import numpy as np

path, (threads, at_once, new) = sys.argv[1], map(int, sys.argv[2:5])
prompts = json.load(sys.stdin)


@llama_cpp.llama_log_callback
def silent(level, text, data):
    pass


llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
model = llama_cpp.llama_model_load_from_file(
    path.encode(), llama_cpp.llama_model_default_params()
)
words = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
longest = max(map(len, prompts)) + new
params = llama_cpp.llama_context_default_params()
params.n_ctx = at_once * (longest + 64)
params.n_batch = params.n_ctx
params.n_seq_max = at_once
params.n_threads = params.n_threads_batch = threads
context = llama_cpp.llama_init_from_model(model, params)
memory = llama_cpp.llama_get_memory(context)
batch = llama_cpp.llama_batch_init(params.n_ctx, 0, 1)


def step(rows):
    """Feeds `(sequence, position, tokens)` and returns the likeliest next token of each."""
    n, last = 0, []
    for sequence, position, tokens in rows:
        for i, token in enumerate(tokens):
            batch.token[n] = token
            batch.pos[n] = position + i
            batch.n_seq_id[n] = 1
            batch.seq_id[n][0] = sequence
            batch.logits[n] = i + 1 == len(tokens)
            n += 1
        last.append(n - 1)
    batch.n_tokens = n
    if llama_cpp.llama_decode(context, batch) != 0:
        sys.exit("llama_decode failed")
    logits = (llama_cpp.llama_get_logits_ith(context, i) for i in last)
    return [int(np.ctypeslib.as_array(row, (words,)).argmax()) for row in logits]


begun = time.perf_counter()
for first in range(0, len(prompts), at_once):
    part = prompts[first : first + at_once]
    llama_cpp.llama_memory_clear(memory, True)
    chosen = step([(i, 0, ids) for i, ids in enumerate(part)])
    for done in range(new - 1):
        rows = [(i, len(ids) + done, [chosen[i]]) for i, ids in enumerate(part)]
        chosen = step(rows)
print(time.perf_counter() - begun)
