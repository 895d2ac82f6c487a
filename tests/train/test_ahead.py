"""grpo.overlap on the toy: which weights sample what, and that no interruption changes a number."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from restrl.config import ObjectiveConfig
from restrl.engine.base import Capabilities, Weights
from restrl.records import Completion, Request
from restrl.train.ahead import RolloutsAhead
from restrl.train.step_module import StepModule
from tests.train.test_grpo import assert_same, numbers, weights
from tests.train.toy import ToyEngine, run, tiny_model

STEPS = 7
OVERLAP: dict[str, Any] = {
    "overlap": True, "prompts_per_step": 4, "objective": ObjectiveConfig(tis_cap=2.0), "max_steps": STEPS,
    "checkpoint_every": 3,
}  # fmt: skip


class FollowingEngine(ToyEngine):
    """Has a copy of the weights, which ``sync`` changes."""

    capabilities = Capabilities(shares_weights=False, syncs=True, token_ids=True, logprobs=True, seeds=True)

    def __init__(self) -> None:
        super().__init__(tiny_model(seed=9))
        self.synced: list[float] = []
        self.sampled: list[float] = []
        self.threads: set[str] = set()

    def checksum(self) -> float:
        return float(sum(p.detach().double().abs().sum() for p in self.model.parameters()))

    def sync(self, weights: Weights) -> None:
        missing, unexpected = self.model.load_state_dict(dict(weights), strict=False)
        assert not unexpected
        assert set(missing) <= {"lm_head.weight"}  # tied
        self.synced.append(self.checksum())

    def generate(self, requests: Sequence[Request], progress: Any = None) -> list[tuple[Completion, ...]]:
        self.sampled.append(self.checksum())
        self.threads.add(threading.current_thread().name)
        return super().generate(requests, progress)


def test_a_step_is_sampled_with_the_weights_before_the_last_update(tmp_path: Path) -> None:
    engine = FollowingEngine()
    _, result = run(tmp_path, engine=engine, **OVERLAP)
    assert result.updates == STEPS
    assert len(set(engine.synced)) == STEPS
    assert engine.sampled == [engine.synced[max(0, step - 1)] for step in range(STEPS)]
    assert all(name.startswith("rollout") for name in engine.threads)
    gaps = [row["logprob_mismatch"] for row in result.metrics]
    assert gaps[0] < 1e-6 < min(gaps[1:])
    assert result.metrics[1]["tis_weight"] != 1


def test_without_it_a_step_is_sampled_with_the_latest_weights(tmp_path: Path) -> None:
    engine = FollowingEngine()
    _, result = run(tmp_path, engine=engine, **OVERLAP | {"overlap": False})
    assert engine.sampled == engine.synced
    assert max(row["logprob_mismatch"] for row in result.metrics) < 1e-6


def test_it_learns(tmp_path: Path) -> None:
    _, result = run(
        tmp_path, engine=FollowingEngine(), **OVERLAP | {"max_steps": 40, "checkpoint_every": 100}
    )
    rewards = [row["reward"] for row in result.metrics]
    assert sum(rewards[:5]) / 5 < 0.2
    assert sum(rewards[-5:]) / 5 > 0.7


@pytest.mark.parametrize("interruption", [RuntimeError, KeyboardInterrupt])
def test_interrupted_and_resumed_equals_undisturbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruption: type[BaseException]
) -> None:
    """KeyboardInterrupt: in the update of step 5, whose rollout then goes into the checkpoint of step 4."""
    model, undisturbed = run(tmp_path / "undisturbed", engine=FollowingEngine(), **OVERLAP)
    update, calls = StepModule.apply_update, []

    def struck(module: StepModule, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            raise interruption
        return update(module, *arguments)

    monkeypatch.setattr(StepModule, "apply_update", struck)
    with pytest.raises(interruption):
        run(tmp_path / "struck", engine=FollowingEngine(), **OVERLAP)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("rollout")]
    resumed, result = run(tmp_path / "struck", engine=FollowingEngine(), **OVERLAP)
    assert result.resumed_from == (4 if interruption is KeyboardInterrupt else 3)
    assert_same(weights(resumed), weights(model))
    assert numbers(result.metrics) == numbers(undisturbed.metrics)


def test_what_fails_in_the_thread_ends_the_training(tmp_path: Path) -> None:
    class Failing(FollowingEngine):
        def generate(self, requests: Sequence[Request], progress: Any = None) -> Any:
            if len(self.sampled) == 3:
                raise OSError("the engine is gone")
            return super().generate(requests, progress)

    with pytest.raises(OSError, match="the engine is gone"):
        run(tmp_path, engine=Failing(), **OVERLAP)


def test_closing_stops_a_rollout_that_no_step_will_use() -> None:
    started, asked = threading.Event(), []

    def make(step: int, advance: Any) -> Any:
        started.set()
        while True:
            asked.append(step)
            advance(1)

    ahead = RolloutsAhead(make)
    ahead.start(0)
    assert started.wait(10)
    ahead.close()
    with pytest.raises(InterruptedError):
        ahead.get(0)
    assert asked
