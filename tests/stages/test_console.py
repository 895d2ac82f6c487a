"""What several ranks print: the first one alone, and progress that stands for all."""

from __future__ import annotations

import pytest

from restrl.ranks import Ranks
from restrl.stages.console import Console, StepProgress


@pytest.mark.parametrize(
    ("ranks", "out"),
    [(Ranks(), "here\nstep: 6/6, 0 s\n"), (Ranks(0, 2), "here\nstep: 6/6, 0 s\n"), (Ranks(1, 2), "")],
)
def test_the_first_rank_alone_prints(ranks: Ranks, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(ranks=ranks)
    console.say("here")
    with console.progress("step", 6) as advance:
        advance(6 // ranks.size)
    assert capsys.readouterr().out == out


def test_progress_of_one_rank_stands_for_all() -> None:
    """Of 7 completions an earlier run left 2; of the other 5 the first of two ranks does 3."""
    shown: list[int] = []
    advance = StepProgress(shown.append, 7, Ranks(0, 2))
    advance.of_all(2)
    for n in (1, 1, 1):
        advance(n)
    assert shown == [2, 2, 2, 1]
