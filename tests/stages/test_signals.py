"""SIGTERM ends a run with 143, also while Lightning trains; Ctrl-C with 130.  The same command goes on."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.stages.conftest import Workplace, make_workplace
from tests.stages.processes import Run, Strike, artifacts

pytestmark = pytest.mark.timeout(400)  # a busy machine is no failure
GRPO = ("grpo.iterations=1", "stage.evaluate=false")
FIT = ("stage=value_model", "mcts.iterations=4", "dataset.max_tokens=4")
TWO_RANKS = ("trainer=cpu", "trainer.devices=2")
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
