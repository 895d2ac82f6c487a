"""Engines by name.  An engine's module is imported when it is chosen: its library may not be installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from restrl.config import EngineConfig
from restrl.engine.base import Engine
from restrl.errors import UserError

# of the policy (a causal LM of transformers) and its tokenizer
Builder = Callable[[Any, Any, EngineConfig], Engine]

ENGINES: dict[str, str] = {  # name -> module:builder
    "hf": "restrl.engine.hf:HfEngine",
}


def engine_builder(name: str) -> Builder:
    """What makes the engine ``name``.  Raises UserError for an unknown one or one that is not installed."""
    if name not in ENGINES:
        raise UserError(f"engine.name: {name!r} is none of {', '.join(sorted(ENGINES))}")
    module, _, builder = ENGINES[name].partition(":")
    try:
        found: Builder = getattr(importlib.import_module(module), builder)
    except ImportError as error:
        raise UserError(
            f"engine={name} cannot be used here ({error}); install it: pip install 'restrl[{name}]'"
        ) from error
    return found
