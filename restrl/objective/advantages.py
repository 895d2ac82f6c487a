"""From the rewards of a group to the advantages of its completions.

Rewards are tensors [K, G]: K groups (start states) of G completions.  NaN stands for a reward of None (the
harness could not judge): it is excluded from means and standard deviations, and its completion is not
trained.
"""

from __future__ import annotations

import torch
from torch import Tensor

from restrl.config import ObjectiveConfig, ShapingConfig


def shaped_rewards(
    test_rewards: Tensor, stopped: Tensor, trailing: Tensor, lengths: Tensor, shaping: ShapingConfig
) -> Tensor:
    """Test rewards plus the bonus and the penalties, which depend only on the form of the text.

    reward + symbol_reward (if the stop string was reached) - trailing_penalty x trailing characters
    (ReST-RL, arXiv 2508.19576) + the overlong penalty of DAPO (arXiv 2503.14476, eq. 13): 0 up to
    L_max - C tokens, then linear to -1 at L_max, and -1 beyond, with C = overlong_cache x L_max.

    Args:
        test_rewards: [K, G] passed / total in [0, 1]; NaN = not judged, stays NaN.
        stopped: [K, G] bool, whether the completion reached its stop string.
        trailing: [K, G] characters after the stop string.
        lengths: [K, G] tokens of the completion.
    """
    rewards = test_rewards + shaping.symbol_reward * stopped - shaping.trailing_penalty * trailing
    if shaping.overlong_max is not None:
        cache = shaping.overlong_cache * shaping.overlong_max
        over = (lengths - (shaping.overlong_max - cache)).clamp(min=0) / max(cache, 1)
        rewards = rewards - over.clamp(max=1.0)
    return rewards


def reward_std(rewards: Tensor) -> Tensor:
    """[K] population standard deviation of each group's judged rewards; 0 if none was judged."""
    known = ~rewards.isnan()
    count = known.sum(-1).clamp(min=1)
    centred = torch.where(known, rewards - _mean(rewards).unsqueeze(-1), 0.0)
    return (centred.square().sum(-1) / count).sqrt()


def trained_groups(rewards: Tensor, test_rewards: Tensor, variance_floor: float | None) -> Tensor:
    """[K] bool: groups that give a training signal.

    A group is left out if its rewards do not vary, or if the std of its *test* rewards is at most
    ``variance_floor``.  With a floor of 0, a group whose test rewards are all equal is not trained even if
    the bonus differs: the division by the standard deviation would amplify a difference of 1e-3 in the bonus
    to nearly the advantages of a real difference (+-0.79 against +-0.93).  None: a difference in the bonus
    alone can train a group, as in the published code.
    """
    varies = _span(rewards) > 0
    if variance_floor is None:
        return varies
    return varies & (_span(test_rewards) > 0) & (reward_std(test_rewards) > variance_floor)


def group_advantages(rewards: Tensor, objective: ObjectiveConfig) -> Tensor:
    """[K, G] advantages; 0 where the reward is NaN.

    group_std: (r - mean) / (std + delta), std with ddof 1 (GRPO, arXiv 2402.03300, section 4.1.2).
    group_mean: r - mean (Dr. GRPO, arXiv 2503.20783).
    leave_one_out: r - mean of the others (RLOO, arXiv 2402.14740) = (r - mean) x n / (n - 1).
    A group with fewer than two judged completions has advantages of 0, since there is nothing to compare.
    """
    known = ~rewards.isnan()
    count = known.sum(-1, keepdim=True)
    centred = torch.where(known, rewards - _mean(rewards).unsqueeze(-1), 0.0)
    others = (count - 1).clamp(min=1)
    if objective.advantage == "group_std":
        std = (centred.square().sum(-1, keepdim=True) / others).sqrt()
        advantages = centred / (std + objective.advantage_delta)
    elif objective.advantage == "leave_one_out":
        advantages = centred * count / others
    else:
        advantages = centred
    return torch.where(count > 1, advantages, 0.0)


def _mean(rewards: Tensor) -> Tensor:
    """[K] mean of the judged rewards; 0 if none was judged."""
    return rewards.nanmean(-1).nan_to_num(0.0)


def _span(rewards: Tensor) -> Tensor:
    """[K] largest minus smallest judged reward; exactly 0 for ties, whose std may be 1e-9 by rounding."""
    known = ~rewards.isnan()
    top = torch.where(known, rewards, -torch.inf).amax(-1)
    bottom = torch.where(known, rewards, torch.inf).amin(-1)
    return torch.where(known.any(-1), top - bottom, 0.0)
