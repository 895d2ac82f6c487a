"""Runs a program's source as a module: what it finds in the interpreter is what a program of its own finds.

A script (``python program.py``) is the module ``__main__`` of its file; for all other kinds of tests the
program is the module ``solution``, as an import would make it.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import importlib.machinery
import linecache
import os
import sys
import types
from collections.abc import Mapping
from typing import Any

from ..wire.source import compiled

SCRIPT, MODULE = "__main__", "solution"  # a program's name as a module
_FILES = {SCRIPT: "program.py", MODULE: "solution.py"}

_frames_left = 0  # how many of our own frames the interpreter does not count


def load(source: str, name: str, preamble: str = "") -> dict[str, Any]:
    """Runs the program as module ``name``; its globals.  Raises whatever the program raises.

    ``preamble``: see ``names_of``.
    """
    names = new_module(name, source, names_of(preamble))
    run(compiled(source, file_of(name)), names)
    return names


def names_of(preamble: str) -> dict[str, Any]:
    """What a preamble's code defines or imports, which a program finds as it finds builtins.

    They are not the program's own names: a test that asks for a function of the program gets none of them.
    Raises whatever the code raises.
    """
    if not preamble:
        return {}
    names: dict[str, Any] = {"__name__": "preamble", "__builtins__": builtins}
    exec(compiled(preamble, "<preamble>"), names)
    return {name: value for name, value in names.items() if not name.startswith("__")}


def file_of(name: str) -> str:
    """Where the program's file would be that is module ``name``."""
    return os.path.join(os.getcwd(), _FILES[name])


def new_module(name: str, source: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The globals of a new module in ``sys.modules``, with what an import sets.

    ``source`` is shown where code is asked for its source, without a file.  ``given``: of ``names_of``.
    """
    module = types.ModuleType(name)
    sys.modules[name] = module
    file = file_of(name)
    names = module.__dict__
    found = {**vars(builtins), **given} if given else builtins
    names.update(__builtins__=found, __file__=file, __cached__=None)
    if name == SCRIPT:
        names.update(__annotations__={}, __loader__=importlib.machinery.SourceFileLoader(name, file))
    linecache.cache[file] = (lambda: source,)  # as linecache.lazycache has it
    return names


def run(code: types.CodeType, names: dict[str, Any]) -> None:
    """Runs a module's code with the whole recursion limit: our own frames below it do not count.

    From Python 3.12 on, the call below concerns the recursion of C functions only; there they do count.
    """
    global _frames_left
    frame: types.FrameType | None = sys._getframe()
    frames = 0
    while frame is not None:
        frame, frames = frame.f_back, frames + 1
    for _ in range(frames - _frames_left):
        ctypes.pythonapi.Py_LeaveRecursiveCall()
    _frames_left = max(frames, _frames_left)
    exec(code, names)


def be_a_script(source: str) -> None:
    """What ``python program.py`` sets, in the folder of the program: a file, the command line, sys.path."""
    with contextlib.suppress(OSError):
        file = os.open(_FILES[SCRIPT], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.write(file, source.encode("utf-8", "surrogatepass"))
        os.close(file)
    sys.argv = [_FILES[SCRIPT]]
    sys.orig_argv = ["python", *sys.argv]
    sys.path.insert(0, os.getcwd())
