"""Models as folders in Hugging Face layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from restrl.attention import base_of
from restrl.errors import UserError
from restrl.model.adapters import adapter_layers, merged_weights
from restrl.model.weights import model_folder


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Writes a folder in Hugging Face layout that appears whole; the model stays as it is.

    Adapters are merged into the weights that are written, so that every tool loads the folder, and kept in
    ``adapter`` beside.  Raises UserError where it cannot be written, or where a weight is not finite.
    """
    with model_folder(folder, "paths.outputs") as temporary:
        if hasattr(model, "get_base_model"):
            model.save_pretrained(temporary / "adapter")
        save_weights(base_of(model), temporary)
        tokenizer.save_pretrained(temporary)


def save_weights(model: Any, folder: Path) -> None:
    """Writes weights and configuration into ``folder``, adapters merged; the model stays as it is.

    Raises UserError where a weight is not finite: what started from such a model would never fix.
    """
    weights = merged_weights(model)
    if bad := next((name for name, tensor in weights.items() if not tensor.isfinite().all()), None):
        raise UserError(
            f"the trained weights are not finite ({bad}), so the model was not saved; lower grpo.lr or vm.lr "
            "or use trainer.precision=32-true"
        )
    model.save_pretrained(folder, state_dict=weights)
    if adapter_layers(model):  # the configuration says what to load, and took it from the weights in memory
        before, model.config.dtype = model.config.dtype, torch.float32
        model.config.save_pretrained(folder)
        model.config.dtype = before
