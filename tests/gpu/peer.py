"""The same training in transformers and PEFT, on the same card, for the GPU check's table.

    python3 tests/gpu/peer.py RESULTS

One JSON line a run: SmolLM2-135M's shape (batch 4 x 256) in f32 and bf16, and Qwen2.5-7B's (batch
1 x 2,048, bf16, without and with gradient checkpointing). The base is not quantised: bitsandbytes is optional.
"""
import json
import subprocess
import sys
import time

import peft
import torch
import transformers


def run(name, dtype, batch, length, steps, checkpointing, **shape):
    torch.manual_seed(1)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    config = transformers.LlamaConfig(max_position_embeddings=8192, rope_theta=100000.0, **shape)
    torch.set_default_dtype(dtype)
    with torch.device("cuda"):
        model = transformers.LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    model.config.use_cache = False
    lora = peft.LoraConfig(r=16, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    model = peft.get_peft_model(model, lora)
    if checkpointing:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, fused=True)
    ids = torch.randint(0, 64, (batch, length), device="cuda")

    def step():
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    for _ in range(3):
        step()
    begun = time.time()
    for _ in range(steps):
        loss = step()
    seconds = time.time() - begun
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    card, driver = subprocess.check_output(query, text=True).strip().split(", ")
    return {
        "part": "peer",
        "device": card,
        "driver": driver,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "figures": {
            "name": name,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "peft": peft.__version__,
            "dtype": str(dtype),
            "gradient checkpointing": checkpointing,
            "steps": steps,
            "batch": batch,
            "sequence": length,
            "last loss": loss,
            "seconds a step": seconds / steps,
            "tokens a second": batch * length * steps / seconds,
            "peak bytes on the card": torch.cuda.max_memory_allocated(),
        },
    }


SMALL = dict(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
             num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True)
LARGE = dict(vocab_size=152064, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28,
             num_attention_heads=28, num_key_value_heads=4, tie_word_embeddings=False)

for arguments in [
    ("SmolLM2-135M", torch.float32, 4, 256, 60, False, SMALL),
    ("SmolLM2-135M", torch.bfloat16, 4, 256, 60, False, SMALL),
    ("Qwen2.5-7B", torch.bfloat16, 1, 2048, 6, False, LARGE),
    ("Qwen2.5-7B", torch.bfloat16, 1, 2048, 6, True, LARGE),
]:
    line = json.dumps(run(*arguments[:6], **arguments[6]))
    print(line, flush=True)
    with open(sys.argv[1], "a") as results:
        results.write(line + "\n")
