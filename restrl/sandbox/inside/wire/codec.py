"""The canonical encoding in which values cross between processes: exact builtin types only, never pickle.

None, bool, int, float (nan and inf too), complex, str, bytes, bytearray, list, tuple, dict, set, frozenset
and range, nested up to ``MAX_DEPTH``.  Identical values (types and contents; the order of a dict counts, that
of a set does not) have identical encodings.  ``decode`` trusts nothing: any byte string gives a value or
``CodecError``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

MAX_DEPTH = 200
_U32 = struct.Struct(">I")
_I64 = struct.Struct(">q")
_TAGGED_I64 = struct.Struct(">cq")
_F64 = struct.Struct(">d")
_C128 = struct.Struct(">dd")
_BOUND = 1 << 63
_INT, _STR = ord("i"), ord("s")
LONG = 8  # from so many items on it pays to check whether all items of a sequence are of one type


class CodecError(ValueError):
    """The value has no encoding, or the bytes are no encoding."""


class Handle:
    """A reference to an object that stays in the solution's process; ``number`` names it there."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


class Ref:
    """A reference to the object with that number in a graph."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


class Tagged:
    """What stands for a value of another type: its name, and an encodable content to make it of."""

    __slots__ = ("content", "name")

    def __init__(self, name: str, content: Any) -> None:
        self.name = name
        self.content = content


class Hooks(NamedTuple):
    """What ``decode`` makes of a Handle's number, of a Ref's, and of a Tagged name and content."""

    handle: Callable[[int], Any] | None = None
    ref: Callable[[int], Any] | None = None
    make: Callable[[str, Any], Any] | None = None


NO_HOOKS = Hooks()
Foreign = Callable[[Any], Any]  # a value without encoding -> an encodable value or a Handle, or CodecError


def encode(value: Any, foreign: Foreign | None = None) -> bytes:
    """The bytes of ``value``.  Raises CodecError for a cyclic, too deep or foreign value."""
    out: list[bytes] = []
    _write(value, out, 0, foreign)
    return b"".join(out)


def _write(value: Any, out: list[bytes], depth: int, foreign: Foreign | None) -> None:
    writer = _WRITERS.get(type(value))
    if depth > MAX_DEPTH:
        raise CodecError(f"value is cyclic or nested deeper than {MAX_DEPTH}")
    if writer is not None:
        writer(value, out, depth, foreign)
    elif type(value) in _REFERENCES:
        out.append(_REFERENCES[type(value)] + _U32.pack(value.number))
    elif type(value) is Tagged:
        out.append(b"x")
        _write_str(value.name, out, depth, foreign)
        _write(value.content, out, depth + 1, foreign)
    elif foreign is None:
        raise CodecError(f"type {type(value).__name__} is not a builtin value type")
    else:
        _write(foreign(value), out, depth + 1, foreign)


def _write_int(value: int, out: list[bytes], _depth: int, _foreign: Foreign | None) -> None:
    if -_BOUND <= value < _BOUND:
        out.append(b"i" + _I64.pack(value))
    else:
        raw = value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
        out.append(b"I" + _U32.pack(len(raw)) + raw)


def _write_str(value: str, out: list[bytes], _depth: int, _foreign: Foreign | None) -> None:
    raw = value.encode("utf-8", "surrogatepass")
    out.append(b"s" + _U32.pack(len(raw)) + raw)


def _raw_writer(tag: bytes) -> Callable[..., None]:
    def write(value: bytes, out: list[bytes], _depth: int, _foreign: Foreign | None) -> None:
        out.append(tag + _U32.pack(len(value)) + bytes(value))

    return write


def _sequence_writer(tag: bytes) -> Callable[..., None]:
    pack = _TAGGED_I64.pack

    def write(value: Any, out: list[bytes], depth: int, foreign: Foreign | None) -> None:
        out.append(tag + _U32.pack(len(value)))
        if len(value) >= LONG and depth < MAX_DEPTH:
            types = set(map(type, value))
            if types == {int}:
                try:
                    out += [pack(b"i", item) for item in value]
                    return
                except struct.error:  # one needs more than 64 bits
                    pass
            elif types == {str}:  # often the same few texts
                codes = {item: encode(item) for item in set(value)}
                out += [codes[item] for item in value]
                return
        for item in value:
            _write(item, out, depth + 1, foreign)

    return write


def _set_writer(tag: bytes) -> Callable[..., None]:
    def write(value: Any, out: list[bytes], depth: int, foreign: Foreign | None) -> None:
        items: list[bytes] = []
        for item in value:
            inner: list[bytes] = []
            _write(item, inner, depth + 1, foreign)
            items.append(b"".join(inner))
        out.append(tag + _U32.pack(len(items)))
        out.extend(sorted(items))

    return write


def _write_dict(value: dict[Any, Any], out: list[bytes], depth: int, foreign: Foreign | None) -> None:
    out.append(b"D" + _U32.pack(len(value)))
    for key, item in value.items():
        _write(key, out, depth + 1, foreign)
        _write(item, out, depth + 1, foreign)


def _write_range(value: range, out: list[bytes], depth: int, foreign: Foreign | None) -> None:
    out.append(b"r")
    for part in (value.start, value.stop, value.step):
        _write(part, out, depth + 1, foreign)


_REFERENCES = {Handle: b"h", Ref: b"@"}
_WRITERS: dict[type, Callable[..., None]] = {
    type(None): lambda _v, out, _d, _f: out.append(b"N"),
    bool: lambda v, out, _d, _f: out.append(b"T" if v else b"F"),
    int: _write_int,
    float: lambda v, out, _d, _f: out.append(b"d" + _F64.pack(v)),
    complex: lambda v, out, _d, _f: out.append(b"c" + _C128.pack(v.real, v.imag)),
    str: _write_str,
    bytes: _raw_writer(b"b"),
    bytearray: _raw_writer(b"B"),
    list: _sequence_writer(b"l"),
    tuple: _sequence_writer(b"t"),
    set: _set_writer(b"S"),
    frozenset: _set_writer(b"Z"),
    dict: _write_dict,
    range: _write_range,
}


def decode(data: bytes, hooks: Hooks = NO_HOOKS) -> Any:
    """The value of ``data``.  What a hook is needed for is an error where there is none.

    Raises CodecError for anything that ``encode`` did not write, and for what a hook refuses.
    """
    try:
        value, at = _read(data, 0, 0, hooks)
    except CodecError:
        raise
    except (struct.error, LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise CodecError(f"broken encoding: {error}") from None
    except RecursionError:
        raise CodecError("nested too deep") from None
    if at != len(data):
        raise CodecError(f"{len(data) - at} bytes too many after the value")
    return value


def _read(data: bytes, at: int, depth: int, hooks: Hooks) -> tuple[Any, int]:
    """The value that begins at ``at``, and where it ends."""
    if depth > MAX_DEPTH + 1:
        raise CodecError("nested too deep")
    tag = data[at]
    at += 1
    if tag in _SIZED:  # each element takes a byte at least, so no honest length exceeds the bytes left
        (size,) = _U32.unpack_from(data, at)
        at += 4
        if size > len(data) - at:
            raise CodecError(f"a length of {size} with {len(data) - at} bytes left")
        if tag in _RAW:
            return _RAW[tag](data[at : at + size]), at + size
        if tag in _ITEMS:
            items, at = _read_items(data, at, depth, hooks, size)
            return items if tag == _LIST else _ITEMS[tag](items), at
        items, at = _read_items(data, at, depth, hooks, 2 * size)  # of a dict
        return dict(zip(items[::2], items[1::2], strict=True)), at
    if tag in _FIXED:
        layout, make = _FIXED[tag]
        return make(*layout.unpack_from(data, at)), at + layout.size
    if tag in _CONSTANTS:
        return _CONSTANTS[tag], at
    if tag == ord("r"):
        parts, at = _read_items(data, at, depth, hooks, 3)
        return range(*parts), at
    return _read_special(data, tag, at, depth, hooks)


def _read_special(data: bytes, tag: int, at: int, depth: int, hooks: Hooks) -> tuple[Any, int]:
    """A Handle, a Ref or a Tagged content, whose tag stands before ``at``."""
    if tag == ord("x") and hooks.make is not None:
        (name, content), at = _read_items(data, at, depth, hooks, 2)
        if type(name) is not str:
            raise CodecError("a content without a name")
        return hooks.make(name, content), at
    if tag not in b"h@x":
        raise CodecError(f"unknown tag {tag}")
    hook = {ord("h"): hooks.handle, ord("@"): hooks.ref}.get(tag)
    if hook is None:
        raise CodecError("a handle where none may stand")
    return hook(*_U32.unpack_from(data, at)), at + 4


def _read_items(data: bytes, at: int, depth: int, hooks: Hooks, count: int) -> tuple[list[Any], int]:
    integer, length = _I64.unpack_from, _U32.unpack_from
    values: list[Any] = []
    for _ in range(count):
        tag = data[at]
        if tag == _INT:  # what most lists hold: ints and texts
            values += integer(data, at + 1)
            at += 9
        elif tag == _STR and (end := at + 5 + length(data, at + 1)[0]) <= len(data):
            values.append(data[at + 5 : end].decode("utf-8", "surrogatepass"))
            at = end
        else:
            value, at = _read(data, at, depth + 1, hooks)
            values.append(value)
    return values, at


_LIST = ord("l")
_ITEMS: dict[int, Callable[[list[Any]], Any]] = {
    _LIST: list,
    ord("t"): tuple,
    ord("S"): set,
    ord("Z"): frozenset,
}
_RAW: dict[int, Callable[[bytes], Any]] = {
    _STR: lambda raw: raw.decode("utf-8", "surrogatepass"),
    ord("I"): lambda raw: int.from_bytes(raw, "big", signed=True),
    ord("b"): bytes,
    ord("B"): bytearray,
}
_SIZED = frozenset({*_ITEMS, *_RAW, ord("D")})
_FIXED: dict[int, tuple[struct.Struct, Callable[..., Any]]] = {
    _INT: (_I64, int),
    ord("d"): (_F64, float),
    ord("c"): (_C128, complex),
}
_CONSTANTS = {ord("N"): None, ord("T"): True, ord("F"): False}

# The message ("value", result, None), in which most results cross, before and after the result's own bytes.
BEFORE_RESULT = encode(("value", None, None))[:-2]
AFTER_RESULT = encode(None)
