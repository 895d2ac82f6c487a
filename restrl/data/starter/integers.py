"""Families of starter problems about integers, their digits and simple loops."""

from __future__ import annotations

from random import Random
from typing import Any

from restrl.data.starter.family import Family, Options, cases
from restrl.data.starter.inputs import numbers


def _large(rng: Random, _: Options) -> list[Any]:
    return [rng.randint(1, 10 ** rng.randint(1, 6))]


def _two(rng: Random, _: Options) -> list[Any]:
    return [rng.randint(-12, 20), rng.randint(-12, 20)]


def _low_high(rng: Random, _: Options) -> list[Any]:
    low = rng.randint(-3, 10)
    return [low, low + rng.randint(1, 10)]


def _ordered_or_not(rng: Random, _: Options) -> list[Any]:
    """Rising, falling, equal or any three numbers."""
    three = sorted(rng.sample(range(-9, 20), 3))
    return rng.choice((three, three[::-1], three[:1] * 3, [rng.randint(0, 4) for _ in range(3)]))


def _prime_or_not(rng: Random, _: Options) -> list[Any]:
    return [rng.choice((2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, rng.randint(1, 60), 9, 15, 21, 25))]


FAMILIES = (
    Family(
        "check_three",
        True,
        ("are_$slug", "is_$slug", "check_$slug"),
        "a, b, c",
        "Return True if $what, otherwise False.",
        "return $test",
        _ordered_or_not,
        cases(
            "slug what test",
            ("increasing", "a is less than b and b is less than c", "a < b < c"),
            ("decreasing", "a is greater than b and b is greater than c", "a > b > c"),
            ("equal", "the three numbers a, b and c are equal", "a == b == c"),
        ),
    ),
    Family(
        "of_squares",
        True,
        ("$slug", "get_$slug", "compute_$slug"),
        "a, b",
        "Return the $what of a and b.",
        "return $value",
        _two,
        cases(
            "slug what value",
            ("sum_of_squares", "sum of the squares", "a ** 2 + b ** 2"),
            ("square_of_sum", "square of the sum", "(a + b) ** 2"),
            ("square_of_product", "square of the product", "(a * b) ** 2"),
        ),
    ),
    Family(
        "list_digits",
        True,
        ("list_digits", "get_digits", "digits_of"),
        "$n",
        "Return a list of the digits of the positive integer $n as integers, $how.",
        "return [int(c) for c in $value]",
        _large,
        cases(
            "how value",
            ("from the first to the last", "str($n)"),
            ("from the last to the first", "str($n)[::-1]"),
        ),
    ),
    Family(
        "sum_between",
        True,
        ("sum_between", "sum_range", "sum_from_to"),
        "a, b",
        "Return the sum of the integers from a to b, including $what.",
        "return sum(range(a, b$more))",
        _low_high,
        cases("what more", ("both a and b", " + 1"), ("a but not b", "")),
    ),
    Family(
        "is_prime",
        True,
        ("is_prime", "prime", "check_prime", "is_prime_number", "is_a_prime", "test_prime"),
        "$n",
        "Return True if the positive integer $n is a prime number, otherwise False.",
        "return $n > 1 and all($n % i != 0 for i in range(2, $n))",
        _prime_or_not,
    ),
    Family(
        "of_three",
        True,
        ("$slug", "${slug}_of_three", "get_$slug"),
        "a, b, c",
        "Return the $slug of the three numbers a, b and c.",
        "return $value",
        lambda rng, _: [rng.randint(-9, 20) for _ in range(3)],
        cases("slug value", ("sum", "a + b + c"), ("product", "a * b * c")),
    ),
    Family(
        "of_two_positive",
        True,
        ("$slug", "get_$slug", "compute_$slug"),
        "a, b",
        "Return $what.",
        "return a $op b",
        lambda rng, _: [rng.randint(2, 40), rng.randint(2, 6)],
        cases(
            "slug what op",
            ("power", "a to the power of b", "**"),
            ("quotient", "a divided by b, rounded down to an integer", "//"),
        ),
    ),
    Family(
        "opposite_or_absolute",
        True,
        ("$slug", "get_$slug", "${slug}_number"),
        "$n",
        "Return the $what of $n.",
        "return $value",
        lambda rng, _: [rng.randint(-60, 40)],
        cases("slug what value", ("negate", "negative", "-$n"), ("absolute", "absolute value", "abs($n)")),
    ),
    Family(
        "divide_by_constant",
        True,
        ("divide_by_$k", "one_${k}th", "divided_by_$k"),
        "$n",
        "Return $n divided by $k as a float.",
        "return $n / $k",
        lambda rng, _: [rng.randint(-20, 100)],
        cases("k", (4,), (5,), (8,), (10,)),
    ),
    Family(
        "compare_two",
        True,
        ("is_$slug", "are_$slug", "check_$slug"),
        "a, b",
        "Return True if a $what b, otherwise False.",
        "return a $op b",
        lambda rng, _: [rng.randint(1, 4), rng.randint(1, 4)],
        cases(
            "slug what op",
            ("equal", "is equal to", "=="),
            ("different", "is not equal to", "!="),
            ("greater", "is greater than", ">"),
            ("smaller", "is smaller than", "<"),
        ),
    ),
    Family(
        "list_multiples",
        True,
        ("${slug}_numbers", "list_$slug", "get_${slug}_numbers"),
        "$n",
        "Return a list of the $what from 1 to $n.",
        "return [i for i in range(1, $n + 1) if $test]",
        lambda rng, _: [rng.randint(1, 25)],
        cases(
            "slug what test",
            ("even", "even numbers", "i % 2 == 0"),
            ("odd", "odd numbers", "i % 2 == 1"),
            ("divisible", "numbers divisible by 3", "i % 3 == 0"),
        ),
    ),
    Family(
        "convert",
        True,
        ("to_$slug", "convert_to_$slug", "make_$slug"),
        "$x",
        "Return the $old $x as $new.",
        "return $f($x)",
        lambda rng, p: [str(v) if p["x"] == "$s" else v for v in numbers(rng, -20, 999, 1, 1)],
        cases(
            "slug x old new f",
            ("string", "$n", "integer", "a string", "str"),
            ("integer", "$s", "string", "an integer", "int"),
            ("float", "$s", "string", "a float", "float"),
        ),
    ),
)
