"""Runs a program's source as a module."""

from __future__ import annotations

import builtins
import sys
import types
from typing import Any


def load(source: str, name: str) -> dict[str, Any]:
    """Runs the program as module ``name``; its globals.  Raises whatever the program raises."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    module.__dict__["__builtins__"] = builtins
    exec(compile(source, f"<{name}>", "exec"), module.__dict__)
    return module.__dict__
