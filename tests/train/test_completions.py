"""DPO and SFT on the toy: they learn, resume to the same bits, and do not depend on micro-batches."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from restrl.config import DpoConfig, LoraConfig, SftConfig, TrainerConfig
from restrl.errors import UserError
from restrl.model.adapters import add_lora
from restrl.model.policy_lm import PolicyLM
from restrl.objective.packing import Piece, TokenGroup, pack
from restrl.ranks import ALONE, Ranks
from restrl.records import Completion, Group, Pair, Verdict
from restrl.train.completions import Place
from restrl.train.completions_module import CompletionsModule
from restrl.train.dpo import train_dpo
from restrl.train.loop import TrainResult
from restrl.train.sft import train_sft
from restrl.train.step_module import StepModule
from tests.train.toy import GOOD, STOP, tiny_model

SETTINGS: dict[str, Any] = {
    "prompts_per_step": 2, "max_steps": 6, "epochs": 99, "lr": 1e-2, "checkpoint_every": 2, "logit_chunk": 8,
    "tokens_per_microbatch": 12,
}  # fmt: skip
PROMPTS = [(2, 3 + i % 4, 4) for i in range(5)]
GOOD_ONE, BAD_ONE = (GOOD, GOOD, STOP), (7, 8, 9, STOP)


def completion(ids: tuple[int, ...]) -> Completion:
    return Completion(ids, "", (0.0,) * len(ids), "stop", 0)


PAIRS = [
    Pair(f"p{i}", prompt, "", completion(GOOD_ONE), completion(BAD_ONE), 1.0, 0.0)
    for i, prompt in enumerate(PROMPTS)
]
ACCEPTED = [
    Group(
        f"p{i}", prompt, "", (completion(GOOD_ONE),) * (1 + i % 2), (Verdict("passed", 1, 1, 1.0, 0.0),) * 2
    )
    for i, prompt in enumerate(PROMPTS)
]
KINDS = ("dpo", "sft")


def run(
    folder: Path,
    kind: str,
    model: Any = None,
    *,
    trainer: TrainerConfig | None = None,
    ranks: Ranks = ALONE,
    **changes: Any,
) -> tuple[Any, TrainResult]:
    """Trains the toy by DPO or SFT; returns the model and the result."""
    model = model if model is not None else tiny_model()
    place = Place(trainer or TrainerConfig(accelerator="cpu"), folder, 0, "toy", ranks)
    settings = SETTINGS | changes
    if kind == "dpo":
        return model, train_dpo(model=model, pairs=PAIRS, dpo=DpoConfig(**settings), place=place)
    return model, train_sft(model=model, accepted=ACCEPTED, sft=SftConfig(**settings), place=place)


def logprob(model: Any, ids: tuple[int, ...]) -> float:
    """Log-probability of the completion after the first prompt."""
    with torch.no_grad():
        packed = pack([TokenGroup(PROMPTS[0], (ids,))], [Piece(0, (0,))])
        return float(PolicyLM(model)(packed).logprobs.sum())


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(found: Any, wanted: Any) -> None:
    assert all(torch.equal(weight, wanted[name]) for name, weight in found.items())


def test_dpo_prefers_the_chosen_completion(tmp_path: Path) -> None:
    before = tiny_model()
    model, result = run(tmp_path, "dpo", before)
    start = tiny_model()
    gained = [logprob(model, ids) - logprob(start, ids) for ids in (GOOD_ONE, BAD_ONE)]
    assert gained[0] > gained[1] + 1
    assert result.metrics[0]["loss"] == pytest.approx(math.log(2))  # policy and reference are equal
    assert result.metrics[-1]["loss"] < 0.6
    assert result.metrics[-1]["accuracy"] == 1
    assert (result.steps, result.updates) == (6, 6)


def test_sft_makes_the_accepted_completion_likely(tmp_path: Path) -> None:
    model, result = run(tmp_path, "sft")
    assert logprob(model, GOOD_ONE) > logprob(tiny_model(), GOOD_ONE) + 1
    losses = [row["loss"] for row in result.metrics]
    assert losses[-1] < losses[0] - 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_change_memory_alone(tmp_path: Path, kind: str) -> None:
    one, first = run(tmp_path / "one", kind, tokens_per_microbatch=1000)
    many, second = run(tmp_path / "many", kind, tokens_per_microbatch=1)
    for name, weight in weights(one).items():
        torch.testing.assert_close(weights(many)[name], weight, rtol=0, atol=1e-5)
    for row, other in zip(first.metrics, second.metrics, strict=True):
        assert (row["loss"], row["grad_norm"]) == pytest.approx((other["loss"], other["grad_norm"]), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_equals_uninterrupted(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, expected = run(tmp_path / "whole", kind)
    learn = CompletionsModule._learn

    def cut(module: Any, batch: Any) -> Any:
        if module.steps_done == 5:
            raise RuntimeError("power cut")
        return learn(module, batch)

    with monkeypatch.context() as patch:
        patch.setattr(CompletionsModule, "_learn", cut)
        with pytest.raises(RuntimeError, match="power cut"):
            run(tmp_path / "cut", kind)
    again, result = run(tmp_path / "cut", kind)
    assert result.resumed_from == 4
    assert_same(weights(again), weights(whole))
    numbers = [{key: value for key, value in row.items() if "second" not in key} for row in expected.metrics]
    found = [{key: value for key, value in row.items() if "second" not in key} for row in result.metrics]
    assert found == numbers


def test_with_adapters_the_reference_is_the_model_without_them(tmp_path: Path) -> None:
    base = tiny_model()
    model = add_lora(base, LoraConfig(r=2), 0)
    frozen = {name: tensor.clone() for name, tensor in base.state_dict().items() if "lora" not in name}
    _, result = run(tmp_path, "dpo", model)
    assert result.metrics[0]["loss"] == pytest.approx(math.log(2))
    assert result.metrics[-1]["accuracy"] == 1
    assert_same(frozen, base.state_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_that_is_not_finite_changes_no_weight(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = StepModule.apply_update

    def spoilt(module: Any, optimizer: Any, rates: Any, clip_norm: Any, _loss: float) -> float | None:
        return apply(module, optimizer, rates, clip_norm, math.nan)

    monkeypatch.setattr(StepModule, "apply_update", spoilt)
    with pytest.raises(UserError, match=f"{kind}, step 3: loss nan"):
        run(tmp_path, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_the_learning_rate_follows_the_schedule(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply, seen = StepModule.apply_update, list[float]()

    def noted(module: Any, optimizer: Any, rates: Any, clip_norm: Any, loss: float) -> float | None:
        seen.extend(rates)
        return apply(module, optimizer, rates, clip_norm, loss)

    monkeypatch.setattr(StepModule, "apply_update", noted)
    run(tmp_path, kind, warmup_steps=1, lr_schedule="linear", lr=0.01)
    # 6 steps: 1/2 while warming up, then (6 - place) / 5
    assert seen == pytest.approx([0.005, 0.01, 0.008, 0.006, 0.004, 0.002])


def test_the_settings_are_those_of_both() -> None:
    shared = {field.name for field in dataclasses.fields(DpoConfig)} & {
        field.name for field in dataclasses.fields(SftConfig)
    }
    assert shared > set(SETTINGS)
