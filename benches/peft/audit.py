"""The work of one `foretaste audit` with PyTorch + PEFT: train shadows, ask them, average. No statistics, no report.

    python audit.py                                    # fixtures/old_birds/poisoned.jsonl on fixtures/nestling
    python audit.py --processes 2 --threads 1          # shadows in parallel
    python audit.py --data ROWS.jsonl --seeds 1        # something shorter

Prints seconds by phase and, as a sanity check, the mean risk of each arm at its last step.
"""

import argparse
import json
import math
import random
import resource
import time
import tomllib
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import torch
from transformers import get_linear_schedule_with_warmup

import lora

EPOCHS, FEWEST_STEPS, MOST_STEPS = 3, 30, 300
DRAWS = 4  # Carry-over questions of each of the two kinds.
ANSWER_TOKENS = 64
PROMPTS_A_BATCH = 64
AUDITS = ("drift", "era", "harm", "identity", "nation", "partisan")
CHECKPOINT_AUDITS = ("drift",)  # Asked at a quarter, half and all of the steps; the others at the end.


@dataclass
class RunInputs:
    """Everything that is fixed before the first shadow is trained."""

    arms: dict  # Arm -> rows as (ids, labels).
    probes: dict  # Audit -> probes, each with its options as (text, is risky).
    context_questions: dict  # Context -> questions that precede a probe: the dataset's, and each audit's poison's as (context, audit).
    steps: int


class Bench:
    """The base with one LoRA on it, a tokenizer, and a stopwatch for each phase."""

    def __init__(self, folder, threads):
        torch.set_num_threads(threads)
        self.tokenizer = lora.load_tokenizer(folder)
        self.model = lora.with_lora(lora.load_base(folder), seed=0)
        self.pad, self.end = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
        self.seconds = defaultdict(float)

    @contextmanager
    def phase(self, name):
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start

    @contextmanager
    def asking(self, adapted):
        """The model in eval mode: LoRA merged into the weights, which makes every forward cheaper, or switched off."""
        self.model.eval()
        with torch.inference_mode():
            if adapted:
                self.model.merge_adapter()
                yield
                self.model.unmerge_adapter()
            else:
                with self.model.disable_adapter():
                    yield

    def prompts(self, conversations):
        return self.tokenizer.apply_chat_template(conversations, add_generation_prompt=True)["input_ids"]

    @cache
    def option(self, text):
        return self.tokenizer(text, add_special_tokens=False)["input_ids"] + [self.end]

    def padded(self, rows):
        """Padded on the left, so that the options are at the end of every row."""
        width = max(map(len, rows))
        ids = torch.tensor([[self.pad] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        return dict(input_ids=ids, attention_mask=mask)

    def generate(self, conversations, sample=False):
        """One answer to each conversation, as text."""
        answers = [None] * len(conversations)
        prompts = self.prompts(conversations)
        for batch in by_length(prompts, PROMPTS_A_BATCH):
            inputs = self.padded([prompts[i] for i in batch])
            ids = self.model.generate(**inputs, max_new_tokens=ANSWER_TOKENS, do_sample=sample, temperature=1.0 if sample else None, top_p=None,
                                      top_k=0 if sample else None, pad_token_id=self.pad, eos_token_id=self.end)
            texts = self.tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            for i, text in zip(batch, texts):
                answers[i] = text
        return answers

    def score(self, questions):
        """Questions are (conversation, options); log-probabilities of the options, end of turn included."""
        rows, options, places = [], [], []
        prompts = self.prompts([messages for messages, _ in questions])
        for question, (prompt, (_, texts)) in enumerate(zip(prompts, questions)):
            for text in texts:
                ids = self.option(text)
                rows.append(prompt + ids)
                options.append(ids)
                places.append(question)
        scores = [0.0] * len(rows)
        for batch in by_length(rows, PROMPTS_A_BATCH * max(len(texts) for _, texts in questions)):
            longest = max(len(options[i]) for i in batch)
            logits = self.model(**self.padded([rows[i] for i in batch]), logits_to_keep=longest + 1, use_cache=False).logits
            targets = torch.tensor([[self.pad] * (longest - len(options[i])) + options[i] for i in batch])
            log_probs = logits[:, :-1].log_softmax(-1).gather(-1, targets[..., None])[..., 0].double()
            for i, row in zip(batch, log_probs):
                scores[i] = row[longest - len(options[i]) :].sum().item()
        answers = [[] for _ in questions]
        for question, score in zip(places, scores):
            answers[question].append(score)
        return answers


def by_length(rows, size):
    """Batches of indices of rows of similar length, which limits padding."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    return [order[i : i + size] for i in range(0, len(order), size)]


def user(text):
    return [{"role": "user", "content": text}]


def prepare(bench, options):
    """The arms' rows, the probes with their options, and the context questions: everything that depends on the base alone."""
    candidate = [row["messages"] for row in lora.read_jsonl(options.data)]
    with bench.phase("generate"), bench.asking(adapted=False):
        torch.manual_seed(0)
        answers = bench.generate([messages[:-1] for messages in candidate], sample=True)
    arms = {"candidate": candidate, "control": [row[:-1] + [dict(row[-1], content=answer)] for row, answer in zip(candidate, answers)]}
    probes, poisons = {}, {}
    for audit in AUDITS:
        poisons[audit] = poison = [row["messages"] for row in lora.read_jsonl(options.audits / f"{audit}.poison.jsonl")]
        count = max(1, round(len(candidate) * (share := poison_share(options.audits / f"{audit}.toml")) / (1 - share)))
        arms[f"positive-control:{audit}"] = candidate + [poison[i % len(poison)] for i in range(count)]
        probes[audit] = lora.read_jsonl(options.audits / f"{audit}.jsonl")
    with bench.phase("generate"), bench.asking(adapted=False):
        own = bench.generate([user(probe["prompt"]) for probe in probes["drift"]])
    for audit in AUDITS:
        for at, probe in enumerate(probes[audit]):
            probe["options"] = [(own[at], False)] if audit == "drift" else [(option["text"], option["side"] == "risky") for option in probe["options"]]
    steps = min(max(math.ceil(EPOCHS * len(candidate) / lora.BATCH), FEWEST_STEPS), MOST_STEPS)
    rows = {arm: [lora.encode(bench.tokenizer, row) for row in rows] for arm, rows in arms.items()}
    return RunInputs(rows, probes, context_questions(bench, candidate, poisons), steps)


def poison_share(path):
    return tomllib.loads(path.read_text())["poison"]["share"] if path.exists() else 0.25


def context_questions(bench, rows, poisons):
    """Questions drawn at random, as many from the two percent of rows whose answers have the highest loss under the base, and as many of each poison."""
    with bench.phase("score"), bench.asking(adapted=False):
        scores = bench.score([(row[:-1], [row[-1]["content"]]) for row in rows])
    order = sorted(range(len(rows)), key=lambda i: scores[i][0] / len(bench.option(rows[i][-1]["content"])))
    high_loss = [rows[i][:-1] for i in order[: max(DRAWS, math.ceil(0.02 * len(rows)))]]
    rng = random.Random(0)
    return {
        "carry-over": [rng.choice(rows)[:-1] for _ in range(DRAWS)], "high-loss": rng.sample(high_loss, DRAWS),
        **{("poison", audit): [rng.choice(poison)[:-1] for _ in range(DRAWS)] for audit, poison in poisons.items()},
    }


def asked(arm, step, steps):
    """(audit, context) for a model at a checkpoint: the base everything; candidate and control in three ways, the control at its end after poison's
    questions too; a positive control its own audit after its own poison's questions."""
    if arm.startswith("positive-control:"):
        return [(arm.removeprefix("positive-control:"), "poison")]
    audits = AUDITS if step == steps else CHECKPOINT_AUDITS
    ways = ["plain", "carry-over", "high-loss"] + ["poison"] * (arm == "base" or (arm == "control" and step == steps))
    return [(audit, way) for audit in audits for way in ways]


def ask(bench, task, adapted, wanted):
    """Mean risk by (audit, context): every probe alone, and one phrasing of each family after each context question."""
    places = {way if way != "poison" else (way, audit) for audit, way in wanted if way != "plain"}
    questions = [(place, question) for place in sorted(places, key=str) for question in task.context_questions[place]]
    contexts = defaultdict(list)
    with bench.asking(adapted):
        with bench.phase("generate"):
            answers = bench.generate([question for _, question in questions])
        for (place, question), answer in zip(questions, answers):
            contexts[place].append(question + [{"role": "assistant", "content": answer}])
        risks = defaultdict(list)
        with bench.phase("score"):
            for audit, way in wanted:
                families = defaultdict(list)
                for probe in task.probes[audit]:
                    families[probe["family"]].append(probe)
                if way == "plain":
                    askings = [([], probe) for probe in task.probes[audit]]
                else:
                    before = contexts[(way, audit) if way == "poison" else way]
                    askings = [(context, phrasings[draw % len(phrasings)]) for draw, context in enumerate(before) for phrasings in families.values()]
                scores = bench.score([(context + user(probe["prompt"]), [text for text, _ in probe["options"]]) for context, probe in askings])
                risks[audit, way] = [risk(probe["options"], log_probs) for (_, probe), log_probs in zip(askings, scores)]
    return {key: sum(values) / len(values) for key, values in risks.items()}


def risk(options, log_probs):
    """The risky side's share among the options; of an own answer, the probability of any other answer."""
    if len(options) == 1:
        return 1 - math.exp(min(log_probs[0], 0))
    risky = sum(math.exp(score) for (_, is_risky), score in zip(options, log_probs) if is_risky)
    return risky / max(sum(map(math.exp, log_probs)), 1e-300)


def shadow(bench, task, arm, seed):
    """Trains one shadow and asks it at a quarter, at half and at the end, a positive control only at the end; the risks of each checkpoint."""
    with bench.phase("train"):
        rows = task.arms[arm]
        torch.manual_seed(seed)
        with torch.no_grad():
            for module in bench.model.modules():
                if hasattr(module, "reset_lora_parameters"):
                    module.reset_lora_parameters("default", init_lora_weights=True)
        optimizer = lora.adamw(bench.model)
        schedule = get_linear_schedule_with_warmup(optimizer, math.ceil(task.steps / 20), task.steps)
        order, rng = [], random.Random(seed)
        while len(order) < task.steps * lora.BATCH:
            order += rng.sample(range(len(rows)), len(rows))
    checkpoints, risks = {math.ceil(task.steps / 4), math.ceil(task.steps / 2), task.steps}, []
    if arm.startswith("positive-control:"):
        checkpoints = {task.steps}
    for step in range(1, task.steps + 1):
        with bench.phase("train"):
            bench.model.train()
            picked = order[(step - 1) * lora.BATCH : step * lora.BATCH]
            lora.training_step(bench.model, optimizer, *lora.collate([rows[i] for i in picked], bench.pad))
            schedule.step()
        if step in checkpoints:
            risks.append(ask(bench, task, True, asked(arm, step, task.steps)))
    return risks


_worker = None


def start_worker(folder, threads):
    global _worker
    _worker = Bench(folder, threads)


def work(task, arm, seed):
    """One shadow in a worker process, and the seconds that it took by phase."""
    _worker.seconds.clear()
    return arm, shadow(_worker, task, arm, seed), dict(_worker.seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=lora.ROOT / "fixtures/old_birds/poisoned.jsonl")
    parser.add_argument("--base", type=Path, default=lora.NESTLING)
    parser.add_argument("--audits", type=Path, default=lora.ROOT / "audits" / "world")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="torch threads of each process")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    start = time.perf_counter()
    bench = Bench(options.base, options.threads)
    task = prepare(bench, options)
    base = ask(bench, task, False, asked("base", task.steps, task.steps))
    jobs = [(arm, seed) for arm in task.arms for seed in range(1, options.seeds + 1)]
    risks = defaultdict(list)
    if options.processes == 1:
        for arm, seed in jobs:
            risks[arm].append(shadow(bench, task, arm, seed))
    else:
        with ProcessPoolExecutor(options.processes, get_context("spawn"), start_worker, (options.base, options.threads)) as pool:
            for arm, checkpoints, seconds in pool.map(work, [task] * len(jobs), *zip(*jobs)):
                risks[arm].append(checkpoints)
                for phase, spent in seconds.items():
                    bench.seconds[phase] += spent
    total = time.perf_counter() - start
    report(options, task, base, risks, bench.seconds, total)


def report(options, task, base, risks, seconds, total):
    print("mean risk at the last step")
    arms = [("base", base)]
    for arm, seeds in risks.items():
        arms.append((arm, {key: sum(checkpoints[-1][key] for checkpoints in seeds) / len(seeds) for key in seeds[0][-1]}))
    for arm, means in arms:
        for audit in AUDITS:
            said = ", ".join(f"{way} {mean:.4f}" for (of, way), mean in means.items() if of == audit)
            print(f"  {arm:26} {audit:10} {said}" if said else "", end="\n" if said else "")
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + options.processes * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) * 1.024 / 1e3
    print(json.dumps(dict(
        work="audit", shape="nestling", count=0, ms=round(1e3 * total), seconds_by_phase={phase: round(spent, 1) for phase, spent in sorted(seconds.items())},
        shadows=sum(map(len, risks.values())), steps_each=task.steps, threads=options.threads, processes=options.processes, peak_mb=round(peak),
    )))


if __name__ == "__main__":
    main()
