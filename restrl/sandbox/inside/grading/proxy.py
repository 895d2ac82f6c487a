"""The solution's functions and objects as tests see them: each use is a question to the program's process.

Only exact builtin values come back by value, so a comparison in a test is a comparison of real builtins.  A
proxy is equal to itself only, and has no order and no arithmetic: a test that compares a proxy fails.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from typing import Any

from ..wire import codec
from ..wire.messages import Raised
from .failures import describe
from .solution import Solution

_BASES: tuple[Any, ...] = (dict, list, tuple, set, frozenset, str, bytes, float, int)


class Remote:
    """An object that lives in the solution's process."""

    def __init__(self, solution: Solution, number: int) -> None:
        object.__setattr__(self, "_solution", solution)
        object.__setattr__(self, "_number", number)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return _ask(self._solution, "call", self, (arguments, keywords), arguments)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return _ask(self._solution, "getattr", self, (name,))

    def __setattr__(self, name: str, value: Any) -> None:
        _ask(self._solution, "setattr", self, (name, value))

    def __getitem__(self, key: Any) -> Any:
        return _ask(self._solution, "getitem", self, (key,))

    def __setitem__(self, key: Any, value: Any) -> None:
        _ask(self._solution, "setitem", self, (key, value))

    def __len__(self) -> int:
        return int(_ask(self._solution, "len", self, ()))

    def __iter__(self) -> Iterator[Any]:
        return iter(_ask(self._solution, "iter", self, ()))

    def __next__(self) -> Any:
        return _ask(self._solution, "next", self, ())

    def __bool__(self) -> bool:
        return _ask(self._solution, "bool", self, ()) is True

    def __str__(self) -> str:
        return str(_ask(self._solution, "str", self, ()))

    def __repr__(self) -> str:
        return str(_ask(self._solution, "repr", self, ()))


class Scope(dict[str, Any]):
    """Globals of a test: what the test defines itself, then builtins, then what the solution defines.

    ``shadows``: builtin names that the solution under test may define (a task that asks for ``def sum``).
    """

    def __init__(self, solution: Solution, names: list[str], shadows: frozenset[str]) -> None:
        super().__init__(__name__="tests", __builtins__=builtins)
        self.solution = solution
        self.names = {n for n in names if not hasattr(builtins, n) or n in shadows}

    def __missing__(self, name: str) -> Any:
        if name not in self.names:
            raise KeyError(name)
        self[name] = named(self.solution, name)
        return self[name]


def named(solution: Solution, name: str) -> Any:
    """The proxy of the solution's global ``name``, or of the method of its class Solution."""
    return _ask(solution, "name", name, None)


def _ask(solution: Solution, operation: str, target: Any, rest: Any, arguments: tuple[Any, ...] = ()) -> Any:
    request = (operation, target) if rest is None else (operation, target, rest)
    raw = codec.encode(request, lambda value: _reference(solution, value))
    message = solution.request(raw, lambda number: Remote(solution, number))
    if isinstance(message, Raised):
        raise _exception(message)
    if type(message.arguments) in (list, tuple):
        for argument, left in zip(arguments, message.arguments, strict=False):
            _write_back(argument, left)
    return message.value


def _reference(solution: Solution, value: Any) -> Any:
    """What crosses in the place of an argument that is not of an exact builtin type."""
    if type(value) is Remote:
        return codec.Handle(value._number)
    if isinstance(value, type) and value in vars(builtins).values():
        return codec.Handle(_ask(solution, "builtin", value.__name__, None)._number)
    for base in _BASES:
        if isinstance(value, base):  # of the tests' own making: Counter, OrderedDict, namedtuple, enum
            return base(value)
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    raise codec.CodecError(f"a test passes a {type(value).__name__}, which has no encoding")


def _write_back(argument: Any, left: Any) -> None:
    """Gives a mutable argument of the test the content that the call left in it."""
    if type(argument) is not type(left):
        return
    if type(argument) in (list, bytearray):
        argument[:] = left
    elif type(argument) in (dict, set):
        argument.clear()
        argument.update(left)


class SolutionMemoryError(MemoryError):
    """The solution ran out of memory; a plain MemoryError is the tests' own."""


class SolutionError(Exception):
    """An exception of the solution whose type is not a builtin one."""


def _exception(message: Raised) -> BaseException:
    """The builtin exception that the solution raised (tests may expect it), or SolutionError."""
    cls = getattr(builtins, message.kind, None) if type(message.kind) is str else None
    text = message.text if type(message.text) is str else ""
    if cls is MemoryError:
        return SolutionMemoryError(text)
    if isinstance(cls, type) and issubclass(cls, Exception):
        try:
            return cls(text)
        except TypeError:
            pass
    return SolutionError(describe(message))
