"""What a verdict says of the first failed test: plain texts of bounded length.

They are made in the tests' process, from the tests and from what the program claimed.  No code of the program
runs for them: an object that lives in the program's process is shown by a placeholder.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from ..wire.messages import Raised
from .proxy import Remote

CUT = 400  # characters of each text; a longer one ends in "..."
DECIMAL_BITS = (
    14_000  # an int of more bits is shown as a hexadecimal number: Python writes 4300 digits at most
)
_PLAIN_MODULES = ("decimal", "fractions", "datetime", "uuid", "pathlib", "ipaddress")
_CONTAINERS = (list, tuple, set, frozenset, dict, str, bytes, bytearray, int, float)


@dataclasses.dataclass(frozen=True)
class Failure:
    """A failed test.  ``None``: not known, or not of this kind of tests."""

    test: str = ""  # its name, or its number and source
    input: str | None = None  # the arguments of the last call, or the standard input
    expected: str | None = None
    got: str | None = None
    error: str | None = None  # an exception or another reason, where no result was compared
    line: int | None = None  # of the program, where it raised
    code: str | None = None  # that line's text

    def summary(self) -> str:
        what = self.error or "" if self.got is None else f"got {self.got}, expected {self.expected}"
        return f"{self.test}: {what}" if self.test else what

    def bounded(self) -> dict[str, Any]:
        """The fields as plain data, each text cut."""
        data = dataclasses.asdict(self)
        return {name: cut(value) if isinstance(value, str) else value for name, value in data.items()}


def cut(text: str, limit: int = CUT) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


def one_line(text: str, limit: int = 200) -> str:
    return " ".join(text[: 10 * limit].split())[:limit]


def arguments_text(positional: Iterable[Any], keywords: dict[str, Any] | None = None) -> str:
    parts = [brief(value) for value in positional]
    return cut(", ".join([*parts, *(f"{name}={brief(value)}" for name, value in (keywords or {}).items())]))


def program_line(source: str, line: Any) -> dict[str, Any]:
    """The fields ``line`` and ``code`` for a line that a program claims; empty if it has no such line."""
    lines = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if type(line) is not int or not 1 <= line <= len(lines):
        return {}
    return {"line": line, "code": lines[line - 1].strip()}


def describe(message: Raised) -> str:
    """An exception of the solution in one line.  Whatever it claims, the line is text of bounded length."""
    kind, text = (part if type(part) is str else "?" for part in (message.kind, message.text))
    return one_line(f"{kind}: {text}")


def brief(value: Any, limit: int = CUT) -> str:
    """A value as Python writes it, cut; never raises, and takes no longer for a larger value."""
    out: list[str] = []
    try:
        left = _write(value, out, limit)
    except _Full:
        left = -1
    except (RecursionError, ValueError, TypeError, AttributeError):
        return f"<{type(value).__name__}>"
    text = "".join(out)
    return cut(text, limit) if left >= 0 else cut(text + "...", limit)


class _Full(Exception):  # noqa: N818
    """The text is long enough."""


def _put(text: str, out: list[str], left: int) -> int:
    out.append(text)
    if len(text) > left:
        raise _Full
    return left - len(text)


def _write(value: Any, out: list[str], left: int) -> int:
    """Appends the text of ``value``; how many characters are left.  Raises _Full."""
    kind = type(value)
    if kind in _BRACKETS:
        return _write_items(value, out, left)
    if kind is int:
        return _put(_integer(value), out, left)
    if kind in (str, bytes, bytearray):
        return _put(repr(value[: left + 1]), out, left)
    if kind in (type(None), bool, float, complex, range, slice, type(Ellipsis)):
        return _put(repr(value), out, left)
    return _put_other(value, out, left)


def _put_other(value: Any, out: list[str], left: int) -> int:
    """A value of another type: only types whose text runs no foreign code are shown."""
    kind = type(value)
    if kind.__module__ == "numpy" and getattr(getattr(value, "dtype", None), "hasobject", True) is False:
        return _put(repr(value), out, left)
    if kind.__module__ in _PLAIN_MODULES or (kind.__module__ == "builtins" and issubclass(kind, type)):
        return _put(repr(value), out, left)
    if issubclass(kind, Remote):
        return _put("<object of the program>", out, left)
    if kind.__module__ == "tests":
        return _put(")", out, _write_fields(value, out, _put(kind.__name__ + "(", out, left)))
    if issubclass(kind, BaseException):
        left = _put(kind.__name__, out, left)
        return _write(value.args, out, left)
    for base in _CONTAINERS:
        if issubclass(kind, base):
            left = _put(kind.__name__ + "(", out, left)
            plain = dict(dict.items(value)) if base is dict else base(value)
            return _put(")", out, _write(plain, out, left))
    return _put(f"<{kind.__name__}>", out, left)


def _write_fields(value: Any, out: list[str], left: int) -> int:
    """The attributes of an instance of a class of the tests."""
    for index, (name, item) in enumerate(vars(value).items()):
        left = _write(item, out, _put(f"{', ' if index else ''}{name}=", out, left))
    return left


_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
    dict: ("{", "}"),
}


def _write_items(value: Any, out: list[str], left: int) -> int:
    opening, closing = _BRACKETS[type(value)]
    if not value and type(value) in (set, frozenset):
        return _put(f"{type(value).__name__}()", out, left)
    left = _put(opening, out, left)
    for index, item in enumerate(value):
        if index:
            left = _put(", ", out, left)
        left = _write(item, out, left)
        if type(value) is dict:
            left = _write(value[item], out, _put(": ", out, left))
    if type(value) is tuple and len(value) == 1:
        left = _put(",", out, left)
    return _put(closing, out, left)


def _integer(value: int) -> str:
    bits = value.bit_length()
    if bits <= DECIMAL_BITS:
        return repr(value)
    sign, digits = "-" if value < 0 else "", abs(value) >> (bits - bits % 4 - 64)
    return f"{sign}{digits:#x}... ({bits} bits)"
