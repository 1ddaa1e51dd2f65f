"""The same training in transformers and PEFT, on the same card, for the GPU check's table.

    python3 tests/gpu/peer.py RESULTS [nf4]

One JSON line a run: SmolLM2-135M's shape (batch 4 x 256) in f32 and bf16, and Qwen2.5-7B's (batch
1 x 2,048, bf16, without and with gradient checkpointing). Where bitsandbytes is installed, that shape
and Llama-3.1-8B's again on an NF4 base, as QLoRA is done there, up to the length that fits.
"""
import json
import subprocess
import sys
import time

import peft
import torch
import transformers

try:
    import bitsandbytes
except ImportError:
    bitsandbytes = None


def quantise(model):
    """Every linear but the head in NF4 with doubly quantised scales, computing in bf16."""
    for name, linear in list(model.named_modules()):
        if isinstance(linear, torch.nn.Linear) and name != "lm_head":
            parent, own = model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]
            new = bitsandbytes.nn.Linear4bit(
                linear.in_features, linear.out_features, bias=False,
                compute_dtype=torch.bfloat16, quant_type="nf4", compress_statistics=True)
            new.weight = bitsandbytes.nn.Params4bit(
                linear.weight.data.cpu(), requires_grad=False, quant_type="nf4",
                compress_statistics=True)
            setattr(parent, own, new.to("cuda"))
    model.is_loaded_in_4bit = True
    torch.cuda.empty_cache()


def run(name, dtype, batch, length, steps, checkpointing, nf4=False, **shape):
    torch.manual_seed(1)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    config = transformers.LlamaConfig(max_position_embeddings=16384, rope_theta=100000.0, **shape)
    torch.set_default_dtype(dtype)
    with torch.device("cuda"):
        model = transformers.LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    model.config.use_cache = False
    if nf4:
        quantise(model)
    lora = peft.LoraConfig(r=16, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    model = peft.get_peft_model(model, lora)
    if checkpointing:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    model.train()
    torch.cuda.reset_peak_memory_stats()
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
            "bitsandbytes": bitsandbytes.__version__ if nf4 else None,
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

LLAMA = dict(vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
             num_attention_heads=32, num_key_value_heads=8, tie_word_embeddings=False)

RUNS = [
    ("SmolLM2-135M", torch.float32, 4, 256, 60, False, False, SMALL),
    ("SmolLM2-135M", torch.bfloat16, 4, 256, 60, False, False, SMALL),
    ("Qwen2.5-7B", torch.bfloat16, 1, 2048, 6, False, False, LARGE),
    ("Qwen2.5-7B", torch.bfloat16, 1, 2048, 6, True, False, LARGE),
]
if bitsandbytes:
    RUNS += [
        ("Qwen2.5-7B", torch.bfloat16, 1, 2048, 6, False, True, LARGE),
        ("Qwen2.5-7B", torch.bfloat16, 1, 2048, 6, True, True, LARGE),
        ("Qwen2.5-7B", torch.bfloat16, 1, 8192, 3, True, True, LARGE),
        ("Qwen2.5-7B", torch.bfloat16, 1, 16384, 3, True, True, LARGE),
        ("Llama-3.1-8B", torch.bfloat16, 1, 2048, 6, True, True, LLAMA),
    ]

for arguments in RUNS:
    if len(sys.argv) > 2 and not (arguments[6] and sys.argv[2] == "nf4"):
        continue
    line = json.dumps(run(*arguments[:7], **arguments[7]))
    print(line, flush=True)
    with open(sys.argv[1], "a") as results:
        results.write(line + "\n")
