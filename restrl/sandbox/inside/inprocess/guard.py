"""Denies a program the means to look into the frames, the code and the memory of the tests beside it.

An audit hook (PEP 578) sees every such look before it happens, however it is written.  Whether it is allowed
depends on who asks.  Code belongs to the harness, to the tests, to a library (its file lies in a read-only
tree), or else to the program.  A library may look at frames for itself (logging, namedtuple, pandas'
warnings), but not to hand them on to the program (inspect, traceback.walk_stack).  Where the program makes
code that names a library's file, the file must hold that code.
"""

from __future__ import annotations

import builtins
import os
import site
import sys
import sysconfig
import threading
import types
from collections.abc import Callable, Mapping
from typing import Any

from ..wire.marks import FILENAME
from .binding import bound

# The functions below keep these builtins, whatever a program does to the module.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]

HARNESS, TESTS, LIBRARY, PROGRAM = "harness", "tests", "library", "program"
_FRAMES = {"tb_frame", "gi_frame", "cr_frame", "ag_frame"}
_CODE = {"__code__", "__defaults__", "__kwdefaults__", "gi_code", "cr_code", "ag_code", "f_code"}
# Library code that hands frames, code or memory on to its caller.
_HANDS_ON = (
    "/inspect.py", "/traceback.py", "/bdb.py", "/pdb.py", "/trace.py", "/cProfile.py", "/profile.py",
    "/asyncio/base_tasks.py", "/asyncio/tasks.py", "/ctypes/__init__.py", "/ctypes/util.py", "/ctypeslib.py",
    "/_ctypeslib.py", "/six.py", "/operator.py", "/functools.py", "/importlib/__init__.py",
    "<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>",
)  # fmt: skip
_READS_TRACEBACKS = {"walk_tb", "extended_frame_gen", "_walk_tb_with_full_positions"}
_READS_SIGNATURES = {"_signature_from_function", "_has_code_flag", "isfunction"}
_TRACES = {"sys.settrace", "sys.setprofile", "sys.addaudithook"}
_COLLECTOR = {"gc.get_objects", "gc.get_referrers"}
_STACKS = {"sys._getframe", "sys._current_frames", "sys._current_exceptions"}
_CHANGES = {"object.__setattr__", "object.__delattr__"}


def install(flags: set[str], native: Mapping[str, Any] | None) -> Callable[[], None]:
    """Installs the hook and returns the function that arms it, for good.

    A denied look raises PermissionError, and its kind is added to ``flags``: frames, gc, ctypes, patching.
    ``native``: the modules that give access to memory.  They were taken out of sys.modules, and the hook puts
    them back for libraries.  None: the tests use these modules themselves, so they are not denied.
    """
    armed: list[bool] = []
    busy: set[int] = set()
    kind, judges = classifier(), _judges(native)
    ident, getframe = threading.get_ident, sys._getframe

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        judge = judges.get(event) or (judges["ctypes"] if event.startswith("ctypes.") else None)
        if judge is None or not armed or ident() in busy:
            return
        busy.add(ident())  # the judge looks into frames itself, which is an event as well
        try:
            flag = judge(event, arguments, getframe(1), kind)
        finally:
            busy.discard(ident())
        if flag:
            flags.add(flag)
            raise PermissionError(f"{event} is denied beside tests")

    sys.addaudithook(hook)

    def arm() -> None:
        _replace_signal()
        armed.append(True)

    return arm


Kind = Callable[[str], str]


def _judges(native: Mapping[str, Any] | None) -> dict[str, Any]:
    """For each event the function that says which flag it earns; "" if it may happen."""
    table: dict[str, Any] = {"object.__getattr__": _reads, "compile": _compiles, "marshal.loads": _unmarshals}
    table |= dict.fromkeys(_CHANGES, _changes) | dict.fromkeys(_STACKS, _stack)
    table |= dict.fromkeys(_TRACES, lambda _e, _a, f, kind: "frames" if asks(f, kind) else "")
    table |= dict.fromkeys(_COLLECTOR, lambda _e, _a, f, kind: "gc" if behind(f, kind) else "")
    table["gc.get_referents"] = lambda _e, _a, f, kind: "gc" if asks(f, kind) else ""
    table["code.__new__"] = lambda _e, a, f, kind: _makes(a[1], f, kind)
    table["function.__new__"] = lambda _e, a, f, kind: _wraps(a[0].co_filename, f, kind)
    table["ctypes"] = lambda _e, _a, f, kind: "ctypes" if native is not None and asks(f, kind) else ""
    table["import"] = lambda _e, a, f, kind: _imports(native or {}, a[0], f, kind)
    return table


def behind(frame: Any, kind: Kind) -> bool:
    """Whether the program asks, itself or through whatever library."""
    while frame is not None and kind(frame.f_code.co_filename) == LIBRARY:
        frame = frame.f_back
    return frame is not None and kind(frame.f_code.co_filename) == PROGRAM


def asks(frame: Any, kind: Kind) -> bool:
    """Whether the program asks, itself or through a library's function that hands on what it finds."""
    while frame is not None and kind(frame.f_code.co_filename) == LIBRARY and _hands_on(frame.f_code):
        frame = frame.f_back
    return frame is not None and kind(frame.f_code.co_filename) == PROGRAM


def _hands_on(code: types.CodeType) -> bool:
    return code.co_filename.endswith(_HANDS_ON) or "frame" in code.co_name or code.co_name == "<lambda>"


def _stack(event: str, arguments: tuple[Any, ...], frame: Any, kind: Kind) -> str:
    if asks(frame, kind) or (event != "sys._getframe" and behind(frame, kind)):
        return "frames"
    target = arguments[0] if arguments else None  # pandas.eval reads the names of a frame of one's choice
    if target is None or kind(target.f_code.co_filename) not in (TESTS, HARNESS):
        return ""
    return "frames" if behind(frame, kind) else ""


def _reads(_event: str, arguments: tuple[Any, ...], frame: Any, kind: Kind) -> str:
    target, name = arguments[:2]
    if name in _FRAMES:
        return "frames" if not _formats(frame) and asks(frame, kind) else ""
    if name in _CODE and kind(_file_of(target)) in (TESTS, HARNESS) and behind(frame, kind):
        return "" if _describes(frame) else "frames"
    return ""


def _describes(frame: Any) -> bool:
    """Whether inspect reads a function's code to make its signature, as it does for a test's callback."""
    code = frame.f_code
    return code.co_filename.endswith("/inspect.py") and code.co_name in _READS_SIGNATURES


def _formats(frame: Any) -> bool:
    """Whether traceback takes frames to turn them into text, as traceback.format_exc does."""
    while frame is not None and frame.f_code.co_filename.endswith("/traceback.py"):
        if frame.f_code.co_name == "_extract_from_extended_frame_gen":
            return True
        if frame.f_code.co_name not in _READS_TRACEBACKS:
            return False
        frame = frame.f_back
    return False


def _file_of(target: Any) -> str:
    code = getattr(target, "__code__", None) or getattr(target, "gi_code", None)
    code = code or getattr(target, "cr_code", None) or getattr(target, "ag_code", None)
    code = code or getattr(target, "f_code", None)
    return code.co_filename if type(code) is types.CodeType else ""


def _changes(event: str, arguments: tuple[Any, ...], frame: Any, kind: Kind) -> str:
    target, name = arguments[:2]
    whose = kind(_file_of(target))
    if event == "object.__delattr__" and whose == LIBRARY:
        return ""  # a default less; numba does that to its own
    if name in _CODE and whose != PROGRAM and behind(frame, kind):
        return "patching"
    return ""


def _imports(native: Mapping[str, Any], name: str, frame: Any, kind: Kind) -> str:
    if name in native:
        if asks(frame, kind):
            return "ctypes"
        sys.modules[name] = native[name]
    return ""


def _makes(filename: Any, frame: Any, kind: Kind) -> str:
    """Denies the program to make code that names a file of someone else."""
    return "patching" if kind(_text(filename)) != PROGRAM and behind(frame, kind) else ""


def _wraps(filename: str, frame: Any, kind: Kind) -> str:
    """Denies the program to make a function of someone else's code; libraries do that with their own."""
    asked = asks if kind(filename) == LIBRARY else behind
    return "patching" if kind(filename) != PROGRAM and asked(frame, kind) else ""


def _compiles(_event: str, arguments: tuple[Any, ...], frame: Any, kind: Kind) -> str:
    source, filename = arguments[0], _text(arguments[1])
    claimed = kind(filename)
    if claimed == PROGRAM or not behind(frame, kind):
        return ""
    return "" if claimed == LIBRARY and type(source) is bytes and _holds(filename, source) else "patching"


def _unmarshals(_event: str, arguments: tuple[Any, ...], frame: Any, kind: Kind) -> str:
    """Denies the program bytecode that is not in a library's file: bytecode names its source file itself."""
    if not behind(frame, kind):
        return ""
    path = frame.f_locals.get("bytecode_path") if frame.f_code.co_name == "_compile_bytecode" else None
    known = type(path) is str and kind(path) == LIBRARY and _holds(path, bytes(arguments[0]), 16)
    return "" if known else "patching"


def _holds(path: str, content: bytes, skip: int = 0) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read()[skip:] == content
    except OSError:
        return False


def _text(filename: Any) -> str:
    return os.fsdecode(filename) if isinstance(filename, (str, bytes, os.PathLike)) else ""


def classifier() -> Kind:
    """A function that tells to whom code belongs, by its file name."""
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep  # of all of the sandbox's code
    keys = ("stdlib", "platstdlib", "purelib", "platlib")
    roots = {sysconfig.get_path(key) for key in keys} | {*site.getsitepackages()}
    roots |= {os.path.realpath(root) for root in roots}
    prefixes = (*(root + os.sep for root in sorted(roots)), "<frozen ", "<__array_function__")
    known = {FILENAME: TESTS}

    def kind(filename: str) -> str:
        owner = known.get(filename)
        if owner is None:
            owner = LIBRARY if filename.startswith(prefixes) else PROGRAM
            owner = HARNESS if filename.startswith(own) else owner
            known[filename] = owner
        return owner

    return kind


def _replace_signal() -> None:
    """Replaces signal.signal: from here on handlers are called without the frame that they interrupt."""
    import _imp
    import _signal  # type: ignore[import-not-found]

    real: Any = _signal.signal
    _signal.signal = bound(_signal_without_frame, real=real)
    _imp.create_builtin = bound(_create_builtin, real=_imp.create_builtin)


def _signal_without_frame(number: int, handler: Any) -> Any:
    real: Any = "$real"
    return real(number, (lambda n, _frame: handler(n, None)) if callable(handler) else handler)


def _create_builtin(spec: Any) -> Any:
    real: Any = "$real"
    if spec.name == "_signal":
        raise ImportError("the module _signal is loaded already")
    return real(spec)
