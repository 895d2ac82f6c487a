"""A gradient or loss that is not finite: its update is skipped, and nothing that is kept ever holds a NaN."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Container
from pathlib import Path
from typing import Any

import pytest
import torch

from restrl.errors import UserError
from restrl.model.save import save_model
from restrl.model.tiny import tiny_model, tiny_tokenizer
from restrl.model.value import decoder_and_score, save_value_model
from restrl.train import step_module, update, value_module
from tests.train import test_fit, toy

EVERY = range(1, 1000)


class Varied(toy.ToyJudge):
    """Rewards that differ within every group, so that every step has something to learn."""

    def _one(self, program: str) -> Any:
        return dataclasses.replace(super()._one(program), reward=sum(map(ord, program)) % 7 / 6)


class Poison:
    """Makes the gradient of a weight infinite in some steps (1, 2, ...): a step is a call of the judge."""

    def __init__(self, model: Any, steps: Container[int], value: float = float("inf")) -> None:
        self.judge, self.steps, self.value = Varied(), steps, value
        model.model.norm.weight.register_hook(self._spoil)

    def _spoil(self, gradient: torch.Tensor) -> torch.Tensor:
        return torch.full_like(gradient, self.value) if self.judge.calls in self.steps else gradient


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def assert_finite(value: Any) -> None:
    """Every tensor and number in a checkpoint, however deep, but for Lightning's own bookkeeping."""
    if isinstance(value, dict):
        value = [item for key, item in value.items() if key != "callbacks"]
    if isinstance(value, (list, tuple)):
        for item in value:
            assert_finite(item)
    elif isinstance(value, torch.Tensor) and value.is_floating_point():
        assert value.isfinite().all()


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_one_bad_gradient_is_skipped_counted_and_said(
    tmp_path: Path, value: float, caplog: pytest.LogCaptureFixture
) -> None:
    model = toy.tiny_model()
    poison = Poison(model, {3}, value)
    with caplog.at_level(logging.WARNING):
        _, result = toy.run(tmp_path, model, judge=poison.judge)
    assert [row["skipped_updates"] for row in result.metrics] == [0, 0, 1, 0, 0, 0]
    assert (result.steps, result.updates) == (6, 5)
    assert "grad_norm" not in result.metrics[2]
    assert all(weight.isfinite().all() for weight in weights(model).values())
    said = [record.getMessage() for record in caplog.records if "skipped" in record.getMessage()]
    assert len(said) == 1
    assert said[0].startswith(f"grpo, step 3: loss {result.metrics[2]['loss']:.4g}, gradient norm ")
    for path in (tmp_path / "checkpoints").iterdir():
        assert_finite(torch.load(path, weights_only=True))
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


def test_a_skipped_step_leaves_weights_and_optimizer_as_they_were(tmp_path: Path) -> None:
    """After step 1 and after a skipped step 2 the checkpoints hold the same."""
    model = toy.tiny_model()
    poison = Poison(model, {2})
    toy.run(tmp_path, model, judge=poison.judge, max_steps=2, checkpoint_every=1)
    first, second = (torch.load(p, weights_only=True) for p in sorted((tmp_path / "checkpoints").iterdir()))
    assert first["state_dict"].keys() == second["state_dict"].keys()
    for name, weight in first["state_dict"].items():
        torch.testing.assert_close(second["state_dict"][name], weight, rtol=0, atol=0)
    states = [found["optimizer_states"][0]["state"] for found in (first, second)]
    for key, moments in states[0].items():
        for name, moment in moments.items():
            torch.testing.assert_close(states[1][key][name], moment, rtol=0, atol=0)


def test_a_loss_that_is_not_finite_is_skipped_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    policy_loss = update.policy_loss

    def once(*arguments: Any) -> Any:
        loss, sums = policy_loss(*arguments)
        calls.append(1)
        spoilt = type(sums)(**{**vars(sums), "loss": float("nan")})
        return loss, spoilt if len(calls) == 1 else sums

    monkeypatch.setattr(update, "policy_loss", once)
    _, result = toy.run(tmp_path, judge=Varied(), max_steps=2)
    assert [row["skipped_updates"] for row in result.metrics] == [1, 0]
    assert "loss" not in result.metrics[0]
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0]) == result.metrics[0]


def test_further_passes_over_a_bad_step_are_left_out(tmp_path: Path) -> None:
    model = toy.tiny_model()
    poison = Poison(model, {2})
    _, result = toy.run(tmp_path, model, judge=poison.judge, max_steps=3, updates_per_step=2)
    assert [row["skipped_updates"] for row in result.metrics] == [0, 1, 0]
    assert result.updates == 4


def test_three_in_a_row_end_the_run_and_the_same_command_goes_on(tmp_path: Path) -> None:
    model = toy.tiny_model()
    poison = Poison(model, EVERY[2:])
    with pytest.raises(UserError) as error:
        toy.run(tmp_path, model, judge=poison.judge)
    assert str(error.value).startswith("grpo, step 5: loss ")
    assert "gradient norm inf: not finite in 3 steps in a row" in str(error.value)
    assert "trainer.precision=32-true" in str(error.value)
    assert "\n" not in str(error.value)
    saved = sorted((tmp_path / "checkpoints").iterdir())
    assert [path.name for path in saved] == ["step-000002.ckpt", "step-000004.ckpt"]
    for path in saved:
        assert_finite(torch.load(path, weights_only=True))
    again, result = toy.run(tmp_path, judge=Varied())  # whatever made the gradients infinite has gone
    assert result.resumed_from == 4
    assert [row["skipped_updates"] for row in result.metrics] == [0, 0, 1, 1, 0, 0]
    assert all(weight.isfinite().all() for weight in weights(again).values())


def test_a_run_that_goes_on_still_counts_those_before(tmp_path: Path) -> None:
    model = toy.tiny_model()
    with pytest.raises(UserError):
        toy.run(tmp_path, model, judge=Poison(model, EVERY).judge, checkpoint_every=1)
    again = toy.tiny_model()
    poison = Poison(again, EVERY[-1:])
    poison.steps = EVERY[:1]  # the first step that is tried again is the third: steps 1 and 2 were skipped
    with pytest.raises(UserError, match=r"grpo, step 3: .* 3 steps in a row"):
        toy.run(tmp_path, again, judge=poison.judge, checkpoint_every=1)


def test_a_value_model_skips_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    apply_update = step_module.StepModule.apply_update

    def spoil(self: Any, optimizer: Any, *rest: Any) -> Any:
        steps.append(1)
        if len(steps) == 2:
            optimizer.param_groups[0]["params"][0].grad.fill_(float("nan"))
        return apply_update(self, optimizer, *rest)

    monkeypatch.setattr(value_module.ValueModule, "apply_update", spoil)
    model, result = test_fit.run(tmp_path)
    assert [row["skipped_updates"] for row in result.metrics] == [0, 1, 0, 0, 0, 0]
    assert all(weight.isfinite().all() for weight in weights(model).values())


def test_weights_that_an_update_makes_infinite_reach_no_checkpoint(tmp_path: Path) -> None:
    message = r"grpo, step 1: the weights model.* are not finite, and no checkpoint"
    with pytest.raises(UserError, match=message):
        toy.run(tmp_path, judge=Varied(), lr=1e39, max_steps=1, checkpoint_every=1)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_such_models_are_never_saved(tmp_path: Path) -> None:
    model = tiny_model()
    model.model.layers[1].mlp.up_proj.weight.data[0, 0] = float("nan")
    message = (
        r"the trained weights are not finite \(model.layers.1.mlp.up_proj.weight\), so the model was not"
    )
    with pytest.raises(UserError, match=message):
        save_model(model, tiny_tokenizer(), tmp_path / "policy")
    value_model = test_fit.value_model()
    decoder_and_score(value_model)[1].weight.data[0, 0] = float("inf")
    with pytest.raises(UserError, match=r"not finite \(score.weight\), so the model was not saved"):
        save_value_model(value_model, tiny_tokenizer(), tmp_path / "value_model")
    assert list(tmp_path.iterdir()) == []
