"""A rollout that ranks divide by start state: every rank has that of one process."""

from __future__ import annotations

import pytest
import torch

from restrl.ranks import Ranks
from restrl.train.rollout import Rollout, RolloutMaker
from tests.thread_ranks import on_ranks
from tests.train.toy import PROBLEMS, STATES, ToyEngine, ToyJudge, ToyPrompter, tiny_model, toy_grpo

MODEL = tiny_model()


def made(ranks: Ranks, **changes: object) -> Rollout:
    grpo = toy_grpo(**changes)
    return RolloutMaker(ToyEngine(MODEL), ToyJudge(), ToyPrompter(), PROBLEMS, STATES, grpo, 0, ranks).make(
        [3, 0, 4], step=1
    )


@pytest.mark.parametrize("changes", [{}, {"dynamic_sampling": 2}, {"rollout_until": "eos"}], ids=str)
def test_ranks_decide_from_the_whole_rollout(changes: dict) -> None:
    alone = made(Ranks(), **changes)
    for size in (2, 4):  # 4: one rank has no state
        for rollout in on_ranks(size, lambda ranks: made(ranks, **changes)):
            assert rollout.groups == alone.groups
            assert rollout.replaced == alone.replaced
            assert torch.equal(rollout.advantages, alone.advantages)
            assert torch.equal(rollout.trained, alone.trained)
            assert set(rollout.seconds) == {"sample", "judge"}


def test_new_weights_go_to_an_engine_that_holds_its_own() -> None:
    class Own(ToyEngine):
        def __init__(self, shares: bool) -> None:
            super().__init__(tiny_model())
            self.capabilities = type("C", (), {"shares_weights": shares, "sleeps": False})()
            self.synced: list[str] = []

        def sync(self, weights) -> None:
            self.synced += [name for name, _ in weights]

    for shares, names in ((True, []), (False, ["w"])):
        engine = Own(shares)
        maker = RolloutMaker(engine, ToyJudge(), ToyPrompter(), PROBLEMS, STATES, toy_grpo(), 0)
        maker.load([("w", torch.zeros(1))])
        assert engine.synced == names
