"""``model.checkpointing=true``: a backward pass runs the layers again, and every number is as without."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from restrl.config import LoraConfig, ModelConfig, ObjectiveConfig
from restrl.model.adapters import add_lora
from restrl.model.load import with_checkpointing
from restrl.model.value import add_value_lora
from tests.train import test_fit, toy
from tests.train.conftest import one_thread  # noqa: F401


class Runs:
    """Counts the forward passes of a model's first layer in training mode."""

    def __init__(self, model: Any) -> None:
        self.count = 0
        layer = next(m for name, m in model.named_modules() if name.endswith("layers.0"))
        # the attention: a recomputation ends with the layer's last input that is needed, before its end
        layer.self_attn.register_forward_pre_hook(self._ran)

    def _ran(self, module: Any, *_: Any) -> None:
        self.count += module.training


def grpo(folder: Path, r: int | None, checkpointing: bool) -> tuple[Any, Sequence[dict[str, float]], int]:
    model: Any = with_checkpointing(toy.tiny_model(), ModelConfig(checkpointing=checkpointing))
    if r is not None:
        model = add_lora(model, LoraConfig(r=r))
    runs = Runs(model)
    objective = ObjectiveConfig(kl=0.05)
    trained, result = toy.run(folder, model, objective=objective, updates_per_step=2, max_steps=3)
    return trained, result.metrics, runs.count


def fit(folder: Path, r: int | None, checkpointing: bool) -> tuple[Any, Sequence[dict[str, float]], int]:
    model = with_checkpointing(test_fit.value_model(), ModelConfig(checkpointing=checkpointing))
    if r is not None:
        add_value_lora(model, LoraConfig(r=r))
    runs = Runs(model)
    trained, result = test_fit.run(folder, model, epochs=1, report=lambda *_: {})
    return trained, result.metrics, runs.count


@pytest.mark.parametrize("r", [None, 2], ids=["weights", "adapters"])
@pytest.mark.parametrize("training", [grpo, fit])
def test_losses_gradients_and_weights_are_the_same(tmp_path: Path, training: Any, r: int | None) -> None:
    plain, expected, once = training(tmp_path / "plain", r, False)
    again, found, twice = training(tmp_path / "again", r, True)
    assert twice == 2 * once > 0
    for key in ("loss", "grad_norm"):  # a step without a trained group has neither
        numbers = [row[key] for row in expected if key in row]
        assert numbers
        assert all(numbers)
        assert [row[key] for row in found if key in row] == pytest.approx(numbers, abs=1e-6)
    weights = dict(plain.named_parameters())
    for name, weight in again.named_parameters():
        torch.testing.assert_close(weight, weights[name], rtol=0, atol=1e-6)
