"""Trains an adapter with PyTorch and PEFT, as ours was trained.

    peft_training.py BASE ADAPTER PLAN OUT KIND

BASE is a Hugging Face folder, ADAPTER the adapter to begin with, PLAN the rows, their order and the
optimiser's settings. KIND is f32, or nf4 for a base in bitsandbytes' NF4. Prints the loss of every
step; writes the trained adapter to OUT, and with nf4 the base's codes and scales.
"""

import sys

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

base, adapter, plan, out, kind = sys.argv[1:]
plan = load_file(plan)
options = {}
if kind == "nf4":
    options["quantization_config"] = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=False,
        bnb_4bit_compute_dtype=torch.float32,
    )
    options["device_map"] = "cpu"
model = AutoModelForCausalLM.from_pretrained(
    base, dtype=torch.float32, attn_implementation="eager", **options
)
if kind == "nf4":
    blocks = {}
    for name, module in model.named_modules():
        if hasattr(module, "weight") and hasattr(module.weight, "quant_state"):
            blocks[f"{name}.codes"] = module.weight.data.flatten().clone()
            blocks[f"{name}.absmax"] = module.weight.quant_state.absmax.clone()
    print("quantised", len(blocks) // 2)

model = PeftModel.from_pretrained(model, adapter, is_trainable=True).train()
trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
optimizer = torch.optim.AdamW(
    trained, lr=0.0, betas=(0.9, 0.999), eps=1e-8, weight_decay=plan["decay"].item()
)
for step, rate in enumerate(plan["rates"].tolist()):
    rows = plan["order"][step].tolist()
    longest = max(len(plan[f"ids{row}"]) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask, targets = torch.zeros_like(ids), torch.full_like(ids, -100)
    for at, row in enumerate(rows):
        own, counts = plan[f"ids{row}"].long(), plan[f"trained{row}"].bool()
        ids[at, : len(own)] = own
        mask[at, : len(own)] = 1
        targets[at, : len(own)] = torch.where(counts, own, -100)
    logits = model(input_ids=ids, attention_mask=mask).logits
    loss = cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, plan["clip"].item())
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad()
    print(f"loss{step}", loss.item(), flush=True)
model.save_pretrained(out)
if kind == "nf4":
    save_file(blocks, f"{out}/nf4.safetensors")
