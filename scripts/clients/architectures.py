"""Writes the toy models of tests/architectures: random weights, and transformers' own logits.

    architectures.py tests/architectures

Weights are rounded to bf16, in which they are stored, before the logits are computed in f32.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

SHAPE = dict(
    vocab_size=48,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    initializer_range=0.3,
    bos_token_id=0,
    eos_token_id=1,
    pad_token_id=0,
)
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}
LINEAR = {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}
MODELS = {
    "llama": LlamaConfig(**SHAPE, tie_word_embeddings=False),
    "llama_tied": LlamaConfig(**SHAPE, tie_word_embeddings=True),
    "llama_3": LlamaConfig(**SHAPE, tie_word_embeddings=True, head_dim=8, rope_parameters=LLAMA3),
    "llama_linear": LlamaConfig(**SHAPE, tie_word_embeddings=True, rope_parameters=LINEAR),
    "mistral": MistralConfig(**SHAPE, tie_word_embeddings=False, sliding_window=None),
    "mistral_window": MistralConfig(**SHAPE, tie_word_embeddings=False, sliding_window=6),
    "qwen2": Qwen2Config(**SHAPE, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**SHAPE, tie_word_embeddings=False, head_dim=8),
}

out = Path(sys.argv[1])
for seed, (name, config) in enumerate(MODELS.items()):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            # Biases start at zero and norms at one: then a reader that skips them goes unnoticed.
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
            # Small heads cannot be sure of anything, whatever the layers below learn.
            if "embed" in key or "lm_head" in key:
                parameter.mul_(4)
            parameter.copy_(parameter.bfloat16().float())
        ids = torch.randint(0, config.vocab_size, (1, 40))
        logits = model(input_ids=ids).logits[0].float()
    model.bfloat16().save_pretrained(out / name)
    (out / name / "generation_config.json").unlink(missing_ok=True)
    save_file({"ids": ids[0].int(), "logits": logits}, out / f"{name}.safetensors")
    print(name, sum(p.numel() for p in model.parameters()))
