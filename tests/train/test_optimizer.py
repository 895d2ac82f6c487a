"""Weight decay: matrices shrink, norms and biases stay."""

import pytest
import torch
from torch import nn

from restrl.train.optimizer import adamw


def test_only_matrices_decay() -> None:
    part = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    head = nn.Linear(3, 1, bias=False)
    optimizer = adamw([part, head], weight_decay=0.5)
    sizes = [[tuple(p.shape) for p in group["params"]] for group in optimizer.param_groups]
    assert sizes == [[(3, 2)], [(3,), (3,), (3,)], [(1, 3)]]
    assert [group["part"] for group in optimizer.param_groups] == [0, 0, 1]
    for group in optimizer.param_groups:
        group["lr"] = 0.1
        for parameter in group["params"]:
            nn.init.ones_(parameter)
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    # AdamW: w <- w (1 - lr x decay) - lr x 0
    assert part[0].weight.unique().tolist() == pytest.approx([0.95])
    assert head.weight.unique().tolist() == pytest.approx([0.95])
    for parameter in (part[0].bias, part[1].weight, part[1].bias):
        assert parameter.unique().tolist() == [1]


def test_frozen_parameters_are_left_out() -> None:
    part = nn.Linear(2, 3)
    part.weight.requires_grad_(False)
    groups = adamw([part], weight_decay=0.0).param_groups
    assert [group["params"] for group in groups] == [[part.bias]]
