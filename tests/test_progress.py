"""Progress in a file: few lines, and always the last one."""

from __future__ import annotations

import pytest

from restrl import progress
from restrl.progress import ProgressLines


def test_a_line_every_15_seconds_and_one_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    said: list[str] = []
    lines = ProgressLines(said.append, "grpo", total=50, done=2)
    for _ in range(48):  # a step per second
        now += 1.0
        lines.advance(1, "reward 0.5")
    assert said == [
        "grpo: 17/50, 15 s, reward 0.5",
        "grpo: 32/50, 30 s, reward 0.5",
        "grpo: 47/50, 45 s, reward 0.5",
        "grpo: 50/50, 48 s, reward 0.5",
    ]


def test_without_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    ProgressLines(print, "sample", total=3).advance(3)
    assert capsys.readouterr().out == "sample: 3/3, 0 s\n"
