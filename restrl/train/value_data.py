"""Training data of a value model from searched trees, with one problem in memory at a time.

All states of a problem are on the same side of the split between fit set and held-out set: they share tokens
and rewards, so a split by state would measure memorisation.  Problems of one family are variations of each
other, so a family stays on one side too.
"""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restrl.config import VmConfig
from restrl.errors import UserError
from restrl.objective.tree_packing import Prefixes, TokenTree, shortened, window
from restrl.records import Ints, TreeTargets
from restrl.search.saved import SavedTree
from restrl.search.targets import step_labels
from restrl.seeds import derive_seed

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

# weight of a state in the loss, from its visits and whether it is terminal (a whole program)
WEIGHTS: dict[str, Callable[[int, bool], float]] = {
    "none": lambda visits, terminal: 1.0,  # noqa: ARG005
    "sqrt_visits": lambda visits, terminal: math.sqrt(visits),  # noqa: ARG005
    "visits": lambda visits, terminal: float(visits),  # noqa: ARG005
    # as in the published data: a row per sampled program, repeated ones included, and one per other state
    "samples": lambda visits, terminal: float(visits) if terminal else 1.0,
}


@dataclass(frozen=True)
class TargetTree:
    """States of one problem that share a prompt, with their values."""

    tree: TokenTree
    values: Floats  # [S], as tree.states
    weights: Floats  # [S] in the loss
    places: Indices  # [S] index of each state among the problem's states


@dataclass(frozen=True)
class StateTable:
    """The states of several problems without their tokens: [S] per field, problem after problem."""

    tasks: tuple[str, ...]  # task ids of the problems
    problem: Indices  # index into tasks
    values: Floats
    weights: Floats
    visits: Indices
    depth: Indices
    terminal: NDArray[np.bool_]
    parent: Indices  # index into these states; -1: the parent is not among them

    def __len__(self) -> int:
        return len(self.values)


class ValueProblems:
    """The problems with searched trees.  Each is read from its file on access."""

    def __init__(self, trees: Sequence[SavedTree], targets: Sequence[TreeTargets], vm: VmConfig) -> None:
        """``targets[i]`` belong to ``trees[i]``; both sequences may read records lazily from a file."""
        if len(trees) != len(targets):
            raise ValueError(f"{len(trees)} trees and targets of {len(targets)}")
        self._trees = trees
        self._targets = targets
        self.vm = vm

    def task_ids(self) -> list[str]:
        """The task ids of all problems; "" for a problem without a state that ``vm.targets`` selects."""
        return [targets.task_id if len(self._chosen(targets)) else "" for targets in self._targets]

    def targets(self, index: int) -> TreeTargets:
        """A problem's states with the labels that ``vm.label`` names."""
        if self.vm.label == "value":
            return self._targets[index]
        return step_labels(self._trees[index], self._targets[index], self.vm.label)

    def weighted_mean(self, indices: Sequence[int]) -> tuple[int, float]:
        """The number of states of these problems, and the best constant prediction of their values.

        The constant is the best for both the weighted squared error and the weighted cross-entropy.
        """
        states, total, weight = 0, 0.0, 0.0
        for index in indices:
            targets = self.targets(index)
            chosen = self._chosen(targets)
            weights = target_weights(targets, chosen, self.vm.weight)
            states += len(chosen)
            total += float(weights @ np.array([targets.value[i] for i in chosen]))
            weight += float(weights.sum())
        return states, total / weight

    def read(self, index: int) -> list[TargetTree]:
        """A problem's states, in trees that fit ``vm.max_tokens``."""
        targets = self.targets(index)
        return target_trees(self._trees[index], targets, self._chosen(targets), self.vm)

    def table(self, indices: Sequence[int]) -> StateTable:
        """The states of these problems, in the order of ``predictions``."""
        tasks, parts, start = [], [], 0
        for number, index in enumerate(indices):
            targets = self.targets(index)
            chosen = self._chosen(targets)
            place = {state: start + k for k, state in enumerate(chosen)}
            weights = target_weights(targets, chosen, self.vm.weight)
            rows = [
                (number, targets.value[i], weights[k], targets.visits[i], targets.depth[i],
                 targets.terminal[i], place.get(targets.parent[i], -1))
                for k, i in enumerate(chosen)
            ]  # fmt: skip
            parts.append(np.array(rows, dtype=np.float64).reshape(-1, 7))
            tasks.append(targets.task_id)
            start += len(chosen)
        table = np.concatenate([np.empty((0, 7)), *parts])
        problem, visits, depth, parent = (table[:, k].astype(np.int64) for k in (0, 3, 4, 6))
        # copies, because views would keep the whole table in memory
        values, weights = table[:, 1].copy(), table[:, 2].copy()
        return StateTable(tuple(tasks), problem, values, weights, visits, depth, table[:, 5] > 0, parent)

    def _chosen(self, targets: TreeTargets) -> list[int]:
        """The indices of the states that ``vm.targets`` selects."""
        return [i for i, terminal in enumerate(targets.terminal) if terminal or self.vm.targets == "all"]


@dataclass(frozen=True)
class ProblemSplit:
    """Indices of problems, ascending on each side."""

    fit: tuple[int, ...]
    heldout: tuple[int, ...]


def split_problems(
    task_ids: Sequence[str], families: Mapping[str, str], fraction: float, seed: int
) -> ProblemSplit:
    """Holds out about ``fraction`` of the families, at least one, with all their problems.

    ``task_ids``: of the problems; a problem with "" is on neither side.  ``families``: task_id -> family; a
    problem without an entry, or with "", forms its own family.  Raises UserError if there are fewer than two
    families.
    """
    family = {task_id: families.get(task_id) or task_id for task_id in task_ids if task_id}
    names = sorted(set(family.values()))
    if len(names) < 2:
        raise UserError(
            f"vm: the value targets are of {len(names)} family of problems, and fitting needs at least 2, "
            "one of them held out; collect from more problems"
        )
    random.Random(derive_seed(seed, "heldout")).shuffle(names)
    held = set(names[: min(max(round(fraction * len(names)), 1), len(names) - 1)])
    known = [(index, family[task_id] in held) for index, task_id in enumerate(task_ids) if task_id]
    return ProblemSplit(
        tuple(index for index, out in known if not out), tuple(index for index, out in known if out)
    )


def target_trees(
    tree: SavedTree, targets: TreeTargets, chosen: Sequence[int], vm: VmConfig
) -> list[TargetTree]:
    """The chosen states as token trees: one tree, or several if long states have shortened prompts.

    The states remain prefixes of the tree's programs, so none is copied.
    """
    rooms: dict[int, list[tuple[int, int]]] = {}  # tokens left of the prompt -> (place, tokens of the state)
    for place, i in enumerate(chosen):
        room, kept = window(len(tree.prompt_ids), targets.tokens[i], vm.max_tokens)
        rooms.setdefault(room, []).append((place, kept))
    weights = target_weights(targets, chosen, vm.weight)
    trees = []
    for room, members in rooms.items():
        states = _prefixes(tree, targets, [(chosen[place], kept) for place, kept in members])
        places = np.array([place for place, _ in members])
        values = np.array([targets.value[chosen[place]] for place in places])
        token_tree = TokenTree(shortened(tree.prompt_ids, room), states)
        trees.append(TargetTree(token_tree, values, weights[places], places))
    return trees


def _prefixes(tree: SavedTree, targets: TreeTargets, states: Sequence[tuple[int, int]]) -> Prefixes:
    """``states``: for each state the index of its target, and how many of its last tokens it keeps."""
    programs: dict[int, int] = {}  # rollout -> index of its sequence
    sequences: list[Ints] = []
    places: list[tuple[int, int]] = []
    for i, kept in states:
        rollout, tokens = targets.rollout[i], targets.tokens[i]
        if kept == tokens:
            if rollout not in programs:
                programs[rollout] = len(sequences)
                sequences.append(tree.program_ids(tree.rollouts[rollout]))
            places.append((programs[rollout], tokens))
        else:
            places.append((len(sequences), kept))
            sequences.append(tree.program_ids(tree.rollouts[rollout])[tokens - kept : tokens])
    return Prefixes(sequences or [array("i")], places)


def target_weights(targets: TreeTargets, chosen: Sequence[int], weight: str) -> Floats:
    """[S] weight of each state in the loss; ``weight``: none, sqrt_visits, visits or samples."""
    count = WEIGHTS[weight]
    return np.array([count(targets.visits[i], bool(targets.terminal[i])) for i in chosen])


def epoch_schedule(problems: int, size: int, epochs: int, seed: int) -> list[list[int]]:
    """For each step the indices of its problems.  Each epoch is a seeded shuffle in steps of even sizes."""
    steps = math.ceil(problems / size)
    schedule: list[list[int]] = []
    for epoch in range(epochs):
        order = list(range(problems))
        random.Random(derive_seed(seed, "epoch", epoch)).shuffle(order)
        schedule += [order[problems * k // steps : problems * (k + 1) // steps] for k in range(steps)]
    return schedule
