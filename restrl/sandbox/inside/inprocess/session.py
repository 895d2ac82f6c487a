"""Tests and program in one process: what loads them, and what proves that a test succeeded.

**Proof.**  A test counts as passed only if the tests' process receives a keyed hash of a number that it names
after the test has ended.  The hash object is made, and its key dropped, before any line of the program runs.
While code of the program can run, only C code holds the object: it is an element of a list that is being
sorted, and the program runs inside the sort's key function (``binding.sealed``).  CPython keeps the elements
of such a list on the C stack, the list looks empty, and the collector does not track the object: no frame,
closure, module or collector leads to it.  The sort returns normally only if the test did.

**What the proof does not show** is that the test asked the right question.  Three layers see to that:
``guard`` denies a look into frames and code, ``trust`` refuses values whose classes decide comparisons
themselves, ``integrity`` finds changes in what tests are built from.  They work in the program's process:
native code can defeat them (ctypes is closed, but numpy.lib.stride_tricks.as_strided writes anywhere).
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

from ..wire import codec
from ..wire.frames import Channel
from . import ds1000, guard, integrity, trust, unittests
from .binding import class_name, sealed, text_of

# The functions below keep these builtins, whatever a program does to the module.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]

LAYERS = ("guard", "trust", "integrity")
_KINDS: dict[str, Callable[..., Any]] = {"unittest": unittests.prepare, "ds1000": ds1000.prepare}
_NATIVE = ("ctypes", "_ctypes", "cffi", "_cffi_backend")
_unittest: dict[str, types.ModuleType] = {}


def warm() -> None:
    """Loads a copy of unittest for the tests.  A program that imports unittest gets another one to change."""
    if _unittest:
        return
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_unittest(name)}
    for name in ("unittest", "unittest.mock", "unittest.async_case"):
        importlib.import_module(name)
    _unittest.update({name: sys.modules.pop(name) for name in list(sys.modules) if _is_unittest(name)})
    sys.modules.update(before)
    unittests.watch_mocks(_unittest["unittest.mock"])
    integrity.remember(_unittest.values())
    trust.remember()
    gc.freeze()  # as Isolation.prepare does


def is_warm() -> bool:
    return bool(_unittest)


def _is_unittest(name: str) -> bool:
    return name.split(".")[0] == "unittest"


def serve(link: Channel, job: dict[str, Any], disable: list[str]) -> None:
    """Runs the tests that the tests' process names until it hangs up.

    ``disable``: of ``LAYERS``, what to leave out, to show what each is good for.
    """
    box: list[Any] = [hashlib.blake2b(key=job.pop("key"))]
    warm()
    _import_all([*job["modules"], *_imports(job["source"])])
    mock: Any = _unittest["unittest.mock"]
    tools = types.SimpleNamespace(  # not a class of ours: the program would find it
        unittest=_unittest,  # the tests' own copy, by name of module
        anything=type(mock.ANY)(),  # what the tests have for mock.ANY
        flags=set(),  # what the program was seen trying
        violations=[],  # why the running test cannot succeed any more, whatever the test catches
        problem=_trusted,  # value -> why it is not trusted, or ""
        is_librarys=bool,  # value -> whether a library made it
        verify=_unchanged,  # whether to look at everything -> the first changed attribute, or ""
        watch=_unchanged,  # adds what must not change from then on
    )

    def begin(*subjects: Any) -> None:
        """Closes the process to the program: the kind of tests calls it when all but the program is loaded.

        ``subjects`` must not change from then on.
        """
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
        link.send(codec.encode(("raise", class_name(type(error))[:100], text_of(error), None, None)))
        return
    answer(link, box, run, tools.flags)


def answer(link: Channel, box: list[Any], run: Callable[[str], None], flags: set[str]) -> None:
    """Runs the tests that the tests' process names, and proves each success.

    ``run(name)`` raises unless the test succeeds.
    """
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
    """Stops what could run code of the program between two tests."""
    sys.settrace(None)
    sys.setprofile(None)
    with contextlib.suppress(OSError, ValueError):
        signal.setitimer(signal.ITIMER_REAL, 0)
    gc.callbacks.clear()


def _import_all(names: Iterable[str]) -> None:
    """Imports what tests and program import, before the program can change it.

    A name may be that of a function in a module.  What cannot be imported fails where it is needed.
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
    """Takes all of the sandbox's modules, and the modules ``names``, which it returns, out of sys.modules."""
    package = __name__.rsplit(".", 2)[0]  # what holds this package and its neighbours
    for name in [n for n in sys.modules if n == package or n.startswith(package + ".")]:
        del sys.modules[name]
    sys.modules["__main__"] = types.ModuleType("__main__")
    return {name: sys.modules.pop(name) for name in names if name in sys.modules}
