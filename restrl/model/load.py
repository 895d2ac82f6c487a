"""Models and tokenizers in memory: what was found, or random for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from restrl.config import ModelConfig, PathsConfig
from restrl.model.dropout import without_dropout
from restrl.model.source import load_pretrained
from restrl.model.tiny import tiny_config, tiny_model, tiny_tokenizer

Dtype = torch.dtype | Literal["auto"]  # of weights; auto: as the files store them


def load_tokenizer(config: ModelConfig, paths: PathsConfig) -> Any:
    """The model's tokenizer.  Raises UserError where it cannot be found."""
    if config.source == "random" and config.path is None:
        return tiny_tokenizer()
    return load_pretrained(AutoTokenizer, config, paths)


def load_model(
    config: ModelConfig,
    paths: PathsConfig,
    device: torch.device | str = "cpu",
    dtype: Dtype | None = None,
) -> Any:
    """The causal language model, in evaluation mode on ``device``, without dropout.

    ``dtype``: of its weights; None: that of sampling, ``weights_dtype``.  Raises UserError where the model
    cannot be found or is none.
    """
    dtype = dtype if dtype is not None else weights_dtype(config, torch.device(device))
    if config.source == "random" and config.path is None:
        return cast_weights(tiny_model(), dtype).to(device)
    model = load_pretrained(AutoModelForCausalLM, config, paths, dtype=dtype)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return without_dropout(model).to(device).eval()


def cast_weights(model: Any, dtype: Dtype, *, frozen: bool = True) -> Any:
    """``model`` with its weights in ``dtype``, in place; ``frozen=False``: only those that are trained.

    Buffers stay: rotary frequencies in bfloat16 would be wrong from the hundredth position on.
    """
    for parameter in model.parameters() if dtype != "auto" else ():
        if frozen or parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)
    return model


def positions_of(config: ModelConfig, paths: PathsConfig) -> int | None:
    """Tokens that the model's context holds, prompt and answer together; None: not limited.

    The weights are not loaded.  Raises UserError where the model cannot be found.
    """
    if config.source == "random" and config.path is None:
        found: Any = tiny_config()
    elif config.path is not None and (Path(config.path).expanduser() / "adapter_config.json").exists():
        return None  # adapters, which name their model elsewhere
    else:
        found = load_pretrained(AutoConfig, config, paths)
    positions: int | None = getattr(found.get_text_config(), "max_position_embeddings", None)
    return positions


def weights_dtype(config: ModelConfig, device: torch.device) -> torch.dtype:
    """What the weights are held in: ``dtype=auto`` is bfloat16 on a GPU that has it, float32 elsewhere."""
    if config.dtype != "auto":
        dtype: torch.dtype = getattr(torch, config.dtype)
        return dtype
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
