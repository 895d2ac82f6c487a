"""Engines by name.  The module of an engine is imported on use, because its library may not be installed."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

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
    model: str = ""  # module:function that names the model which it samples from, if that is not the policy


ENGINES: dict[str, Entry] = {
    "hf": Entry("restrl.engine.hf:build"),
    "vllm": Entry("restrl.engine.vllm:build", "make vllm", "copy"),
    "openai": Entry(
        "restrl.engine.openai.engine:build",
        install="pip install 'httpx2>=2.16,<3'",
        weights="none",
        model="restrl.engine.openai.engine:model_of",
    ),
}


def engine_builder(name: str, trains: bool = False) -> Builder:
    """The builder of the engine ``name``.  ``trains``: it has to sample a policy in training.

    Raises UserError if it is unknown, not installed, or cannot do that.
    """
    if name not in ENGINES:
        raise UserError(f"engine.name: {name!r} is none of {', '.join(sorted(ENGINES))}")
    if trains and ENGINES[name].weights == "none":
        able = " or ".join(f"engine={other}" for other, entry in ENGINES.items() if entry.weights != "none")
        raise UserError(
            f"engine={name} cannot load the weights of a policy in training, so it samples, collects and "
            f"decodes, but does not train; use {able}"
        )
    build: Builder = _imported(name, ENGINES[name].builder)
    return build


def with_model(config: EngineConfig) -> EngineConfig:
    """``config`` with ``model`` set, for an engine that samples from another model than the policy.

    Samples depend on it, and fingerprints have to tell them apart.  Raises UserError if it cannot be found,
    and for settings that cannot be right.
    """
    entry = ENGINES[config.name]
    if not entry.model:
        return config
    return dataclasses.replace(config, model=_imported(config.name, entry.model)(config))


def _imported(name: str, target: str) -> Any:
    """The function that ``target`` (module:function) names."""
    module, _, function = target.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, OSError, RuntimeError) as error:  # the latter two: builds that do not fit
        install = f"; install it: {ENGINES[name].install}" if ENGINES[name].install else ""
        raise UserError(f"engine={name} cannot be used here ({error}){install}") from error
