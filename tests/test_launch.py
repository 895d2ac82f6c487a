"""Several ranks as real processes: how they start, and that none outlives another, whoever ends how."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from restrl.config import Config, TrainerConfig
from restrl.errors import UserError
from restrl.launch import on_all_ranks
from tests.launched import REQUEUED
from tests.stages.processes import ROOT

pytestmark = pytest.mark.timeout(200)
SECONDS = 60.0


def start(folder: Path, behaviour: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.launched", str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "BEHAVIOUR": behaviour, **environment},
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and what stands on stderr."""
    _, err = process.communicate(timeout=SECONDS)
    return process.returncode, err


def wait_for(condition, what: str) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.05)


def pid_of(folder: Path, rank: int) -> int:
    path = folder / f"pid{rank}"
    wait_for(lambda: path.exists() and path.read_text(), f"rank {rank} does not start")
    return int(path.read_text())


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def pending(pid: int) -> set[int]:
    """Signals that the process holds back."""
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("ShdPnd"))
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def test_two_ranks_work_together(tmp_path: Path) -> None:
    assert finish(start(tmp_path, "work")) == (0, "")
    assert [(tmp_path / f"done{rank}").read_text() for rank in (0, 1)] == ["[0, 1, 4, 9, 16]"] * 2
    assert (tmp_path / "rank1.log").read_text() == "rank 1: work\n"  # neither is taken apart, see Kept
    assert [(tmp_path / f"left{rank}").exists() for rank in (0, 1)] == [True] * 2


@pytest.mark.parametrize(
    ("behaviour", "code", "line"),
    [
        ("all are wrong", 2, "error: bad input\n"),
        ("one is wrong", 2, "error: rank 1: bad input\n"),
        ("one crashes", 1, "error: rank 1 ended with exit code 1; FOLDER/rank1.log ends with:\n"),
        ("one is killed", 1, "error: rank 1 was killed by SIGKILL; FOLDER/rank1.log ends with:\n"),
    ],
)
def test_who_failed_is_said_in_one_line(tmp_path: Path, behaviour: str, code: int, line: str) -> None:
    run = start(tmp_path, behaviour)
    ended, err = finish(run)
    assert (ended, err[: err.index("\n") + 1]) == (code, line.replace("FOLDER", str(tmp_path)))
    tail = err.splitlines()[1:]
    assert all(text.startswith("  ") for text in tail)  # of the log
    assert ("ValueError: a bug" in err) == (behaviour == "one crashes")
    assert "Traceback" not in "".join(text for text in err.splitlines() if not text.startswith("  "))
    assert not alive(pid_of(tmp_path, 1))


def test_a_bug_of_the_first_rank_is_not_blamed_on_another(tmp_path: Path) -> None:
    code, err = finish(start(tmp_path, "the first crashes"))
    assert code == 1
    assert err.endswith("ValueError: a bug of the first\n")
    assert "rank 1" not in err
    assert not alive(pid_of(tmp_path, 1))


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_no_rank_outlives_the_first(tmp_path: Path, number: int, code: int) -> None:
    run = start(tmp_path, "sleep")
    other = pid_of(tmp_path, 1)
    run.send_signal(number)
    assert finish(run)[0] == code
    wait_for(lambda: not alive(other), f"rank 1 is still there after {signal.Signals(number).name}")


def test_submitits_signal_reaches_the_first_rank_alone(tmp_path: Path) -> None:
    """SLURM sends it to all processes of a job, and the first rank's handler queues the job again."""
    run = start(tmp_path, "sleep")
    other = pid_of(tmp_path, 1)
    os.kill(other, signal.SIGUSR2)
    wait_for(lambda: signal.SIGUSR2 in pending(other) or not alive(other), "no trace of the signal")
    assert alive(other)
    run.send_signal(signal.SIGUSR2)
    assert finish(run) == (REQUEUED, "")
    assert not alive(other)


def test_ranks_that_torchrun_started_are_taken_as_they_are(tmp_path: Path) -> None:
    places = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(20000 + os.getpid() % 10000)}
    runs = [start(tmp_path, "work", RANK=str(r), LOCAL_RANK=str(r), **places) for r in (0, 1)]
    assert [finish(run) for run in runs] == [(0, "")] * 2
    assert (tmp_path / "done1").exists()
    assert not (tmp_path / "rank1.log").exists()


@pytest.mark.parametrize(
    ("trainer", "environment", "message"),
    [
        (TrainerConfig(devices=2, num_nodes=2), {}, "trainer.num_nodes=2: start a process for each device"),
        (
            TrainerConfig(devices=2),
            {"RANK": "0", "WORLD_SIZE": "4"},
            "trainer.devices=2 x trainer.num_nodes=1 are 2 ranks, and 4 were started",
        ),
    ],
)
def test_a_number_of_ranks_that_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainer: TrainerConfig, environment: dict, message: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        on_all_ranks("tests.launched:task", Config(trainer=trainer), tmp_path)
