"""From judged groups to the states that GRPO starts from (ReST-RL, arXiv 2508.19576, section 3.1).

A problem is kept if its rewards vary enough (``sigma0``).  It contributes its initial state and, if its best
completion is good enough (``r0``), prefixes of that completion, sampled with a preference for short ones
(``alpha``).  All functions are pure; callers pass in how to cut tokens into actions and how to decode them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from restrl.config import GrpoConfig
from restrl.errors import UserError
from restrl.records import Completion, Group, StartState
from restrl.select.report import AssemblyReport
from restrl.select.reward_std import best_index, reason_to_drop, reward_std

Cuts = Callable[[Sequence[int]], list[int]]  # token ids -> ascending positions k where ids[:k] ends an action
TextOf = Callable[[Sequence[int], int], str]  # (ids, k) -> the text of ids[:k]
NO_PROBLEM = "no problem left to train on: there was none to sample from; see dataset.path"


@dataclass(frozen=True)
class Assembly:
    states: list[StartState]  # per kept problem: the initial state, then its partial states
    report: AssemblyReport


def assemble(
    groups: Sequence[Group],
    cuts: Cuts,
    text_of: TextOf,
    config: GrpoConfig,
    rng: np.random.Generator,
    positions: int | None = None,
) -> Assembly:
    """Steps 2 and 3 of ReST-GRPO: filter the problems, assemble their start states.

    With ``sigma0`` = 0 every problem is kept, also one without a judged completion.  ``positions``: length of
    the model's context in tokens; partial states that fill it are left out, since nothing can be sampled
    after them.  Raises UserError if no problem is left.
    """
    states: list[StartState] = []
    dropped: Counter[str] = Counter()
    before: list[float] = []
    after: list[float] = []
    partial = no_room = 0
    for group in groups:
        std = reward_std(group.rewards)
        if std is not None:
            before.append(std)
        if reason := reason_to_drop(group.rewards, config.sigma0):
            dropped[reason] += 1
            continue
        std = std or 0.0
        after.append(std)
        states.append(StartState(group.task_id, group.prompt_ids, group.code, 0, std))
        if config.partial_states:
            sampled = partial_states(group, std, cuts, text_of, config, rng)
            fitting = [s for s in sampled if positions is None or len(s.prompt_ids) < positions]
            no_room += len(sampled) - len(fitting)
            partial += len(fitting)
            states.extend(fitting)
    report = AssemblyReport(len(groups), len(after), dict(dropped), partial, before, after, no_room=no_room)
    if not states:
        raise UserError(_nothing_left(groups, report, config))
    return Assembly(states, report)


def partial_states(
    group: Group, std: float, cuts: Cuts, text_of: TextOf, config: GrpoConfig, rng: np.random.Generator
) -> list[StartState]:
    """Prefixes of the group's best completion (first maximum), if its reward is at least ``r0``."""
    best = best_index(group.rewards)
    if best is None or (group.rewards[best] or 0.0) < config.r0:
        return []
    completion = group.completions[best]
    prefixes, complete = action_ends(completion, cuts, text_of)
    if config.blank_actions:
        prefixes = with_blank_actions(prefixes, completion, text_of)
    actions = len(prefixes) + 1  # |A|: the complete solution is a_1..a_|A|
    support = [*prefixes, complete] if config.complete_solution and complete is not None else prefixes
    depths = sample_depths(
        len(support), number_of_partial_states(config.ratio, actions), config.alpha, config.replacement, rng
    )
    return [
        StartState(
            group.task_id,
            group.prompt_ids + completion.ids[: support[j - 1]],
            group.code + text_of(completion.ids, support[j - 1]),
            depth=j,
            spread=std,
        )
        for j in depths
    ]


def action_ends(completion: Completion, cuts: Cuts, text_of: TextOf) -> tuple[list[int], int | None]:
    """Token positions after a_1, a_1..a_2, ..., and the position after the whole solution.

    The solution is the text without the stop string and without trailing white space.  The second value is
    None if the solution is empty or ends inside a token (one that also spells the stop string).
    """
    ids, solution = completion.ids, completion.text.rstrip()
    texts = [(k, text_of(ids, k)) for k in cuts(ids)]
    prefixes = [
        k for k, text in texts if text and solution.startswith(text) and len(text.rstrip()) < len(solution)
    ]
    start = prefixes[-1] if prefixes else 0
    complete = next((k for k in range(start + 1, len(ids) + 1) if text_of(ids, k).rstrip() == solution), None)
    return prefixes, complete if solution else None


def with_blank_actions(prefixes: Sequence[int], completion: Completion, text_of: TextOf) -> list[int]:
    """The prefixes if every line is an action, including blank lines, as in the published code.

    One token often spells a blank line together with its neighbours, so no state ends at a blank line.  A
    prefix that ends with blank lines therefore stands for the same state without them: each position is
    repeated once for every blank line that follows it.  Blank lines before the first line of code do not
    count.
    """
    repeated = []
    for k in prefixes:
        rest = completion.text.rstrip()[len(text_of(completion.ids, k).rstrip()) :]
        space = rest[: len(rest) - len(rest.lstrip())]
        repeated += [k] * space.count("\n")  # the first newline ends the action itself
    return repeated


def number_of_partial_states(ratio: float, actions: int) -> int:
    """ceil(ratio x |A|), robust to rounding errors (0.1 x 30 > 3 in floats)."""
    return math.ceil(ratio * actions - 1e-9)


def depth_probabilities(actions: int, alpha: float) -> NDArray[np.float64]:
    """p(j) = (1 - alpha) / (1 - alpha^|A|) x alpha^(j-1), j = 1..|A|, an array [|A|]; alpha = 1: uniform."""
    weights = np.power(alpha, np.arange(actions, dtype=np.float64))
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def sample_depths(
    support: int, count: int, alpha: float, replacement: bool, rng: np.random.Generator
) -> list[int]:
    """``count`` depths in 1..support, sampled with p(j); an empty support gives none.

    Without replacement: at most ``support`` distinct depths, ascending.
    """
    if support == 0 or count == 0:
        return []
    if replacement:
        sampled = rng.choice(support, size=count, p=depth_probabilities(support, alpha)) + 1
        return [int(j) for j in sampled]
    # Gumbel top-k equals sequential sampling without replacement (arXiv 1903.06059), and a small alpha does
    # not underflow in log space.
    keys = np.arange(support) * math.log(alpha) + rng.gumbel(size=support)
    return sorted(int(j) + 1 for j in np.argsort(-keys)[:count])


def unfiltered(states: Sequence[StartState]) -> Assembly:
    """Every problem's initial state, for runs that sample nothing: no reward std is known.

    Raises UserError if there is no state.
    """
    report = AssemblyReport(len(states), len(states), {}, 0, [], [], sampled=False)
    if not states:
        raise UserError(NO_PROBLEM)
    return Assembly(list(states), report)


def _nothing_left(groups: Sequence[Group], report: AssemblyReport, config: GrpoConfig) -> str:
    if not groups:
        return NO_PROBLEM
    rewards = [reward for group in groups for reward in group.rewards if reward is not None]
    best = f"the best reward of all is {max(rewards):.2f}" if rewards else "no completion could be judged"
    reasons = ", ".join(f"{count} dropped for {reason}" for reason, count in report.dropped.items())
    return (
        f"no problem left to train on: of {len(groups)}, {reasons} (grpo.sigma0={config.sigma0:g}; {best}); "
        f"lower grpo.sigma0, raise grpo.sample.n (now {config.sample.n}) or take problems that the model "
        "sometimes solves"
    )
