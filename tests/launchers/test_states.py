"""What a pipeline submits next, on a cluster that only remembers what it was told."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from launchers import states
from launchers.backends import NoAnswer, State
from launchers.job import Job, JobFiles
from launchers.shapes import Shape
from launchers.states import Part, Pipeline, StepJobs
from launchers.watch import Watch, status_table

RETRIES = 1


class FakeCluster:
    watched = False

    def __init__(self, shape: str = "small") -> None:
        self.shape = shape  # that the jobs must have
        self.alive: dict[str, State] = {}
        self.submitted: list[tuple[str, list[str], list[str]]] = []  # step, ids, jobs to wait for
        self.told: list[tuple[str, list[str]]] = []
        self.cancelled: list[str] = []
        self.stuck = False  # whether no job can start

    def submit(self, name: str, jobs: Sequence[Job], shape: Shape, after: Sequence[str]) -> list[str]:
        assert shape.name == self.shape
        first = sum(len(ids) for _, ids, _ in self.submitted)
        ids = [str(first + i + 1) for i in range(len(jobs))]
        self.submitted.append((name, ids, list(after)))
        self.alive |= dict.fromkeys(ids, "waiting")
        return ids

    def states(self) -> dict[str, State]:
        return dict(self.alive)

    def reasons(self) -> dict[str, str]:
        return dict.fromkeys(self.alive, "PartitionConfig") if self.stuck else {}

    def wait_for(self, job: str, after: Sequence[str]) -> None:
        self.told.append((job, list(after)))

    def cancel(self, jobs: Sequence[str]) -> None:
        self.cancelled += jobs
        for job in jobs:
            self.alive.pop(job, None)

    def close(self) -> None:
        pass

    def ends(self, part: Part, code: int | None) -> None:
        """None: without a trace."""
        self.alive.pop(part.ids[-1])
        if code is not None:
            part.files.folder.mkdir(parents=True, exist_ok=True)
            part.files.ended(code)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def pipeline(folder: Path) -> Pipeline:
    """sample (two parts) -> train -> report."""

    def step(name: str, needs: Sequence[str], parts: int) -> StepJobs:
        files = [JobFiles(folder / name / str(number)) for number in range(parts)]
        return StepJobs(name, needs, Shape("small", {}), [Part(f, ["true"]) for f in files])

    steps = [step("sample", (), 2), step("train", ("sample",), 1), step("report", ("sample", "train"), 1)]
    return Pipeline(folder, steps, RETRIES, folder)


def step(pipeline: Pipeline, cluster: FakeCluster) -> None:
    pipeline.look(cluster)
    pipeline.advance(cluster)


def test_all_jobs_are_submitted_at_once_and_wait_for_each_other(tmp_path: Path, cluster: FakeCluster) -> None:
    step(pipeline(tmp_path), cluster)
    assert cluster.submitted == [
        ("sample", ["1", "2"], []), ("train", ["3"], ["1", "2"]), ("report", ["4"], ["1", "2", "3"]),
    ]  # fmt: skip


def test_another_process_finds_the_jobs_again(tmp_path: Path, cluster: FakeCluster) -> None:
    step(pipeline(tmp_path), cluster)
    again = pipeline(tmp_path)
    again.forget_failures(cluster)
    step(again, cluster)
    assert len(cluster.submitted) == 3
    for part in again.parts:
        cluster.ends(part, 0)
    step(again, cluster)
    assert (again.over, again.succeeded, len(cluster.submitted)) == (True, True, 3)


def test_what_failed_is_tried_again_and_those_behind_it_are_told(
    tmp_path: Path, cluster: FakeCluster
) -> None:
    jobs = pipeline(tmp_path)
    step(jobs, cluster)
    first, second = jobs.steps["sample"].parts
    cluster.ends(first, 0)
    cluster.ends(second, 1)
    step(jobs, cluster)
    assert cluster.submitted[3:] == [("sample", ["5"], [])]
    assert cluster.told == [("3", ["5"]), ("4", ["5", "3"])]
    step(jobs, cluster)
    assert len(cluster.told) == 2  # once


def test_a_job_without_a_trace_gets_time_for_its_exit_code(tmp_path: Path, cluster: FakeCluster) -> None:
    jobs = pipeline(tmp_path)
    step(jobs, cluster)
    part = jobs.steps["sample"].parts[0]
    cluster.ends(part, None)
    step(jobs, cluster)
    assert (part.status, len(cluster.submitted)) == ("running", 3)
    jobs.look(cluster)
    assert part.status == "lost"
    jobs.advance(cluster)
    assert cluster.submitted[3:] == [("sample", ["5"], [])]


@pytest.mark.parametrize(("code", "attempts"), [(1, 1 + RETRIES), (2, 1)])
def test_what_is_given_up_blocks_those_behind_it(
    tmp_path: Path, cluster: FakeCluster, code: int, attempts: int
) -> None:
    """Bad input is given up at once."""
    jobs = pipeline(tmp_path)
    step(jobs, cluster)
    part = jobs.steps["sample"].parts[0]
    cluster.ends(jobs.steps["sample"].parts[1], 0)
    for _ in range(attempts):
        cluster.ends(part, code)
        step(jobs, cluster)
    assert len(part.ids) == attempts
    assert [s.statuses for s in jobs.steps.values()] == [["given up", "done"], ["blocked"], ["blocked"]]
    assert set(cluster.cancelled) >= {"3", "4"}
    assert (jobs.over, jobs.succeeded) == (True, False)
    jobs.forget_failures(cluster)  # the user asks again
    step(jobs, cluster)
    assert [name for name, _, _ in cluster.submitted[-3:]] == ["sample", "train", "report"]
    assert not jobs.over


def test_a_watch_outlasts_a_cluster_that_does_not_answer(
    tmp_path: Path, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first job fails, and the cluster is silent when the waiting jobs are told of its next attempt."""
    whole, codes, silent, told = (
        pipeline(tmp_path),
        iter([1, 0, 0, 0, 0]),
        iter([True, True]),
        cluster.wait_for,
    )

    def wait_for(job: str, after: Sequence[str]) -> None:
        if next(silent, False):
            raise NoAnswer("scontrol: Unable to contact slurm controller")
        told(job, after)

    def sleep(seconds: float) -> None:
        if seconds == 5:  # the watch's own pause: the first job that is there ends
            part = next(p for p in whole.parts if p.ids and p.ids[-1] in cluster.alive)
            cluster.ends(part, next(codes))

    monkeypatch.setattr(cluster, "wait_for", wait_for)
    monkeypatch.setattr("time.sleep", sleep)
    assert Watch(whole, cluster, Console(quiet=True), seconds=5).run() == 0
    assert [name for name, *_ in cluster.submitted] == ["sample", "train", "report", "sample"]
    assert [job for job, _ in cluster.told] == ["3", "4"]
    assert next(silent, None) is None


def test_what_was_cancelled_is_submitted_again_and_is_no_attempt(
    tmp_path: Path, cluster: FakeCluster
) -> None:
    for _ in range(RETRIES + 2):
        whole = pipeline(tmp_path)  # a process of its own each time
        whole.forget_failures(cluster)
        whole.advance(cluster)
        assert [len(part.ids) for part in whole.parts] == [1, 1, 1, 1]
        assert pipeline(tmp_path).cancel(cluster) == 4
        assert cluster.alive == {}
    assert len(cluster.submitted) == 3 * (RETRIES + 2)


def test_jobs_that_went_without_a_trace_are_submitted_again_by_the_same_command(
    tmp_path: Path, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    step(pipeline(tmp_path), cluster)
    cluster.alive.clear()
    pauses = list[float]()
    monkeypatch.setattr("time.sleep", pauses.append)
    whole = pipeline(tmp_path)
    whole.forget_failures(cluster)
    assert pauses == [states.GRACE_SECONDS]
    whole.advance(cluster)
    assert [part.status for part in whole.parts] == ["waiting"] * 4
    assert len(cluster.submitted) == 6


def test_why_a_job_does_not_start_is_said(tmp_path: Path, cluster: FakeCluster) -> None:
    whole = pipeline(tmp_path)
    step(whole, cluster)
    cluster.stuck = True
    whole.look(cluster)
    shown = io.StringIO()
    Console(width=120, file=shown).print(status_table(whole))
    assert shown.getvalue().count("does not start: PartitionConfig") == 3
    cluster.stuck = False
    whole.look(cluster)
    assert {part.reason for part in whole.parts} == {""}


def given_up_with_others_waiting(folder: Path, cluster: FakeCluster) -> Pipeline:
    """Bad input of a job that was seen by nobody yet: those behind it wait for ever."""
    step(pipeline(folder), cluster)
    whole = pipeline(folder)
    sample = whole.steps["sample"].parts
    cluster.ends(sample[0], 2)
    cluster.ends(sample[1], 0)
    return whole


def test_a_watch_ends_what_is_blocked(tmp_path: Path, cluster: FakeCluster) -> None:
    whole = given_up_with_others_waiting(tmp_path, cluster)
    assert Watch(whole, cluster, Console(quiet=True), seconds=0).run() == 1
    assert (cluster.alive, len(cluster.submitted)) == ({}, 3)


def test_what_is_blocked_can_be_cancelled(tmp_path: Path, cluster: FakeCluster) -> None:
    assert given_up_with_others_waiting(tmp_path, cluster).cancel(cluster) == 2
    assert cluster.alive == {}


def test_another_submission_ends_what_is_blocked(tmp_path: Path, cluster: FakeCluster) -> None:
    whole = given_up_with_others_waiting(tmp_path, cluster)
    whole.forget_failures(cluster)
    assert cluster.alive == {}
    whole.advance(cluster)
    assert [name for name, *_ in cluster.submitted[3:]] == ["sample", "train", "report"]
