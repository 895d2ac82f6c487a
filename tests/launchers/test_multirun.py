"""The cells of a multirun, with jobs that stand for SLURM's: what is noticed, and what is said."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from rich.console import Console

from launchers import multirun
from launchers.backends import NoAnswer, slurm_states
from launchers.multirun import Cell, cells_of, failure, follow, patient, table
from restrl.errors import UserError
from restrl.launch import RankFailure


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """A second passes at each look."""
    now = [100.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(multirun, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    return now


def job(folder: Path, name: str) -> Any:
    paths = SimpleNamespace(result_pickle=folder / f"{name}_result.pkl", stderr=folder / f"{name}_log.err")
    return SimpleNamespace(job_id=name, paths=paths)


def returned(value: Any) -> tuple[str, JobReturn]:
    """What submitit keeps of a run that returned a number, or raised."""
    failed = isinstance(value, BaseException)
    result = JobReturn(status=JobStatus.FAILED if failed else JobStatus.COMPLETED)
    result.return_value = value
    return "success", result


def text(shown: Any) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(shown)
    return console.file.getvalue()  # type: ignore[attr-defined]


class Cluster:
    """Jobs that run until their second look and then leave ``outcomes``; None: nothing."""

    def __init__(self, folder: Path, outcomes: Sequence[Any], silent: Sequence[int] = ()) -> None:
        self.folder, self.outcomes, self.silent = folder, outcomes, silent
        self.cells = cells_of([["common=1", f"x=[a,{i}]"] for i in range(len(outcomes))], 0)
        self.output, self.looks = io.StringIO(), 0

    def alive(self) -> Mapping[str, str]:
        self.looks += 1
        if self.looks in self.silent:
            raise NoAnswer("squeue: does not answer")
        if self.looks == 4:
            for cell, outcome in zip(self.cells, self.outcomes, strict=True):
                if outcome is not None:
                    data = outcome if isinstance(outcome, bytes) else pickle.dumps(outcome)
                    Path(cell.job.paths.result_pickle).write_bytes(data)
        started = self.looks > 1 and self.looks < 4
        return {cell.job.job_id: "running" for cell in self.cells} if started else {}

    def start(self, cells: Sequence[Cell]) -> None:
        for cell in cells:
            cell.job = job(self.folder, f"7_{cell.number}")

    def follow(self) -> str:
        follow(self.cells, self.alive, self.start, Console(file=self.output, width=200))
        return self.output.getvalue()


@pytest.mark.usefixtures("clock")
def test_every_cell_is_told(tmp_path: Path) -> None:
    outcomes = [
        returned(0.25),
        returned(UserError("no such\nfile [/x]")),
        returned(ValueError("a bug")),
        ("error", "Traceback\n  ...\nrestrl.errors.UserError: a bad key\n"),
        ("error", "Traceback\n  ...\nOSError: disk\n\n"),
        None,
        returned(RankFailure("rank 1 was killed by SIGKILL", 1)),
        b"no pickle",
    ]
    cluster = Cluster(tmp_path, outcomes)
    said = cluster.follow()
    states = [(cell.status, cell.error) for cell in cluster.cells]
    assert states[:6] == [
        ("done", ""),
        ("bad input", "no such file [/x]"),
        ("failed", "ValueError: a bug"),
        ("bad input", "a bad key"),
        ("failed", "OSError: disk"),
        ("killed", "killed without a trace"),
    ]
    assert states[6] == ("failed", "RankFailure: rank 1 was killed by SIGKILL")
    assert states[7][0] == "failed"
    assert "the result is not readable" in states[7][1]
    assert said.splitlines()[:2] == ["cell 0 (x=[a,0]): running", "cell 1 (x=[a,1]): running"]
    assert "cell 5 (x=[a,5]): killed, killed without a trace" in said
    assert "7 of 8 cells have ended" not in said  # less than 15 s after the last event
    shown = text(table(cluster.cells))
    assert "no such file [/x]" in shown  # brackets are no markup
    assert "x=[a,0]" in shown
    assert "common" not in shown
    assert "0.250" in shown
    assert str(tmp_path / "7_5_log.err") in shown


def test_a_result_may_come_later_than_the_cluster_forgets_the_job(tmp_path: Path, clock: list[float]) -> None:
    cell = Cell(0, [], "", job(tmp_path, "7"))
    cell.look({})
    clock[0] += multirun.GRACE_SECONDS - 1
    cell.look({})
    assert not cell.ended
    cell.look({"7": "waiting"})  # it was queued again
    clock[0] += 100
    cell.look({})
    assert not cell.ended
    Path(cell.job.paths.result_pickle).write_bytes(pickle.dumps(returned(0.5)))
    cell.look({})
    assert (cell.status, cell.value) == ("done", 0.5)


@pytest.mark.usefixtures("clock")
def test_a_cluster_that_does_not_answer_for_a_while_ends_nothing(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, [returned(0.25), returned(0.5)], silent=range(2, 4))
    cluster.follow()
    assert [cell.value for cell in cluster.cells] == [0.25, 0.5]


def test_patience_has_an_end(clock: list[float]) -> None:
    def ask() -> Mapping[str, str]:
        raise NoAnswer("squeue: does not answer")

    with pytest.raises(NoAnswer):
        patient(ask)
    assert clock[0] == pytest.approx(100 + multirun.PATIENCE_SECONDS, abs=2)


def test_a_machine_without_slurm_is_said_at_once(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="squeue: not found; is this a machine of the SLURM cluster"):
        patient(slurm_states)
    assert clock[0] == 100


@pytest.mark.parametrize(
    ("statuses", "code"),
    [(["done"], None), (["done", "bad input"], 2), (["bad input", "failed"], 1), (["killed", "done"], 1)],
)
def test_the_exit_code(statuses: list[str], code: int | None) -> None:
    cells = [Cell(i, [], "", status=status) for i, status in enumerate(statuses)]
    problem = failure(cells)
    assert (None if problem is None else problem.exit_code) == code
    for cell in cells:  # Hydra's sweeper gets results in order, and raises where there is none
        result = cell.returned(problem)
        if cell.status == "done":
            assert result.return_value is None
        else:
            with pytest.raises(UserError, match="have no result"):
                _ = result.return_value
