"""From judged groups to the completions that supervised fine-tuning learns: those that the tests accept.

It is the baseline ReST-EM (arXiv 2312.06585).  There is no filter by reward spread: a problem that is always
solved stays.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from restrl.errors import UserError
from restrl.records import Group
from restrl.select.report import NO_COMPLETION, NOT_JUDGED, SelectionReport
from restrl.select.reward_std import reward_std

NONE_ACCEPTED = "no completion accepted"


def accepted(
    groups: Sequence[Group], reward: float, per_problem: int | None
) -> tuple[list[Group], SelectionReport]:
    """The groups with their accepted completions alone, without those that have none.

    A completion is accepted if its reward is at least ``reward``; of equal programs the first one is.
    ``per_problem``: the first so many of a problem; None: all.  Raises UserError if nothing is left.
    """
    chosen: list[Group] = []
    dropped: Counter[str] = Counter()
    problems = 0
    for group in groups:
        problems += 1
        places: dict[str, int] = {}  # text -> the first place
        for i, (value, completion) in enumerate(zip(group.rewards, group.completions, strict=True)):
            if value is not None and value >= reward and completion.ids:
                places.setdefault(completion.text.rstrip(), i)
        if taken := list(places.values())[:per_problem]:
            chosen.append(_only(group, taken))
        else:
            dropped[_reason(group)] += 1
    count = sum(len(group.completions) for group in chosen)
    report = SelectionReport("completions", problems, len(chosen), dict(dropped), count)
    if not chosen:
        raise UserError(
            f"no completion to learn: {report.text()} (sft.reward={reward:g}); lower it, raise grpo.sample.n "
            "or take problems that the model sometimes solves"
        )
    return chosen, report


def _only(group: Group, places: Sequence[int]) -> Group:
    return dataclasses.replace(
        group,
        completions=tuple(group.completions[i] for i in places),
        verdicts=tuple(group.verdicts[i] for i in places),
    )


def _reason(group: Group) -> str:
    if not group.completions:
        return NO_COMPLETION
    return NOT_JUDGED if reward_std(group.rewards) is None else NONE_ACCEPTED
