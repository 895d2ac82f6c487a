"""What the device of one rank holds of a model in training, for the estimate of memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shares:
    """Shares of the bytes that one process would hold; 1: all of them."""

    weights: float = 1.0
    gradients: float = 1.0
    moments: float = 1.0
    reference: float = 1.0
    gathered: float = 0.0  # of the weights, beside ``weights``, while an engine samples from the module


WHOLE = Shares()
