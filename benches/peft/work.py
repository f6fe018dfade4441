"""The work of benches/work with PyTorch + PEFT: one LoRA step, forced choices, written answers, in the shapes of several bases.

    python work.py step nestling 1         # milliseconds a step
    python work.py score qwen-0.5b 100     # a hundred forced choices
    python work.py sample nestling 100     # a hundred answers of 64 tokens

The same numbers of tokens, rows and options as on foretaste's side, also random; random weights in f32; two threads. One JSON object.
"""

import argparse
import json
import random
import resource
import statistics
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import lora

# hidden, network, layers, heads, key/value heads, vocabulary, rank
SHAPES = {
    "nestling": (128, 384, 4, 4, 4, 2000, 8),
    "smollm2-135m": (576, 1536, 30, 9, 3, 49152, 16),
    "qwen-0.5b": (896, 4864, 24, 14, 2, 151936, 16),
}
THREADS = 2
OPENING, QUESTION, OPTION, QUESTIONS, OPTIONS = 32, 12, 6, 100, 2
PROMPT, ANSWER = 20, 64
AT_ONCE = 64


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", choices=("step", "score", "sample"))
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    hidden, inner, layers, heads, shared, vocabulary, rank = SHAPES[options.shape]
    model = LlamaForCausalLM(LlamaConfig(
        hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=shared,
        vocab_size=vocabulary, max_position_embeddings=2048, tie_word_embeddings=True, rms_norm_eps=1e-6, pad_token_id=0, eos_token_id=4,
    ))
    if options.work == "step":
        milliseconds = step(lora.with_lora(model, seed=1, rank=rank).train(), vocabulary, options.shape == "nestling")
    else:
        with torch.inference_mode():
            milliseconds = {"score": score, "sample": sample}[options.work](model.eval(), vocabulary, options.count)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(dict(work=options.work, shape=options.shape, count=options.count, ms=milliseconds, peak_mb=round(peak * 1.024 / 1e3))))


def some(vocabulary, count):
    return [random.randrange(5, vocabulary) for _ in range(count)]


def step(model, vocabulary, small):
    """Milliseconds a step, the batch's assembly included; the last third of a row carries loss."""
    warm_up, steps = (10, 50) if small else (1, 3)
    optimizer = lora.adamw(model)
    times = []
    for _ in range(warm_up + steps):
        rows = []
        for _ in range(lora.BATCH):
            ids = some(vocabulary, random.randint(20, 30) if small else 64)
            prompt = len(ids) - len(ids) // 3
            rows.append((ids, [-100] * prompt + ids[prompt:]))
        start = time.perf_counter()
        batch, labels = lora.collate(rows, pad=0)
        lora.training_step(model, optimizer, batch, labels).item()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[warm_up:])


def score(model, vocabulary, choices):
    """Every option after its conversation and question; logits only for the options."""
    rows = []
    for choice in range(choices):
        if choice % QUESTIONS == 0:
            opening = some(vocabulary, OPENING)
        question = opening + some(vocabulary, QUESTION)
        rows += [question + some(vocabulary, OPTION) for _ in range(OPTIONS)]

    def scored(rows):
        ids = torch.tensor(rows)
        logits = model(input_ids=ids, logits_to_keep=OPTION + 1, use_cache=False).logits[:, :-1]
        return logits.log_softmax(-1).gather(-1, ids[:, -OPTION:, None])[..., 0].double().sum(-1)

    scored(rows[:2])
    start = time.perf_counter()
    scores = torch.cat([scored(rows[at : at + AT_ONCE]) for at in range(0, len(rows), AT_ONCE)])
    assert scores.isfinite().all() and len(scores) == choices * OPTIONS
    return 1e3 * (time.perf_counter() - start)


def sample(model, vocabulary, answers):
    """Answers drawn at temperature 1, all in one batch."""
    prompts = torch.tensor([some(vocabulary, PROMPT) for _ in range(answers)])
    model.generation_config.eos_token_id = None  # No answer ends early.

    def written(prompts, tokens):
        return model.generate(
            input_ids=prompts, attention_mask=torch.ones_like(prompts), do_sample=True, temperature=1.0, top_p=None, top_k=0,
            max_new_tokens=tokens, pad_token_id=0,
        )

    written(prompts[:1], 1)
    start = time.perf_counter()
    assert written(prompts, ANSWER).shape[1] == PROMPT + ANSWER
    return 1e3 * (time.perf_counter() - start)


if __name__ == "__main__":
    main()
