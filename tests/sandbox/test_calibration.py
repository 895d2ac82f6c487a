"""A slow machine gets longer limits, and the same verdicts."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from restrl.config import SandboxConfig
from restrl.errors import UserError
from restrl.sandbox import Sandbox, pool
from restrl.sandbox.calibration import UNIT, Machine, probe
from tests.sandbox.test_pool import call


@pytest.mark.parametrize(
    ("slowness", "factor"), [(0.3, 1), (1.0, 1), (1.01, 1.5), (1.5, 1.5), (2.2, 3), (9, 10), (1000, 10)]
)
def test_the_factor_takes_few_values(slowness: float, factor: float) -> None:
    assert Machine("", slowness, True).factor == factor


def test_four_times_the_work_is_a_machine_four_times_slower() -> None:
    # The least of 30 rounds is not interrupted, but the clock rate may move between the two.
    once, four = probe(sys.executable, 1), probe(sys.executable, 1, 4 * UNIT)
    assert 2.5 < four.slowness / once.slowness < 6
    assert once.schedstat == four.schedstat
    assert once.identity == four.identity
    started = time.perf_counter()
    assert probe(sys.executable, 1) is once  # measured once per process
    assert time.perf_counter() - started < 0.01


def test_an_interpreter_that_is_none() -> None:
    with pytest.raises(UserError, match=r"sandbox.python=/no/python: cannot be run"):
        probe("/no/python", 1)
    with pytest.raises(UserError, match=r"sandbox.python=/bin/true: does not run as Python"):
        probe("/bin/true", 1)


@pytest.mark.parametrize(("calibrate", "statuses"), [(True, ["passed", "timeout"]), (False, ["timeout"] * 2)])
def test_limits_grow_on_a_slow_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, calibrate: bool, statuses: list[str]
) -> None:
    monkeypatch.setattr(
        pool, "probe", lambda _python, _processes: Machine("", 2.9, True)
    )  # three times slower
    tests = call([[0.5], [0.0]], [0.5, 0.0])
    sleep = "import time\ndef f(x):\n    time.sleep({} * x)\n    return x\n"
    limits = {"test_seconds": 0.25, "program_seconds": 0.4}
    config = SandboxConfig(workers=1, calibrate=calibrate, cache=str(tmp_path), **limits)
    with Sandbox(config) as sandbox:
        assert sandbox.facts["limits_factor"] == (3 if calibrate else 1)
        verdicts = sandbox.judge([(sleep.format(1), tests), (sleep.format(2), tests)])  # 0.5 s and 1 s
        assert sandbox.workers[0].settings.cpu_seconds == (
            3 if calibrate else 2
        )  # ceil(1.2) + 1, ceil(0.4) + 1
    assert [verdict.status for verdict in verdicts] == statuses
