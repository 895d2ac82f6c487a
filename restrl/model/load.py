"""Loads models and tokenizers into memory; for tests, creates random ones."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from restrl.config import ModelConfig, PathsConfig
from restrl.model.dropout import without_dropout
from restrl.model.source import load_pretrained
from restrl.model.tiny import tiny_config, tiny_model, tiny_tokenizer

# settings of transformers' generate that decide which of its other settings count
MODES = ("do_sample", "num_beams", "use_cache", "return_dict_in_generate")

# where DeepSpeed is installed, transformers imports it to save a model, and it warns if there is no GPU
logging.getLogger("DeepSpeed").addFilter(
    lambda record: "Setting accelerator to CPU" not in record.getMessage()
)

Dtype = torch.dtype | Literal["auto"]  # of weights; auto: as the files store them


def load_tokenizer(config: ModelConfig, paths: PathsConfig) -> Any:
    """The model's tokenizer.  Raises UserError if it cannot be found."""
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

    ``dtype``: of the weights; None: the dtype for sampling, ``weights_dtype``.  Raises UserError if the model
    cannot be found or is not a causal language model.
    """
    dtype = dtype if dtype is not None else weights_dtype(config, torch.device(device))
    if config.source == "random" and config.path is None:
        return with_checkpointing(cast_weights(tiny_model(), dtype), config).to(device)
    model = load_pretrained(AutoModelForCausalLM, config, paths, dtype=dtype)
    if model.generation_config is not None:  # a model with its own code may have none
        model.generation_config = savable(model.generation_config)
    return with_checkpointing(without_dropout(model), config).to(device).eval()


def with_checkpointing(model: Any, config: ModelConfig) -> Any:
    """Lets a backward pass compute the layers' activations again, if configured; returns ``model``.

    Only in training mode: sampling and rating are as fast as before.
    """
    if config.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def savable(config: GenerationConfig) -> GenerationConfig:
    """``config`` without settings that transformers refuses to save, such as a temperature without do_sample.

    Many published models have some.  ``generate`` ignores these settings, so its results do not change.
    """
    if _is_savable(config):
        return config
    accepted = GenerationConfig()  # type: ignore[no-untyped-call]
    for name in sorted(config.to_diff_dict(), key=lambda name: name not in MODES):
        default = getattr(accepted, name, None)
        setattr(accepted, name, getattr(config, name))
        if not _is_savable(accepted):
            setattr(accepted, name, default)
    return accepted


def _is_savable(config: GenerationConfig) -> bool:
    try:
        config.validate(strict=True)
    except ValueError:
        return False
    return True


def cast_weights(model: Any, dtype: Dtype, *, frozen: bool = True) -> Any:
    """Casts the weights of ``model`` to ``dtype``, in place; ``frozen=False``: only trained weights.

    Buffers are not cast: rotary frequencies in bfloat16 would be wrong from the hundredth position on.
    """
    for parameter in model.parameters() if dtype != "auto" else ():
        if frozen or parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)
    return model


def positions_of(config: ModelConfig, paths: PathsConfig) -> int | None:
    """The model's context length in tokens, for prompt and answer together; None: not limited.

    The weights are not loaded.  Raises UserError if the model cannot be found.
    """
    if config.source == "random" and config.path is None:
        settings: Any = tiny_config()
    elif config.path is not None and (Path(config.path).expanduser() / "adapter_config.json").exists():
        return None  # a folder with adapters alone has no configuration of its base model
    else:
        settings = load_pretrained(AutoConfig, config, paths)
    positions: int | None = getattr(settings.get_text_config(), "max_position_embeddings", None)
    return positions


def weights_dtype(config: ModelConfig, device: torch.device) -> torch.dtype:
    """The dtype of the weights: ``dtype=auto`` is bfloat16 on a GPU that supports it, else float32."""
    if config.dtype != "auto":
        dtype: torch.dtype = getattr(torch, config.dtype)
        return dtype
    if device.type != "cuda":
        return torch.float32
    # a job without a GPU reads what jobs with one made: it takes them for present ones
    supported = not torch.cuda.is_available() or torch.cuda.is_bf16_supported()
    return torch.bfloat16 if supported else torch.float32
