"""The solution's objects as the tests see them: builtin values by value, everything else by handle.

What crosses by value is always of an exact builtin type, whatever the object's class says of itself.
"""

from __future__ import annotations

import itertools
from typing import Any

from ..wire.codec import CodecError, Handle, encode

ITEMS = 1_000_000  # of an iterator that a test walks
_BUILTINS = (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)

OPERATIONS = {
    "getattr": getattr,
    "setattr": setattr,
    "getitem": lambda target, key: target[key],
    "setitem": lambda target, key, value: target.__setitem__(key, value),
    "len": len,
    "iter": lambda target: list(itertools.islice(iter(target), ITEMS)),
    "next": next,
    "bool": bool,
    "str": str,
    "repr": repr,
}


class Objects:
    """Objects that the tests hold a handle of."""

    def __init__(self) -> None:
        self.held: list[Any] = []

    def keep(self, value: Any) -> Any:
        """A handle, even for a value that has an encoding."""
        self.held.append(value)
        return Handle(len(self.held) - 1)

    def get(self, number: int) -> Any:
        return self.held[number]

    def encode(self, value: Any) -> bytes:
        return encode(value, self._foreign)

    def snapshot(self, arguments: Any) -> bytes | None:
        """The arguments' encoding, to see whether a call changed them; None where nothing can change."""
        if arguments is None or not any(type(a) in (list, dict, set, bytearray) for a in arguments[0]):
            return None
        try:
            return self.encode(list(arguments[0]))
        except CodecError:
            return None

    def _foreign(self, value: Any) -> Any:
        """The builtin value that a numpy scalar, Counter or namedtuple stands for; else a handle."""
        cls = type(value)
        if cls.__module__ == "numpy" and hasattr(cls, "item") and cls.__name__ != "ndarray":
            return value.item()
        for base in _BUILTINS:
            if issubclass(cls, base):
                # A class with an equality of its own stays behind a handle: equality cannot cross.
                if cls.__eq__ is not base.__eq__ and cls.__module__ not in ("collections", "enum"):
                    break
                return dict(value.items()) if base is dict else base(value)
        return self.keep(value)
