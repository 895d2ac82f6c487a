"""Gradients have the same bits in every run, also with several threads."""

from pathlib import Path
from typing import Any

import torch

from restrl.train.loop import deterministic
from tests.train.toy import ToyJudge, run


def index_gradients(repeats):
    """Of an index in which 16 rows are read by 4,096 predictors: how often its bits differ from the first."""
    generator = torch.Generator().manual_seed(0)
    predictors = torch.randint(16, (4096,), generator=generator)
    upstream = torch.randn(4096, 256, generator=generator)
    found = []
    for _ in range(repeats):
        hidden = torch.zeros(64, 256, requires_grad=True)
        hidden[predictors].backward(upstream)
        found.append(hidden.grad)
    return sum(not torch.equal(grad, found[0]) for grad in found)


def test_an_index_adds_up_in_one_order():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with deterministic(on=True):
            assert index_gradients(200) == 0
    finally:
        torch.set_num_threads(before)
    assert not torch.are_deterministic_algorithms_enabled()


def test_every_step_of_a_training_on_a_cpu_is_deterministic(tmp_path: Path) -> None:
    seen = []

    class Judge(ToyJudge):
        def judge(self, items: Any) -> Any:
            seen.append(torch.are_deterministic_algorithms_enabled())
            return super().judge(items)

    run(tmp_path, judge=Judge())
    assert seen == [True] * 6  # max_steps
    assert not torch.are_deterministic_algorithms_enabled()
