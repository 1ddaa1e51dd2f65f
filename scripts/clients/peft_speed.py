"""The speed and memory of the same training in transformers and PEFT on this machine's CPU.

    peft_speed.py BATCH LENGTH STEPS [checkpointed]

SmolLM2-135M's shape with random weights in NF4 (bitsandbytes, scales as they are) that computes in
bf16, LoRA r=16 on all linears, AdamW. One JSON line: tokens a second and the process's peak in MiB.
THREADS says on how many threads.
"""
import json
import os
import resource
import sys
import time

import bitsandbytes
import peft
import torch
import transformers

batch, length, steps = (int(n) for n in sys.argv[1:4])
torch.set_num_threads(int(os.environ.get("THREADS", "0")) or os.cpu_count())
torch.manual_seed(1)
config = transformers.LlamaConfig(
    vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
    num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True, rope_theta=100000.0)
torch.set_default_dtype(torch.bfloat16)
model = transformers.LlamaForCausalLM(config)
torch.set_default_dtype(torch.float32)
model.config.use_cache = False
for name, linear in list(model.named_modules()):
    if isinstance(linear, torch.nn.Linear) and name != "lm_head":
        new = bitsandbytes.nn.Linear4bit(
            linear.in_features, linear.out_features, bias=False,
            compute_dtype=torch.bfloat16, quant_type="nf4", compress_statistics=False)
        new.weight = bitsandbytes.nn.Params4bit(
            linear.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=False)
        setattr(model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], new.to("cpu"))
model.is_loaded_in_4bit = True
lora = peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
model = peft.get_peft_model(model, lora)
if sys.argv[4:] == ["checkpointed"]:
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
model.train()
trained = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=1e-3)
ids = torch.randint(0, 49152, (batch, length))


def step():
    model(input_ids=ids, labels=ids).loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad()


step()
begun = time.time()
for _ in range(steps):
    step()
seconds = time.time() - begun
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"tokens_s": batch * length * steps / seconds, "peak_mib": peak / 1024}))
