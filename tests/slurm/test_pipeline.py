"""The pipeline on a real SLURM: jobs that are killed and preempted, and the numbers of an undisturbed run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.pausing import Pauses, Way, followed, job_id, parent, preempt
from tests.stages.conftest import SMALL, TRAINING, Workplace, make_workplace
from tests.stages.processes import ROOT, artifacts, contents, timeless
from tests.stages.test_rest_rl import override

pytestmark = pytest.mark.timeout(1500)  # a busy machine is no failure
PARTS = 2
ROWS = ["base sample", "trained mcts vm"]
OWN = (
    "stage=rest_rl", "grpo.iterations=1", "grpo.max_steps=3", "grpo.checkpoint_every=1",
    "mcts.iterations=4", "evaluation.completions=6", override(ROWS), "vm.lr=1e-3", "vm.checkpoint_every=1",
    "vm.problems_per_step=1", "trainer=deepspeed_zero2",
)  # fmt: skip
STAGE = (*SMALL, *TRAINING, *OWN)
NODES = [f"launcher.resources.{machine}.{key}" for machine in ("cpu", "model", "training")
         for key in ("cpus_per_task=1", "mem_gb=1")]  # fmt: skip
LAUNCHER = ("launcher=slurm_cpu", f"launcher.parts={PARTS}", "launcher.resources.training.nodes=2", *NODES)

# Where a process waits to be disturbed.  Between them they are every kind of step.  No other step runs beside
# the last one, where a node fails: it would be disturbed too, before its own moment.
PAUSES = {
    "sample": "restrl.stages.chunks:_ChunkFiles.write 1",
    "grpo": "restrl.train.grpo_module:GrpoModule._update 2",
    "collect": "restrl.stages.searches:SearchFiles.append 2",
    "fit": "restrl.train.value_module:ValueModule._learn 2",
    "evaluate": "restrl.decode.mcts:answers_of 1",
}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "launchers.pipeline", *arguments]


def ways_of(cluster: Cluster, pauses: Pauses) -> dict[str, Way]:
    """How each waiting process is disturbed."""

    def kill(pid: int, _job: Mapping[str, str]) -> None:
        """The command and what started it: nobody is left to tell how the job ended."""
        for process in (parent(pid), pid):
            os.kill(process, signal.SIGKILL)

    def be_preempted(_pid: int, _job: Mapping[str, str]) -> None:
        preempt(cluster)
        pauses.let_go("grpo")

    def requeue(_pid: int, job: Mapping[str, str]) -> None:
        cluster.run("scontrol", "requeue", job_id(job))

    def time_is_over(_pid: int, job: Mapping[str, str]) -> None:
        """What SLURM does a while before a job's time is over."""
        cluster.run("scancel", "--signal=USR2", job_id(job))
        pauses.let_go("fit")

    def node_fails(_pid: int, job: Mapping[str, str]) -> None:
        cluster.run("scontrol", "update", f"NodeName={job['SLURMD_NODENAME']}", "State=DOWN", "Reason=test")

    return {
        "sample": kill, "grpo": be_preempted, "collect": requeue, "fit": time_is_over, "evaluate": node_fails,
    }  # fmt: skip


def undisturbed(folder: Path) -> Workplace:
    """The same steps one after the other, without a cluster: the training by two ranks, as on two nodes."""
    from launchers.pipeline import build, read_launcher

    workplace = make_workplace(folder)
    arguments = (*STAGE, *workplace.places, f"hydra.run.dir={workplace.last}")
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
    cluster: Cluster, outputs: Workplace, tmp_path: Path
) -> None:
    pauses = Pauses(tmp_path / "pauses", PAUSES)
    environment, ways = pauses.environment(cluster), ways_of(cluster, pauses)
    arguments = (*STAGE, *outputs.places, *LAUNCHER)
    dry = subprocess.run(command("--dry-run", *arguments), env=environment, cwd=ROOT, capture_output=True)
    assert dry.returncode == 0
    assert cluster.jobs() == {}
    submitted = subprocess.run(command(*arguments), env=environment, cwd=ROOT, capture_output=True, text=True)
    assert (submitted.returncode, submitted.stderr) == (0, "")
    folder = next((outputs.outputs / "pipelines").iterdir())
    watching = command("--folder", str(folder), "--watch", "--poll", "1")
    with open(tmp_path / "watch.log", "wb") as log:
        watch = subprocess.Popen(watching, env=environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        code = followed(watch, cluster, lambda: pauses.act(ways))
    said = (tmp_path / "watch.log").read_text()
    assert code == 0, said
    assert sorted(pauses.done) == sorted(PAUSES), said
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


def test_two_pipelines_at_once_share_their_steps(
    cluster: Cluster, outputs: Workplace, tmp_path: Path
) -> None:
    own = ("stage=assemble", "dataset.max_tokens=4")
    sigmas = [f"grpo.sigma0={sigma0}" for sigma0 in (0.0, 0.01)]
    environment = cluster.environment | {"OMP_NUM_THREADS": "1"}
    watches = [
        subprocess.Popen(
            command("--watch", "--poll", "1", *SMALL, *TRAINING, *own, sigma0, *outputs.places, *LAUNCHER),
            env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for sigma0 in sigmas
    ]  # fmt: skip
    codes = [followed(watch, cluster) for watch in watches]
    assert codes == [0, 0], [watch.stdout.read() for watch in watches if watch.stdout]
    (tmp_path / "whole").mkdir()
    alone = make_workplace(tmp_path / "whole")
    for sigma0 in sigmas:
        assert alone.train(*own, sigma0).code == 0
    assert len(artifacts(outputs.outputs, "sample-")) == 1
    assert contents(outputs.outputs) == contents(alone.outputs)


def test_jobs_that_cannot_start_are_cancelled_and_submitted_again(
    cluster: Cluster, outputs: Workplace
) -> None:
    """More cores than a node has: SLURM lets such jobs wait for ever."""
    arguments = ("stage=sample", *SMALL, *TRAINING, *outputs.places, "launcher=slurm_cpu", "launcher.parts=2")
    greedy = "launcher.resources.model.cpus_per_task=64"

    def run(*more: str) -> str:
        done = subprocess.run(
            command(*arguments, *more), env=cluster.environment, cwd=ROOT, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        return done.stdout

    run(greedy)
    waiting = set(cluster.jobs())
    assert waiting
    assert "does not start: PartitionConfig" in run(greedy, "--status")
    assert "ended 3 jobs" in run(greedy, "--cancel")
    run(greedy)
    assert cluster.jobs()
    assert not waiting & set(cluster.jobs())  # new ones
    assert "ended 3 jobs" in run(greedy, "--cancel")
