"""The pipeline on a real SLURM: jobs that are killed and preempted, and the numbers of an undisturbed run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.cluster import Cluster
from tests.stages.conftest import SMALL, TRAINING, Workplace, make_workplace
from tests.stages.processes import ROOT, contents, timeless
from tests.stages.test_rest_rl import override

pytestmark = pytest.mark.timeout(900)  # a busy machine is no failure
SECONDS = 400.0
PARTS = 2
ROWS = ["base sample", "trained best_of_n orm", "trained mcts vm"]
OWN = (
    "stage=rest_rl", "grpo.iterations=1", "grpo.max_steps=3", "grpo.checkpoint_every=1",
    "mcts.iterations=4", "evaluation.completions=6", override(ROWS), "vm.lr=1e-3", "vm.checkpoint_every=1",
    "vm.problems_per_step=1", "trainer=deepspeed_zero2",
)  # fmt: skip
STAGE = (*SMALL, *TRAINING, *OWN)
NODES = [f"launcher.resources.{machine}.{key}" for machine in ("cpu", "model", "training")
         for key in ("cpus_per_task=1", "mem_gb=1")]  # fmt: skip
LAUNCHER = ("launcher=slurm_cpu", f"launcher.parts={PARTS}", "launcher.resources.training.nodes=2", *NODES)

# Where a process waits to be disturbed, and how it is.  Between them they are every kind of step.
PAUSES = {
    "sample": "restrl.stages.chunks:_ChunkFiles.write 1",
    "grpo": "restrl.train.grpo_module:GrpoModule._update 2",
    "collect": "restrl.stages.searches:SearchFiles.append 2",
    "fit": "restrl.train.value_module:ValueModule._learn 2",
    "evaluate": "restrl.stages.evaluation:_judge 1",
}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "launchers.pipeline", *arguments]


def places(workplace: Workplace) -> tuple[str, ...]:
    return (f"dataset.path={workplace.folder / 'problems.jsonl'}", f"paths.outputs={workplace.outputs}")


@pytest.fixture
def environment(cluster: Cluster, tmp_path: Path) -> dict[str, str]:
    """With the pauses above."""
    folder = tmp_path / "pauses"
    folder.mkdir()
    for name, text in PAUSES.items():
        (folder / f"{name}.pause").write_text(text)
    return cluster.environment | {
        "RESTRL_PAUSES": str(folder),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent / "pauses"), str(ROOT)]),
        "OMP_NUM_THREADS": "1",
    }


def job_id(variables: Mapping[str, str]) -> str:
    """As SLURM's commands take it, for a process in a job; the plain id may mean a whole array."""
    if "SLURM_ARRAY_TASK_ID" in variables:
        return f"{variables['SLURM_ARRAY_JOB_ID']}_{variables['SLURM_ARRAY_TASK_ID']}"
    return variables["SLURM_JOB_ID"]


class Disturbances:
    """Disturbs each waiting process once, in its own way."""

    def __init__(self, cluster: Cluster, pauses: Path) -> None:
        self.cluster, self.pauses = cluster, pauses
        self.ways: dict[str, Callable[[int, Mapping[str, str]], None]] = {
            "sample": self.kill, "grpo": self.preempt, "collect": self.requeue, "fit": self.time_is_over,
            "evaluate": self.node_fails,
        }  # fmt: skip
        self.done: list[str] = []

    def act(self) -> None:
        for path in self.pauses.glob("*.pid"):
            if path.stem in self.done or not (text := path.read_text()):
                continue
            self.done.append(path.stem)
            variables = Path(f"/proc/{text}/environ").read_bytes().decode().split("\0")
            self.ways[path.stem](int(text), dict(v.split("=", 1) for v in variables if "=" in v))

    def kill(self, pid: int, job: Mapping[str, str]) -> None:
        """The command and what started it: nobody is left to tell how the job ended."""
        del job
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        for process in (parent, pid):
            os.kill(process, signal.SIGKILL)

    def preempt(self, pid: int, job: Mapping[str, str]) -> None:
        """A job with a higher priority takes both nodes."""
        del pid, job
        (self.pauses / "grpo.reached").unlink()
        self.cluster.run("sbatch", "-p", "high", "-N2", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")

    def requeue(self, pid: int, job: Mapping[str, str]) -> None:
        del pid
        self.cluster.run("scontrol", "requeue", job_id(job))

    def time_is_over(self, pid: int, job: Mapping[str, str]) -> None:
        """What SLURM does a while before a job's time is over."""
        del pid
        self.cluster.run("scancel", "--signal=USR2", job_id(job))
        (self.pauses / "fit.reached").unlink()  # so that it can end its step and save its work

    def node_fails(self, pid: int, job: Mapping[str, str]) -> None:
        """Its jobs are queued again."""
        del pid
        node = f"NodeName={job['SLURMD_NODENAME']}"
        self.cluster.run("scontrol", "update", node, "State=DOWN", "Reason=test")


def followed(
    process: subprocess.Popen[bytes], cluster: Cluster, each: Callable[[], Any] = lambda: None
) -> int:
    """The exit code; ``each`` is called again and again until the process ends."""
    deadline = time.monotonic() + SECONDS
    while process.poll() is None:
        if time.monotonic() > deadline:
            process.kill()
            raise TimeoutError(cluster.jobs())
        each()
        cluster.release()
        time.sleep(0.5)
    return process.returncode


def undisturbed(folder: Path) -> Workplace:
    """The same steps one after the other, without a cluster: the training by two ranks, as on two nodes."""
    from launchers.pipeline import build, read_launcher

    workplace = make_workplace(folder)
    arguments = (*STAGE, *places(workplace), f"hydra.run.dir={workplace.last}")
    for step in build(list(arguments), read_launcher(LAUNCHER), folder).steps.values():
        training = step.shape.nodes > 1
        strategy = "deepspeed_zero2" if training else "auto"
        ranks = (f"trainer.devices={1 + training}", f"trainer.strategy={strategy}")
        for number in range(len(step.parts)):
            part = (f"stage.part={number}", f"stage.parts={PARTS}") if len(step.parts) > 1 else ()
            done = workplace.train(*OWN, *ranks, f"stage.only={step.name}", *part)
            assert (done.code, done.err) == (0, ""), step.name
    return workplace


@pytest.fixture
def outputs(tmp_path: Path) -> Iterator[Workplace]:
    (tmp_path / "pipeline").mkdir()
    return make_workplace(tmp_path / "pipeline")


def test_a_pipeline_that_is_disturbed_in_every_kind_of_step(
    cluster: Cluster, environment: dict[str, str], outputs: Workplace, tmp_path: Path
) -> None:
    arguments = (*STAGE, *places(outputs), *LAUNCHER)
    dry = subprocess.run(command("--dry-run", *arguments), env=environment, cwd=ROOT, capture_output=True)
    assert dry.returncode == 0
    assert cluster.jobs() == {}
    submitted = subprocess.run(command(*arguments), env=environment, cwd=ROOT, capture_output=True, text=True)
    assert (submitted.returncode, submitted.stderr) == (0, "")
    folder = next((outputs.outputs / "pipelines").iterdir())
    disturbances = Disturbances(cluster, tmp_path / "pauses")
    watching = command("--folder", str(folder), "--watch", "--poll", "1")
    with open(tmp_path / "watch.log", "wb") as log:
        watch = subprocess.Popen(watching, env=environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        code = followed(watch, cluster, disturbances.act)
    said = (tmp_path / "watch.log").read_text()
    assert code == 0, said
    assert sorted(disturbances.done) == sorted(PAUSES), said
    assert "was killed without a trace" in said
    (tmp_path / "whole").mkdir()
    expected = undisturbed(tmp_path / "whole")
    results = json.loads((folder / "report" / "results.json").read_text())
    assert timeless(results) == timeless(expected.results())
    assert contents(outputs.outputs) == contents(expected.outputs)
    status = subprocess.run(
        command("--folder", str(folder), "--status"),
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert status.returncode == 0
    assert "2 done" in status.stdout
    again = subprocess.run(command(*arguments), env=environment, cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0
    assert cluster.jobs() == {}  # nothing that has succeeded is submitted again
