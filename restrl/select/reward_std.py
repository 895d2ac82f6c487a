"""The filter of problems: only those whose rewards vary are kept (ReST-RL, arXiv 2508.19576, section 3.1)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from restrl.select.report import BELOW_SIGMA0, NO_COMPLETION, NOT_JUDGED

# A std that differs from sigma0 only by rounding counts as equal: that of {0.5, 0.6} is 0.05, not 0.04999.
ROUNDING = 1e-12


def reward_std(rewards: Sequence[float | None]) -> float | None:
    """Population standard deviation of the judged rewards, in [0, 0.5]; None if none was judged.

    Equal rewards give exactly 0.
    """
    judged = [reward for reward in rewards if reward is not None]
    return statistics.pstdev(judged) if judged else None


def below(std: float, sigma0: float) -> bool:
    """Whether the filter drops a problem with this reward std.  sigma0 = 0 drops none."""
    return std < sigma0 - ROUNDING


def best_index(rewards: Sequence[float | None]) -> int | None:
    """Index of the first maximum of the judged rewards; None if none was judged."""
    judged = [(reward, -i) for i, reward in enumerate(rewards) if reward is not None]
    return -max(judged)[1] if judged else None


def worst_index(rewards: Sequence[float | None]) -> int | None:
    """Index of the first minimum of the judged rewards; None if none was judged."""
    judged = [(reward, i) for i, reward in enumerate(rewards) if reward is not None]
    return min(judged)[1] if judged else None


def reason_to_drop(rewards: Sequence[float | None], sigma0: float) -> str | None:
    """Why the filter drops a problem with these rewards; None: it is kept.  sigma0 = 0 keeps all."""
    if sigma0 == 0:
        return None
    if not rewards:
        return NO_COMPLETION
    std = reward_std(rewards)
    if std is None:
        return NOT_JUDGED
    return BELOW_SIGMA0 if below(std, sigma0) else None
