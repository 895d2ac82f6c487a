"""The child's side of the shared tier: tests and program in one process, and what a success is worth there.

**Proof.**  A test has passed if the tests' process gets a keyed hash of a number that it names only after the
test has ended.  The hash object is made before any line of the program runs, and its key is dropped.  While
code of the program can run, the object is held by C alone: it is an element of a list that is being sorted,
and the program runs inside the sort's key function.  CPython keeps the elements of such a list on the C
stack, the list looks empty, and the collector does not track the object: no frame, closure, module or
collector leads to it (``binding.sealed``).  The sort returns normally only if the test did.

**What the proof does not show** is that the test asked the right question.  Three layers see to that:
``guard`` denies a look into frames and code, ``trust`` refuses values whose classes decide comparisons
themselves, ``integrity`` finds changes in what tests are built from.  They work in the program's process:
native code can defeat them (ctypes is closed, but numpy.lib.stride_tricks.as_strided writes anywhere).

Modules of this tier define no classes: object.__subclasses__() would lead to them, and on to their globals.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import gc
import hashlib
import importlib
import signal
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

from . import codec, contexts, guard, integrity, testcases, trust, wire
from .binding import class_name, sealed, text_of

# The functions below keep these, whatever a program does to builtins.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]

LAYERS = ("guard", "trust", "integrity")
_KINDS: dict[str, Callable[..., Any]] = {"unittest": testcases.prepare, "ds1000": contexts.prepare}
_NATIVE = ("ctypes", "_ctypes", "cffi", "_cffi_backend")
_unittest: dict[str, types.ModuleType] = {}


def warm() -> None:
    """Loads the copy of unittest that tests use: what a program does to its own changes nothing there."""
    if _unittest:
        return
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_unittest(name)}
    for name in ("unittest", "unittest.mock", "unittest.async_case"):
        importlib.import_module(name)
    _unittest.update({name: sys.modules.pop(name) for name in list(sys.modules) if _is_unittest(name)})
    sys.modules.update(before)
    testcases.watch_mocks(_unittest["unittest.mock"])
    integrity.remember(_unittest.values())
    trust.remember()
    gc.freeze()  # as the server does with what it has loaded


def is_warm() -> bool:
    return bool(_unittest)


def _is_unittest(name: str) -> bool:
    return name.split(".")[0] == "unittest"


def serve(link: wire.Channel, job: dict[str, Any], disable: list[str]) -> None:
    """Runs the tests that the tests' process names until it hangs up.

    ``disable``: of ``LAYERS``, what to leave out, to show what each is good for.
    """
    box: list[Any] = [hashlib.blake2b(key=job.pop("key"))]
    warm()
    _import_all([*job["modules"], *_imports(job["source"])])
    tools = types.SimpleNamespace(
        unittest=_unittest, flags=set(), violations=[], problem=_trusted, is_librarys=bool
    )
    mock: Any = _unittest["unittest.mock"]
    tools.anything = type(mock.ANY)()
    tools.verify = tools.watch = _unchanged

    def begin(*subjects: Any) -> None:
        """Called by the kind of tests when all is loaded but the program; ``subjects`` must not change."""
        if "trust" not in disable:
            tools.problem, tools.is_librarys = trust.checker(mock, tools.anything, subjects)
        if "integrity" not in disable:
            tools.verify, tools.watch = integrity.verifier(job["modules"], job["patched"])
            for subject in [*_unittest.values(), *subjects]:
                tools.watch(subject)
        hidden = _hide(() if job["native"] else _NATIVE)
        if "guard" not in disable:
            guard.install(tools.flags, None if job["native"] else hidden)()

    try:
        run = _KINDS[job["kind"]](job, tools, begin)
    except BaseException as error:
        link.send(codec.encode(("raise", class_name(type(error))[:100], text_of(error))))
        return
    answer(link, box, run, tools.flags)


def answer(link: wire.Channel, box: list[Any], run: Callable[[str], None], flags: set[str]) -> None:
    """Runs what is asked for and proves what succeeded.  ``run(name)`` raises unless the test succeeds."""
    send, receive, encode, decode = link.send, link.receive, codec.encode, codec.decode
    send(encode(("loaded", [])))
    while True:
        name = decode(receive())
        if type(name) is not str:
            return
        failure = sealed(box, functools.partial(run, name))
        _quiet()
        send(encode(("ended",)))
        number = decode(receive())
        proof = b""
        if not failure and type(number) is bytes:
            hashed = box[0].copy()
            hashed.update(number + name.encode())
            proof = hashed.digest()
        send(encode(("proof", proof, failure, sorted(flags))))


def _trusted(_value: Any) -> str:
    return ""


def _unchanged(_subject: Any) -> str:
    return ""


def _quiet() -> None:
    """Stops what could run by itself between two tests."""
    sys.settrace(None)
    sys.setprofile(None)
    with contextlib.suppress(OSError, ValueError):
        signal.setitimer(signal.ITIMER_REAL, 0)
    gc.callbacks.clear()


def _import_all(names: Iterable[str]) -> None:
    """What tests and program import, before the program runs: classes and functions of libraries as they are.

    A name may be that of a function in a module; whatever cannot be imported is left to who wants it.
    """
    for name in names:
        if _is_unittest(name) or name in sys.modules:
            continue
        parent = sys.modules.get(name.rpartition(".")[0])
        if parent is None or (hasattr(parent, "__path__") and not hasattr(parent, name.rpartition(".")[2])):
            with contextlib.suppress(BaseException):
                importlib.import_module(name)


def _imports(source: str) -> list[str]:
    """Modules that the program's import statements name; none if it is not Python."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return []
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def _hide(names: Iterable[str]) -> dict[str, Any]:
    """Takes the harness, and the modules ``names``, which it returns, out of sys.modules."""
    package = __name__.rpartition(".")[0]
    for name in [n for n in sys.modules if n == package or n.startswith(package + ".")]:
        del sys.modules[name]
    sys.modules["__main__"] = types.ModuleType("__main__")
    return {name: sys.modules.pop(name) for name in names if name in sys.modules}
