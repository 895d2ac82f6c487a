"""The metadata of fields in the schema (``restrl/config.py``), and the settings that decide numbers."""

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
    readers: tuple[str, ...] | None = None,
) -> Any:
    """A dataclass field with its allowed range: ge <= value <= le, gt < value < lt, or one of choices.

    ``decides``: whether a step's numbers depend on the setting itself.  It is False for names, for paths
    (files are fingerprinted by content), for settings of how work is divided or saved that do not change the
    result, and for settings of later computations on a step's records.  ``step``: the only step that reads
    the setting, in a group that several steps read.  ``readers``: the choices of the group (values of its
    ``name``) that read the setting; None: all of them.
    """
    allowed = {"ge": ge, "gt": gt, "le": le, "lt": lt, "choices": choices}
    return field(default=default, metadata={**allowed, "decides": decides, "step": step, "readers": readers})


def unread(node: Any, item: dataclasses.Field[Any]) -> bool:
    """Whether the group's choice, ``node.name``, does not read the setting ``item``."""
    readers = item.metadata.get("readers")
    return readers is not None and node.name not in readers


def deciding(node: Any, step: str | None = None) -> dict[str, Any]:
    """The settings of a configuration node that decide a step's numbers, as plain data, recursively.

    ``step``: settings that only another step reads are left out, as are those that the group's choice does
    not read.
    """
    settings: dict[str, Any] = {}
    for item in dataclasses.fields(node):
        if not item.metadata.get("decides", True) or unread(node, item):
            continue
        if step is not None and item.metadata.get("step") not in (None, step):
            continue
        value = getattr(node, item.name)
        settings[item.name] = deciding(value) if dataclasses.is_dataclass(value) else value
    return settings
