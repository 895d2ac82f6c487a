"""Which start states a step trains on."""

from __future__ import annotations

import random

from restrl.config import GrpoConfig
from restrl.seeds import derive_seed


def step_schedule(states: int, grpo: GrpoConfig, seed: int) -> list[list[int]]:
    """For each step the indices of its start states.

    Each epoch is a seeded shuffle of all states, and epochs follow one another without a gap.  ``max_steps``
    cuts this order short at that many full steps.  What is left is divided into as few steps as
    ``prompts_per_step`` allows, whose sizes differ by at most one: every step makes an update of the full
    learning rate, so a small remainder at the end would move the policy as far as a whole step.
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
    steps = -(-wanted // size)
    ends = [wanted * (step + 1) // steps for step in range(steps)]
    return [order[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def rate_factor(updates: int, place: int, total: int, grpo: GrpoConfig) -> float:
    """What an update multiplies the learning rate by, in (0, 1].

    ``updates`` were made before it: the rate rises over ``warmup_steps`` of them.  ``place`` of ``total``
    updates of the schedule came before it, those of steps that had nothing to train too: with
    ``lr_schedule`` linear the rate falls from the end of the warm-up to 0 at the schedule's end.
    """
    factor = min(1.0, (updates + 1) / (grpo.warmup_steps + 1))
    if grpo.lr_schedule == "linear":
        factor = min(factor, (total - place) / max(1, total - grpo.warmup_steps))
    return factor


def replacements(states: int, used: set[int], count: int, seed: int) -> list[int]:
    """Up to ``count`` distinct indices of states not yet used in this step (DAPO's dynamic sampling)."""
    free = [index for index in range(states) if index not in used]
    return random.Random(seed).sample(free, min(count, len(free)))
