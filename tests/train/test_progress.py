"""What a training shows: a bar on a terminal, lines in a file."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from restrl.train.callbacks import StepProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, out: io.StringIO) -> str:
    module = SimpleNamespace(total_steps=5, steps_done=2, title="grpo", progress_text=lambda: "reward 0.5")
    monkeypatch.setattr(sys, "stdout", out)
    progress = StepProgress()
    progress.on_train_start(SimpleNamespace(is_global_zero=True), module)
    for _ in range(3):
        progress.on_train_batch_end(None, module)
    progress.on_train_end(None, module)
    return out.getvalue()


def test_a_file_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, io.StringIO()) == "grpo: 5/5, 0 s, reward 0.5\n"


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    out = shown(monkeypatch, Terminal())
    assert out.count("\r") > 1
    assert "5/5" in out
    assert "reward 0.5" in out
