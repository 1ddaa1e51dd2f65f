"""Logits of stock transformers and PEFT against ours.

    peft_logits.py BASE ADAPTER LOGITS SAVED

BASE is a Hugging Face folder, ADAPTER a PEFT adapter, LOGITS our logits with their token ids.
Prints the largest relative errors (norm of the difference over norm of theirs) and how far the
adapter moves the logits, and lets PEFT save the adapter to SAVED.
"""

import sys

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM


def error(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm()).item()


def answers(model, logits):
    with torch.no_grad():
        rows = [logits[f"ids{i}"].long()[None] for i in range(len(logits) // 3)]
        return [model(input_ids=row).logits[0].float() for row in rows]


base, adapter, logits, saved = sys.argv[1:]
logits = load_file(logits)
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
plain = answers(model, logits)
model = PeftModel.from_pretrained(model, adapter)
adapted = answers(model, logits)
model.save_pretrained(saved)
print("plain", max(error(logits[f"plain{i}"], p) for i, p in enumerate(plain)))
print("adapted", max(error(logits[f"adapted{i}"], a) for i, a in enumerate(adapted)))
print("moved", min(error(p, a) for p, a in zip(plain, adapted)))
