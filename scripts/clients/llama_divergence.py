"""Next-token distributions of llama.cpp against ours.

    llama_divergence.py MODEL LORA LOGITS

MODEL is a GGUF, LORA our GGUF LoRA, LOGITS our logits with and without it and their token ids.
Prints mean Kullback-Leibler divergences (nats) from our distributions to llama.cpp's, and how far
the LoRA moves ours.
"""

import sys

import numpy as np
from llama_cpp import Llama
from safetensors.numpy import load_file


def probabilities(logits):
    logits = logits.astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def divergence(ours, theirs):
    ours, theirs = probabilities(ours), probabilities(theirs)
    return float((np.exp(ours) * (ours - theirs)).sum(axis=-1).mean())


def answers(logits, **options):
    model = Llama(model_path=sys.argv[1], n_ctx=256, logits_all=True, verbose=False, **options)
    for i in range(len(logits) // 3):
        ids = logits[f"ids{i}"].tolist()
        model.reset()
        model.eval(ids)
        yield model.scores[: len(ids)].copy()


logits = load_file(sys.argv[3])
plain = list(answers(logits))
adapted = list(answers(logits, lora_path=sys.argv[2]))
print("plain", max(divergence(logits[f"plain{i}"], p) for i, p in enumerate(plain)))
print("adapted", max(divergence(logits[f"adapted{i}"], a) for i, a in enumerate(adapted)))
print("moved", min(divergence(logits[f"adapted{i}"], logits[f"plain{i}"]) for i in range(len(plain))))
