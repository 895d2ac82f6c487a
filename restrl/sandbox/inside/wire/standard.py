"""Values of the standard library as builtin contents, and back.

Each type has a name and a content: a builtin value, or one that holds values which have a form here too.
``make`` trusts nothing: it makes a value of exactly that type in bounded time, or raises one of the errors
that ``codec.decode`` turns into CodecError.  Whatever runs code or opens files (patterns, paths, functions)
has a form for the way from the tests to a program only.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

EXPONENT = 100_000  # decimal exponent, beyond which arithmetic takes time or memory without end
BITS = 1 << 17  # of the numbers in a fraction, likewise
_PLAIN = (bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset, range, object)
TYPES: dict[str, Any] = {cls.__name__: cls for cls in _PLAIN}

TYPES["NoneType"] = type(None)
_VIEWS = {type({}.keys()): "keys", type({}.values()): "values", type({}.items()): "items"}


def form(value: Any) -> tuple[str, Any] | None:
    """The name and content of an immutable value; None for a value of any other type."""
    cls = type(value)
    if cls is slice:
        return "slice", (value.start, value.stop, value.step)
    if cls in _VIEWS:
        return "view", (_VIEWS[cls], dict(value.mapping))
    if value is ...:
        return "Ellipsis", None
    if cls is type and value in TYPES.values():
        return "type", value.__name__
    taker = _TAKERS.get(f"{cls.__module__}.{cls.__qualname__}")
    content = taker(value) if taker is not None and is_really(cls) else None
    return None if content is None else (cls.__qualname__, content)


def is_really(thing: Any) -> bool:
    """Whether a class or function is what its module has under its name."""
    found: Any = sys.modules.get(getattr(thing, "__module__", None) or "builtins")
    for name in getattr(thing, "__qualname__", "").split("."):
        found = getattr(found, name, None)
    return found is thing


def _decimal(value: Any) -> str | None:
    digits = value.as_tuple()
    small = not isinstance(digits.exponent, int) or abs(digits.exponent) + len(digits.digits) <= EXPONENT
    return str(value) if small else None


def _fraction(value: Any) -> tuple[int, int] | None:
    numbers = (value.numerator, value.denominator)
    return numbers if all(type(n) is int and n.bit_length() <= BITS for n in numbers) else None


def _zone(value: Any) -> tuple[Any, ...]:
    return value.__getinitargs__()  # type: ignore[no-any-return]  # (offset,) or (offset, name)


def _with_zone(*names: str) -> Callable[[Any], Any]:
    """Takes these fields, the time zone and the fold.  Only zones of a fixed offset have a form."""

    def take(value: Any) -> Any:
        if value.tzinfo is not None and form(value.tzinfo) is None:
            return None
        return (*(getattr(value, name) for name in names), value.tzinfo), value.fold

    return take


_DAY, _TIME = ("year", "month", "day"), ("hour", "minute", "second", "microsecond")
_TAKERS: dict[str, Callable[[Any], Any]] = {
    "decimal.Decimal": _decimal,
    "fractions.Fraction": _fraction,
    "datetime.date": lambda v: (v.year, v.month, v.day),
    "datetime.datetime": _with_zone(*_DAY, *_TIME),
    "datetime.time": _with_zone(*_TIME),
    "datetime.timedelta": lambda v: (v.days, v.seconds, v.microseconds),
    "datetime.timezone": _zone,
    "uuid.UUID": lambda v: v.int,
    "pathlib.PurePosixPath": str,
    "pathlib.PosixPath": str,
    "re.Pattern": lambda v: (v.pattern, v.flags),
}


def _make_decimal(content: Any) -> Any:
    from decimal import Decimal

    value = Decimal(content)
    if type(content) is not str or _decimal(value) is None:
        raise ValueError("a Decimal out of range")
    return value


def _make_fraction(content: Any) -> Any:
    from fractions import Fraction

    numerator, denominator = content
    if not all(type(n) is int and n.bit_length() <= BITS for n in content) or denominator <= 0:
        raise ValueError("a Fraction out of range")
    return Fraction(numerator, denominator)


def _of(module: str, name: str) -> Any:
    return getattr(__import__(module), name)


def _make_with_zone(name: str, content: Any) -> Any:
    parts, fold = content
    return _of("datetime", name)(*parts, fold=fold)


def _make_view(content: Any) -> Any:
    kind, mapping = content
    if kind not in _VIEWS.values() or type(mapping) is not dict:
        raise ValueError("no view of a dict")
    return getattr(mapping, kind)()


# By the name that ``form`` gives.
MAKERS: dict[str, Callable[[Any], Any]] = {
    "slice": lambda content: slice(*content),
    "view": _make_view,
    "Ellipsis": lambda _content: ...,
    "type": TYPES.__getitem__,
    "Decimal": _make_decimal,
    "Fraction": _make_fraction,
    "date": lambda content: _of("datetime", "date")(*content),
    "datetime": lambda content: _make_with_zone("datetime", content),
    "time": lambda content: _make_with_zone("time", content),
    "timedelta": lambda content: _of("datetime", "timedelta")(*content),
    "timezone": lambda content: _of("datetime", "timezone")(*content),
    "UUID": lambda content: _of("uuid", "UUID")(int=content),
    "PurePosixPath": lambda content: _of("pathlib", "PurePosixPath")(content),
}
# What only the tests' side may send.
TRUSTED: dict[str, Callable[[Any], Any]] = {
    "PosixPath": lambda content: _of("pathlib", "PosixPath")(content),
    "Pattern": lambda content: re.compile(*content),
}
