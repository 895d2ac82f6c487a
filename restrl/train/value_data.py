"""Value targets -> trees to train on, split into fit and held-out sets by problem.

States of one problem are never on both sides: they share tokens and rewards, so that a split by state would
measure memory.  Problems of one family are variations of each other, so families stay together too.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from restrl.errors import UserError
from restrl.objective.tree_packing import TokenTree, token_trees
from restrl.records import ValueTarget
from restrl.seeds import derive_seed

WEIGHTS: dict[str, Callable[[int], float]] = {
    "none": lambda visits: 1.0,  # noqa: ARG005
    "sqrt_visits": math.sqrt,
    "visits": float,
}


@dataclass(frozen=True)
class TargetTree:
    """States of one problem that share a prompt, and what they are worth."""

    tree: TokenTree
    targets: tuple[ValueTarget, ...]  # as tree.states


@dataclass(frozen=True)
class TargetSplit:
    """The two sides of a split, each in the order of the targets."""

    fit: tuple[ValueTarget, ...]
    heldout: tuple[ValueTarget, ...]


def split_targets(
    targets: Sequence[ValueTarget], families: Mapping[str, str], fraction: float, seed: int
) -> TargetSplit:
    """Holds out about ``fraction`` of the families, at least one, with all their problems.

    ``families``: task_id -> family; a problem that it does not name, or with "", is a family of its own.
    Raises UserError where there are fewer than two families.
    """

    def family(target: ValueTarget) -> str:
        return families.get(target.task_id) or target.task_id

    names = sorted({family(target) for target in targets})
    if len(names) < 2:
        raise UserError(
            f"vm: the value targets are of {len(names)} family of problems, and fitting needs at least 2, "
            "one of them held out; collect from more problems"
        )
    random.Random(derive_seed(seed, "heldout")).shuffle(names)
    chosen = set(names[: min(max(round(fraction * len(names)), 1), len(names) - 1)])
    return TargetSplit(
        tuple(target for target in targets if family(target) not in chosen),
        tuple(target for target in targets if family(target) in chosen),
    )


def target_trees(targets: Sequence[ValueTarget], max_tokens: int) -> list[TargetTree]:
    """The targets as trees, problem by problem in the order of their first target."""
    by_task: dict[str, list[ValueTarget]] = {}
    for target in targets:
        by_task.setdefault(target.task_id, []).append(target)
    made: list[TargetTree] = []
    for some in by_task.values():
        trees, members = token_trees([(t.prompt_ids, t.ids) for t in some], max_tokens)
        made += [
            TargetTree(tree, tuple(some[i] for i in indices))
            for tree, indices in zip(trees, members, strict=True)
        ]
    return made


def target_weights(targets: Sequence[ValueTarget], weight: str) -> list[float]:
    """What each target counts in the loss: none, sqrt_visits, visits."""
    return [WEIGHTS[weight](target.visits) for target in targets]


def weighted_mean(targets: Sequence[ValueTarget], weight: str) -> float:
    """The best constant prediction for the weighted squared error."""
    weights = target_weights(targets, weight)
    return sum(w * t.value for w, t in zip(weights, targets, strict=True)) / sum(weights)


def epoch_schedule(trees: int, size: int, epochs: int, seed: int) -> list[list[int]]:
    """For each step the indices of its trees: each epoch a seeded shuffle, in steps as even as can be."""
    steps = math.ceil(trees / size)
    schedule: list[list[int]] = []
    for epoch in range(epochs):
        order = list(range(trees))
        random.Random(derive_seed(seed, "epoch", epoch)).shuffle(order)
        schedule += [order[trees * k // steps : trees * (k + 1) // steps] for k in range(steps)]
    return schedule
