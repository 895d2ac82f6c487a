"""Ranks that the real torchrun starts, on one machine and as on two: what one process makes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.stages.conftest import TRAINING, Workplace, make_workplace
from tests.stages.processes import ROOT, contents
from tests.stages.test_two_ranks import rounded
from tests.train.processes import free_port

pytestmark = pytest.mark.timeout(400)  # a busy machine is no failure
ONE_STEP = ("grpo.iterations=1", "grpo.lr=1e-3", "stage.evaluate=false", "trainer.accelerator=cpu")


def torchrun(workplace: Workplace, nodes: int, each: int, *overrides: str) -> list[subprocess.Popen[str]]:
    """``train.py`` under a torchrun for each of the ``nodes``, which start ``each`` ranks."""
    settings = {
        "nnodes": nodes, "nproc-per-node": each, "master-addr": "127.0.0.1", "master-port": free_port(),
    }  # fmt: skip
    launcher = [sys.executable, "-m", "torch.distributed.run", *(f"--{k}={v}" for k, v in settings.items())]
    command = ["train.py", *workplace.arguments, *TRAINING, *overrides]
    return [
        subprocess.Popen(
            [*launcher, f"--node-rank={node}", *command],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for node in range(nodes)
    ]


def finish(runs: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each."""
    try:
        printed = [run.communicate(timeout=300) for run in runs]
    finally:
        for run in runs:
            run.kill()
    return [(run.returncode, *texts) for run, texts in zip(runs, printed, strict=True)]


def made(workplace: Workplace) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Records and numbers by file, and the policy's weights."""
    found = rounded(contents(workplace.outputs))
    (policy,) = [name for name in found if name.endswith("model.safetensors")]
    del found[policy]
    return found, load_file(workplace.outputs / policy)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """What one process makes."""
    workplace = make_workplace(tmp_path_factory.mktemp("alone"))
    run = workplace.train(*ONE_STEP)
    assert (run.code, run.err) == (0, "")
    return workplace


def check_same(workplace: Workplace, alone: Workplace) -> None:
    (found, weights), (wanted, expected) = made(workplace), made(alone)
    assert {name.split("/")[1].split("-")[0] for name in found} == {"sample", "assemble", "grpo"}
    assert found.keys() == wanted.keys()
    assert [name for name in found if found[name] != wanted[name]] == []
    for name, weight in expected.items():
        torch.testing.assert_close(weights[name], weight, rtol=0, atol=1e-5)


def test_ranks_that_the_command_starts(tmp_path: Path, alone: Workplace) -> None:
    workplace = make_workplace(tmp_path)
    run = workplace.train(*ONE_STEP, "trainer=ddp", "trainer.devices=2")
    assert (run.code, run.err) == (0, "")
    check_same(workplace, alone)


@pytest.mark.parametrize(("strategy", "nodes", "each"), [("ddp", 1, 2), ("fsdp2", 2, 1)])
def test_ranks_of_torchrun(tmp_path: Path, alone: Workplace, strategy: str, nodes: int, each: int) -> None:
    workplace = make_workplace(tmp_path)
    sizes = (f"trainer.devices={each}", f"trainer.num_nodes={nodes}")
    runs = finish(torchrun(workplace, nodes, each, *ONE_STEP, f"trainer={strategy}", *sizes))
    assert [code for code, _, _ in runs] == [0] * nodes, runs
    assert "".join(out for _, out, _ in runs).count("\npolicy: ") == 1
    check_same(workplace, alone)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("grpo.lr=fast", "grpo.lr: Value 'fast' of type 'str' could not be converted to Float"),
        ("dataset.path=./missing.jsonl", "missing.jsonl: no such file; dataset.path must name a file"),
    ],
)
def test_bad_input_is_said_once(tmp_path: Path, override: str, line: str) -> None:
    """torchrun itself ends with 1, and reports the exit codes of its ranks."""
    sizes = ("trainer=ddp", "trainer.devices=2")
    ((code, _, err),) = finish(torchrun(make_workplace(tmp_path), 1, 2, *ONE_STEP, *sizes, override))
    assert code == 1
    (said,) = [text for text in err.splitlines() if text.startswith("error: ")]
    assert line in said
    assert "failed (exitcode: 2)" in err
