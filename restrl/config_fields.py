"""What the fields of the schema (``restrl/config.py``) say of themselves, and what is made of that."""

from __future__ import annotations

import dataclasses
from dataclasses import field
from typing import Any


def limits(
    default: Any,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: tuple[str, ...] | None = None,
    decides: bool = True,
    step: str | None = None,
) -> Any:
    """A dataclass field with its allowed range: ge <= value <= le, gt < value < lt, or one of choices.

    ``decides``: whether a step's numbers depend on the setting itself.  False for names, for paths (a file is
    fingerprinted by its content), for how work is divided or saved where that does not change the result, and
    for what is computed from a step's records afterwards.  ``step``: the only step that reads the setting, in
    a group that several steps read.
    """
    allowed = {"ge": ge, "gt": gt, "le": le, "lt": lt, "choices": choices}
    return field(default=default, metadata={**allowed, "decides": decides, "step": step})


def deciding(node: Any, step: str | None = None) -> dict[str, Any]:
    """The settings of a configuration node that decide a step's numbers, as plain data, recursively.

    ``step``: settings that only another step reads are left out.
    """
    found: dict[str, Any] = {}
    for item in dataclasses.fields(node):
        if not item.metadata.get("decides", True):
            continue
        if step is not None and item.metadata.get("step") not in (None, step):
            continue
        value = getattr(node, item.name)
        found[item.name] = deciding(value) if dataclasses.is_dataclass(value) else value
    return found
