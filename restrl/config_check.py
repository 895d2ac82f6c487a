"""The check of a composed configuration: a bad key or value gives one line that says what is allowed."""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import math
import re
import typing
from pathlib import Path
from typing import Any

from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from restrl.config import Config, DecoderConfig, MctsConfig, RowConfig, StageConfig, completion_limit
from restrl.config_fields import resolve_paths, unread
from restrl.errors import UserError

CHOOSING = ("best_of_n", "mcts")  # decoders that a scorer chooses for
OF_CHOOSING = ("greedy_first", "vote")  # keys that only these read
COMPARING = ("rest_grpo", "grpo", "dapo", "rest_dpo", "rest_sft")  # iterations, then base against trained
STAGE_1 = ("sample", "assemble", *COMPARING)
ANSWERING = (*COMPARING, "evaluate")  # stages that, like decode.py, end with answers of `decoder`


def check(composed: DictConfig, folder: Path | None = None) -> Config:
    """The configuration as dataclasses, with every value checked against its range.

    ``folder``: the folder of the command, which relative paths mean; None: the working directory.  Raises
    UserError that names the key, its value and the allowed values.
    """
    try:
        values = OmegaConf.to_container(composed, resolve=True)  # a plain container, to detect +key=... too
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), values))
    except OmegaConfBaseException as error:
        raise UserError(explain(error)) from error
    assert isinstance(config, Config)
    resolve_paths(config, folder or Path.cwd())
    _check_ranges(config, "")
    _check_together(config)
    return config


def _check_together(config: Config) -> None:
    """Rejects contradictory values, which would otherwise end a run after hours."""
    _check_part(config.stage)
    _check_training(config)
    _check_decoder(config)
    if config.stage.name == "rest_rl":
        _check_rows(config.evaluation.rows, trained=config.grpo.iterations > 0)
    _check_budgets("evaluation.budgets", config.evaluation.budgets, config.evaluation.completions)
    evaluation = dataclasses.replace(config.evaluation.mcts, completions=config.evaluation.completions)
    budgets = {"mcts": config.mcts, "decoder.mcts": config.decoder.mcts, "evaluation.mcts": evaluation}
    for key, mcts in budgets.items():
        _check_budget(key, mcts)


def _check_part(stage: StageConfig) -> None:
    if stage.part is not None and stage.only is None:
        raise UserError(f"stage.part={stage.part}: needs stage.only, the step of which it is a part")
    if stage.part is not None and stage.part >= stage.parts:
        raise UserError(
            f"stage.part={stage.part}: parts are counted from 0, and stage.parts={stage.parts}; "
            f"must be < {stage.parts}"
        )


def _check_training(config: Config) -> None:
    rollout = config.grpo.rollout
    if config.grpo.iterations == 0 and config.stage.name in STAGE_1:
        raise UserError(
            f"grpo.iterations=0: must be >= 1, since stage={config.stage.name} is made of iterations; "
            "stage=rest_rl takes 0 for stage 2 alone, on the base model"
        )
    if rollout.n < 2:
        raise UserError(f"grpo.rollout.n={rollout.n}: must be >= 2, since a group's completions are compared")
    if config.grpo.overlap and config.engine.name != "vllm":
        raise UserError(
            f"grpo.overlap=true: engine={config.engine.name} has no copy of the weights that could sample "
            "while the policy changes; use engine=vllm"
        )
    if config.grpo.overlap and config.grpo.objective.tis_cap is None:
        raise UserError(
            "grpo.overlap=true needs grpo.objective.tis_cap, since completions come from older weights; use 2"
        )
    if rollout.temperature <= 0:
        raise UserError("grpo.rollout.temperature=0: must be > 0, since greedy completions are all the same")
    try:
        datetime.date.fromisoformat(config.model.date)
    except ValueError:
        raise UserError(f"model.date={config.model.date}: must be an ISO date such as 2025-01-01") from None


def _check_decoder(config: Config) -> None:
    decoder = config.decoder
    if bad := [k for k in decoder.k if k < 1]:
        raise UserError(f"decoder.k={decoder.k}: {bad[0]} is no number of samples; each k must be >= 1")
    answers = ("sampling.n", decoder.sampling.n) if decoder.name == "sample" else ("answers", decoder.answers)
    if decoder.name in ("sample", *CHOOSING) and max(decoder.k, default=1) > answers[1]:
        raise UserError(
            f"decoder.k={decoder.k}: pass@{max(decoder.k)} needs as many samples, and decoder.{answers[0]} "
            f"is {answers[1]}; raise it, or leave larger values out of decoder.k"
        )
    _check_choosing("decoder", decoder, decoder.name)
    if decoder.vote and config.scorer.name == "skywork" and not config.scorer.squash:
        raise UserError(
            "decoder.vote=true: it adds scores up, and skywork's may be negative; set scorer.squash=true"
        )
    most = completion_limit(decoder.mcts) if decoder.name == "mcts" else decoder.sampling.n
    _check_budgets("decoder.budgets", decoder.budgets, most)
    if decoder.name in CHOOSING and config.scorer.name == "none" and config.stage.name in ANSWERING:
        raise UserError(f"decoder={decoder.name} needs a scorer: scorer=vm, prm, orm or verifier")


def _check_choosing(where: str, settings: DecoderConfig | RowConfig, decoder: str) -> None:
    for key in OF_CHOOSING:
        if getattr(settings, key) and decoder not in CHOOSING:
            raise UserError(
                f"{where}.{key}=true: decoder={decoder} does not choose; use it with {' or '.join(CHOOSING)}"
            )


def _check_budgets(key: str, budgets: list[int], limit: int | None) -> None:
    if bad := [budget for budget in budgets if budget < 1 or (limit is not None and budget > limit)]:
        most = "" if limit is None else f" and <= {limit}, the completions of an answer"
        raise UserError(f"{key}={budgets}: {bad[0]} is out of range; each budget must be >= 1{most}")


def _check_rows(rows: list[RowConfig], trained: bool) -> None:
    """``trained``: whether the run trains a policy."""
    if not rows:
        raise UserError("evaluation.rows=[]: must have at least one row")
    for i, row in enumerate(rows):
        if row.decoder in CHOOSING and row.scorer == "none":
            raise UserError(
                f"evaluation.rows[{i}].scorer=none: decoder={row.decoder} needs one; set vm, prm, orm or "
                "verifier"
            )
        if row.decoder not in CHOOSING and row.scorer != "none":
            raise UserError(
                f"evaluation.rows[{i}].scorer={row.scorer}: decoder={row.decoder} uses none; leave it out"
            )
        _check_choosing(f"evaluation.rows[{i}]", row, row.decoder)
        if row.policy == "trained" and not trained:
            raise UserError(
                f"evaluation.rows[{i}].policy=trained: grpo.iterations=0 trains no policy; "
                "leave such rows out (evaluation=base)"
            )
        if row in rows[:i]:
            raise UserError(
                f"evaluation.rows[{i}]: the same as rows[{rows.index(row)}]; each row must be unique"
            )


def _check_budget(key: str, mcts: MctsConfig) -> None:
    if mcts.iterations is None and mcts.revisit_terminals:
        raise UserError(
            f"{key}.iterations=null: must be set, since visits of whole programs sample nothing and no other "
            f"budget ends them; or set {key}.revisit_terminals=false"
        )
    if mcts.iterations is mcts.completions is mcts.model_tokens is mcts.seconds is None:
        raise UserError(f"{key}: one of iterations, completions, model_tokens and seconds has to be set")


def _check_ranges(node: Any, prefix: str) -> None:
    for item in dataclasses.fields(node):
        value, key = getattr(node, item.name), f"{prefix}{item.name}"
        if unread(node, item) and value != item.default:
            readers = " and ".join(f"{prefix[:-1]}={name}" for name in item.metadata["readers"])
            raise UserError(f"{key}={value}: {prefix[:-1]}={node.name} does not read it, {readers} would")
        if dataclasses.is_dataclass(value):
            _check_ranges(value, f"{key}.")
        elif isinstance(value, dict):
            for name, element in value.items():
                if dataclasses.is_dataclass(element):
                    _check_ranges(element, f"{key}.{name}.")
        elif isinstance(value, list) and any(map(dataclasses.is_dataclass, value)):
            for i, element in enumerate(value):
                _check_ranges(element, f"{key}[{i}].")
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
    """One line for an error of composition or conversion: the key, the error and the allowed values."""
    file = ""
    while (inner := _inner(error)) is not None:
        if named := re.match(r"In '(.+)': ", str(error)):  # a file of conf/, not the command line
            file = f" (in conf/{named[1]}.yaml)"
        error = inner
    return _explain(error) + file


def _inner(error: BaseException) -> BaseException | None:
    """The error inside an error of composition; Hydra attaches the error of a file only as its context."""
    return error.__cause__ or (error.__context__ if isinstance(error, ConfigCompositionException) else None)


def _explain(error: BaseException) -> str:
    key = getattr(error, "full_key", None)
    first_line = str(error).strip().splitlines()[0]
    if not key:
        return first_line
    if getattr(error, "object_type", None) is RowConfig and "." not in str(key):
        key = f"evaluation.rows[].{key}"  # OmegaConf gives only the key inside the row
    parent, _, name = str(key).rpartition(".")
    known = _keys_of(parent)
    if name.endswith("]") and (inside := _keys_of(str(key))):
        return f"{key}={getattr(error, 'value', None)}: must be a mapping with {', '.join(inside)}"
    if known is None or name.partition("[")[0] in known:
        return f"{key}: {first_line}"
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {parent + '.' if parent else ''}{close[0]}?" if close else ""
    return f"{key}: no such key{hint} ({parent or 'the configuration'} has {', '.join(known)})"


def _keys_of(path: str) -> list[str] | None:
    """The keys of the schema's node at ``path`` ("" = root, ``name[i]`` = element); None if there is none."""
    kind: Any = Config
    for part in path.split(".") if path else []:
        name, bracket, _ = part.partition("[")
        kind = typing.get_type_hints(kind).get(name) if dataclasses.is_dataclass(kind) else None
        if bracket:
            kind = next(iter(typing.get_args(kind)), None)
    return [item.name for item in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else None
