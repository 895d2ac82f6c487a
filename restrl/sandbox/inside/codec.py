"""The canonical encoding in which values cross between processes: exact builtin types only, never pickle.

None, bool, int, float (nan and inf too), complex, str, bytes, bytearray, list, tuple, dict, set, frozenset
and range, nested up to ``MAX_DEPTH``.  Identical values (types and contents; the order of a dict counts, that
of a set does not) have identical encodings.  ``decode`` trusts nothing: any byte string gives a value or
``CodecError``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 200
_U32 = struct.Struct(">I")
_I64 = struct.Struct(">q")
_TAGGED_I64 = struct.Struct(">cq")
_F64 = struct.Struct(">d")
_C128 = struct.Struct(">dd")
_BOUND = 1 << 63
_INT, _STR = ord("i"), ord("s")
LONG = 8  # items of a sequence from which on it pays to look whether all are of one type


class CodecError(ValueError):
    """The value has no encoding, or the bytes are no encoding."""


class Handle:
    """A reference to an object that stays in the solution's process; ``number`` names it there."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


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
    elif type(value) is Handle:
        out.append(b"h" + _U32.pack(value.number))
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
            elif types == {str}:  # the same texts again and again, as often as not
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


def decode(data: bytes, handle: Callable[[int], Any] | None = None) -> Any:
    """The value of ``data``.  ``handle`` makes the object for a Handle's number (none: an error).

    Raises CodecError for anything that ``encode`` did not write.
    """
    reader = _Reader(data, handle)
    try:
        value = reader.read(0)
    except (struct.error, IndexError, UnicodeDecodeError, TypeError, ValueError) as error:
        raise CodecError(f"broken encoding at byte {reader.at}: {error}") from None
    except RecursionError:
        raise CodecError("nested too deep") from None
    if reader.at != len(data):
        raise CodecError(f"{len(data) - reader.at} bytes too many after the value")
    return value


class _Reader:
    def __init__(self, data: bytes, handle: Callable[[int], Any] | None) -> None:
        self.data = data
        self.at = 0
        self.handle = handle

    def size(self) -> int:
        """A length field.  Every element takes at least one byte, so no length can exceed what is left."""
        (size,) = _U32.unpack_from(self.data, self.at)
        self.at += 4
        if size > len(self.data) - self.at:
            raise CodecError(f"a length of {size} with {len(self.data) - self.at} bytes left")
        return int(size)

    def raw(self) -> bytes:
        size = self.size()
        self.at += size
        return self.data[self.at - size : self.at]

    def fixed(self, layout: struct.Struct) -> tuple[Any, ...]:
        values = layout.unpack_from(self.data, self.at)
        self.at += layout.size
        return values

    def items(self, depth: int) -> list[Any]:
        data, integer, length = self.data, _I64.unpack_from, _U32.unpack_from
        values: list[Any] = []
        for _ in range(self.size()):
            tag = data[self.at]
            if tag == _INT:  # what most lists hold: ints and texts
                values += integer(data, self.at + 1)
                self.at += 9
            elif tag == _STR and (end := self.at + 5 + length(data, self.at + 1)[0]) <= len(data):
                values.append(data[self.at + 5 : end].decode("utf-8", "surrogatepass"))
                self.at = end
            else:
                values.append(self.read(depth + 1))
        return values

    def read(self, depth: int) -> Any:
        if depth > MAX_DEPTH + 1:
            raise CodecError("nested too deep")
        tag = self.data[self.at]
        self.at += 1
        reader = _READERS.get(tag)
        if reader is None:
            raise CodecError(f"unknown tag {tag}")
        return reader(self, depth)

    def read_dict(self, depth: int) -> dict[Any, Any]:
        size = self.size()
        result = {}
        for _ in range(size):
            key = self.read(depth + 1)
            result[key] = self.read(depth + 1)
        return result

    def read_range(self, depth: int) -> range:
        return range(self.read(depth + 1), self.read(depth + 1), self.read(depth + 1))

    def read_handle(self, _depth: int) -> Any:
        (number,) = self.fixed(_U32)
        if self.handle is None:
            raise CodecError("a handle where none may stand")
        return self.handle(number)


_READERS: dict[int, Callable[[_Reader, int], Any]] = {
    ord("N"): lambda _r, _d: None,
    ord("T"): lambda _r, _d: True,
    ord("F"): lambda _r, _d: False,
    ord("i"): lambda r, _d: r.fixed(_I64)[0],
    ord("I"): lambda r, _d: int.from_bytes(r.raw(), "big", signed=True),
    ord("d"): lambda r, _d: r.fixed(_F64)[0],
    ord("c"): lambda r, _d: complex(*r.fixed(_C128)),
    ord("s"): lambda r, _d: r.raw().decode("utf-8", "surrogatepass"),
    ord("b"): lambda r, _d: r.raw(),
    ord("B"): lambda r, _d: bytearray(r.raw()),
    ord("l"): lambda r, d: r.items(d),
    ord("t"): lambda r, d: tuple(r.items(d)),
    ord("S"): lambda r, d: set(r.items(d)),
    ord("Z"): lambda r, d: frozenset(r.items(d)),
    ord("D"): _Reader.read_dict,
    ord("r"): _Reader.read_range,
    ord("h"): _Reader.read_handle,
}

# The message ("value", result, None), in which most results cross, before and after the result's own bytes.
BEFORE_RESULT = encode(("value", None, None))[:-2]
AFTER_RESULT = encode(None)
