"""From judged groups to the states that GRPO starts from (ReST-RL, arXiv 2508.19576, section 3.1).

A problem stays when its rewards vary enough (``sigma0``).  It gives its initial state and, when its best
completion is good enough (``r0``), prefixes of that completion, drawn with a preference for short ones
(``alpha``).  Pure functions: what an action is and what tokens say comes in as functions.
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
from restrl.select.report import BELOW_SIGMA0, NO_COMPLETION, NOT_JUDGED, AssemblyReport
from restrl.select.spread import below, best_index, reward_spread

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

    With ``sigma0`` = 0 every problem stays, also one where nothing was judged.  ``positions``: tokens that
    the model's context holds; a partial state that fills it leaves nothing to sample and is left out.
    Raises UserError where no problem is left.
    """
    states: list[StartState] = []
    dropped: Counter[str] = Counter()
    before: list[float] = []
    after: list[float] = []
    partial = no_room = 0
    for group in groups:
        spread = reward_spread(group.rewards)
        if spread is not None:
            before.append(spread)
        if reason := _reason_to_drop(group, spread, config.sigma0):
            dropped[reason] += 1
            continue
        spread = spread or 0.0
        after.append(spread)
        states.append(StartState(group.task_id, group.prompt_ids, group.code, 0, spread))
        if config.partial_states:
            drawn = partial_states(group, spread, cuts, text_of, config, rng)
            more = [s for s in drawn if positions is None or len(s.prompt_ids) < positions]
            no_room += len(drawn) - len(more)
            partial += len(more)
            states.extend(more)
    report = AssemblyReport(len(groups), len(after), dict(dropped), partial, before, after, no_room=no_room)
    if not states:
        raise UserError(_nothing_left(groups, report, config))
    return Assembly(states, report)


def partial_states(
    group: Group, spread: float, cuts: Cuts, text_of: TextOf, config: GrpoConfig, rng: np.random.Generator
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
    drawn = draw(len(support), number_of_draws(config.ratio, actions), config.alpha, config.replacement, rng)
    return [
        StartState(
            group.task_id,
            group.prompt_ids + completion.ids[: support[j - 1]],
            group.code + text_of(completion.ids, support[j - 1]),
            depth=j,
            spread=spread,
        )
        for j in drawn
    ]


def action_ends(completion: Completion, cuts: Cuts, text_of: TextOf) -> tuple[list[int], int | None]:
    """Token positions after a_1, a_1..a_2, ..., and the one after the whole solution.

    The solution is the text without trailing white space; the stop string is no part of it.  The second value
    is None where the solution ends inside a token (one that also spells the stop string), or is empty.
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
    """The prefixes where every line is an action, blank ones too, as in the published code.

    Tokens spell a blank line together with the lines beside it, so that no state ends there.  A prefix that
    ends with blank lines is the state that differs from it by them alone: each position is repeated once for
    every blank line that follows it.  Blank lines before the first line of code are no actions.
    """
    repeated = []
    for k in prefixes:
        rest = completion.text.rstrip()[len(text_of(completion.ids, k).rstrip()) :]
        space = rest[: len(rest) - len(rest.lstrip())]
        repeated += [k] * space.count("\n")  # the first newline ends the action itself
    return repeated


def number_of_draws(ratio: float, actions: int) -> int:
    """ceil(ratio x |A|), without counting a rounding error (0.1 x 30 > 3) as one more."""
    return math.ceil(ratio * actions - 1e-9)


def depth_probabilities(actions: int, alpha: float) -> NDArray[np.float64]:
    """p(j) = (1 - alpha) / (1 - alpha^|A|) x alpha^(j-1), j = 1..|A|, an array [|A|]; alpha = 1: uniform."""
    weights = np.power(alpha, np.arange(actions, dtype=np.float64))
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def draw(support: int, count: int, alpha: float, replacement: bool, rng: np.random.Generator) -> list[int]:
    """``count`` depths in 1..support, drawn with p(j); an empty support gives none.

    Without replacement: at most ``support`` different ones, ascending.
    """
    if support == 0 or count == 0:
        return []
    if replacement:
        drawn = rng.choice(support, size=count, p=depth_probabilities(support, alpha)) + 1
        return [int(j) for j in drawn]
    # Gumbel top-k is the sequential draw without replacement (arXiv 1903.06059), and in log space a small
    # alpha does not underflow.
    keys = np.arange(support) * math.log(alpha) + rng.gumbel(size=support)
    return sorted(int(j) + 1 for j in np.argsort(-keys)[:count])


def unfiltered(states: Sequence[StartState]) -> Assembly:
    """Every problem's initial state, where nothing was sampled: no spread is known.

    Raises UserError where there is none.
    """
    report = AssemblyReport(len(states), len(states), {}, 0, [], [], sampled=False)
    if not states:
        raise UserError(NO_PROBLEM)
    return Assembly(list(states), report)


def _reason_to_drop(group: Group, spread: float | None, sigma0: float) -> str | None:
    if sigma0 == 0:
        return None
    if not group.completions:
        return NO_COMPLETION
    if spread is None:
        return NOT_JUDGED
    return BELOW_SIGMA0 if below(spread, sigma0) else None


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
