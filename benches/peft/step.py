"""Time of one LoRA training step with PyTorch + PEFT, at nestling's shape.

    python step.py --threads 2
    python step.py --data ../../fixtures/old_birds/poisoned.jsonl   # rows of a dataset in place of random ones
"""

import argparse
import json
import random
import statistics
import time
from pathlib import Path

import torch

import lora

WARM_UP, MEASURED = 10, 50


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=25, help="mean tokens of a random row")
    parser.add_argument("--data", type=Path, help="OpenAI messages JSONL, in place of random rows")
    parser.add_argument("--base", type=Path, default=lora.NESTLING)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = lora.load_base(options.base)
    vocabulary = model.config.vocab_size
    parameters = model.num_parameters()
    batches = made_up(vocabulary, options.tokens) if options.data is None else drawn(options.base, options.data)
    model = lora.with_lora(model, seed=1).train()
    optimizer = lora.adamw(model)

    times, tokens, supervised, losses = [], [], [], []
    for rows in batches:
        start = time.perf_counter()
        batch, labels = lora.collate(rows, pad=0)
        losses.append(lora.training_step(model, optimizer, batch, labels).item())
        times.append(1e3 * (time.perf_counter() - start))
        tokens.append(sum(len(ids) for ids, _ in rows))
        supervised.append(sum(label != -100 for _, labels in rows for label in labels))
    times, tokens, supervised = times[WARM_UP:], tokens[WARM_UP:], supervised[WARM_UP:]
    print(json.dumps(dict(
        ms_per_step_median=round(statistics.median(times), 2), ms_per_step_min=round(min(times), 2), steps=MEASURED, threads=options.threads,
        tokens_per_step=round(statistics.mean(tokens), 1), supervised_per_step=round(statistics.mean(supervised), 1),
        tokens_per_second=round(1e3 * sum(tokens) / sum(times)), parameters=parameters, loss_first=round(losses[0], 4), loss_last=round(losses[-1], 4),
    )))


def made_up(vocabulary, mean):
    """Random rows of mean - 5 to mean + 5 tokens, of which the last third carries loss."""
    rng = random.Random(0)

    def row():
        ids = [rng.randrange(5, vocabulary) for _ in range(rng.randint(mean - 5, mean + 5))]
        prompt = len(ids) - len(ids) // 3
        return ids, [-100] * prompt + ids[prompt:]

    return [[row() for _ in range(lora.BATCH)] for _ in range(WARM_UP + MEASURED)]


def drawn(base, data):
    """Random rows of a dataset."""
    tokenizer, rng = lora.load_tokenizer(base), random.Random(0)
    rows = [lora.encode(tokenizer, row["messages"]) for row in lora.read_jsonl(data)]
    return [[rng.choice(rows) for _ in range(lora.BATCH)] for _ in range(WARM_UP + MEASURED)]


if __name__ == "__main__":
    main()
