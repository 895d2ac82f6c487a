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
    """Writes a folder in Hugging Face layout, atomically; the model is not changed.

    Adapters are merged into the written weights, so that every tool can load the folder, and also stored
    separately in ``adapter``.  Raises UserError if the folder cannot be written or a weight is not finite.
    """
    with model_folder(folder, "paths.outputs") as temporary:
        if hasattr(model, "get_base_model"):
            model.save_pretrained(temporary / "adapter")
        save_weights(base_of(model), temporary)
        tokenizer.save_pretrained(temporary)


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
