"""The metadata of fields in the schema (``restrl/config.py``), and the settings that decide numbers."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import field
from pathlib import Path
from typing import Any

# Kinds of paths.  A relative path means the folder of the command, wherever the process works.
PATH = "path"
PATH_OR_NAME = "path or name"  # a name, such as that of a model on the hub, if there is no such file
EXECUTABLE = "executable"  # a path if it has a slash, as in a shell, or else a command
NODE_PATHS = {"save_dir": PATH, "dirpath": PATH}  # in nodes of loggers and callbacks


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
    path: str | None = None,
    readers: tuple[str, ...] | None = None,
) -> Any:
    """A dataclass field with its allowed range: ge <= value <= le, gt < value < lt, or one of choices.

    ``decides``: whether a step's numbers depend on the setting itself.  It is False for names, for paths
    (files are fingerprinted by content), for settings of how work is divided or saved that do not change the
    result, and for settings of later computations on a step's records.  ``step``: the only step that reads
    the setting, in a group that several steps read.  ``path``: the kind of path that the field holds, if any.
    ``readers``: the choices of the group (values of its ``name``) that read the setting; None: all of them.
    """
    allowed = {"ge": ge, "gt": gt, "le": le, "lt": lt, "choices": choices}
    return field(
        default=default,
        metadata={**allowed, "decides": decides, "step": step, "path": path, "readers": readers},
    )


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


def resolve_paths(node: Any, folder: Path) -> None:
    """Makes the relative paths in a configuration node mean ``folder``, recursively, in place.

    They are left as they are if ``folder`` is the working directory, except for executables, which are run in
    another one.
    """
    for item in dataclasses.fields(node):
        value, kind = getattr(node, item.name), item.metadata.get("path")
        if dataclasses.is_dataclass(value):
            resolve_paths(value, folder)
        elif isinstance(value, str) and kind is not None:
            setattr(node, item.name, _resolved(value, kind, folder))
        elif isinstance(value, dict):
            _resolve_nodes(value, folder)


def _resolve_nodes(nodes: dict[str, Any], folder: Path) -> None:
    """``nodes``: name -> a node of the schema, or one for Hydra to instantiate."""
    for node in nodes.values():
        if dataclasses.is_dataclass(node):
            resolve_paths(node, folder)
        for key, kind in NODE_PATHS.items():
            if isinstance(node, dict) and isinstance(node.get(key), str):
                node[key] = _resolved(node[key], kind, folder)


def _resolved(value: str, kind: str, folder: Path) -> str:
    path = folder / value
    if kind == EXECUTABLE:
        return str(path) if os.sep in value else value
    if folder == Path.cwd() or (kind == PATH_OR_NAME and not path.exists()):
        return value
    return str(path)
