"""What the program's process says of the program's classes: tests have classes that stand for them.

A class is described by its form, its name and the parts that its form has:

=======  ==========================================================================================
error    an exception: its bases that are exceptions; where the standard library has it
named    a namedtuple: the names of its fields
enum     its kind (Enum, IntEnum, StrEnum), the names of its members, their values
frozen   a frozen dataclass that is no more than its fields: their names, those with a default, the defaults
record   a dataclass that is made and compared as its fields say, likewise
other    any other class: no parts
=======  ==========================================================================================
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from typing import Any

from ..wire import graph, standard

_KINDS = (enum.IntEnum, enum.StrEnum, enum.Enum)
_HARMLESS = {
    "__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__match_args__",
    "__dataclass_params__", "__dataclass_fields__", "__slots__", "__getstate__", "__setstate__", "__repr__",
    "__firstlineno__", "__static_attributes__", "__replace__", "__orig_bases__", "__parameters__",
}  # fmt: skip


@functools.cache
def described(cls: type) -> tuple[str, str, tuple[Any, ...]]:
    """(form, name, parts); parts hold classes and values that cannot change."""
    name = cls.__name__
    if issubclass(cls, Exception):
        home = (cls.__module__, cls.__qualname__) if standard.is_really(cls) else None
        return "error", name, (tuple(base for base in cls.__bases__ if issubclass(base, Exception)), home)
    if _is_named(cls):
        return "named", name, tuple(cls._fields)  # type: ignore[attr-defined]
    if issubclass(cls, enum.Enum):
        members = cls.__members__
        kind = next(kind for kind in _KINDS if issubclass(cls, kind)).__name__
        values = tuple(member.value for member in members.values())
        if graph.survey(values) == [] and not issubclass(cls, enum.Flag):
            return "enum", name, (kind, tuple(members), values)
    elif dataclasses.is_dataclass(cls):
        parts = _record(cls)
        if parts is not None:
            return ("frozen" if _is_frozen(cls) else "record"), name, parts
    return "other", name, ()


def values_of(value: Any) -> tuple[str, tuple[Any, ...]] | None:
    """The tag, and what beside its class makes the value again; None for what only a handle stands for."""
    cls: Any = type(value)
    if isinstance(value, Exception):
        fields = graph.fields_of(value)
        return "error", (tuple(value.args), tuple(fields), tuple(fields.values()))
    form = described(cls)[0]
    if form == "named":
        return "named", (tuple(value),)
    if form == "enum":
        return "member", (value.name, value.value)
    if form == "frozen":
        fields = graph.fields_of(value)
        return "frozen", (tuple(fields), tuple(fields.values()))
    return None


def _is_named(cls: type) -> bool:
    return issubclass(cls, tuple) and hasattr(cls, "_fields") and cls.__eq__ is tuple.__eq__


def _record(cls: Any) -> tuple[Any, ...] | None:
    """The fields and defaults of a dataclass whose own code neither makes nor compares its instances."""
    fields = dataclasses.fields(cls)
    plain = all(f.init and f.compare and not f.kw_only for f in fields) and not hasattr(cls, "__post_init__")
    everything = len(fields) == len(cls.__dataclass_fields__)  # no InitVar, no ClassVar
    written = all(_is_generated(cls, name) for name in ("__init__", "__eq__"))
    if not (plain and everything and written):
        return None
    names, defaults = [], []
    for field in fields:
        if field.default is not dataclasses.MISSING:
            names.append(field.name)
            defaults.append(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            return None
    if graph.survey(tuple(defaults)) != []:
        return None
    return tuple(f.name for f in fields), tuple(names), tuple(defaults)


def _is_generated(cls: type, name: str) -> bool:
    return getattr(getattr(getattr(cls, name), "__code__", None), "co_filename", "") == "<string>"


def _is_frozen(cls: Any) -> bool:
    """Whether nothing of an instance is lost if its fields alone cross."""
    names = {name for base in cls.__mro__[:-1] for name in vars(base) if name[:2] == name[-2:] == "__"}
    written = [
        name for name in names - _HARMLESS if getattr(cls, name) is not None and not _is_generated(cls, name)
    ]
    return bool(cls.__dataclass_params__.frozen) and not written
