"""Searched trees -> what a value model is fitted to, one problem in memory at a time.

States of one problem are never in the fit set and held out as well: they share tokens and rewards, so that a
split by state would measure memory.  Problems of one family are variations of each other, so families stay
together too.
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
from restrl.seeds import derive_seed

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

# what a state of so many visits counts; the second argument: it is a whole program
WEIGHTS: dict[str, Callable[[int, bool], float]] = {
    "none": lambda visits, whole: 1.0,  # noqa: ARG005
    "sqrt_visits": lambda visits, whole: math.sqrt(visits),  # noqa: ARG005
    "visits": lambda visits, whole: float(visits),  # noqa: ARG005
    # the original's rows: one for each sampled program, equal ones again, and one for any other state
    "samples": lambda visits, whole: float(visits) if whole else 1.0,
}


@dataclass(frozen=True)
class TargetTree:
    """States of one problem that share a prompt, and what they are worth."""

    tree: TokenTree
    values: Floats  # [S], as tree.states
    weights: Floats  # [S] in the loss
    places: Indices  # [S] where each stands among the problem's states


@dataclass(frozen=True)
class StateTable:
    """What is known of the states of some problems without their tokens: [S] each, problem after problem."""

    tasks: tuple[str, ...]  # of the problems
    problem: Indices  # index into tasks
    values: Floats
    weights: Floats
    visits: Indices
    depth: Indices
    terminal: NDArray[np.bool_]
    parent: Indices  # index into these states; -1: none of them

    def __len__(self) -> int:
        return len(self.values)


class ValueProblems:
    """The problems that trees were searched for, each read when it is asked for."""

    def __init__(self, trees: Sequence[SavedTree], targets: Sequence[TreeTargets], vm: VmConfig) -> None:
        """``targets[i]`` are those of ``trees[i]``; either may be read from a file, record by record."""
        if len(trees) != len(targets):
            raise ValueError(f"{len(trees)} trees and targets of {len(targets)}")
        self._trees = trees
        self._targets = targets
        self.vm = vm

    def task_ids(self) -> list[str]:
        """Of all problems; "" where ``vm.targets`` leaves no state of it."""
        return [targets.task_id if len(self._chosen(targets)) else "" for targets in self._targets]

    def weighted_mean(self, indices: Sequence[int]) -> tuple[int, float]:
        """How many states some problems have, and the best constant prediction of their values.

        It is the best for the weighted squared error and for the weighted cross-entropy.
        """
        states, total, weight = 0, 0.0, 0.0
        for index in indices:
            targets = self._targets[index]
            chosen = self._chosen(targets)
            weights = target_weights(targets, chosen, self.vm.weight)
            states += len(chosen)
            total += float(weights @ np.array([targets.value[i] for i in chosen]))
            weight += float(weights.sum())
        return states, total / weight

    def read(self, index: int) -> list[TargetTree]:
        """A problem's states, in trees that fit ``vm.max_tokens``."""
        targets = self._targets[index]
        return target_trees(self._trees[index], targets, self._chosen(targets), self.vm)

    def table(self, indices: Sequence[int]) -> StateTable:
        """The states of some problems, in the order in which ``predictions`` rates them."""
        tasks, parts, start = [], [], 0
        for number, index in enumerate(indices):
            targets = self._targets[index]
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
        values, weights = table[:, 1].copy(), table[:, 2].copy()  # views would keep the whole table
        return StateTable(tuple(tasks), problem, values, weights, visits, depth, table[:, 5] > 0, parent)

    def _chosen(self, targets: TreeTargets) -> list[int]:
        """The states that ``vm.targets`` asks for."""
        return [i for i, whole in enumerate(targets.terminal) if whole or self.vm.targets == "all"]


@dataclass(frozen=True)
class ProblemSplit:
    """Indices of problems, each side in ascending order."""

    fit: tuple[int, ...]
    heldout: tuple[int, ...]


def split_problems(
    task_ids: Sequence[str], families: Mapping[str, str], fraction: float, seed: int
) -> ProblemSplit:
    """Holds out about ``fraction`` of the families, at least one, with all their problems.

    ``task_ids``: of the problems; one that is "" is on no side.  ``families``: task_id -> family; a problem
    that it does not name, or with "", is a family of its own.  Raises UserError where there are fewer than
    two families.
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
    """The chosen states as trees of tokens: one, or several where a long state shortens its prompt.

    The states stay prefixes of the tree's programs: none is copied.
    """
    rooms: dict[int, list[tuple[int, int]]] = {}  # tokens left of the prompt -> (place, tokens of the state)
    for place, i in enumerate(chosen):
        room, kept = window(len(tree.prompt_ids), targets.tokens[i], vm.max_tokens)
        rooms.setdefault(room, []).append((place, kept))
    weights = target_weights(targets, chosen, vm.weight)
    made = []
    for room, members in rooms.items():
        states = _prefixes(tree, targets, [(chosen[place], kept) for place, kept in members])
        places = np.array([place for place, _ in members])
        values = np.array([targets.value[chosen[place]] for place in places])
        token_tree = TokenTree(shortened(tree.prompt_ids, room), states)
        made.append(TargetTree(token_tree, values, weights[places], places))
    return made


def _prefixes(tree: SavedTree, targets: TreeTargets, states: Sequence[tuple[int, int]]) -> Prefixes:
    """``states``: indices of targets, and how many of its last tokens each keeps."""
    programs: dict[int, int] = {}  # rollout -> its sequence
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
    """[S] what each state counts in the loss: none, sqrt_visits, visits, samples."""
    count = WEIGHTS[weight]
    return np.array([count(targets.visits[i], bool(targets.terminal[i])) for i in chosen])


def epoch_schedule(problems: int, size: int, epochs: int, seed: int) -> list[list[int]]:
    """For each step the indices of its problems: each epoch a seeded shuffle, in steps as even as can be."""
    steps = math.ceil(problems / size)
    schedule: list[list[int]] = []
    for epoch in range(epochs):
        order = list(range(problems))
        random.Random(derive_seed(seed, "epoch", epoch)).shuffle(order)
        schedule += [order[problems * k // steps : problems * (k + 1) // steps] for k in range(steps)]
    return schedule
