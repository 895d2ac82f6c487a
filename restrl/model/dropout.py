"""Switches dropout off, so that a policy has the same log-probabilities in training and in sampling.

The ratio and the KL penalty of GRPO compare log-probabilities.  With dropout 0.1 these differ before any
update: an unchanged policy has a KL of 0.1 to itself, and a third of its tokens are clipped.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedConfig


def without_dropout(model: Any) -> Any:
    """Sets every dropout probability of ``model`` to 0, in place, and returns the model.

    Architectures store them in three places: dropout modules, numbers in other modules
    (``attention_dropout``, ``layerdrop``, ...), and the configuration, which some of them (Falcon) read in
    every forward pass.  A model saved afterwards has zeros in its configuration.  Adapters that are added
    later have their own dropout.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        _clear(module)
        if isinstance(config := getattr(module, "config", None), PreTrainedConfig):
            _clear_config(config)
    return model


def _clear_config(config: PreTrainedConfig) -> None:
    _clear(config)
    for part in list(vars(config).values()):  # text_config, attn_config, ...
        if isinstance(part, PreTrainedConfig):
            _clear_config(part)


def _clear(owner: Any) -> None:
    """Sets the floats whose names contain "drop" to 0; flags and unset values stay."""
    for name, value in list(vars(owner).items()):
        if isinstance(value, float) and "drop" in name:
            setattr(owner, name, 0.0)
