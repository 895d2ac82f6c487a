"""Loggers, callbacks and arguments of Lightning's Trainer that the configuration asks for."""

from __future__ import annotations

import csv
import inspect
from pathlib import Path
from typing import Any

import lightning
import pytest

from restrl.config import TrainerConfig
from restrl.errors import UserError
from restrl.train.extras import Extras
from restrl.train.loop import PASSED_ON
from tests.train.toy import ToyJudge, run

CSV = {"_target_": "lightning.pytorch.loggers.CSVLogger", "save_dir": None, "name": "", "version": "csv"}
# arguments of Lightning's Trainer that no key of the trainer group hands on, and why
OWN = {
    "accelerator": "set", "strategy": "set", "devices": "set", "precision": "set",
    "logger": "a group", "callbacks": "a group",
    "max_epochs": "the schedule", "min_epochs": "the schedule", "max_steps": "grpo.max_steps",
    "min_steps": "the schedule", "overfit_batches": "the schedule", "limit_train_batches": "grpo.max_steps",
    "fast_dev_run": "debug=fast", "barebones": "it would switch checkpoints off",
    "limit_val_batches": "no validation loop", "limit_test_batches": "no test loop",
    "limit_predict_batches": "no prediction loop", "val_check_interval": "no validation loop",
    "check_val_every_n_epoch": "no validation loop", "num_sanity_val_steps": "no validation loop",
    "inference_mode": "no validation loop",
    "enable_checkpointing": "grpo.checkpoint_every", "enable_progress_bar": "callbacks.progress",
    "accumulate_grad_batches": "tokens_per_microbatch", "gradient_clip_val": "grpo.clip_norm",
    "gradient_clip_algorithm": "grpo.clip_norm", "use_distributed_sampler": "the ranks divide a step",
    "reload_dataloaders_every_n_epochs": "one epoch", "sync_batchnorm": "no batch norm in a language model",
    "plugins": "set", "default_root_dir": "the step's folder", "model_registry": "not used",
    "enable_autolog_hparams": "not used",
}  # fmt: skip


def test_every_argument_of_the_trainer_is_handed_on_or_known() -> None:
    arguments = set(inspect.signature(lightning.Trainer).parameters)
    assert arguments == set(PASSED_ON) | OWN.keys()
    assert set(PASSED_ON) <= TrainerConfig.__dataclass_fields__.keys()


def test_a_logger_writes_into_the_step_s_folder(tmp_path: Path) -> None:
    _, result = run(tmp_path, extras=Extras({"csv": CSV}, {}))
    with open(tmp_path / "csv" / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [float(row["grpo/reward"]) for row in rows] == pytest.approx([m["reward"] for m in result.metrics])
    assert not (tmp_path / "tensorboard").exists()


class Counting(lightning.pytorch.callbacks.Callback):
    seen: list[int] = []  # noqa: RUF012 (of all its instances: the configuration makes one)

    def on_train_batch_end(self, _trainer: Any, pl_module: Any, *_: Any) -> None:
        self.seen.append(pl_module.steps_done)


def test_a_callback_is_called_after_each_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Counting.seen.clear()
    run(tmp_path, extras=Extras({}, {"mine": {"_target_": "tests.train.test_extras.Counting"}}))
    assert Counting.seen == [1, 2, 3, 4, 5, 6]
    assert capsys.readouterr().out == ""  # the progress is a callback too


@pytest.mark.parametrize(
    ("extras", "message"),
    [
        (Extras({"x": {"_target_": "no.such.Logger"}}), r"^logger\.x: .*no\.such\.Logger"),
        (
            Extras({}, {"y": {"_target_": "restrl.train.callbacks.StepProgress", "speed": 1}}),
            r"^callbacks\.y: ",
        ),
    ],
)
def test_one_that_does_not_work_is_named(tmp_path: Path, extras: Extras, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        run(tmp_path, extras=extras)
    assert "\n" not in str(error.value)


def test_a_time_limit_saves_the_state_and_the_same_command_goes_on(tmp_path: Path) -> None:
    class Slow(ToyJudge):
        def judge(self, items: Any) -> Any:
            import time

            time.sleep(0.7 if self.calls < 3 else 0)
            return super().judge(items)

    limited = TrainerConfig(accelerator="cpu", max_time="00:00:00:01")
    with pytest.raises(UserError, match=r"max_time=00:00:00:01 is over after step \d of 6; the same command"):
        run(tmp_path, trainer=limited, judge=Slow(), checkpoint_every=100)
    again, result = run(tmp_path)
    whole, _ = run(tmp_path / "whole")
    assert 0 < result.resumed_from < 6
    for found, expected in zip(again.parameters(), whole.parameters(), strict=True):
        assert found.equal(expected)


def test_what_cannot_be_built_is_found_before_anything_is_sampled(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^logger\.w: .*wandb"):  # not installed
        Extras({"w": {"_target_": "lightning.pytorch.loggers.WandbLogger"}}, {}).check(tmp_path)
    Extras().check(tmp_path)
    assert list(tmp_path.iterdir()) == []
