"""The check of a composed configuration: a bad key or value ends in one line that says what it may be."""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import math
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from restrl.config import Config, MctsConfig
from restrl.errors import UserError


def check(composed: DictConfig) -> Config:
    """The configuration as dataclasses, after every value was checked against its range.

    Raises UserError that names the key, its value and what it may be.
    """
    try:
        values = OmegaConf.to_container(composed, resolve=True)  # plain, so that +key=... is found out too
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), values))
    except OmegaConfBaseException as error:
        raise UserError(explain(error)) from error
    assert isinstance(config, Config)
    _check_ranges(config, "")
    _check_together(config)
    return config


def _check_together(config: Config) -> None:
    """What would otherwise be found out after hours: values that do not go together."""
    rollout, decoder = config.grpo.rollout, config.decoder
    if config.grpo.iterations == 0 and config.stage.name in ("rest_grpo", "sample", "assemble", "grpo"):
        raise UserError(
            f"grpo.iterations=0: must be >= 1, for stage={config.stage.name} is nothing without them; "
            "stage=rest_rl takes 0 for stage 2 alone, on the base model"
        )
    if rollout.n < 2:
        raise UserError(f"grpo.rollout.n={rollout.n}: must be >= 2, for a group's completions are compared")
    if rollout.temperature <= 0:
        raise UserError("grpo.rollout.temperature=0: must be > 0, for greedy completions are all alike")
    try:
        datetime.date.fromisoformat(config.model.date)
    except ValueError:
        raise UserError(f"model.date={config.model.date}: must be an ISO date such as 2025-01-01") from None
    if bad := [k for k in decoder.k if k < 1]:
        raise UserError(f"decoder.k={decoder.k}: {bad[0]} is no number of samples; each k must be >= 1")
    answers = ("sampling.n", decoder.sampling.n) if decoder.name == "sample" else ("answers", decoder.answers)
    if decoder.name in ("sample", "best_of_n", "mcts") and max(decoder.k, default=1) > answers[1]:
        raise UserError(
            f"decoder.k={decoder.k}: pass@{max(decoder.k)} needs as many samples, and decoder.{answers[0]} "
            f"is {answers[1]}; raise it, or leave larger values out of decoder.k"
        )
    evaluation = dataclasses.replace(config.evaluation.mcts, completions=config.evaluation.completions)
    for key, mcts in (("mcts", config.mcts), ("decoder.mcts", decoder.mcts), ("evaluation.mcts", evaluation)):
        _check_budget(key, mcts)


def _check_budget(key: str, mcts: MctsConfig) -> None:
    if mcts.iterations is None and mcts.revisit_terminals:
        raise UserError(
            f"{key}.iterations=null: visits of whole programs sample nothing, so nothing else ends a tree; "
            f"set {key}.revisit_terminals=false"
        )
    if mcts.iterations is mcts.completions is mcts.model_tokens is mcts.seconds is None:
        raise UserError(f"{key}: one of iterations, completions, model_tokens and seconds has to be set")


def _check_ranges(node: Any, prefix: str) -> None:
    for item in dataclasses.fields(node):
        value, key = getattr(node, item.name), f"{prefix}{item.name}"
        if dataclasses.is_dataclass(value):
            _check_ranges(value, f"{key}.")
        elif value is not None and item.metadata and not _allowed(value, item.metadata):
            raise UserError(f"{key}={value}: must be {_describe(item.metadata)}")


def _allowed(value: Any, limits: Any) -> bool:
    if limits.get("choices") is not None:
        return value in limits["choices"]
    if isinstance(value, float) and not math.isfinite(value):
        return False
    tests = {"ge": value.__ge__, "gt": value.__gt__, "le": value.__le__, "lt": value.__lt__}
    return all(limits.get(name) is None or test(limits[name]) is True for name, test in tests.items())


def _describe(limits: Any) -> str:
    if limits["choices"] is not None:
        return "one of " + ", ".join(limits["choices"])
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    return " and ".join(f"{sign} {limits[name]}" for name, sign in signs.items() if limits[name] is not None)


def explain(error: BaseException) -> str:
    """One line for an error of composition or conversion: the key, what is wrong and what it may be."""
    while error.__cause__ is not None:
        error = error.__cause__
    key = getattr(error, "full_key", None)
    first_line = str(error).strip().splitlines()[0]
    if not key:
        return first_line
    parent, _, name = str(key).rpartition(".")
    known = _keys_of(parent)
    if known is None or name in known:
        return f"{key}: {first_line}"
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {parent + '.' if parent else ''}{close[0]}?" if close else ""
    return f"{key}: no such key{hint} ({parent or 'the configuration'} has {', '.join(known)})"


def _keys_of(path: str) -> list[str] | None:
    """The keys of the schema's node at ``path`` ("" = the root); None where there is none."""
    node: Any = OmegaConf.structured(Config)
    for part in path.split(".") if path else []:
        if not isinstance(node, DictConfig) or part not in node:
            return None
        node = node[part]
    return [str(key) for key in node] if isinstance(node, DictConfig) else None
