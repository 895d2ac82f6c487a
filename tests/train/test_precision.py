"""Every precision trains a policy and a value model, with all weights and with adapters, and stays exact
where it has to: control numbers are float32 whatever the default dtype, heads are float32, buffers are kept.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from restrl.config import LoraConfig, ObjectiveConfig, SamplingConfig, TrainerConfig
from restrl.engine import hf
from restrl.model.adapters import add_lora
from restrl.model.load import cast_weights
from restrl.model.tiny import tiny_model as byte_model
from restrl.model.tiny import tiny_tokenizer
from restrl.model.value import add_value_lora, decoder_and_score
from restrl.ranks import ALONE
from restrl.records import Request
from restrl.train import update, value_module
from restrl.train.strategy import Strategy, autocast
from tests.engine.models import engine
from tests.train import test_fit, toy

PRECISIONS = ("32-true", "bf16-mixed", "bf16-true")
FULL, ADAPTERS = LoraConfig(), LoraConfig(r=2)


def cpu(precision: str) -> TrainerConfig:
    return TrainerConfig(accelerator="cpu", precision=precision)


def trainable(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


def assert_moved(model: Any, before: dict[str, torch.Tensor], dtype: torch.dtype) -> None:
    after = trainable(model)
    assert {name for name, weight in after.items() if not torch.equal(weight, before[name])}
    assert {weight.dtype for weight in after.values()} == {dtype}
    assert all(weight.isfinite().all() for weight in after.values())


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("lora", [FULL, ADAPTERS], ids=["all weights", "adapters"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_policy_trains(tmp_path: Path, precision: str, lora: LoraConfig, stored: torch.dtype) -> None:
    """``stored``: what the weights are loaded in; frozen ones stay so."""
    model = toy.tiny_model()
    cast_weights(model, stored)
    frequencies = model.model.rotary_emb.inv_freq.clone()
    policy = model if lora.r is None else add_lora(model, lora)
    before = trainable(policy)
    _, result = toy.run(
        tmp_path, policy, engine=toy.ToyEngine(policy), max_steps=3, objective=ObjectiveConfig(kl=0.1),
        trainer=cpu(precision),
    )  # fmt: skip
    assert result.updates > 0
    assert_moved(policy, before, torch.bfloat16 if precision == "bf16-true" else torch.float32)
    frozen = {p.dtype for p in policy.parameters() if not p.requires_grad}
    assert frozen <= {torch.bfloat16 if precision == "bf16-true" else stored}
    torch.testing.assert_close(model.model.rotary_emb.inv_freq, frequencies, rtol=0, atol=0)
    assert torch.get_default_dtype() == torch.float32
    kl = [row["kl"] for row in result.metrics if "kl" in row]
    assert kl[0] < 1e-6  # the reference is the policy, in the same dtype


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("lora", [FULL, ADAPTERS], ids=["all weights", "adapters"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_value_model_trains(tmp_path: Path, precision: str, lora: LoraConfig, stored: torch.dtype) -> None:
    model = test_fit.value_model()
    cast_weights(model, stored)
    if lora.r is not None:
        add_value_lora(model, lora)
    decoder, head = decoder_and_score(model)
    before = trainable(decoder)
    _, result = test_fit.run(tmp_path, model, trainer=cpu(precision), head_init="ridge", lr=1e-3, epochs=4)
    assert_moved(decoder, before, torch.bfloat16 if precision == "bf16-true" else torch.float32)
    assert head.weight.dtype == torch.float32
    last = result.metrics[-1]
    assert last["heldout_mse"] < last["heldout_mse_constant"]
    # the predictions after the last step are those of the last epoch's report, to the last digit
    found = test_fit.mse(result.heldout, result.predictions, result.constant)
    assert found["mse"] == last["heldout_mse"]


def test_predictions_are_finer_than_bfloat16(tmp_path: Path) -> None:
    _, result = test_fit.run(tmp_path, trainer=cpu("bf16-mixed"))
    values = torch.tensor(result.predictions)
    assert not torch.equal(values, values.bfloat16().float())


def test_the_context_is_that_of_the_precision() -> None:
    device = torch.device("cpu")
    a = torch.ones(2, 2)
    for precision, dtype in (("32-true", a.dtype), ("bf16-mixed", torch.bfloat16), ("bf16-true", a.dtype)):
        with autocast(cpu(precision), device):
            assert (a @ a).dtype == dtype


def test_rotary_frequencies_are_not_rounded() -> None:
    model = byte_model()
    expected = copy.deepcopy(model.model.rotary_emb.inv_freq)
    Strategy(cpu("bf16-true"), ALONE).prepare(model)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    torch.testing.assert_close(model.model.rotary_emb.inv_freq, expected, rtol=0, atol=0)


# --- control numbers


@pytest.fixture
def bfloat16_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.bfloat16)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("bfloat16_by_default")
def test_temperature_and_top_p_reach_the_sampler_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    choose = hf.choose

    def spy(logits: Any, *numbers: torch.Tensor) -> Any:
        seen.extend(numbers)
        return choose(logits, *numbers)

    monkeypatch.setattr(hf, "choose", spy)
    request = Request((5, 6), n=1, max_tokens=1, temperature=0.7, top_p=0.9, seed=0)
    engine(byte_model(), tokenizer=tiny_tokenizer()).generate([request])
    temperature, top_p, uniform = seen
    assert (temperature.dtype, top_p.dtype, uniform.dtype) == (torch.float32, torch.float32, torch.float64)
    assert (float(temperature), float(top_p)) == (pytest.approx(0.7, abs=1e-7), pytest.approx(0.9, abs=1e-7))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_temperature_reaches_the_rollouts_of_a_step_exactly(
    tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also within Lightning, whose own bf16-true changes the default dtype of a step."""
    seen: list[float] = []
    choose = hf.choose

    def spy(logits: Any, temperature: torch.Tensor, *numbers: torch.Tensor) -> Any:
        seen.extend(temperature.tolist())
        assert torch.get_default_dtype() == torch.float32
        return choose(logits, temperature, *numbers)

    monkeypatch.setattr(hf, "choose", spy)
    model = byte_model()
    sampling = SamplingConfig(n=2, temperature=0.7, max_tokens=2)
    toy.run(
        tmp_path, model, engine=engine(model, tokenizer=tiny_tokenizer()), rollout=sampling, max_steps=1,
        trainer=cpu(precision),
    )  # fmt: skip
    assert set(seen) == {float(torch.tensor(0.7, dtype=torch.float32))}


@pytest.mark.usefixtures("bfloat16_by_default")
def test_advantages_and_engine_logprobs_reach_the_loss_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    policy_loss = update.policy_loss

    def spy(inputs: Any, *rest: Any) -> Any:
        seen.append(inputs)
        return policy_loss(inputs, *rest)

    monkeypatch.setattr(update, "policy_loss", spy)
    toy.run(tmp_path, max_steps=2, trainer=cpu("bf16-true"))
    assert {inputs.advantages.dtype for inputs in seen} == {torch.float32}
    assert {inputs.engine_logprobs.dtype for inputs in seen} == {torch.float32}
    advantages = torch.cat([inputs.advantages for inputs in seen])
    assert not torch.equal(advantages, advantages.bfloat16().float())


@pytest.mark.usefixtures("bfloat16_by_default")
def test_value_targets_and_weights_reach_the_loss_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    value_loss = value_module.value_loss

    def spy(values: Any, targets: torch.Tensor, weights: torch.Tensor, *rest: Any) -> Any:
        seen.append((targets, weights))
        return value_loss(values, targets, weights, *rest)

    monkeypatch.setattr(value_module, "value_loss", spy)
    test_fit.run(tmp_path, epochs=1, trainer=cpu("bf16-true"), weight="sqrt_visits", head_init="ridge")
    numbers = torch.cat([torch.cat(pair) for pair in seen])
    assert numbers.dtype == torch.float32
    assert not torch.equal(numbers, numbers.bfloat16().float())  # 1/3, sqrt(2), ...
