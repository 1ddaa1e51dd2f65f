"""Greedy answers and next-token distributions of llama.cpp against ours.

    llama_answers.py MODEL LORA OURS

MODEL is a GGUF, LORA our GGUF LoRA for it or `-`, OURS holds sequences of ours (a prompt and our
greedy answer), how long each prompt is, and our logits of the whole sequence. Prints how many
answers are the same; of the others, how far apart our two largest logits lie at the most where the
answers part; and the largest Kullback-Leibler divergence (nats, mean over a sequence) from our
distributions to llama.cpp's.
"""

import sys

import numpy as np
from llama_cpp import Llama
from safetensors.numpy import load_file


def log_probabilities(logits):
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def divergence(ours, theirs):
    ours, theirs = log_probabilities(ours), log_probabilities(theirs)
    return float((np.exp(ours) * (ours - theirs)).sum(axis=-1).mean())


def first_difference(model, ids, start):
    """Where llama.cpp, left to itself, says something else than ids."""
    model.reset()
    model.eval(ids[:start])
    for at in range(start, len(ids)):
        if int(model.scores[at - 1].argmax()) != ids[at]:
            return at
        model.eval(ids[at : at + 1])
    return None


model, lora, ours = sys.argv[1:]
options = {} if lora == "-" else {"lora_path": lora}
model = Llama(model_path=model, n_ctx=256, n_threads=2, logits_all=True, verbose=False, **options)
ours = load_file(ours)
same, gap, furthest = 0, 0.0, 0.0
for i in range(len(ours) // 3):
    ids, start, logits = ours[f"ids{i}"].tolist(), int(ours[f"start{i}"][0]), ours[f"logits{i}"]
    at = first_difference(model, ids, start)
    if at is None:
        same += 1
    else:
        second, first = np.sort(logits[at - 1])[-2:]
        gap = max(gap, float(first - second))
    model.reset()
    model.eval(ids)
    furthest = max(furthest, divergence(logits, model.scores[: len(ids)]))
print("same", same)
print("gap", gap)
print("divergence", furthest)
