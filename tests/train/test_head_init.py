"""A head that starts as a ridge regression on the decoder's hidden states."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from restrl.model.value_lm import ValueLM
from restrl.train.head_init import FOLDS, PENALTIES, RidgeSums, start_head
from restrl.train.value_data import ValueProblems, split_problems
from restrl.train.value_module import predictions
from tests.train.test_fit import COLLECTED, FAMILIES, TASKS, mse, run, value_model, vm


def ridge(x: torch.Tensor, y: torch.Tensor, c: torch.Tensor, folds: torch.Tensor) -> torch.Tensor:
    """The solution from states that are added three at a time."""
    sums = RidgeSums(x.shape[1])
    for fold in range(FOLDS):
        rows = torch.nonzero(folds == fold)[:, 0]
        for some in rows.split(3):
            sums.add(fold, x[some], y[some], c[some])
    return sums.solve()


def dense(x: torch.Tensor, y: torch.Tensor, c: torch.Tensor, folds: torch.Tensor) -> torch.Tensor:
    """The same from all states at once: weighted rows, least squares with a row per penalty."""
    x, y, c = x.double(), y.double(), c.double() / c.double().sum()
    mean = (x * c[:, None]).sum(0)
    scale = ((x.square() * c[:, None]).sum(0) - mean.square()).mean()

    def fit(rows: torch.Tensor, penalty: float) -> torch.Tensor:
        root = c[rows].sqrt()
        features = torch.cat(
            [x[rows] * root[:, None], (penalty * scale).sqrt() * torch.eye(x.shape[1], dtype=torch.float64)]
        )
        values = torch.cat([y[rows] * root, torch.zeros(x.shape[1], dtype=torch.float64)])
        return torch.linalg.lstsq(features, values[:, None]).solution[:, 0]

    def error(penalty: float) -> float:
        total = 0.0
        for fold in range(FOLDS):
            out = folds == fold
            total += float((c[out] * (x[out] @ fit(~out, penalty) - y[out]).square()).sum())
        return total

    return fit(folds >= 0, min(PENALTIES, key=error))


@pytest.mark.parametrize("noise", [0.0, 1.0, 20.0])
def test_sums_give_the_solution_of_all_states_at_once(noise: float) -> None:
    _, x, y, folds = data(61, noise)
    weights = torch.rand(61, generator=torch.Generator().manual_seed(1)) + 0.1
    torch.testing.assert_close(
        ridge(x, y, weights, folds), dense(x, y, weights, folds), rtol=1e-9, atol=1e-12
    )


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
    problems = ValueProblems(COLLECTED.trees, COLLECTED.targets, vm(weight="none"))
    split = split_problems(TASKS, FAMILIES, 0.34, seed=0)
    model = value_model(labels)
    start_head(ValueLM(model), problems, split.fit, TASKS, FAMILIES)
    _, constant = problems.weighted_mean(split.fit)
    found = mse(problems.table(split.heldout), predictions(ValueLM(model), problems, split.heldout), constant)
    assert found["mse"] < 0.6 * found["mse_constant"]
    assert model.score.weight.shape == (labels, 16)


def test_the_fit_starts_from_it(tmp_path: Path) -> None:
    _, zero = run(tmp_path / "zero", epochs=1, problems_per_step=99)
    _, warm = run(tmp_path / "ridge", epochs=1, problems_per_step=99, head_init="ridge")
    assert warm.metrics[0]["mse"] < 0.3 * zero.metrics[0]["mse"]
