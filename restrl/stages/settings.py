"""The settings that each step reads, and the version of its code; with the inputs they give its fingerprint.

Each field of ``restrl/config.py`` says whether it decides numbers; this module says which groups a step
reads.  Settings count as they are resolved on this machine (device, data types): on a CPU, ``auto`` and
``cpu`` are the same run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from restrl.config import Config, deciding
from restrl.model.load import weights_dtype
from restrl.scoring.registry import scorer_fingerprint
from restrl.train.strategy import precision

SCORED = ("best_of_n", "mcts")  # decoders that a scorer chooses for

# Raise a step's number when a change of its code, or of the library below it, changes the result for the same
# settings and inputs (a bug fix does), or renames a field of its artifact.  Artifacts of the older code are
# then made again.
VERSIONS = {
    "sample": 3, "assemble": 3, "initial_states": 3, "grpo": 3, "pairs": 1, "dpo": 1, "accepted": 1, "sft": 1,
    "collect": 3, "fit": 2, "decode_samples": 3, "evaluate": 3,
}  # fmt: skip


def settings(step: str, config: Config, device: torch.device) -> dict[str, Any]:
    """The settings that decide the numbers of ``step``, besides its inputs and the seed, as plain data."""
    return {"version": VERSIONS[step], **_READ[step](config, device)}


def _sample(config: Config, device: torch.device) -> dict[str, Any]:
    return {"grpo": deciding(config.grpo, "sample"), **_sampling(config, device), **_judging(config)}


def _assemble(config: Config, _device: torch.device) -> dict[str, Any]:
    return {"grpo": deciding(config.grpo, "assemble")}


def _initial_states(config: Config, _device: torch.device) -> dict[str, Any]:
    return {"prompt": [config.model.prompt, config.model.system, config.model.date]}


def _grpo(config: Config, device: torch.device) -> dict[str, Any]:
    grpo = {"grpo": deciding(config.grpo, "grpo")}
    return {**grpo, **_sampling(config, device), **_judging(config), **_training(config)}


def _pairs(config: Config, _device: torch.device) -> dict[str, Any]:
    return {"sigma0": config.grpo.sigma0, "dpo": deciding(config.dpo, "pairs")}


def _dpo(config: Config, device: torch.device) -> dict[str, Any]:
    return {"dpo": deciding(config.dpo, "train"), **_model(config, device), **_training(config)}


def _accepted(config: Config, _device: torch.device) -> dict[str, Any]:
    return {"sft": deciding(config.sft, "accepted")}


def _sft(config: Config, device: torch.device) -> dict[str, Any]:
    return {"sft": deciding(config.sft, "train"), **_model(config, device), **_training(config)}


def _collect(config: Config, device: torch.device) -> dict[str, Any]:
    return {"mcts": deciding(config.mcts), **_sampling(config, device), **_judging(config)}


def _fit(config: Config, device: torch.device) -> dict[str, Any]:
    return {"vm": deciding(config.vm), **_model(config, device), **_training(config)}


def _decode_samples(config: Config, device: torch.device) -> dict[str, Any]:
    return {"sampling": deciding(config.decoder.sampling), **_sampling(config, device)}


def _evaluate(config: Config, device: torch.device) -> dict[str, Any]:
    """The settings of the configured decoder and scorer."""
    decoder = deciding(config.decoder)
    if decoder["name"] == "replay":  # the answers of the file are an input; nothing is sampled
        return {"decoder": {"name": "replay"}, **_judging(config)}
    if decoder["name"] != "mcts":
        del decoder["mcts"]
    if decoder["name"] in SCORED:
        decoder["scorer"] = scorer_fingerprint(config.scorer, config.paths, device)
    else:
        del decoder["answers"]
    return {"decoder": decoder, **_sampling(config, device), **_judging(config)}


_READ: dict[str, Callable[[Config, torch.device], dict[str, Any]]] = {
    "sample": _sample,
    "assemble": _assemble,
    "initial_states": _initial_states,
    "grpo": _grpo,
    "pairs": _pairs,
    "dpo": _dpo,
    "accepted": _accepted,
    "sft": _sft,
    "collect": _collect,
    "fit": _fit,
    "decode_samples": _decode_samples,
    "evaluate": _evaluate,
}


def _sampling(config: Config, device: torch.device) -> dict[str, Any]:
    """The settings that decide samples, besides the policy's weights, the prompts and the sampling group."""
    return {"engine": deciding(config.engine), **_model(config, device)}


def _model(config: Config, device: torch.device) -> dict[str, Any]:
    model = deciding(config.model) | {"dtype": str(weights_dtype(config.model, device))}
    del model["lora"]  # it decides only how a model is trained
    return {"model": model, "device": device.type, "matmul": config.trainer.matmul}


def _training(config: Config) -> dict[str, Any]:
    trainer = deciding(config.trainer) | {"precision": precision(config.trainer)}
    return {"trainer": trainer, "lora": deciding(config.model.lora)}


def _judging(config: Config) -> dict[str, Any]:
    """The settings that decide verdicts, besides the programs and their tests."""
    return {"sandbox": deciding(config.sandbox)}
