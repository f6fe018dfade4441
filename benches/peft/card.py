"""What PyTorch + PEFT do on a device, in the shapes and with the steps of examples/card.rs: random weights, one JSON object a line.

    python card.py --device cuda:0 --shapes qwen-0.5b,llama-1b,llama-8b --dtype bfloat16
"""

import argparse
import json
import statistics
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

# hidden, network, layers, heads, key/value heads, vocabulary, rank
SHAPES = {
    "tiny": (128, 384, 4, 4, 2, 2048, 8),
    "qwen-0.5b": (896, 4864, 24, 14, 2, 151936, 16),
    "llama-1b": (2048, 8192, 16, 32, 8, 128256, 32),
    "llama-8b": (4096, 14336, 32, 32, 8, 128256, 32),
}
BATCH, TOKENS = 8, 128


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--shapes", default="tiny")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--dtype", default="bfloat16")
    options = parser.parse_args()
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    say(engine=f"torch {torch.__version__}", device=name, dtype=options.dtype)
    for size in (1024, 4096):
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        seconds = timed(lambda: a @ b, device, 8)
        say(**{f"product {options.dtype}": size, "TFLOP/s": 2 * size**3 / seconds / 1e12})
    for shape in options.shapes.split(","):
        measure(shape, device, dtype, options.steps)


def measure(name, device, dtype, steps):
    hidden, inner, layers, heads, shared, vocabulary, rank = SHAPES[name]
    config = LlamaConfig(
        hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=shared, vocab_size=vocabulary, max_position_embeddings=2048, tie_word_embeddings=name != "llama-8b",
    )
    torch.set_default_dtype(dtype)
    with device:
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)

    # Scoring: a shared opening and 64 options of 16 tokens, one pass over the opening, its cache repeated.
    opening = torch.randint(vocabulary, (1, TOKENS), device=device)
    answers = torch.randint(vocabulary, (64, 16), device=device)

    @torch.no_grad()
    def score():
        cache = model(opening, use_cache=True, logits_to_keep=1).past_key_values
        cache.batch_repeat_interleave(64)
        return model(answers, past_key_values=cache, use_cache=True).logits.float().log_softmax(-1).sum().item()

    seconds = timed(score, device, 3)
    say(scoring=name, **{"tokens/s": (TOKENS + 64 * 16) / seconds})

    lora = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, lora).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-4)
    tokens = torch.randint(vocabulary, (BATCH, TOKENS), device=device)
    labels = tokens.clone()
    labels[:, : TOKENS // 2] = -100

    def step():
        loss = model(input_ids=tokens, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    seconds = timed(step, device, steps)
    memory = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None
    say(training=name, shadows=1, **{"ms a step": 1e3 * seconds, "tokens/s": BATCH * TOKENS / seconds, "peak GB": memory})


def timed(work, device, times):
    seconds = []
    for _ in range(times + 3):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[3:])


def say(**values):
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main()
