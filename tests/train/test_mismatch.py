"""An engine whose numbers are not the trainer's: the gap is logged, and tis_cap takes the bias out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from restrl.config import ObjectiveConfig, SamplingConfig
from restrl.engine.base import Capabilities
from restrl.model.policy_lm import PolicyLM
from restrl.objective.packing import Piece, TokenGroup
from restrl.ranks import ALONE
from restrl.train.update import TrainingBatch, gradient_passes
from tests.train.toy import ToyEngine, run, tiny_model, toy_grpo

PROMPT = (2, 3, 4)


def skewed(seed: int = 5) -> torch.nn.Module:
    """The toy's model with other weights in the output layer: an engine that rounds very badly."""
    model = tiny_model()
    noise = torch.randn(model.lm_head.weight.shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight + 0.3 * noise)
    return model


def logprobs(model: torch.nn.Module) -> torch.Tensor:
    """[V] of the token after the prompt."""
    return model(torch.tensor([PROMPT])).logits[0, -1].log_softmax(-1)


def expected_gradient(engine: torch.nn.Module, tis_cap: float | None) -> torch.Tensor:
    """The mean of the policy's gradient over the samples of ``engine``, exactly.

    A completion is one token; the batch has each token once, and its advantage is multiplied by the engine's
    probability of it.
    """
    model = tiny_model()
    with torch.no_grad():
        sampled = logprobs(engine)
    size = len(sampled)
    advantages = torch.linspace(-1, 1, size) * sampled.exp()
    batch = TrainingBatch(
        groups=(TokenGroup(PROMPT, tuple((token,) for token in range(size))),),
        advantages=(tuple(advantages.tolist()),),
        engine_logprobs=(tuple((x,) for x in sampled.tolist()),),
        micro_batches=((Piece(0, tuple(range(size))),),),
        normalizer=1.0,
    )
    grpo = toy_grpo(objective=ObjectiveConfig(tis_cap=tis_cap))
    policy = PolicyLM(model, temperature=1.0, chunk=64)
    list(gradient_passes(policy, batch, grpo, None, lambda loss, _: loss.backward(), ALONE))
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def true_gradient() -> torch.Tensor:
    """Of -E[advantage] under the policy itself."""
    model = tiny_model()
    values = logprobs(model)
    (-(values.exp() * torch.linspace(-1, 1, len(values))).sum()).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def bias(engine: torch.nn.Module, tis_cap: float | None) -> float:
    true = true_gradient()
    return float((expected_gradient(engine, tis_cap) - true).norm() / true.norm())


def test_an_engine_that_agrees_is_not_biased() -> None:
    assert bias(tiny_model(), None) < 1e-5


def test_a_perturbed_engine_is_biased_without_the_cap_and_not_with_it() -> None:
    assert bias(skewed(), None) > 0.1
    assert bias(skewed(), 1e6) < 1e-5


def test_a_cap_that_truncates_is_between() -> None:
    """It bounds the variance, at the price of some bias."""
    assert 1e-5 < bias(skewed(), 1.1) < bias(skewed(), None)


class SkewedEngine(ToyEngine):
    capabilities = Capabilities(shares_weights=False, syncs=True, token_ids=True, logprobs=True, seeds=True)

    def sync(self, weights: object) -> None:
        """Keeps its weights."""


@pytest.mark.parametrize(("engine", "agrees"), [(ToyEngine, True), (SkewedEngine, False)])
def test_the_gap_is_logged_in_each_step(tmp_path: Path, engine: type[ToyEngine], agrees: bool) -> None:
    model = tiny_model()
    sampler = engine(model if agrees else skewed())
    rollout = SamplingConfig(n=4, temperature=1.0, max_tokens=5)
    _, result = run(tmp_path, model, engine=sampler, rollout=rollout, max_steps=3)
    rows = [row for row in result.metrics if row["trained_groups"] > 0]
    assert rows
    for row in rows:
        mean, largest, share = (row[f"logprob_mismatch{end}"] for end in ("", "_max", "_share"))
        assert mean <= largest
        assert (largest < 1e-5 and share == 0) if agrees else (mean > 0.01 and 0 < share <= 1)
