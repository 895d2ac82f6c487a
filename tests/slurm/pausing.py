"""Processes in jobs that wait at chosen calls, and what a test does to them (``pauses/sitecustomize.py``)."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.slurm.cluster import Cluster
from tests.stages.processes import ROOT

SECONDS = 900.0
Way = Callable[[int, Mapping[str, str]], None]  # receives the process's id and environment


class Pauses:
    """``points``: name -> "module:Class.method call"."""

    def __init__(self, folder: Path, points: Mapping[str, str]) -> None:
        self.folder, self.done = folder, list[str]()
        folder.mkdir()
        for name, text in points.items():
            (folder / f"{name}.pause").write_text(text)

    def environment(self, cluster: Cluster) -> dict[str, str]:
        return cluster.environment | {
            "RESTRL_PAUSES": str(self.folder),
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent / "pauses"), str(ROOT)]),
            "OMP_NUM_THREADS": "1",
        }

    def act(self, ways: Mapping[str, Way]) -> None:
        """Disturbs each process that waits, once."""
        for path in self.folder.glob("*.pid"):
            if path.stem not in self.done and (text := path.read_text()):
                self.done.append(path.stem)
                variables = Path(f"/proc/{text}/environ").read_bytes().decode().split("\0")
                ways[path.stem](int(text), dict(v.split("=", 1) for v in variables if "=" in v))

    def let_go(self, name: str) -> None:
        """The process goes on."""
        (self.folder / f"{name}.reached").unlink()


def job_id(variables: Mapping[str, str]) -> str:
    """As SLURM's commands take it, for a process in a job; the plain id may mean a whole array."""
    if "SLURM_ARRAY_TASK_ID" in variables:
        return f"{variables['SLURM_ARRAY_JOB_ID']}_{variables['SLURM_ARRAY_TASK_ID']}"
    return variables["SLURM_JOB_ID"]


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def preempt(cluster: Cluster) -> None:
    """A job with a higher priority takes both nodes."""
    cluster.run("sbatch", "-p", "high", "-N2", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")


def followed(
    process: subprocess.Popen[Any], cluster: Cluster, each: Callable[[], None] = lambda: None
) -> int:
    """The exit code; ``each`` is called again and again until the process ends."""
    deadline = time.monotonic() + SECONDS
    while process.poll() is None:
        if time.monotonic() > deadline:
            process.kill()
            raise TimeoutError(f"after {SECONDS} s: {cluster.jobs()}")
        each()
        cluster.release()
        time.sleep(0.5)
    return process.returncode
