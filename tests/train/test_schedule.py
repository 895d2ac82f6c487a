import math

import pytest
import torch
from transformers import get_linear_schedule_with_warmup

from restrl.config import GrpoConfig
from restrl.train.schedule import rate_factor, replacements, step_schedule


def schedule(states: int, seed: int = 0, **changes: int) -> list[list[int]]:
    return step_schedule(states, GrpoConfig(**changes), seed)  # type: ignore[arg-type]


def test_each_epoch_is_a_shuffle_of_all_states() -> None:
    steps = schedule(10, prompts_per_step=4, epochs=2)
    assert [len(step) for step in steps] == [4, 4, 4, 4, 4]
    order = [index for step in steps for index in step]
    assert sorted(order[:10]) == sorted(order[10:]) == list(range(10))
    assert order[:10] != order[10:]


def test_steps_are_as_even_as_can_be() -> None:
    # ceil(11 / 8) = 2 steps of 5 and 6 states, and not 8 and 3; ceil(25 / 8) = 4 steps
    assert [len(step) for step in schedule(11, prompts_per_step=8, epochs=1)] == [5, 6]
    assert [len(step) for step in schedule(25, prompts_per_step=8, epochs=1)] == [6, 6, 6, 7]
    assert [len(step) for step in schedule(5, prompts_per_step=8, epochs=1)] == [5]
    # two epochs of 5: ceil(10 / 3) = 4 steps; max_steps = 2 leaves 2 x 3 states
    assert [len(step) for step in schedule(5, prompts_per_step=3, epochs=2)] == [2, 3, 2, 3]
    assert [len(step) for step in schedule(5, prompts_per_step=3, epochs=2, max_steps=2)] == [3, 3]


@pytest.mark.parametrize("states", range(1, 40))
def test_even_steps_lose_no_state(states: int) -> None:
    steps = schedule(states, prompts_per_step=7, epochs=1)
    assert sorted(index for step in steps for index in step) == list(range(states))
    sizes = [len(step) for step in steps]
    assert len(sizes) == math.ceil(states / 7)
    assert max(sizes) <= 7
    assert max(sizes) - min(sizes) <= 1


def test_max_steps_cuts_the_same_order_short() -> None:
    assert (
        schedule(10, prompts_per_step=2, epochs=3, max_steps=7)
        == schedule(10, prompts_per_step=2, epochs=3)[:7]
    )
    assert len(schedule(4, prompts_per_step=2, epochs=1, max_steps=100)) == 2


def test_the_seed_alone_decides() -> None:
    assert schedule(10, seed=1) == schedule(10, seed=1) != schedule(10, seed=2)


@pytest.mark.parametrize("warmup", [0, 3])
def test_the_linear_schedule_is_that_of_transformers(warmup: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_linear_schedule_with_warmup(optimizer, num_warmup_steps=warmup, num_training_steps=10)
    grpo = GrpoConfig(lr_schedule="linear", warmup_steps=warmup)
    for update in range(10):
        if update >= warmup:  # before, transformers begins with an update of rate 0
            assert rate_factor(update, update, 10, grpo) == pytest.approx(theirs.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        theirs.step()


def test_the_linear_schedule_by_hand() -> None:
    grpo = GrpoConfig(lr_schedule="linear", warmup_steps=1)
    # the warm-up gives 1/2, then (5 - place) / (5 - 1)
    assert [rate_factor(u, u, 5, grpo) for u in range(5)] == [1 / 2, 1, 3 / 4, 2 / 4, 1 / 4]
    # a step without an update delays the warm-up, not the end
    assert [rate_factor(u, u + 2, 5, grpo) for u in range(3)] == [1 / 2, 2 / 4, 1 / 4]
    constant = GrpoConfig(warmup_steps=1)
    assert [rate_factor(u, u, 3, constant) for u in range(3)] == [1 / 2, 1, 1]
    assert rate_factor(0, 0, 1, grpo) == 1 / 2  # a warm-up longer than the run


def test_replacements_are_distinct_and_unused() -> None:
    drawn = replacements(10, {0, 1, 2}, 5, seed=0)
    assert len(set(drawn)) == 5
    assert not set(drawn) & {0, 1, 2}
    assert sorted(replacements(5, {0, 1, 2}, 5, seed=0)) == [3, 4]
