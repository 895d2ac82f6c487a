"""Engines by name.  The module of an engine is imported on use, because its library may not be installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from restrl.config import EngineConfig
from restrl.engine.base import Engine
from restrl.errors import UserError

# builds an engine from the policy (a causal LM of transformers) and its tokenizer
Builder = Callable[[Any, Any, EngineConfig], Engine]

ENGINES: dict[str, str] = {  # name -> module:builder
    "hf": "restrl.engine.hf:HfEngine",
}


def engine_builder(name: str) -> Builder:
    """The builder of the engine ``name``.  Raises UserError if it is unknown or not installed."""
    if name not in ENGINES:
        raise UserError(f"engine.name: {name!r} is none of {', '.join(sorted(ENGINES))}")
    module, _, builder = ENGINES[name].partition(":")
    try:
        build: Builder = getattr(importlib.import_module(module), builder)
    except ImportError as error:
        raise UserError(
            f"engine={name} cannot be used here ({error}); install it: pip install 'restrl[{name}]'"
        ) from error
    return build
