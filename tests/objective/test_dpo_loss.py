"""Hand-derived values of the DPO and SFT losses and of their gradients, and split independence."""

from math import exp, log

import pytest
import torch

from restrl.objective.dpo_loss import DpoSums, dpo_loss
from restrl.objective.sft_loss import SftSums, sft_loss


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_a_pair_equals_the_hand_derived_example() -> None:
    # chosen: two tokens, d = (-1 + 1.5) + (-2 + 2) = 0.5; rejected: one token, d = -1 + 0.5 = -0.5
    # beta = 2: implicit rewards 1 and -1, difference 2: loss = log(1 + exp(-2))
    # d loss / d logp = -sigmoid(-2) x beta for the chosen tokens, + for the rejected one
    logprobs = tensor(-1.0, -2.0, -1.0).requires_grad_()
    loss, sums = dpo_loss(logprobs, tensor(-1.5, -2.0, -0.5), torch.tensor([0, 0, 1]), beta=2.0, pairs=1)
    loss.backward()
    slope = 2.0 / (1 + exp(2.0))
    assert loss.item() == pytest.approx(log(1 + exp(-2.0)))
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([-slope, -slope, slope])
    assert sums.means() == pytest.approx(
        {
            "loss": loss.item(),
            "reward_chosen": 1,
            "reward_rejected": -1,
            "reward_difference": 2,
            "accuracy": 1,
        }
    )


def test_at_the_reference_the_loss_is_log_2() -> None:
    logprobs = tensor(-1.0, -3.0)
    loss, sums = dpo_loss(logprobs, logprobs, torch.tensor([0, 1]), beta=0.1, pairs=1)
    assert loss.item() == pytest.approx(log(2))
    assert sums.means()["accuracy"] == 0  # a tie is not in the right order


def test_pairs_one_by_one_add_up_to_all_at_once() -> None:
    generator = torch.Generator().manual_seed(0)
    own, ref = (torch.randn(9, generator=generator, dtype=torch.float64) for _ in range(2))
    sequence = torch.tensor([0, 0, 1, 2, 2, 2, 3, 3, 3])
    whole, sums = dpo_loss(own, ref, sequence, beta=0.3, pairs=2)
    first, one = dpo_loss(own[:3], ref[:3], sequence[:3], beta=0.3, pairs=2)
    second, two = dpo_loss(own[3:], ref[3:], sequence[3:] - 2, beta=0.3, pairs=2)
    assert whole.item() == pytest.approx((first + second).item())
    assert sum([one, two], DpoSums()).means() == pytest.approx(sums.means())


def test_half_a_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="3 completions are not whole pairs"):
        dpo_loss(torch.zeros(3), torch.zeros(3), torch.tensor([0, 1, 2]), beta=0.1, pairs=1)


def test_sft_equals_the_hand_derived_example() -> None:
    # three tokens of a step of four: loss = (1 + 2 + 0.5) / 4, gradient -1/4 each
    logprobs = tensor(-1.0, -2.0, -0.5).requires_grad_()
    loss, sums = sft_loss(logprobs, tensor(0.5, 0.5, 0.2), tokens=4)
    loss.backward()
    assert loss.item() == pytest.approx(3.5 / 4)
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [-0.25] * 3
    rest, more = sft_loss(tensor(-3.0), tensor(0.4), tokens=4)
    both = sums + more
    assert both.means() == pytest.approx({"loss": 6.5 / 4, "entropy": 0.4})
    assert (both.tokens, (loss + rest).item()) == (4, pytest.approx(6.5 / 4))
    assert SftSums().means() == {"loss": 0.0, "entropy": 0.0}
