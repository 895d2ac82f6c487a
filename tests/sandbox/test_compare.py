"""What is equal, and by which rule.  The reference for tolerance is numpy.allclose."""

from __future__ import annotations

import itertools
import math
import time
from typing import Any

import numpy as np
import pytest

from restrl.sandbox.inside.grading.compare import EVALPLUS_RTOL, Rules, same, same_output

INF, NAN = math.inf, math.nan
NUMBERS = [
    0,
    0.0,
    -0.0,
    1,
    1.0,
    1 + 1e-7,
    1 - 5e-6,
    2**53,
    2**53 + 1,
    1e16,
    1e308,
    -1e308,
    INF,
    -INF,
    NAN,
    1e-9,
]
EVALPLUS = Rules.of({"atol": 1e-6}, EVALPLUS_RTOL)
NEAR = Rules(atol=1e-8, rtol=1e-5)


def nested(value: Any) -> list[Any]:
    return [[value], (1, value), {"a": value}, {1: [(value, "b")]}, [[[[value]]]]]


@pytest.mark.parametrize("rules", [EVALPLUS, NEAR, Rules(atol=0), Rules(atol=1e300, rtol=1.0)])
def test_tolerance_is_that_of_numpy(rules: Rules) -> None:
    for got, expected in itertools.product(NUMBERS, repeat=2):
        with np.errstate(all="ignore"):
            answer = np.allclose(float(got), float(expected), rules.rtol, rules.atol, equal_nan=True)
        if abs(got) < 2**53 or abs(expected) < 2**53:  # ints beyond are compared exactly here
            assert same(got, expected, rules) == answer, (got, expected)
            for a, b in zip(nested(got), nested(expected), strict=True):
                assert same(a, b, rules) == answer, (a, b)


def test_tolerance_is_evalplus_rule() -> None:
    # |got - expected| <= atol + 1e-7 |expected|
    assert same(1.0000009, 1.0, EVALPLUS)
    assert not same(1.0000012, 1.0, EVALPLUS)
    assert same([1], [1.0], EVALPLUS)
    assert not same(True, 1.0, EVALPLUS)
    assert not same([2.0, 1.0], [1.0, 2.0], EVALPLUS)


def test_only_the_same_infinity_is_an_infinity() -> None:
    for rules in (Rules(), EVALPLUS, Rules(atol=0), Rules(numbers_by_value=True)):
        for wrong in (0, 1.0, 1e308, 10**400, -(10**400), -INF, NAN, True, "inf", None):
            assert not same(wrong, INF, rules)
            assert not same(INF, wrong, rules)
            assert not same([{"a": (wrong,)}], [{"a": (INF,)}], rules)
        assert same([INF, -INF, NAN], [INF, -INF, NAN], rules)


def test_integers_that_no_float_holds() -> None:
    for rules in (EVALPLUS, Rules(numbers_by_value=True), Rules(atol=0, numbers_by_value=True)):
        assert same(10**400, 10**400, rules)
        assert not same(10**400, 10**400 + 1, rules)
        assert not same(10**400, 1.5, rules)
        assert not same(1.5, 10**400, rules)


def test_numbers_by_value_are_pythons() -> None:
    rules = Rules(numbers_by_value=True)
    for got, expected in [(2.0, 2), (2, 2.0), (True, 1), (0, False), ([1.0, True], [1, 1])]:
        assert same(got, expected, rules)
        assert not same(got, expected)
    for got, expected in [(2.0000001, 2), ("2", 2), (None, 0), ([], False), (2**53, 2.0**53 + 2)]:
        assert not same(got, expected, rules)


def test_tuples_as_lists_at_any_depth() -> None:
    rules = Rules(tuples_as_lists=True)
    assert same(({"a": ((1,), [2])},), [{"a": [[1], [2]]}], rules)
    for got, expected in [((1, 2), [2, 1]), ((1,), [1, 1]), ((), None), ({1}, [1]), ("ab", ["a", "b"])]:
        assert not same(got, expected, rules)


def test_text_keys_are_those_of_json() -> None:
    rules = Rules(text_keys=True)
    assert same({1: {2: 3}}, {"1": {"2": 3}}, rules)
    assert same({"1": 1}, {"1": 1}, rules)
    assert same({None: 1, True: 2, 1.5: 3}, {"null": 1, "true": 2, "1.5": 3}, rules)
    for got in ({2: 1}, {1: 2}, {}, {1: 1, 2: 1}, {(1,): 1}, {10**5000: 1}, [("1", 1)]):
        assert not same(got, {"1": 1}, rules)
    assert not same({1: 1, "1": 1}, {"1": 1, "2": 1}, rules)  # two keys of one text
    assert not same({1: 1}, {"1": 1})


@pytest.mark.parametrize(
    ("got", "expected", "equal"),
    [
        ("0.33333333", "0.333333333333", True),
        (".5", "0.50", True),
        ("5e-1", "0.5", True),
        ("2", "2.0", True),
        ("0.3334", "0.3333", False),
        ("1e999", "1e999", True),
        ("inf", "1e999", True),
        ("Infinity", "inf", True),
        ("0", "1e999", False),
        ("1e308", "1e999", False),
        ("-inf", "inf", False),
        ("1e999", "1.5", False),
        ("nan", "1.5", False),
        ("0.0", "nan", False),
        ("1.5", "inf", False),
        ("3.0", "3", False),
        ("1000001", "1000000", False),
        ("1_0.5", "10.5", False),
        ("0x1p-1", "0.5", False),
        ("\u0661.5", "1.5", False),  # a digit, but not one of a number's
        ("1.5abc", "1.5", False),
        ("1.5 2.5", "2.5 1.5", False),
        ("1.5", "1.5 1.5", False),
    ],
)
def test_words_within_a_tolerance(got: str, expected: str, equal: bool) -> None:
    assert same_output(got, expected, NEAR) == equal
    assert same_output(got, expected) == (got == expected)


@pytest.mark.parametrize(
    ("got", "expected", "equal"),
    [
        ("3.0", "3", True),
        ("3e0", "3", True),
        ("-0.0", "0", True),
        ("3.0000001", "3", False),
        ("12345678901234567.0", "12345678901234568", False),  # equal as floats
        ("1e999999999999999999999", "3", False),
        ("inf", "3", False),
        ("nan", "3", False),
        ("3", "3.0", False),  # a decimal needs a tolerance
        ("True", "1", False),
    ],
)
def test_integers_may_be_written_as_decimals(got: str, expected: str, equal: bool) -> None:
    assert same_output(got, expected, Rules(numbers_by_value=True)) == equal


@pytest.mark.parametrize(
    "got", ["1" * 250_000 + "x", "1." * 125_000, "1e" * 125_000, "9" * 250_000, "1e99999999"]
)
@pytest.mark.parametrize("expected", ["1.5", "3"])
def test_no_word_takes_long_to_compare(got: str, expected: str) -> None:
    start = time.process_time()
    assert not same_output(got, expected, Rules(atol=1e-6, rtol=1e-6, numbers_by_value=True))
    assert time.process_time() - start < 1


def test_defaults_of_a_tolerance() -> None:
    assert Rules.of({}) == Rules()
    assert Rules.of({"atol": 1e-6}) == Rules(atol=1e-6, rtol=1e-6)
    assert Rules.of({"atol": 0}, EVALPLUS_RTOL) == Rules(atol=0, rtol=1e-7)
    assert Rules.of({"atol": 1e-8, "rtol": 1e-5}, EVALPLUS_RTOL) == NEAR
    assert not same(1.0, 1.0001, Rules.of({"rtol": 1.0}))  # none without atol
