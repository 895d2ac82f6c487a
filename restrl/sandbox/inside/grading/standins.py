"""Classes of the tests' process that stand for classes of the solution, made from what it says of them.

A stand-in is a class of our own making: of the solution's class it has the name, the names of fields and
members, and the builtin exceptions that it claims as bases.  So tests can catch the solution's exceptions,
and compare its named tuples, enums and frozen dataclasses, without a line of its code.  For what else an
instance can do (methods, properties) the solution is asked.
"""

from __future__ import annotations

import builtins
import collections
import dataclasses
import enum
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from .proxy import Asks, RemoteClass

MODULE = "solution"
FIELDS = 1000  # names that a class may have
_KINDS = {"Enum": enum.Enum, "IntEnum": enum.IntEnum, "StrEnum": enum.StrEnum}
_RESERVED = {"mro", "name", "value", "args"}  # what a member or field must not replace


class SolutionMemoryError(MemoryError):
    """The solution ran out of memory; a plain MemoryError is the tests' own."""


class SolutionError(Exception):
    """An exception of the solution of which nothing is known that a test could catch."""


class StandIns:
    """The stand-ins of one solution."""

    def __init__(self, boundary: Asks) -> None:
        self.boundary = boundary
        self.classes: dict[Any, Any] = {}
        self.numbers: dict[type, int] = {}  # of the solution's class for which a class stands

    def of(self, number: int, description: Any) -> Any:
        """The stand-in, or the RemoteClass, of the class with this number and description.

        Raises ValueError or TypeError for a description that no class has.
        """
        key = (number, description)
        if key not in self.classes:
            form, name, parts = description
            make: Callable[[int, str, Any], Any] = getattr(self, f"_make_{form}", self._make_other)
            self.classes[key] = make(number, _checked(name), parts)
        return self.classes[key]

    def _make_other(self, number: int, _name: str, _parts: Any) -> Any:
        return RemoteClass(self.boundary, number, None)

    def _make_record(self, number: int, _name: str, parts: Any) -> Any:
        names, optional, defaults = parts
        return RemoteClass(self.boundary, number, (_names(names), _names(optional), tuple(defaults)))

    def _make_error(self, number: int, name: str, parts: Any) -> Any:
        bases, home = parts
        found = _loaded(*home) if home is not None else None
        if isinstance(found, type) and issubclass(found, Exception):
            return found
        if not bases or not all(isinstance(b, type) and issubclass(b, Exception) for b in bases):
            raise ValueError("an exception without bases")
        return self._stand(number, name, tuple(SolutionMemoryError if b is MemoryError else b for b in bases))

    def _make_named(self, number: int, name: str, fields: Any) -> Any:
        return self._stand(number, name, (collections.namedtuple(name, _names(fields)),), __slots__=())

    def _make_enum(self, number: int, name: str, parts: Any) -> Any:
        """Members are told apart by name; where two have the same value, they would be one: no stand-in."""
        kind, names, values = parts
        try:
            base = _KINDS[kind](name, dict(zip(_names(names), values, strict=True)), module=MODULE)
        except (TypeError, ValueError, KeyError):
            return self._make_other(number, name, parts)
        if len(list(base)) < len(names):
            return self._make_other(number, name, parts)
        base.__getattr__ = self._asked  # type: ignore[attr-defined]
        self.numbers[base] = number
        return base

    def _make_frozen(self, number: int, name: str, parts: Any) -> Any:
        names, optional, defaults = parts
        default = dict(zip(_names(optional), defaults, strict=True))
        missing = dataclasses.MISSING
        fields = [(n, object, dataclasses.field(default=default.get(n, missing))) for n in _names(names)]
        base = dataclasses.make_dataclass(name, fields, frozen=True)
        base.__module__ = MODULE
        base.__getattr__ = self._asked  # type: ignore[attr-defined]
        self.numbers[base] = number
        return base

    def _stand(self, number: int, name: str, bases: tuple[type, ...], **names: Any) -> type:
        cls = type(name, bases, {"__module__": MODULE, "__getattr__": self._asked, **names})
        self.numbers[cls] = number
        return cls

    @property
    def _asked(self) -> Callable[[Any, str], Any]:
        """The ``__getattr__`` of a stand-in."""
        boundary = self.boundary

        def ask(instance: Any, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(name)
            is_method, value = boundary.ask("member", None, instance, name)
            return partial(value, instance) if is_method else value

        return ask


def _checked(name: Any) -> str:
    if type(name) is not str or not name.isidentifier() or len(name) > 100:
        raise ValueError("a class without a name")
    return name


def _names(names: Any) -> tuple[str, ...]:
    """Names of fields that hide nothing that a class has.  Raises ValueError."""
    if type(names) is not tuple or len(names) > FIELDS or len(set(names)) < len(names):
        raise ValueError("fields without names")
    for name in names:
        if type(name) is not str or not name.isidentifier() or name.startswith("_") or name in _RESERVED:
            raise ValueError("a field that may not be")
    return names


def _loaded(module: Any, qualname: Any) -> Any:
    """A class of the standard library, if this process has loaded its module."""
    if (
        type(module) is not str
        or type(qualname) is not str
        or module.split(".")[0] not in sys.stdlib_module_names
    ):
        return None
    found: Any = sys.modules.get(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found


def builtin_exception(name: Any) -> Any:
    """The builtin exception of that name, None if there is none: never one that ends processes."""
    cls = getattr(builtins, name, None) if type(name) is str else None
    return cls if isinstance(cls, type) and issubclass(cls, Exception) else None
