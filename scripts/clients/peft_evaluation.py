"""An evaluation of ours beside the same by transformers and PEFT.

    peft_evaluation.py BASE ADAPTER ASKED

BASE is a Hugging Face folder, ADAPTER a PEFT adapter, ASKED our questions with our answers and
scores. Answers every prompt greedily, measures the loss on every reference and scores the answers
by the metrics' descriptions, with and without the adapter. Prints for each:

    same           the share of answers with the same tokens as ours
    loss_apart     the largest relative difference of an item's loss
    scores_differ  answers with the same tokens, but another exact_match or keyword_recall
    loss, exact_match, keyword_recall   means, the loss by tokens
"""

import json
import re
import sys

import torch
from peft import PeftModel
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM


def answer(model, prompt, stop, longest):
    prompt = torch.tensor([prompt])
    out = model.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        max_new_tokens=longest,
        eos_token_id=stop,
        pad_token_id=stop[0],
    )
    ids = out[0, prompt.shape[1]:].tolist()
    return ids[:-1] if ids and ids[-1] in stop else ids


def nats(model, row, trained):
    row = torch.tensor([row])
    logits = model(input_ids=row).logits[0].double()
    logs = torch.log_softmax(logits, -1)
    return [-logs[at - 1, row[0, at]].item() for at in trained]


def parsed(text):
    """Text, calls, and whether a call is broken."""
    calls, broken = [], False

    def take(match):
        nonlocal broken
        try:
            call = json.loads(match[1])
            assert isinstance(call["name"], str) and isinstance(call["arguments"], dict)
            calls.append({"name": call["name"], "arguments": call["arguments"]})
            return ""
        except (ValueError, KeyError, AssertionError, TypeError):
            broken = True
            return match[0]

    text = re.sub(r"<tool_call>(.*?)</tool_call>", take, text, flags=re.S)
    return text.strip(), calls, broken or "<tool_call>" in text


def scalars(value):
    if isinstance(value, dict):
        return [s for v in value.values() for s in scalars(v)]
    if isinstance(value, list):
        return [s for v in value for s in scalars(v)]
    return [] if value is None else [json.dumps(value) if not isinstance(value, str) else value]


def folded(text):
    return " ".join(text.split()).lower()


def holds(place, word):
    """As a whole word: no letter or digit touches an end of it that is one."""
    at = place.find(word)
    while at >= 0:
        end = at + len(word)
        before = at > 0 and place[at - 1].isalnum() and word[0].isalnum()
        after = end < len(place) and place[end].isalnum() and word[-1].isalnum()
        if not before and not after:
            return True
        at = place.find(word, at + 1)
    return False


def scores(text, question):
    content, calls, broken = parsed(text)
    reference = question["reference"]
    exact = (
        not broken
        and calls == reference.get("calls", [])
        and content.split() == reference["content"].split()
    )
    places = [folded(content)]
    for call in calls:
        places += [folded(call["name"])] + [folded(s) for s in scalars(call["arguments"])]
    words = [folded(word) for word in question["keywords"]]
    found = sum(any(holds(place, word) for place in places) for word in words)
    return float(exact), found / len(words)


def evaluate(name, model, asked, tokenizer):
    same, differ, apart, total, tokens = 0, 0, 0.0, 0.0, 0
    means = [0.0, 0.0]
    for question in asked["questions"]:
        ours = question[name]
        ids = answer(model, question["prompt"], asked["stop"], asked["longest"])
        exact, recall = scores(tokenizer.decode(ids, skip_special_tokens=False), question)
        if ids == ours["ids"]:
            same += 1
            known = ours["scores"]["exact_match"], ours["scores"]["keyword_recall"]
            differ += abs(known[0] - exact) > 1e-8 or abs(known[1] - recall) > 1e-8
        each = nats(model, question["row"], question["trained"])
        loss = sum(each) / len(each)
        apart = max(apart, abs(loss - ours["scores"]["loss"]) / loss)
        total, tokens = total + sum(each), tokens + len(each)
        means = [means[0] + exact, means[1] + recall]
    n = len(asked["questions"])
    print(f"{name}.same", same / n)
    print(f"{name}.loss_apart", apart)
    print(f"{name}.scores_differ", differ)
    print(f"{name}.loss", total / tokens)
    print(f"{name}.exact_match", means[0] / n)
    print(f"{name}.keyword_recall", means[1] / n)


base, adapter, asked = sys.argv[1:]
asked = json.load(open(asked))
tokenizer = Tokenizer.from_file(f"{base}/tokenizer.json")
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
model.eval()
with torch.no_grad():
    evaluate("base", model, asked, tokenizer)
    model = PeftModel.from_pretrained(model, adapter).eval()
    evaluate("candidate", model, asked, tokenizer)
print("rows", len(asked["questions"]))
