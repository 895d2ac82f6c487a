"""The tests as a scorer: an upper bound for other scorers, which no real decoder can use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from restrl.protocols import Judge
from restrl.records import Problem, State
from restrl.scoring.base import Kind


class Verifier:
    """The reward of each program; None if it could not be judged."""

    kind: Kind = "outcome"

    def __init__(self, judge: Callable[[], Judge], problems: Mapping[str, Problem]) -> None:
        """``judge`` is called on first use; ``problems``: by task_id."""
        self._judge = judge
        self._problems = problems

    def score(self, states: Sequence[State]) -> list[float | None]:
        """See ``restrl.scoring.base.Scorer``."""
        programs = [(state.text, self._problems[state.task_id].judged) for state in states]
        return [verdict.reward for verdict in self._judge().judge(programs)] if programs else []
