"""Models as folders in Hugging Face layout."""

from __future__ import annotations

import contextlib
import itertools
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.core_model_loading import revert_weight_conversion

from restrl.attention import base_of, model_name
from restrl.errors import UserError
from restrl.files import check_room
from restrl.model.adapters import adapter_layers, merged_weights
from restrl.model.hub import quiet
from restrl.model.weights import model_folder


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Writes a folder in Hugging Face layout, atomically; the model is not changed.

    Adapters are merged into the written weights, so that every tool can load the folder, and also stored
    separately in ``adapter``.  Raises UserError if the folder cannot be written or a weight is not finite.
    """
    with model_folder(folder, "paths.outputs") as temporary:
        if hasattr(model, "get_base_model"):
            model.save_pretrained(temporary / "adapter")
        save_weights(base_of(model), temporary)
        tokenizer.save_pretrained(temporary)


# a block in which the parameters of a module with these names are whole
Gathered = Callable[[nn.Module, Sequence[str]], contextlib.AbstractContextManager[None]]


def stored_form(model: Any, gathered: Gathered | None = None) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights (with adapters merged) under the names and in the shapes in which they are saved.

    They differ from those in memory for some models, for example where the experts of a layer are one tensor
    in memory.  One layer is converted at a time; ``gathered``: for weights that are divided among ranks.
    """
    for _, layer in itertools.groupby(model.state_dict(), key=_layer):
        names = list(layer)
        with contextlib.nullcontext() if gathered is None else gathered(model, names):
            yield from revert_weight_conversion(model, merged_weights(model, names)).items()


def _layer(name: str) -> str:
    """model.layers.3.mlp.up_proj.weight -> model.layers.3.

    A name without a number is its own layer, with its adapters.
    """
    found = re.match(r".*?\.\d+\.", name)
    return re.split(r"\.(?:base_layer|lora_\w+)\.", name)[0] if found is None else found[0]


def save_weights(model: Any, folder: Path) -> None:
    """Writes weights (with adapters merged) and configuration into ``folder``; the model is not changed.

    Raises UserError if a weight is not finite: no training that starts from it would recover.
    """
    weights = merged_weights(model)
    if bad := next((name for name, tensor in weights.items() if not tensor.isfinite().all()), None):
        raise UserError(
            f"the trained weights are not finite ({bad}), so the model was not saved; lower grpo.lr or vm.lr "
            "or use trainer.precision=32-true"
        )
    model.save_pretrained(folder, state_dict=weights)
    if adapter_layers(model):  # the merged weights are float32, but the configuration has the dtype in memory
        before, model.config.dtype = model.config.dtype, torch.float32
        model.config.save_pretrained(folder)
        model.config.dtype = before


def check_saving(model: Any, tokenizer: Any) -> None:
    """Saves all of a model but its weights into a temporary folder, before a training.

    Raises UserError if transformers refuses, which would lose the training otherwise.
    """
    base = base_of(model)
    with tempfile.TemporaryDirectory() as folder, quiet(hide_stderr=False):
        try:
            base.save_pretrained(folder, state_dict={})
            tokenizer.save_pretrained(folder)
        except Exception as error:  # each kind of configuration and tokenizer has its own checks
            why = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"{model_name(base.config)} cannot be saved once it is trained: {why}") from error


def check_room_for(model: Any, folder: Path) -> None:
    """Raises UserError if ``model`` would not fit on the disk as ``save_model`` writes it to ``folder``."""
    merged = bool(adapter_layers(model))  # merged weights are float32
    sizes = (
        tensor.numel() * (4 if merged else tensor.itemsize)
        for name, tensor in base_of(model).named_parameters()
        if ".lora_" not in name
    )
    check_room(folder, sum(sizes), "the trained model", "paths.outputs")
