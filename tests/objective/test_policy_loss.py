"""Hand-derived values of the loss and of its gradient, and split independence."""

from math import exp, log

import pytest
import torch
from torch import Tensor

from restrl.config import ObjectiveConfig
from restrl.objective.policy_loss import LossInputs, LossSums, loss_normalizer, policy_loss


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def loss_and_gradient(
    logprobs: Tensor,
    old: Tensor,
    advantages: Tensor,
    lengths: list[int],
    objective: ObjectiveConfig,
    normalizer: float,
    **more: Tensor,
) -> tuple[float, list[float], LossSums]:
    leaf = logprobs.clone().requires_grad_()
    sequence = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    loss, sums = policy_loss(LossInputs(leaf, old, advantages, sequence, **more), objective, normalizer)
    loss.backward()
    assert leaf.grad is not None
    return loss.item(), leaf.grad.tolist(), sums


def test_grpo_on_policy_equals_the_hand_derived_example() -> None:
    # Two completions of 1 and 2 tokens, A = +1 and -2, ratio 1 everywhere.
    # loss = 1/2 (-(1) / 1 + (2 + 2) / 2) = 1/2 (-1 + 2) = 0.5
    # d loss / d logp = -A x ratio / length / 2: -1/2, then 2 / 2 / 2 = 1/2 twice
    logprobs = tensor(-1.0, -0.5, -2.0)
    loss, gradient, sums = loss_and_gradient(
        logprobs, logprobs, tensor(1, -2), [1, 2], ObjectiveConfig(), normalizer=2
    )
    assert loss == pytest.approx(0.5)
    assert gradient == pytest.approx([-0.5, 0.5, 0.5])
    assert sums.means() == pytest.approx(
        {"loss": 0.5, "kl": 0, "clip_fraction": 0, "ratio_mean": 1, "ratio_max": 1, "tis_weight": 1}
    )


def test_a_better_completion_becomes_more_likely() -> None:
    logprobs = tensor(-1.0, -1.0)
    _, gradient, _ = loss_and_gradient(logprobs, logprobs, tensor(1, -1), [1, 1], ObjectiveConfig(), 2)
    assert gradient[0] < 0 < gradient[1]  # descent raises the first and lowers the second


def test_the_ratio_is_clipped_only_where_that_lowers_the_objective() -> None:
    # Ratios 1.5, 1.5, 0.5, 0.5 with A = 1, -1, 1, -1 and limits 0.8, 1.3:
    #  A = 1, ratio 1.5: min(1.5, 1.3) = 1.3, clipped: no gradient
    #  A = -1, ratio 1.5: min(-1.5, -1.3) = -1.5: gradient of the loss +1.5
    #  A = 1, ratio 0.5: min(0.5, 0.8) = 0.5: gradient -0.5
    #  A = -1, ratio 0.5: min(-0.5, -0.8) = -0.8, clipped
    old = tensor(-1, -1, -1, -1)
    logprobs = old + torch.log(tensor(1.5, 1.5, 0.5, 0.5))
    objective = ObjectiveConfig(clip_low=0.2, clip_high=0.3)
    loss, gradient, sums = loss_and_gradient(logprobs, old, tensor(1, -1, 1, -1), [1] * 4, objective, 4)
    assert loss == pytest.approx((-1.3 + 1.5 - 0.5 + 0.8) / 4)
    assert gradient == pytest.approx([0, 1.5 / 4, -0.5 / 4, 0])
    assert sums.means()["clip_fraction"] == 0.5
    assert sums.means()["ratio_max"] == pytest.approx(1.5)


def test_gspo_weighs_each_token_by_the_ratio_of_its_sequence() -> None:
    # log ratios 0.2 and 0.4 in one completion: s = exp(0.3); A = 2; GSPO eq. 10 without clipping:
    # loss = -s A, d / d logp_t = -A s / length = -exp(0.3) each
    old = tensor(-1, -1)
    objective = ObjectiveConfig(ratio="sequence", clip_low=0.9, clip_high=1.0)
    loss, gradient, _ = loss_and_gradient(old + tensor(0.2, 0.4), old, tensor(2), [2], objective, 1)
    assert loss == pytest.approx(-2 * exp(0.3))
    assert gradient == pytest.approx([-exp(0.3), -exp(0.3)])


def test_k3_penalty() -> None:
    # d = logp_ref - logp = log 2: k3 = 2 - log 2 - 1; derivative by logp: 1 - exp(d) = -1; beta 0.5, A = 0
    logprobs = tensor(-1)
    objective = ObjectiveConfig(kl=0.5)
    loss, gradient, sums = loss_and_gradient(
        logprobs, logprobs, tensor(0), [1], objective, 1, ref_logprobs=logprobs + log(2)
    )
    assert loss == pytest.approx(0.5 * (1 - log(2)))
    assert gradient == pytest.approx([-0.5])
    assert sums.means()["kl"] == pytest.approx(1 - log(2))


def test_truncated_importance_sampling_weighs_the_policy_term_only() -> None:
    # pi_old / pi_engine = 1.5 and 4, capped at 2; the KL term (k3 = 1 - log 2, beta 1) is not weighed
    logprobs = tensor(-1, -1)
    objective = ObjectiveConfig(tis_cap=2.0, kl=1.0)
    loss, gradient, sums = loss_and_gradient(
        logprobs, logprobs, tensor(1, 1), [1, 1], objective, 1,
        engine_logprobs=logprobs - torch.log(tensor(1.5, 4)),
        ref_logprobs=logprobs + log(2),
    )  # fmt: skip
    assert loss == pytest.approx(-1.5 - 2 + 2 * (1 - log(2)))
    assert gradient == pytest.approx([-1.5 - 1, -2 - 1])
    assert sums.means()["tis_weight"] == pytest.approx(1.75)


@pytest.mark.parametrize(("aggregate", "expected"), [("sequence", 2), ("token", 3), ("constant", 20)])
def test_normaliser(aggregate: str, expected: float) -> None:
    assert (
        loss_normalizer(ObjectiveConfig(aggregate=aggregate), sequences=2, tokens=3, max_tokens=10)
        == expected
    )


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    # per-token losses -1 | 2, 2: mean of means (-1 + 2) / 2, sum over tokens 3 / 3, sum over 2 x 10
    [("sequence", 0.5), ("token", 1.0), ("constant", 3 / 20)],
)
def test_aggregates(aggregate: str, expected: float) -> None:
    logprobs = tensor(-1.0, -0.5, -2.0)
    objective = ObjectiveConfig(aggregate=aggregate)
    normalizer = loss_normalizer(objective, 2, 3, 10)
    loss, _, _ = loss_and_gradient(logprobs, logprobs, tensor(1, -2), [1, 2], objective, normalizer)
    assert loss == pytest.approx(expected)


@pytest.mark.parametrize("aggregate", ["sequence", "token", "constant"])
@pytest.mark.parametrize("ratio", ["token", "sequence"])
def test_any_split_into_micro_batches_gives_the_same_gradient(aggregate: str, ratio: str) -> None:
    generator = torch.Generator().manual_seed(0)
    lengths = [3, 1, 4, 2]
    old, ref = (torch.randn(10, generator=generator, dtype=torch.float64) - 2 for _ in range(2))
    logprobs = old + 0.3 * torch.randn(10, generator=generator, dtype=torch.float64)
    advantages = tensor(1, -0.5, 0.3, -1)
    objective = ObjectiveConfig(aggregate=aggregate, ratio=ratio, kl=0.1)
    normalizer = loss_normalizer(objective, 4, 10, 5)
    whole = loss_and_gradient(logprobs, old, advantages, lengths, objective, normalizer, ref_logprobs=ref)
    gradient: list[float] = []
    total = LossSums()
    for first, last, tokens in ((0, 1, slice(0, 3)), (1, 3, slice(3, 8)), (3, 4, slice(8, 10))):
        _, part, sums = loss_and_gradient(
            logprobs[tokens], old[tokens], advantages[first:last], lengths[first:last], objective, normalizer,
            ref_logprobs=ref[tokens],
        )  # fmt: skip
        gradient += part
        total = total + sums
    assert gradient == pytest.approx(whole[1], rel=1e-12)
    assert total.means() == pytest.approx(whole[2].means(), rel=1e-12)


@pytest.mark.parametrize(
    ("objective", "message"),
    [(ObjectiveConfig(kl=0.1), "needs the log-probabilities of the reference"),
     (ObjectiveConfig(tis_cap=2.0), "needs the log-probabilities of the engine")],
)  # fmt: skip
def test_missing_log_probabilities_are_named(objective: ObjectiveConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loss_and_gradient(tensor(-1), tensor(-1), tensor(1), [1], objective, 1)
