"""Which start states a step trains on."""

from __future__ import annotations

import random
from collections.abc import Iterator

from restrl.config import GrpoConfig
from restrl.seeds import derive_seed


def step_schedule(states: int, grpo: GrpoConfig, seed: int) -> list[list[int]]:
    """For each step the indices of its start states.

    Each epoch is a seeded shuffle of all states, and epochs follow one another without a gap, so that only
    the last step may be smaller than ``prompts_per_step``.  ``max_steps`` cuts the order short.
    """
    size = grpo.prompts_per_step
    wanted = states * grpo.epochs
    if grpo.max_steps is not None:
        wanted = min(wanted, size * grpo.max_steps)
    order: list[int] = []
    epoch = 0
    while len(order) < wanted:
        shuffled = list(range(states))
        random.Random(derive_seed(seed, "epoch", epoch)).shuffle(shuffled)
        order += shuffled
        epoch += 1
    order = order[:wanted]
    return [order[i : i + size] for i in range(0, wanted, size)]


def replacements(states: int, used: set[int], count: int, seed: int) -> list[int]:
    """Up to ``count`` distinct indices of states not yet used in this step (DAPO's dynamic sampling)."""
    free = [index for index in range(states) if index not in used]
    return random.Random(seed).sample(free, min(count, len(free)))


class Steps:
    """The rest of the schedule as an iterable with a length, which is all that Lightning asks of a loader."""

    def __init__(self, schedule: list[list[int]]) -> None:
        self.schedule = schedule

    def __len__(self) -> int:
        return len(self.schedule)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.schedule)
