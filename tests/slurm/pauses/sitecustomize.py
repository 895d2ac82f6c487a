"""Lets the real commands in jobs wait at chosen calls, until the test has disturbed them.

Python imports it at its start, where this folder is in PYTHONPATH.  ``RESTRL_PAUSES`` is a folder with a file
for each pause, whose text is "module:Class.method call": the process that is first to make that call for the
``call``-th time renames the file to NAME.reached, writes its process id to NAME.pid, and waits.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any


def wait_at(pause: Path) -> None:
    """Waits until the test removes the file, if no process has waited there before."""
    reached = pause.with_suffix(".reached")
    try:
        pause.rename(reached)
    except FileNotFoundError:
        return
    reached.with_suffix(".pid").write_text(str(os.getpid()))
    while reached.exists():
        time.sleep(0.2)


def arm(module: ModuleType, path: str, call: int, pause: Path) -> None:
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, module)
    original, calls = getattr(owner, name), 0

    @functools.wraps(original)
    def waiting(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            wait_at(pause)
        return original(*args, **options)

    setattr(owner, name, waiting)


class Pauses(importlib.abc.MetaPathFinder):
    """Arms a module's calls right after it has been imported."""

    def __init__(self, folder: Path) -> None:
        self.pending: dict[str, list[tuple[str, int, Path]]] = {}
        for pause in folder.glob("*.pause"):
            target, call = pause.read_text().split()
            module, path = target.split(":")
            self.pending.setdefault(module, []).append((path, int(call), pause))

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del target
        if name not in self.pending:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.loader is not None
        run, points = spec.loader.exec_module, self.pending.pop(name)

        def exec_module(module: ModuleType) -> None:
            run(module)
            for point, call, pause in points:
                arm(module, point, call, pause)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if "RESTRL_PAUSES" in os.environ:
    sys.meta_path.insert(0, Pauses(Path(os.environ["RESTRL_PAUSES"])))
