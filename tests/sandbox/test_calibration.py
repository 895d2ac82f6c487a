"""A slow machine gets longer limits, and the same verdicts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from restrl.config import SandboxConfig
from restrl.errors import UserError
from restrl.sandbox import Sandbox, calibration, pool
from restrl.sandbox.calibration import PROBE, REFERENCE_SECONDS, ROUNDS, UNIT, Machine, probe
from restrl.sandbox.inside import probe as inside
from tests.sandbox.test_pool import call


@pytest.mark.parametrize(
    ("slowness", "factor"), [(0.3, 1), (1.0, 1), (1.01, 1.5), (1.5, 1.5), (2.2, 3), (9, 10), (1000, 10)]
)
def test_the_factor_takes_few_values(slowness: float, factor: float) -> None:
    assert Machine("", slowness, True).factor == factor


class Clock:
    """Stands in for ``time`` in the probe: a round of work takes what the test says."""

    def __init__(self, busy: list[float], waits: list[float]) -> None:
        self.rounds = iter(zip(busy, waits, strict=True))
        self.cpu, self.wall = 100.0, 7000.0  # they start anywhere

    def work(self, unit: int) -> None:
        busy, wait = next(self.rounds)
        self.cpu += busy * unit
        self.wall += busy * unit + wait

    def process_time(self) -> float:
        return self.cpu

    def monotonic(self) -> float:
        return self.wall


@pytest.mark.parametrize("unit", [1, 4])
def test_the_measure_is_the_best_round_or_the_mean_with_waiting(
    monkeypatch: pytest.MonkeyPatch, unit: int
) -> None:
    # processor: 3, 2 and 4 a unit; on the clock: (3 + 2 + 4) x unit and 6 of waiting, over 3 rounds
    clock = Clock([3.0, 2.0, 4.0], [6.0, 0.0, 0.0])
    monkeypatch.setattr(inside, "time", clock)
    monkeypatch.setattr(inside, "work", clock.work)
    assert inside.measure(3, unit) == {"cpu": 2 * unit, "wall": 3 * unit + 2}


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[str]]]:
    """Probes of 3, 1 and 2 times the reference of processor time, and 8 times it on the clock.

    Yields the commands that were started.  The interpreter's name says whether its kernel has a schedstat.
    """
    started: list[list[str]] = []

    def popen(command: list[str], **_options: object) -> SimpleNamespace:
        cpu = (3, 1, 2)[len(started) % 3] * REFERENCE_SECONDS
        started.append(command)
        answer = {"schedstat": "waits" not in command[0], "identity": "abc", "cpu": cpu}
        answer["wall"] = 8 * REFERENCE_SECONDS
        return SimpleNamespace(communicate=lambda: (json.dumps(answer).encode(), None))

    monkeypatch.setattr(calibration.subprocess, "Popen", popen)
    probe.cache_clear()
    yield started
    probe.cache_clear()


def test_slowness_is_the_median_over_the_reference(answering: list[list[str]]) -> None:
    machine = probe("python", 3)
    assert machine == Machine("abc", pytest.approx(2.0), True)  # processor time: waiting does not change it
    assert answering == [["python", "-s", "-W", "ignore", PROBE, str(ROUNDS), str(UNIT)]] * 3
    assert probe("python", 3) is machine  # measured once per process
    assert len(answering) == 3
    assert probe("python waits", 3) == Machine("abc", pytest.approx(8.0), False)  # nothing is given back


def test_this_machine_is_measured() -> None:
    machine = probe(sys.executable, 1)
    assert machine.slowness > 0
    assert machine.schedstat == Path("/proc/self/schedstat").exists()
    assert machine.identity == probe(sys.executable, 2).identity


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
