"""Warns if a training moved the weights by less than the resolution of the dtype that uses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from restrl.attention import base_of
from restrl.config import ModelConfig
from restrl.model.load import Dtype, load_model, weights_dtype
from restrl.model.resolution import resolved_share, updated_weights
from restrl.stages.resources import PolicyRef
from restrl.stages.session import Session
from restrl.train.strategy import precision

MOSTLY = 0.5  # share of an update; below it, the model's outputs show little of what was learnt

Start = Callable[[torch.device, Dtype], Any]  # loads the model from which the training started


def policy_resolution(session: Session, policy: PolicyRef, trained: Any, title: str) -> dict[str, Any]:
    """The share of an update of ``policy`` that sampling resolves, as ``update_resolved`` for the summary.

    Empty if sampling uses float32, which resolves everything.
    """

    def start(device: torch.device, dtype: Dtype) -> Any:
        return load_model(policy.model, session.config.paths, device, dtype)

    used = f"{title}: the policy samples", "model.dtype=float32 samples all of it"
    return _resolution(session, base_of(trained), start, weights_dtype(policy.model, session.device), used)


def value_resolution(session: Session, trained: Any, start: Start) -> dict[str, Any]:
    """The same for the decoder of a value model and its scores."""

    def decoder(device: torch.device, dtype: Dtype) -> Any:
        return start(device, dtype).base_model

    used = "fit: the value model scores", "a larger vm.lr moves more"
    return _resolution(
        session, trained.base_model, decoder, weights_dtype(ModelConfig(), session.device), used
    )


def _resolution(
    session: Session, model: Any, start: Start, dtype: torch.dtype, used: tuple[str, str]
) -> dict[str, Any]:
    if dtype == torch.float32:
        return {}
    stored: Dtype = torch.bfloat16 if precision(session.config.trainer) == "bf16-true" else "auto"
    share = resolved_share(updated_weights(model, lambda: start(torch.device("cpu"), stored)), dtype)
    name = str(dtype).removeprefix("torch.")
    if share is not None and share < MOSTLY:
        session.console.say(
            f"{used[0]} in {name}, which resolves {share:.0%} of this update; the saved weights hold all of "
            f"it, and training goes on from them; {used[1]}"
        )
    return {"update_resolved": {"share": share, "dtype": name}}
