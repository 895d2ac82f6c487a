"""SIGTERM ends a run with 143, also while Lightning trains; Ctrl-C with 130.  The same command goes on."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.stages.conftest import Workplace, make_workplace
from tests.stages.processes import Run, Strike, artifacts

pytestmark = pytest.mark.timeout(400)  # a busy machine is no failure
GRPO = ("grpo.iterations=1", "stage.evaluate=false")
FIT = ("stage=value_model", "mcts.iterations=4", "dataset.max_tokens=4")
TWO_RANKS = ("trainer=cpu", "trainer.devices=2")
LEARNS = ("grpo.lr=1e-3", "vm.lr=1e-3")
UPDATE = "restrl.train.grpo_module:GrpoModule._update"
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}  # as a shell reports them

# the moment, the command's overrides, what it calls there, and which call of it is struck
MOMENTS = {
    "sampling": (GRPO, "restrl.stages.resources:Sandbox.judge", 2),
    "before the first step": (GRPO, "restrl.train.checkpoint:StepCheckpoint.on_train_start", 1),
    "grpo": (GRPO, UPDATE, 2),
    "after the last step": (GRPO, "restrl.train.checkpoint:StepCheckpoint.teardown", 1),
    "fit": (FIT, "restrl.train.value_module:ValueModule.training_step", 2),
    "two ranks": ((*GRPO, *TWO_RANKS), UPDATE, 2),
}


def shell_code(run: Run) -> int:
    """The exit code that a shell reports; a signal that ended the process counts above 128."""
    return run.code if run.code >= 0 else 128 - run.code


def statuses(workplace: Workplace, step: str) -> list[str]:
    folders = (workplace.outputs / "artifacts" / name for name in artifacts(workplace.outputs, f"{step}-"))
    return [json.loads((folder / "manifest.json").read_text())["status"] for folder in folders]


@pytest.mark.parametrize("blow", CODES, ids=lambda number: number.name)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_training_that_a_signal_ends(tmp_path: Path, moment: str, blow: signal.Signals) -> None:
    overrides, target, call = MOMENTS[moment]
    workplace = make_workplace(tmp_path)
    struck = workplace.train(*overrides, strikes=(Strike(target, blow, call),))
    assert shell_code(struck) == CODES[blow], struck.err
    assert "Traceback" not in struck.err
    step = "fit" if overrides == FIT else "grpo"
    assert "done" not in statuses(workplace, step)
    finished = workplace.train(*overrides)
    assert (finished.code, finished.err) == (0, "")
    assert statuses(workplace, step) == ["done"]


@pytest.mark.parametrize("blow", CODES, ids=lambda number: number.name)
def test_the_next_run_of_a_sweep_is_not_started(tmp_path: Path, blow: signal.Signals) -> None:
    workplace = make_workplace(tmp_path)
    folders = (f"hydra.sweep.dir={tmp_path / 'sweep'}", "hydra.sweep.subdir=${hydra.job.num}")
    sweep = (*GRPO, "grpo.lr=1e-3,2e-3", *folders, "-m")
    struck = workplace.train(*sweep, strikes=(Strike(UPDATE, blow, 2),))
    assert shell_code(struck) == CODES[blow], struck.err
    assert not (tmp_path / "sweep" / "1").exists()
    assert statuses(workplace, "grpo") == ["running"]
    assert workplace.train(*sweep).code == 0
    assert statuses(workplace, "grpo") == ["done", "done"]


# Every strategy and training, and either signal, but not each with each: a case takes 20 seconds.
DIVIDED = [
    ("fsdp2", "grpo", signal.SIGINT),
    ("deepspeed_zero2", "grpo", signal.SIGTERM),
    ("deepspeed_zero3", "grpo", signal.SIGINT),
    ("fsdp2", "fit", signal.SIGTERM),
    ("deepspeed_zero2", "fit", signal.SIGINT),
    ("deepspeed_zero3", "fit", signal.SIGTERM),
]


def trained(workplace: Workplace, step: str) -> dict[str, torch.Tensor]:
    (path,) = workplace.outputs.glob(f"artifacts/{step}-*/*/model.safetensors")
    return load_file(path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, torch.Tensor]]:
    """The weights that one process trains."""
    weights = {}
    for step in ("grpo", "fit"):
        workplace = make_workplace(tmp_path_factory.mktemp(step))
        run = workplace.train(*MOMENTS[step][0], *LEARNS)
        assert (run.code, run.err) == (0, "")
        weights[step] = trained(workplace, step)
    return weights


@pytest.mark.parametrize(("strategy", "moment", "blow"), DIVIDED)
def test_a_divided_training_that_a_signal_ends(
    tmp_path: Path,
    undisturbed: dict[str, dict[str, torch.Tensor]],
    strategy: str,
    moment: str,
    blow: signal.Signals,
) -> None:
    overrides, target, call = MOMENTS[moment]
    command = (*overrides, *LEARNS, f"trainer={strategy}", "trainer.devices=2", "trainer.accelerator=cpu")
    workplace = make_workplace(tmp_path)
    struck = workplace.train(*command, strikes=(Strike(target, blow, call),))
    assert shell_code(struck) == CODES[blow], struck.err
    assert "Traceback" not in struck.err + (workplace.last / "rank1.log").read_text()
    assert statuses(workplace, moment) == ["running"]
    assert list(workplace.outputs.glob(f"artifacts/{moment}-*/checkpoints/step-*"))
    finished = workplace.train(*command)
    assert (finished.code, finished.err) == (0, "")
    weights = trained(workplace, moment)
    for name, weight in undisturbed[moment].items():
        torch.testing.assert_close(weights[name], weight, rtol=0, atol=1e-5)
