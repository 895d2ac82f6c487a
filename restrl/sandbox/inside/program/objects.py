"""The solution's objects as the tests see them: values by value, everything else by handle.

What crosses by value is of an exact builtin type, of the standard library or of a class that both sides know,
whatever the object's class says of itself.  What this side says is a claim.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import inspect
from collections import namedtuple
from collections.abc import Callable
from typing import Any

from ..wire import graph, standard
from ..wire.codec import Handle, Tagged, encode
from ..wire.graph import Record
from .classes import described, values_of

_BUILTINS = (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)
Call = Callable[[int, tuple[Any, ...], dict[str, Any]], Any]


class Objects:
    """The policy (``wire/graph.py``) of the program's process.

    ``names``: the program's globals.  ``call``: calls a function of the tests by its number.
    """

    def __init__(self, names: dict[str, Any], call: Call, arrays: bool) -> None:
        self.arrays = arrays
        self.names = names
        self.call = call
        self.held: list[Any] = []  # objects that the tests hold a handle of
        self.numbers: dict[int, int] = {}  # their places, by identity
        self.known: set[str] = set()  # classes that the tests define themselves
        self.stand_ins: dict[str, type] = {}
        self.sent: dict[int, tuple[Any, Any]] = {}  # what stands here for things of the tests, and its form

    def keep(self, value: Any) -> Handle:
        """A handle, the same for the same object."""
        number = self.numbers.get(id(value))
        if number is None:
            number = self.numbers[id(value)] = len(self.held)
            self.held.append(value)
        return Handle(number)

    def take(self, value: Any) -> Any:
        """See ``graph.Policy``.  A handle is the last resort, so this never raises."""
        if id(value) in self.sent:
            return self.sent[id(value)][1]
        form = standard.form(value)
        if form is not None and form[0] == "PosixPath":
            return Tagged("PurePosixPath", form[1])
        if isinstance(value, type):
            return self._class(value)
        cls = type(value)
        if cls.__name__ in self.known and _is_record(value):
            return Record(cls.__name__)
        parts = values_of(value)
        if parts is not None:
            name, content = parts
            return Tagged(name, (cls, *content))
        return lowered(value, self.keep)

    def _class(self, cls: type) -> Any:
        if issubclass(cls, Exception) and vars(builtins).get(cls.__name__) is cls:
            return Tagged("exception", cls.__name__)
        if cls.__name__ in self.known and self.names.get(cls.__name__) is cls:
            return Tagged("known", cls.__name__)
        return Tagged("class", (self.keep(cls), described(cls)))

    def handle(self, number: int) -> Any:
        return self.held[number]

    def make(self, name: str, content: Any) -> Any:
        """What the tests sent: a value, or what stands here for a function, iterator or class of theirs."""
        if name in standard.TRUSTED:
            return standard.TRUSTED[name](content)
        value = getattr(self, f"_make_{name}")(content)
        if name in ("function", "iterator", "known", "global"):
            self.sent[id(value)] = value, Tagged(name, content)
        return value

    def _make_function(self, content: tuple[int, str, list[Any] | None]) -> Any:
        number, name, parameters = content

        def function(*arguments: Any, **keywords: Any) -> Any:
            return self.call(number, arguments, keywords)

        function.__name__ = function.__qualname__ = name
        if parameters is not None:
            with contextlib.suppress(ValueError):
                function.__signature__ = inspect.Signature(list(map(_parameter, parameters)))  # type: ignore[attr-defined]
        return function

    def _make_iterator(self, number: int) -> Any:
        return TheirIterator(lambda: self.call(number, (), {}))

    def _make_global(self, content: tuple[str, str]) -> Any:
        value: Any = importlib.import_module(content[0])
        for name in content[1].split("."):
            value = getattr(value, name)
        return value

    def _make_known(self, content: tuple[str, str, tuple[str, ...] | None]) -> Any:
        """The program's own class of that name; where it has none, one that has the tests' fields only."""
        name, base, fields = content
        if isinstance(self.names.get(name), type):
            return self.names[name]
        if name not in self.stand_ins:
            bases = (namedtuple(name, fields) if fields is not None else vars(builtins).get(base, object),)
            self.stand_ins[name] = type(name, bases, {})
        return self.stand_ins[name]

    def _make_exception(self, name: str) -> Any:
        return getattr(builtins, name)

    def _make_error(self, content: tuple[Any, ...]) -> Any:
        cls, arguments, names, values = content
        error = cls.__new__(cls, *arguments)
        error.args = arguments
        graph.set_fields(error, dict(zip(names, values, strict=True)))
        return error

    def _make_named(self, content: tuple[Any, ...]) -> Any:
        cls, items = content
        return tuple.__new__(cls, items)

    def _make_member(self, content: tuple[Any, ...]) -> Any:
        cls, name, value = content
        return cls[name] if hasattr(cls, "__members__") else value

    def _make_frozen(self, content: tuple[Any, ...]) -> Any:
        cls, names, values = content
        value = object.__new__(cls)
        graph.set_fields(value, dict(zip(names, values, strict=True)))
        return value

    def record(self, name: str) -> Any:
        """An instance of the program's class of that name, without a call of its ``__init__``."""
        return object.__new__(self._make_known((name, "", None)))

    def fill(self, record: Any, fields: dict[str, Any]) -> None:
        graph.set_fields(record, fields)


def _is_record(value: Any) -> bool:
    """Whether an instance is its fields: no builtin value, exception or member of an enum."""
    return not isinstance(value, (*_BUILTINS, BaseException)) and not hasattr(type(value), "__members__")


def _parameter(given: tuple[str, int, bool]) -> inspect.Parameter:
    """``given``: name, kind, whether there is a default."""
    name, kind, optional = given
    default = None if optional else inspect.Parameter.empty
    return inspect.Parameter(name, inspect._ParameterKind(kind), default=default)


class TheirIterator:
    """An iterator of the tests, of which each item is asked for when it is needed."""

    def __init__(self, following: Callable[[], Any]) -> None:
        self.following = following

    def __iter__(self) -> TheirIterator:
        return self

    def __next__(self) -> Any:
        return self.following()


def lowered(value: Any, keep: Callable[[Any], Any]) -> Any:
    """The builtin value that a numpy scalar or an instance of a subclass stands for; else a handle.

    A class with an equality of its own stays behind a handle: equality cannot cross.
    """
    cls = type(value)
    if cls.__module__ == "numpy" and hasattr(cls, "item") and cls.__name__ != "ndarray":
        return value.item()
    for base in _BUILTINS:
        if issubclass(cls, base):
            if cls.__eq__ is not base.__eq__ and cls.__module__ not in ("collections", "enum"):
                break
            return dict(value.items()) if base is dict else base(value)
    return keep(value)


def encode_lowered(value: Any) -> bytes:
    """The encoding of a result that is compared with builtin values only; objects become a handle."""
    return encode(value, lambda item: lowered(item, lambda _object: Handle(0)))
