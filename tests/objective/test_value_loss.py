"""The value model's losses by hand."""

from __future__ import annotations

import math

import pytest
import torch

from restrl.objective.value_loss import ValueSums, value_loss


def test_one_output_is_fitted_by_squared_error() -> None:
    outputs = torch.tensor([[0.5], [-1.0]], requires_grad=True)
    loss, sums = value_loss(outputs, torch.tensor([1.0, 0.0]), torch.tensor([4.0, 1.0]), 5.0)
    assert loss.item() == pytest.approx((4 * 0.25 + 1) / 5)
    assert sums.means() == pytest.approx({"loss": 0.4, "mse": 0.4, "value_mean": -0.25})
    loss.backward()
    # d/dv w (v - y)^2 / 5 = 2 w (v - y) / 5
    assert outputs.grad[:, 0].tolist() == pytest.approx([2 * 4 * -0.5 / 5, 2 * -1.0 / 5])


def test_two_outputs_are_fitted_by_cross_entropy_with_the_value_as_a_soft_label() -> None:
    """z = (0, log 3) is the probability 3/4; z = (2, 2) is 1/2, whatever both have in common."""
    outputs = torch.tensor([[0.0, math.log(3)], [2.0, 2.0]], requires_grad=True)
    loss, sums = value_loss(outputs, torch.tensor([0.5, 0.2]), torch.tensor([1.0, 3.0]), 4.0)
    first = -0.5 * math.log(0.75) - 0.5 * math.log(0.25)
    assert loss.item() == pytest.approx((first + 3 * math.log(2)) / 4)
    mse = (0.25**2 + 3 * 0.3**2) / 4
    means = {"loss": (first + 3 * math.log(2)) / 4, "mse": mse, "value_mean": 0.625}
    assert sums.means() == pytest.approx(means)
    loss.backward()
    # d/dz1 = w (p - y) / 4 = -d/dz0
    expected = [1 * (0.75 - 0.5) / 4, 3 * (0.5 - 0.2) / 4]
    assert outputs.grad[:, 1].tolist() == pytest.approx(expected)
    assert outputs.grad[:, 0].tolist() == pytest.approx([-g for g in expected])


def test_far_from_its_label_the_cross_entropy_still_pulls() -> None:
    """The squared error of a sigmoid has no gradient there: the reason for the cross-entropy."""
    outputs = torch.tensor([[0.0, 40.0]], requires_grad=True)
    loss, _ = value_loss(outputs, torch.tensor([0.0]), torch.tensor([1.0]), 1.0)
    loss.backward()
    assert loss.item() == pytest.approx(40.0)
    assert outputs.grad.tolist() == [pytest.approx([-1.0, 1.0])]


def test_sums_of_parts_are_those_of_the_whole() -> None:
    outputs, targets, weights = torch.randn(6, 2), torch.rand(6), torch.rand(6)
    whole, sums = value_loss(outputs, targets, weights, 2.0)
    parts = [value_loss(outputs[k::2], targets[k::2], weights[k::2], 2.0) for k in (0, 1)]
    assert sum(float(part) for part, _ in parts) == pytest.approx(float(whole), rel=1e-5)
    added = ValueSums() + parts[0][1] + parts[1][1]
    assert added.means() == pytest.approx(sums.means(), rel=1e-5)
