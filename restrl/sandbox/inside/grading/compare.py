"""When a result is the expected one.  Both sides are exact builtin values: no solution's code runs here."""

from __future__ import annotations

import math
from typing import Any

from ..wire.codec import encode


def same(got: Any, expected: Any, atol: float | None = None) -> bool:
    """Equal values of equal builtin types: 1 is not True, 1.0 is not 1, (1,) is not [1]; nan is nan.

    With ``atol`` numbers (not bool) are equal if |got - expected| <= atol + 1e-7 |expected|, whatever their
    type: EvalPlus' rule.
    """
    if atol is not None and _is_number(got) and _is_number(expected):
        return _close(got, expected, atol)
    if type(got) is not type(expected):
        return False
    if type(expected) in (list, tuple):
        return len(got) == len(expected) and all(same(g, e, atol) for g, e in zip(got, expected, strict=True))
    if type(expected) is dict:
        return _same_dict(got, expected, atol)
    if type(expected) in (set, frozenset):
        return bool(got == expected) and sorted(map(encode, got)) == sorted(map(encode, expected))
    if type(expected) is float:
        return bool(got == expected) or (math.isnan(got) and math.isnan(expected))
    return bool(got == expected)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _close(got: float, expected: float, atol: float) -> bool:
    if got == expected:
        return True
    try:
        return abs(got - expected) <= atol + 1e-7 * abs(expected) or (
            math.isnan(got) and math.isnan(expected)
        )
    except OverflowError:  # an int that no float holds
        return False


def _same_dict(got: dict[Any, Any], expected: dict[Any, Any], atol: float | None) -> bool:
    if len(got) != len(expected):
        return False
    types = {key: type(key) for key in got}
    return all(
        key in got and types[key] is type(key) and same(got[key], value, atol)
        for key, value in expected.items()
    )


def same_output(got: str, expected: str, atol: float | None = None) -> bool:
    """Equal words in equal order; the white space between them does not count, as in contest checkers.

    With ``atol``, a word that is a decimal number in ``expected`` (not an integer) may differ by
    atol + atol |expected|.  Words never change places, and integers are never rounded.
    """
    got_words, expected_words = got.split(), expected.split()
    if got_words == expected_words:
        return True
    if atol is None or len(got_words) != len(expected_words):
        return False
    return all(_same_word(g, e, atol) for g, e in zip(got_words, expected_words, strict=True))


def _same_word(got: str, expected: str, atol: float) -> bool:
    if got == expected:
        return True
    if not any(sign in expected for sign in ".eE") or "_" in got:
        return False
    try:
        a, b = float(got), float(expected)
    except ValueError:
        return False
    return abs(a - b) <= atol + atol * abs(b)
