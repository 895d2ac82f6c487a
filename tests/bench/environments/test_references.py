"""The bench of references: why a reference fails, told from what it does without the sandbox."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import references

from restrl.records import Problem, Verdict

CASES = "import unittest\nclass TestCases(unittest.TestCase):\n    def test_f(self):\n        {}\n"
CONTEXT = """
def test_execution(solution):
    names = {}
    exec("x = 1\\n" + solution, names)
    assert names["y"] == 2
"""
AWAY = """
import socket
def f():
    try:
        socket.gethostbyname({!r})
    except OSError:
        return 0
"""


def problem(task_id: str, reference: str, line: str | None = None) -> Problem:
    """Of kind unittest where ``line`` is its test, else of kind ds1000 (the snippet sets y to 2)."""
    tests = (
        {"kind": "unittest", "test": CASES.format(line)}
        if line
        else {"kind": "ds1000", "code_context": CONTEXT}
    )
    return Problem(task_id=task_id, prompt="?", tests=tests, reference=reference, dataset="x")


@pytest.fixture(scope="module")
def plain() -> dict[str, dict]:
    holds = "self.assertEqual(f(), 1)"
    return references.run_plain(
        sys.executable,
        [
            problem("right", "def f(): return 1", holds),
            problem("wrong", "def f(): return 2", holds),
            problem("skips", "def f(): return 1", "self.skipTest('not here')"),
            problem("ends", "import os\ndef f(): os._exit(0)", holds),
            problem("module", "import no_such_module_", holds),
            problem("data", "def f(): raise LookupError('Resource punkt not found')", holds),
            problem("network", AWAY.format("nowhere.invalid"), holds),
            problem("local", AWAY.format("localhost"), holds),
            problem("snippet", "y = x + 1"),
            problem("wrong snippet", "y = x"),
        ],
    )


def test_what_passes_without_the_sandbox(plain: dict[str, dict]) -> None:
    assert {name for name, answer in plain.items() if answer["passed"]} == {"right", "snippet"}
    assert len(plain) == 10


def test_reasons(plain: dict[str, dict]) -> None:
    verdict = Verdict("failed", 3, 4, 0.75, 0.1, "words")
    reasons = {name: references.reason(verdict, answer)[0] for name, answer in plain.items()}
    found = {
        "right": "sandbox",
        "snippet": "sandbox",
        "module": "module",
        "data": "data",
        "network": "network",
    }
    own = dict.fromkeys(["wrong", "skips", "ends", "local", "wrong snippet"], "tests")
    assert reasons == found | own
    assert references.reason(verdict, plain["module"])[1] == "No module named 'no_such_module_'"
    assert references.reason(verdict, plain["right"])[1] == "failed, 3 of 4: words"


@pytest.mark.parametrize(
    ("status", "reason"), [("timeout", "time"), ("memory", "memory"), ("failed", "other")]
)
def test_limits_and_what_was_not_run_again(status: str, reason: str, plain: dict[str, dict]) -> None:
    verdict = Verdict(status, 0, 1, 0.0, 9.0, "")
    assert references.reason(verdict, None)[0] == reason
    assert references.reason(verdict, plain["right"])[0] == {"other": "sandbox"}.get(reason, reason)
    assert references.reason(verdict, plain["wrong"])[0] == "tests"


def test_row() -> None:
    judged = references.Judged("apps", 5, 4, 2, (("a", "time", ""), ("b", "other", "")), ("c",))
    assert judged.row().split() == ["apps", "5", "4", "2", "0", "0", "0", "0", "1", "0", "0", "1", "1"]
