"""Engines by name.  The module of an engine is imported on use, because its library may not be installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from restrl.config import EngineConfig
from restrl.engine.base import Engine, EngineSource
from restrl.errors import UserError

Builder = Callable[[EngineSource, EngineConfig], Engine]


@dataclass(frozen=True)
class Entry:
    builder: str  # module:function
    install: str = ""  # the command that installs its library; empty: it needs none of its own
    # what it samples with: the policy's module, a copy of its weights on this run's devices, or none of them
    weights: Literal["module", "copy", "none"] = "module"


ENGINES: dict[str, Entry] = {
    "hf": Entry("restrl.engine.hf:build"),
    "vllm": Entry("restrl.engine.vllm:build", "make vllm", "copy"),
}


def engine_builder(name: str) -> Builder:
    """The builder of the engine ``name``.  Raises UserError if it is unknown or not installed."""
    if name not in ENGINES:
        raise UserError(f"engine.name: {name!r} is none of {', '.join(sorted(ENGINES))}")
    entry = ENGINES[name]
    module, _, builder = entry.builder.partition(":")
    try:
        build: Builder = getattr(importlib.import_module(module), builder)
    except (ImportError, OSError, RuntimeError) as error:  # the latter two: builds that do not fit
        install = f"; install it: {entry.install}" if entry.install else ""
        raise UserError(f"engine={name} cannot be used here ({error}){install}") from error
    return build
