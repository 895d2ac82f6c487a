"""When a result is the expected one.  Both sides are exact builtin values: no solution's code runs here."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

from ..wire.codec import encode

EVALPLUS_RTOL = 1e-7


@dataclass(frozen=True)
class Rules:
    """What counts as equal beyond equal values of equal types.  Each is a field of tests of that name.

    ``atol``, ``rtol``: numbers (not bool) are equal if |got - expected| <= atol + rtol |expected|; None: no
    tolerance.  An infinity is equal to the same infinity alone, and nan to nan: ``numpy.allclose``.
    """

    atol: float | None = None
    rtol: float = 0.0
    tuples_as_lists: bool = False  # JSON has no tuples
    text_keys: bool = False  # JSON has no other keys: a key is equal to the text that JSON has for it
    numbers_by_value: bool = False  # 1, 1.0 and True are equal, as Python's == has it

    @classmethod
    def of(cls, tests: Mapping[str, Any], rtol: float | None = None) -> Rules:
        """The rules of these tests.  ``rtol``: where they give none but an ``atol``; None: as ``atol``."""
        given = {field.name: tests[field.name] for field in fields(cls) if field.name in tests}
        if "atol" in given:
            given.setdefault("rtol", given["atol"] if rtol is None else rtol)
        return cls(**given)


STRICT = Rules()


def same(got: Any, expected: Any, rules: Rules = STRICT) -> bool:
    """Equal values of equal builtin types: 1 is not True, 1.0 is not 1, (1,) is not [1]; nan is nan.

    ``rules`` may make more values equal, at any depth.
    """
    if rules.atol is not None and _is_number(got) and _is_number(expected):
        return close(got, expected, rules.atol, rules.rtol)
    if type(got) is not type(expected):
        if rules.numbers_by_value and isinstance(got, (int, float)) and isinstance(expected, (int, float)):
            return got == expected
        if not (rules.tuples_as_lists and _is_sequence(got) and _is_sequence(expected)):
            return False
    if _is_sequence(expected):
        return len(got) == len(expected) and all(
            same(g, e, rules) for g, e in zip(got, expected, strict=True)
        )
    if type(expected) is dict:
        return _same_dict(got, expected, rules)
    if type(expected) in (set, frozenset):
        return bool(got == expected) and sorted(map(encode, got)) == sorted(map(encode, expected))
    if type(expected) is float:
        return bool(got == expected) or (math.isnan(got) and math.isnan(expected))
    return bool(got == expected)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_sequence(value: Any) -> bool:
    return type(value) in (list, tuple)


def close(got: float, expected: float, atol: float, rtol: float) -> bool:
    """``numpy.allclose``'s answer for two numbers, with nan equal to nan."""
    if got == expected:
        return True
    try:
        if math.isfinite(got) and math.isfinite(expected):
            return abs(got - expected) <= atol + rtol * abs(expected)
        return math.isnan(got) and math.isnan(expected)
    except OverflowError:  # an int that no float holds
        return False


def _same_dict(got: dict[Any, Any], expected: dict[Any, Any], rules: Rules) -> bool:
    if len(got) != len(expected):
        return False
    if rules.text_keys:
        got, expected = _with_text_keys(got), _with_text_keys(expected)
    types = {key: type(key) for key in got}
    return all(
        key in got and types[key] is type(key) and same(got[key], value, rules)
        for key, value in expected.items()
    )


def _with_text_keys(value: dict[Any, Any]) -> dict[Any, Any]:
    """The dict with the keys that JSON has for it; unchanged if two keys would become one."""
    keyed = {_json_key(key): item for key, item in value.items()}
    return keyed if len(keyed) == len(value) else value


def _json_key(key: Any) -> Any:
    """The text that JSON has for a key; the key itself where JSON has none."""
    try:
        return json.dumps(key) if key is None or type(key) in (bool, int, float) else key
    except ValueError:  # an int of more digits than Python writes
        return key


def same_output(got: str, expected: str, rules: Rules = STRICT) -> bool:
    """Equal words in equal order; the white space between them does not count, as in contest checkers.

    With ``atol``, a word that is a decimal number in ``expected`` (not an integer) may differ by
    atol + rtol |expected|.  Words never change places, and integers are never rounded; with
    ``numbers_by_value`` an integer may be written as a decimal of exactly its value.
    """
    got_words, expected_words = got.split(), expected.split()
    if got_words == expected_words:
        return True
    if len(got_words) != len(expected_words):
        return False
    return all(_same_word(g, e, rules) for g, e in zip(got_words, expected_words, strict=True))


_NUMBER = re.compile(r"[+-]?((\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?|inf|infinity|nan)", re.ASCII | re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)


def _same_word(got: str, expected: str, rules: Rules) -> bool:
    if got == expected:
        return True
    if not _NUMBER.fullmatch(got) or not _NUMBER.fullmatch(expected):
        return False
    if _INTEGER.fullmatch(expected):
        return rules.numbers_by_value and _exactly(got, expected)
    return rules.atol is not None and close(float(got), float(expected), rules.atol, rules.rtol)


def _exactly(got: str, expected: str) -> bool:
    try:
        return Decimal(got) == Decimal(expected)
    except ArithmeticError:  # an exponent beyond all bounds
        return False
