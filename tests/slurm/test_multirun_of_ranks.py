"""A cell of two ranks on a real SLURM: those that the job starts itself, and those that srun starts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.pausing import Pauses, followed, preempt
from tests.slurm.test_multirun import OWN, UPDATE
from tests.stages.conftest import SMALL, TRAINING, Workplace, make_workplace
from tests.stages.processes import ROOT, contents

pytestmark = pytest.mark.timeout(1500)  # a busy machine is no failure
CELL = (*OWN, "grpo.max_steps=3", "trainer.strategy=ddp")
STARTED_BY_JOB = ("trainer.devices=2", "hydra/launcher=slurm_cpu", "hydra.launcher.cpus_per_task=1")
STARTED_BY_SRUN = (
    "trainer.num_nodes=2", "hydra/launcher=slurm_cpu", "hydra.launcher.nodes=2",
    "hydra.launcher.cpus_per_task=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """The cell by itself, without a cluster."""
    workplace = make_workplace(tmp_path_factory.mktemp("whole"))
    done = workplace.train(*CELL, "trainer.devices=2")
    assert (done.code, done.err) == (0, "")
    return workplace


@pytest.fixture
def announced_by_sigterm_alone(cluster: Cluster) -> Iterator[None]:
    """As on clusters without preempt_send_user_signal."""
    path = cluster.folder / "slurm.conf"
    text = path.read_text()
    path.write_text(text.replace("SlurmctldParameters=preempt_send_user_signal\n", ""))
    cluster.run("scontrol", "reconfigure")
    yield
    path.write_text(text)
    cluster.run("scontrol", "reconfigure")


def check_undisturbed(cluster: Cluster, folder: Path, shape: Sequence[str], expected: Workplace) -> Workplace:
    """A multirun of the cell, preempted once, ends in the expected result; returns its workplace."""
    pauses = Pauses(folder / "pauses", {"preempted": UPDATE})
    (folder / "swept").mkdir()
    workplace = make_workplace(folder / "swept")

    def be_preempted(_pid: int, _job: Mapping[str, str]) -> None:
        preempt(cluster)
        pauses.let_go("preempted")

    command = [
        sys.executable, "train.py", "-m", *SMALL, *TRAINING, *CELL, *workplace.places, *shape,
        "hydra.launcher.mem_gb=1",
    ]  # fmt: skip
    with open(folder / "log", "wb") as log:
        run = subprocess.Popen(command, env=pauses.environment(cluster), cwd=ROOT, stdout=log, stderr=log)
        code = followed(run, cluster, lambda: pauses.act({"preempted": be_preempted}))
    said = (folder / "log").read_text()
    assert pauses.done == ["preempted"], said
    assert code == 0, said
    assert contents(workplace.outputs) == contents(expected.outputs)
    return workplace


def test_a_preempted_cell_ends_in_the_undisturbed_result(
    cluster: Cluster, tmp_path: Path, expected: Workplace
) -> None:
    workplace = check_undisturbed(cluster, tmp_path, STARTED_BY_SRUN, expected)
    (sweep,) = (workplace.outputs / "sweeps" / "rest_grpo").iterdir()
    (cell,) = (path for path in sweep.iterdir() if path.is_dir() and path.name != ".submitit")
    assert {".hydra", "results.json"} <= {path.name for path in cell.iterdir()}


@pytest.mark.usefixtures("announced_by_sigterm_alone")
def test_a_preemption_that_only_sigterm_announces(
    cluster: Cluster, tmp_path: Path, expected: Workplace
) -> None:
    check_undisturbed(cluster, tmp_path, STARTED_BY_JOB, expected)
