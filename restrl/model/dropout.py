"""Dropout off, for good: a policy that is trained says what it says when it samples.

GRPO's ratio and its KL penalty compare log-probabilities of the same weights.  With dropout 0.1 they differ
before any update: an unchanged policy has a KL of 0.1 to itself, and a third of its tokens are clipped.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedConfig


def without_dropout(model: Any) -> Any:
    """Sets every dropout probability of ``model`` to 0, in place, and returns it.

    Architectures hold them in three places: dropout modules, numbers in other modules (``attention_dropout``,
    ``layerdrop``, ...), and the configuration, which some of them (Falcon) read in every forward.  A model
    that is saved afterwards has them as 0 in its configuration.  Adapters that are added later bring their
    own.
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
    """Numbers that are named after dropout; flags, and what is not set, stay."""
    for name, value in list(vars(owner).items()):
        if isinstance(value, float) and "drop" in name:
            setattr(owner, name, 0.0)
