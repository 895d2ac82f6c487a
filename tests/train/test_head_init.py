"""A head that starts as a ridge regression on the decoder's hidden states."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from restrl.train.head_init import FOLDS, PENALTIES, ridge, start_head
from restrl.train.value_data import split_targets, target_trees
from restrl.train.value_module import predictions
from tests.train.test_fit import FAMILIES, TARGETS, mse, run, value_model, vm


def data(states: int, noise: float) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    truth = torch.tensor([1.0, -2.0, 0.5, 0.0])
    x = torch.randn(states, 4, generator=generator)
    y = x @ truth + noise * torch.randn(states, generator=generator)
    return truth, x, y, torch.arange(states) % FOLDS


def test_without_noise_it_finds_the_weights() -> None:
    truth, x, y, folds = data(200, 0.0)
    torch.testing.assert_close(ridge(x, y, torch.ones(200), folds).float(), truth, rtol=0.01, atol=0.01)


def test_the_solution_by_hand() -> None:
    """One feature of value 1 or -1 whose targets are noise free: w = g / (g + penalty), g = 1."""
    x = torch.tensor([[1.0], [-1.0]] * FOLDS)
    folds = torch.arange(2 * FOLDS) // 2
    w = ridge(x, x[:, 0], torch.ones(2 * FOLDS), folds)
    assert w.tolist() == pytest.approx([1 / (1 + PENALTIES[0])])


def test_noise_asks_for_a_greater_penalty() -> None:
    truth, x, y, folds = data(20, 20.0)
    weights = torch.ones(20)
    loose = torch.linalg.lstsq(x.double(), y.double().unsqueeze(1)).solution[:, 0]
    found = ridge(x, y, weights, folds)
    assert (found - truth).norm() < 0.7 * (loose - truth).norm()


def test_weights_count_as_repetitions() -> None:
    _, x, y, folds = data(30, 1.0)
    twice = torch.cat([torch.arange(30), torch.arange(10)])
    weights = torch.tensor([2.0] * 10 + [1.0] * 20)
    torch.testing.assert_close(
        ridge(x, y, weights, folds),
        ridge(x[twice], y[twice], torch.ones(40), folds[twice]),
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize("labels", [1, 2])
def test_before_any_step_it_is_better_than_the_constant(labels: int) -> None:
    split = split_targets(TARGETS, FAMILIES, 0.34, seed=0)
    trees, heldout = target_trees(split.fit, 64), target_trees(split.heldout, 64)
    model = value_model(labels)
    constant = sum(target.value for target in split.fit) / len(split.fit)
    start_head(model, trees, FAMILIES, vm(weight="none"))
    found = mse(*predictions(model, heldout, 100), constant)
    assert found["mse"] < 0.6 * found["mse_constant"]
    assert model.score.weight.shape == (labels, 16)


def test_the_fit_starts_from_it(tmp_path: Path) -> None:
    _, zero = run(tmp_path / "zero", epochs=1, problems_per_step=99)
    _, warm = run(tmp_path / "ridge", epochs=1, problems_per_step=99, head_init="ridge")
    assert warm.metrics[0]["mse"] < 0.3 * zero.metrics[0]["mse"]
