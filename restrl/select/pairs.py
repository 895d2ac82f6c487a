"""From judged groups to pairs for DPO: the best against the worst completion of each problem.

It is the baseline ReST-DPO (arXiv 2508.19576, section 4): problems are filtered as for ReST-GRPO.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from restrl.errors import UserError
from restrl.records import Group, Pair
from restrl.select.report import NOT_JUDGED, SelectionReport
from restrl.select.reward_std import best_index, reason_to_drop, worst_index

TIE = "best and worst are equal"
BELOW_MARGIN = "difference below margin"
EMPTY = "empty completion"


def best_and_worst(
    groups: Sequence[Group], sigma0: float, margin: float
) -> tuple[list[Pair], SelectionReport]:
    """A pair for each problem that the filter keeps: its first best and its first worst completion.

    A problem is also dropped where the two rewards are equal or differ by less than ``margin``.  Raises
    UserError if no pair is left.
    """
    pairs: list[Pair] = []
    dropped: Counter[str] = Counter()
    problems = 0
    for group in groups:
        problems += 1
        pair = _pair(group)
        reason = reason_to_drop(group.rewards, sigma0) or _reason(pair, margin)
        if reason is None and pair is not None:
            pairs.append(pair)
        else:
            dropped[reason or NOT_JUDGED] += 1
    report = SelectionReport("pairs", problems, len(pairs), dict(dropped), len(pairs))
    if not pairs:
        raise UserError(
            f"no pair to train on: {report.text()} (grpo.sigma0={sigma0:g}, dpo.margin={margin:g}); lower "
            "them, raise grpo.sample.n or take problems that the model sometimes solves"
        )
    return pairs, report


def _pair(group: Group) -> Pair | None:
    best, worst = best_index(group.rewards), worst_index(group.rewards)
    if best is None or worst is None:
        return None
    return Pair(
        group.task_id,
        group.prompt_ids,
        group.code,
        chosen=group.completions[best],
        rejected=group.completions[worst],
        chosen_reward=group.rewards[best] or 0.0,
        rejected_reward=group.rewards[worst] or 0.0,
    )


def _reason(pair: Pair | None, margin: float) -> str | None:
    if pair is None:
        return NOT_JUDGED
    if pair.chosen_reward == pair.rejected_reward:
        return TIE
    if not pair.chosen.ids or not pair.rejected.ids:
        return EMPTY
    # robust to rounding: 0.3 - 0.1 is a bit less than 0.2
    return BELOW_MARGIN if pair.chosen_reward - pair.rejected_reward < margin - 1e-12 else None
