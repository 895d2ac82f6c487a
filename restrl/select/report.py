"""Reports of what a step takes from judged groups: how many problems were kept, how many dropped, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

BELOW_SIGMA0 = "reward std below sigma0"
NOT_JUDGED = "nothing judged"
NO_COMPLETION = "no completion"
MAX_REWARD_STD = 0.5  # the population std of numbers in [0, 1] is at most 1/2


@dataclass(frozen=True)
class AssemblyReport:
    problems: int
    kept: int
    dropped: Mapping[str, int]  # reason -> problems; kept + dropped = problems
    partial: int  # partial start states; the initial states of the kept problems are not counted
    reward_stds_before: Sequence[float]  # one per problem that was judged, in [0, 0.5]
    reward_stds_after: Sequence[float]  # one per kept problem
    sampled: bool = True  # False: neither the filter nor partial states asked for samples
    no_room: int = 0  # partial states left out because they fill the model's context

    def text(self) -> str:
        """One line for a log."""
        if not self.sampled:
            return (
                "nothing was sampled or filtered (grpo.sigma0=0, grpo.partial_states=false); "
                f"{self.kept} start states, the initial ones of all problems"
            )
        return (
            _kept(self.kept, self.problems, self.dropped)
            + f"; {self.kept + self.partial} start states, {self.partial} of them partial"
            + (f"; {self.no_room} partial states left out: no room for an answer" if self.no_room else "")
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class SelectionReport:
    """Of completions that are trained on as they are."""

    what: str  # examples, in words: pairs, completions
    problems: int
    kept: int
    dropped: Mapping[str, int]  # reason -> problems; kept + dropped = problems
    examples: int

    def text(self) -> str:
        """One line for a log."""
        return f"{_kept(self.kept, self.problems, self.dropped)}; {self.examples} {self.what}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _kept(kept: int, problems: int, dropped: Mapping[str, int]) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
    return f"kept {kept} of {problems} problems" + (f" (dropped: {reasons})" if reasons else "")


def reward_std_histogram(stds: Sequence[float], bins: int = 20) -> tuple[list[float], list[int]]:
    """Edges [bins + 1] over [0, 0.5] and counts [bins]."""
    counts, edges = np.histogram(np.asarray(stds, dtype=np.float64), bins=bins, range=(0.0, MAX_REWARD_STD))
    return [float(edge) for edge in edges], [int(count) for count in counts]
