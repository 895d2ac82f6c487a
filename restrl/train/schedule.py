"""The schedule of start states over steps, and of the learning rate."""

from __future__ import annotations

import random
from typing import Protocol

from restrl.seeds import derive_seed


class Schedule(Protocol):
    """The settings of a schedule, which several configuration groups have."""

    prompts_per_step: int
    epochs: int
    max_steps: int | None
    warmup_steps: int
    lr_schedule: str


def step_schedule(states: int, schedule: Schedule, seed: int) -> list[list[int]]:
    """For each step the indices of its start states, or other examples.

    Each epoch is a seeded shuffle of all states, and epochs follow one another without a gap.  ``max_steps``
    truncates this order to that many full steps.  The order is divided into as few steps as
    ``prompts_per_step`` allows, with sizes that differ by at most one.  A small last step would be harmful:
    every step updates with the full learning rate, so it would move the policy as far as a full step.
    """
    size = schedule.prompts_per_step
    total = states * schedule.epochs
    if schedule.max_steps is not None:
        total = min(total, size * schedule.max_steps)
    order: list[int] = []
    epoch = 0
    while len(order) < total:
        shuffled = list(range(states))
        random.Random(derive_seed(seed, "epoch", epoch)).shuffle(shuffled)
        order += shuffled
        epoch += 1
    steps = -(-total // size)
    ends = [total * (step + 1) // steps for step in range(steps)]
    return [order[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def rate_factor(updates: int, place: int, total: int, schedule: Schedule) -> float:
    """The factor of the learning rate for an update, in (0, 1].

    ``updates``: number of updates made before it; the rate rises over the first ``warmup_steps`` of them.
    ``place``: position of the update among the ``total`` updates of the schedule, which include those of
    steps without trained groups.  With ``lr_schedule`` linear the rate falls from the end of the warm-up to 0
    at the end of the schedule.
    """
    factor = min(1.0, (updates + 1) / (schedule.warmup_steps + 1))
    if schedule.lr_schedule == "linear":
        factor = min(factor, (total - place) / max(1, total - schedule.warmup_steps))
    return factor


def replacements(states: int, used: set[int], count: int, seed: int) -> list[int]:
    """Up to ``count`` distinct indices of states not yet used in this step (DAPO's dynamic sampling)."""
    free = [index for index in range(states) if index not in used]
    return random.Random(seed).sample(free, min(count, len(free)))
