"""Value models: a policy's decoder with a linear head that rates states.

The layout is that of transformers' ``AutoModelForSequenceClassification`` with ``num_labels`` 1 (``scalar``:
the output is the value) or 2 (``prob``: the value is the second entry of the softmax).  So other tools can
load our models, and we can load models that others saved in this layout.  A new head is zero: at first every
state has the value 0 (scalar) or 1/2 (prob).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForSequenceClassification,
)
from transformers.utils import logging

from restrl.attention import model_name
from restrl.config import LoraConfig, ModelConfig, PathsConfig
from restrl.errors import UserError
from restrl.model.dropout import without_dropout
from restrl.model.hub import load_from
from restrl.model.load import Dtype, cast_weights, weights_dtype, with_checkpointing
from restrl.model.save import save_weights
from restrl.model.source import load_pretrained
from restrl.model.tiny import tiny_model
from restrl.model.weights import model_folder

LABELS = {"scalar": 1, "prob": 2}


def new_value_model(
    policy: ModelConfig,
    paths: PathsConfig,
    head: str,
    device: torch.device | str = "cpu",
    dtype: Dtype | None = None,
) -> Any:
    """The policy's decoder with a new head (scalar, prob), in evaluation mode on ``device``, without dropout.

    ``dtype``: of the decoder's weights, as for ``load_model``; the head is float32.  Raises UserError if the
    policy cannot be found or transformers has no sequence classification for its architecture.
    """
    labels = LABELS[head]
    dtype = dtype if dtype is not None else weights_dtype(policy, torch.device(device))
    check_value_class(policy, paths)
    if policy.source == "random" and policy.path is None:
        base = tiny_model()
        base.config.num_labels = labels
        auto: Any = AutoModelForSequenceClassification
        model: Any = auto.from_config(base.config)
        model.base_model.load_state_dict(base.base_model.state_dict())
        cast_weights(model, dtype)
    else:
        with _errors_only():  # hides the warning that the head is new
            model = load_pretrained(
                AutoModelForSequenceClassification, policy, paths, num_labels=labels, dtype=dtype
            )
    with_checkpointing(model, policy)
    nn.init.zeros_(decoder_and_score(model)[1].float().weight)
    return without_dropout(model).to(device).eval()


def check_value_class(policy: ModelConfig, paths: PathsConfig) -> None:
    """Raises UserError if transformers has no sequence classification for the policy's architecture.

    It reads only the policy's configuration.
    """
    if policy.source != "random" or policy.path is not None:
        check_architecture(load_pretrained(AutoConfig, policy, paths))


def check_architecture(config: Any) -> None:
    """Raises UserError if transformers has no sequence classification for the configuration."""
    own_code = getattr(config, "auto_map", None) or {}
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING and (
        "AutoModelForSequenceClassification" not in own_code
    ):
        raise UserError(
            f"{model_name(config)} cannot be a value model: transformers has no sequence classification of it"
        )


@contextlib.contextmanager
def _errors_only() -> Iterator[None]:
    """Hides the warnings of transformers."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)


def load_value_model(
    path: str, device: torch.device | str = "cpu", *, dtype: str = "auto", trust_remote_code: bool = False
) -> Any:
    """A value model from a folder or a hub id, in evaluation mode on ``device``, without dropout.

    Raises UserError if it cannot be found or has no linear head with one or two outputs.
    """
    settings = ModelConfig(dtype=dtype)
    try:
        model = load_from(
            AutoModelForSequenceClassification,
            path,
            dtype=weights_dtype(settings, torch.device(device)),
            trust_remote_code=trust_remote_code,
        )
    except UserError as error:
        raise UserError(f"cannot load the value model {path}: {error}") from error
    decoder_and_score(model)[1].float()
    return without_dropout(model).to(device).eval()


def decoder_and_score(model: Any) -> tuple[Any, nn.Linear]:
    """The decoder (ids -> hidden states) and the head.

    Raises UserError if the head is not a linear layer ``score`` with one or two outputs.
    """
    head = getattr(model, "score", None)
    if not isinstance(head, nn.Linear) or head.out_features not in LABELS.values():
        what = f"{head.out_features} outputs" if isinstance(head, nn.Linear) else "no linear 'score' layer"
        raise UserError(f"{type(model).__name__} has {what}: a value model has a linear head of 1 or 2")
    return model.base_model, head


def add_value_lora(model: Any, config: LoraConfig, seed: int = 0) -> None:
    """Adds trainable adapters (LoRA, arXiv 2106.09685) to the decoder and freezes its other weights.

    The head stays trainable.  ``seed`` decides the random half of the adapters.  Raises UserError if the
    target modules do not exist.
    """
    import peft

    settings = peft.LoraConfig(
        r=cast(int, config.r),
        lora_alpha=cast(int, config.alpha),  # a float works too
        lora_dropout=config.dropout,
        target_modules=config.target_modules,
    )
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        try:
            peft.inject_adapter_in_model(settings, model.base_model)
        except ValueError as error:
            raise UserError(f"model.lora.target_modules={config.target_modules}: {error}") from error


def keep_layers(model: Any, count: int) -> None:
    """Removes all layers of the decoder except the first ``count``; the head reads the last remaining one.

    The correctness of a program is best predicted from layers well below the last ones, which prepare the
    next token (arXiv 2304.13734 finds the same for the truth of statements).  Raises UserError if the decoder
    has fewer layers.
    """
    owner, name = _layers(model, count, "layers")
    setattr(owner, name, getattr(owner, name)[:count])
    model.config.num_hidden_layers = count
    if (types := getattr(model.config, "layer_types", None)) is not None:
        model.config.layer_types = types[:count]


def freeze_layers(model: Any, count: int) -> None:
    """Freezes the embeddings and the first ``count`` layers; 0 freezes nothing.

    Raises UserError if the decoder has fewer layers.
    """
    owner, name = _layers(model, count, "freeze_layers")
    if count:
        embeddings = [module for module in owner.children() if isinstance(module, nn.Embedding)]
        for module in [*embeddings, *getattr(owner, name)[:count]]:
            module.requires_grad_(False)


def _layers(model: Any, count: int, key: str) -> tuple[Any, str]:
    """The module that holds the decoder's layers (at least ``count``), and the name of their attribute."""
    decoder, _ = decoder_and_score(model)
    places = (
        (owner, name) for owner in (decoder, getattr(decoder, "decoder", None)) for name in ("layers", "h")
    )
    owner, name = next((place for place in places if hasattr(*place)), (None, ""))
    if owner is None:
        raise UserError(f"{model_name(model.config)} cannot be a value model: its layers were not found")
    if count > len(getattr(owner, name)):
        raise UserError(f"vm.{key}={count}: the model has {len(getattr(owner, name))} layers")
    return owner, name


def save_value_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Writes a folder in Hugging Face layout, atomically, with adapters merged into the weights.

    transformers reads the value of a padded sequence at its last token that is not padding, so the padding
    token must never end a state.  Raises UserError if the folder cannot be written or a weight is not finite.
    """
    model.config.pad_token_id = _padding(tokenizer)
    with model_folder(folder, "paths.outputs") as temporary:
        save_weights(model, temporary)
        tokenizer.save_pretrained(temporary)


def _padding(tokenizer: Any) -> int | None:
    """The tokenizer's padding token, or another special token if that is missing or the end token."""
    padding: int | None = tokenizer.pad_token_id
    if padding is not None and padding != tokenizer.eos_token_id:
        return padding
    special = (index for index, token in tokenizer.added_tokens_decoder.items() if token.special)
    return next((index for index in sorted(special) if index != tokenizer.eos_token_id), padding)
