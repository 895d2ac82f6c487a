"""A multirun as an array of jobs on a real SLURM, with cells that fail, are killed and are preempted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.pausing import SECONDS, Pauses, followed, preempt
from tests.stages.conftest import SMALL, TRAINING, Workplace, make_workplace
from tests.stages.processes import ROOT, artifacts, contents

pytestmark = pytest.mark.timeout(1500)  # a busy machine is no failure
OWN = ("grpo.iterations=1", "grpo.max_steps=2", "grpo.checkpoint_every=1", "trainer=cpu")
SWEEP = ("grpo.r0=0.5", "grpo.alpha=0.9,0.95")
SIGMAS = ("0.0", "0.05")
CELLS = 6
SLURM = ("hydra/launcher=slurm_cpu", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1")
STAGE = (*SMALL, *TRAINING, *OWN)
UPDATE = "restrl.train.grpo_module:GrpoModule._update 2"


def one_by_one(workplace: Workplace) -> None:
    """The cells that have results, without a cluster."""
    for sigma0 in SIGMAS:
        for alpha in ("0.9", "0.95"):
            cell = (f"grpo.sigma0={sigma0}", SWEEP[0], f"grpo.alpha={alpha}")
            done = workplace.train(*OWN, *cell)
            assert (done.code, done.err) == (0, "")


def test_no_cell_hides_how_the_others_ended(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "swept").mkdir()
    (tmp_path / "whole").mkdir()
    swept, whole = make_workplace(tmp_path / "swept"), make_workplace(tmp_path / "whole")
    points = {"killed": UPDATE, "preempted": UPDATE}
    pauses = Pauses(tmp_path / "pauses", points)

    def kill(pid: int, _job: Mapping[str, str]) -> None:
        os.kill(pid, signal.SIGKILL)

    def be_preempted(_pid: int, _job: Mapping[str, str]) -> None:
        """When the other cells have ended: SLURM's signal kills one that has only begun to start."""
        ended = re.compile(r"^cell \d .*: (done|bad input)", re.M)
        until = time.monotonic() + SECONDS
        while len(ended.findall((tmp_path / "log").read_text())) < CELLS - len(points):
            assert time.monotonic() < until, (tmp_path / "log").read_text()
            cluster.release()
            time.sleep(0.5)
        preempt(cluster)

    command = [
        sys.executable, "train.py", "-m", *STAGE, *swept.places, *SLURM, *SWEEP,
        f"grpo.sigma0={','.join(SIGMAS)},0.7",
    ]  # fmt: skip
    with open(tmp_path / "log", "wb") as log:
        run = subprocess.Popen(command, env=pauses.environment(cluster), cwd=ROOT, stdout=log, stderr=log)
        ways = {"killed": kill, "preempted": be_preempted}
        code = followed(run, cluster, lambda: pauses.act(ways))
    said = (tmp_path / "log").read_text()
    assert sorted(pauses.done) == ["killed", "preempted"], said
    assert code == 1, said
    assert "error: 3 of 6 cells have no result; the table above says why" in said
    assert said.count("bad input, grpo.sigma0=0.7: must be >= 0 and <= 0.5") == 2
    assert said.count("killed, killed without a trace") == 1
    assert len(artifacts(swept.outputs, "sample-")) == 1  # one sampling for all cells
    one_by_one(whole)
    one_by_one(swept)  # the killed cell goes on; the others are found
    assert contents(swept.outputs) == contents(whole.outputs)
