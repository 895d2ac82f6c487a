"""A slow machine gets longer limits, and the same verdicts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from restrl.config import SandboxConfig
from restrl.errors import UserError
from restrl.sandbox import Sandbox, calibration, pool
from restrl.sandbox.calibration import REFERENCE_SECONDS, UNIT, Machine, probe
from restrl.sandbox.inside import probe as inside_probe
from tests.sandbox.test_pool import call


@pytest.mark.parametrize(
    ("slowness", "factor"), [(0.3, 1), (1.0, 1), (1.01, 1.5), (1.5, 1.5), (2.2, 3), (9, 10), (1000, 10)]
)
def test_the_factor_takes_few_values(slowness: float, factor: float) -> None:
    assert Machine("", slowness, True).factor == factor


class Clocks:
    """Clocks that only the work and the waits move: each unit of work takes ``seconds``."""

    def __init__(self, seconds: float, waits: list[float]) -> None:
        self.seconds, self.waits = seconds, waits  # a wait, in seconds, for each round
        self.cpu = self.wall = 0.0

    def work(self, unit: int) -> None:
        self.cpu += unit * self.seconds
        self.wall += unit * self.seconds + self.waits.pop(0)

    def process_time(self) -> float:
        return self.cpu

    def monotonic(self) -> float:
        return self.wall


def measured(monkeypatch: pytest.MonkeyPatch, seconds: float, waits: list[float]) -> dict[str, float]:
    clocks = Clocks(seconds, list(waits))
    monkeypatch.setattr(inside_probe, "time", clocks)
    monkeypatch.setattr(inside_probe, "work", clocks.work)
    return inside_probe.measure(len(waits), 100)


def test_processor_time_does_not_see_waits_and_the_clock_does(monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured(monkeypatch, 0.25, [0.0, 8.0, 0.0, 4.0])  # 100 units of 0.25 s a round
    assert found == {"cpu": 25.0, "wall": 25.0 + 3.0}  # (8 + 4) / 4 rounds
    assert measured(monkeypatch, 1.0, [0.0] * 4) == {"cpu": 100.0, "wall": 100.0}  # four times slower


@pytest.mark.parametrize(("schedstat", "slowness"), [(True, 2.0), (False, 3.0)])
def test_slowness_is_the_median_over_the_reference(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, schedstat: bool, slowness: float
) -> None:
    """Each of three processes answers with another multiple of the reference: 1, 2, 9 (clock: 1, 3, 9)."""
    script = tmp_path / "probe.py"
    script.write_text(
        "import json, os, sys\n"
        f"folder = {str(tmp_path)!r}\n"
        "for cpu, wall in ((1, 1), (2, 3), (9, 9)):\n"
        "    try:\n"
        "        os.mkdir(f'{folder}/{cpu}')\n"
        "        break\n"
        "    except FileExistsError:\n"
        "        pass\n"
        f"answer = {{'cpu': cpu * {REFERENCE_SECONDS}, 'wall': wall * {REFERENCE_SECONDS}}}\n"
        f"print(json.dumps(answer | {{'schedstat': {schedstat}, 'identity': 'x'}}))\n"
    )
    monkeypatch.setattr(calibration, "PROBE", str(script))
    machine = probe.__wrapped__(sys.executable, 3)  # not from the cache
    assert machine == Machine("x", pytest.approx(slowness), schedstat)


def test_a_machine_is_measured_once_per_process() -> None:
    once = probe(sys.executable, 1)
    assert once.slowness > 0
    assert probe(sys.executable, 1) is once
    assert probe(sys.executable, 1, 2 * UNIT).identity == once.identity


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
