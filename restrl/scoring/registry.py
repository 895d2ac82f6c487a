"""Scorers by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from restrl.config import ModelConfig, PathsConfig, ScorerConfig, deciding
from restrl.errors import UserError
from restrl.model.hub import load_from
from restrl.model.load import weights_dtype
from restrl.model.selfcheck import check_value_model
from restrl.model.source import model_fingerprint
from restrl.model.value import load_value_model
from restrl.protocols import Judge
from restrl.records import Problem
from restrl.scoring.base import Kind, Scorer
from restrl.scoring.orm import ChatRewardModel
from restrl.scoring.prm import math_shepherd, qwen_math_prm
from restrl.scoring.verifier import Verifier
from restrl.scoring.vm import ValueScorer


@dataclass(frozen=True)
class ScorerInputs:
    """Inputs that a scorer may need besides its model."""

    problems: Mapping[str, Problem]  # by task_id
    device: torch.device
    judge: Callable[[], Judge] | None = None  # opens the sandbox; only for the verifier


VALUE_MODELS: dict[str, Kind] = {"vm": "state", "prm": "state", "orm": "outcome"}
THIRD_PARTIES: dict[str, tuple[Any, Callable[..., Scorer]]] = {
    "skywork": (AutoModelForSequenceClassification, ChatRewardModel),
    "math_shepherd": (AutoModelForCausalLM, math_shepherd),
    "qwen_math_prm": (AutoModelForTokenClassification, qwen_math_prm),
}


def build_scorer(config: ScorerConfig, inputs: ScorerInputs) -> Scorer:
    """The scorer, with its model on the device of ``inputs``.  Raises UserError if it cannot be loaded."""
    if config.name == "verifier":
        if inputs.judge is None:
            raise ValueError("the verifier needs a judge")
        return Verifier(inputs.judge, inputs.problems)
    if config.name == "none":
        raise UserError("scorer=none rates nothing; choose a scorer, such as scorer=vm")
    path = scorer_path(config)
    if config.name in VALUE_MODELS:
        model = load_value_model(path, inputs.device, trust_remote_code=config.trust_remote_code)
        check_value_model(model)
        return ValueScorer(
            model,
            kind=VALUE_MODELS[config.name],
            max_tokens=_window(model, config),
            tokens_per_batch=config.tokens_per_batch,
        )
    auto, make = THIRD_PARTIES[config.name]
    model, tokenizer = _load(auto, path, config, inputs.device)
    config = dataclasses.replace(config, max_tokens=_window(model, config))
    return make(model, tokenizer, inputs.problems, config)


def _window(model: Any, config: ScorerConfig) -> int:
    """The maximum of tokens per input: the configured number, or the model's context if it is shorter."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return config.max_tokens if positions is None else min(config.max_tokens, positions)


def scorer_kind(config: ScorerConfig) -> Kind:
    """The kind of the scorer, without loading it."""
    return "state" if config.name in ("vm", "prm", "math_shepherd", "qwen_math_prm") else "outcome"


def is_oracle(config: ScorerConfig) -> bool:
    """Whether the scorer uses the tests, which makes its results an upper bound."""
    return config.name == "verifier"


def scorer_fingerprint(config: ScorerConfig, paths: PathsConfig, device: torch.device) -> dict[str, Any]:
    """Everything that decides the scores, as plain data: settings, the model's fingerprint and its dtype."""
    if config.name in ("none", "verifier"):
        return {"name": config.name}
    model = ModelConfig(path=scorer_path(config), trust_remote_code=config.trust_remote_code)
    dtype = str(weights_dtype(model, device))
    return {**deciding(config), "model": model_fingerprint(model, paths), "dtype": dtype}


def scorer_path(config: ScorerConfig) -> str:
    """The folder or hub id of the scorer's model.  Raises UserError if none is configured."""
    if config.path is None:
        raise UserError(
            f"scorer={config.name}: set scorer.path to the folder of a value model, such as the one that "
            "stage=value_model prints"
        )
    return config.path


def _load(auto: Any, path: str, config: ScorerConfig, device: torch.device) -> tuple[Any, Any]:
    """Model and tokenizer of a third party.  A model with custom code is loaded by its own class."""
    trust = config.trust_remote_code
    try:
        if auto is AutoModelForTokenClassification and trust:
            classes = getattr(load_from(AutoConfig, path, trust_remote_code=True), "auto_map", None) or {}
            auto = AutoModel if "AutoModel" in classes else auto
        dtype = weights_dtype(ModelConfig(), device)
        model = load_from(auto, path, dtype=dtype, trust_remote_code=trust)
        tokenizer = load_from(AutoTokenizer, path, trust_remote_code=trust)
    except UserError as error:
        raise UserError(f"scorer={config.name}: cannot load {path}: {error}; set scorer.path") from error
    return model.to(device).eval(), tokenizer
