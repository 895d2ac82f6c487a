"""Families of starter problems about integers, their digits and simple loops."""

from __future__ import annotations

from random import Random
from typing import Any

from restrl.data.starter.family import Family, Options, cases


def _large(rng: Random, _: Options) -> list[Any]:
    return [rng.randint(1, 10 ** rng.randint(1, 6))]


def _two(rng: Random, _: Options) -> list[Any]:
    return [rng.randint(-12, 20), rng.randint(-12, 20)]


def _low_high(rng: Random, _: Options) -> list[Any]:
    low = rng.randint(-3, 10)
    return [low, low + rng.randint(1, 10)]


def _with_digit(rng: Random, options: Options) -> list[Any]:
    digits = ("1", "4", "6", str(options["k"]), str(options["k"]))
    return [int("".join(rng.choice(digits) for _ in range(rng.randint(1, 8))))]


def _common_factor(rng: Random, _: Options) -> list[Any]:
    factor = rng.choice((1, 2, 3, 4, 5, 6, 7, 8, 10, 12))
    return [factor * rng.randint(1, 9), factor * rng.randint(1, 9)]


def _ordered_or_not(rng: Random, _: Options) -> list[Any]:
    """Rising, falling, equal or any three numbers."""
    three = sorted(rng.sample(range(-9, 20), 3))
    return rng.choice((three, three[::-1], three[:1] * 3, [rng.randint(0, 4) for _ in range(3)]))


def _prime_or_not(rng: Random, _: Options) -> list[Any]:
    return [rng.choice((2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, rng.randint(1, 60), 9, 15, 21, 25))]


FAMILIES = (
    Family(
        "both_numbers",
        False,
        ("$slug", "are_$slug", "check_$slug"),
        "a, b",
        "Return True if $what, otherwise False.",
        "return $test",
        _two,
        cases(
            "slug what test",
            ("both_positive", "both a and b are greater than 0", "a > 0 and b > 0"),
            ("both_even", "both a and b are even", "a % 2 == 0 and b % 2 == 0"),
            ("any_negative", "a or b is less than 0, or both are", "a < 0 or b < 0"),
            ("any_even", "a or b is even, or both are", "a % 2 == 0 or b % 2 == 0"),
        ),
    ),
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
        "two_results",
        True,
        ("$slug", "get_$slug", "list_$slug"),
        "a, b",
        "Return a list of two numbers: the $what.",
        "return [$value]",
        _two,
        cases(
            "slug what value",
            ("sum_and_product", "sum and the product of a and b", "a + b, a * b"),
            ("sum_and_difference", "sum of a and b and a minus b", "a + b, a - b"),
            ("squares", "square of a and the square of b", "a ** 2, b ** 2"),
        ),
    ),
    Family(
        "with_unit",
        False,
        ("format_$slug", "add_unit", "to_string"),
        "$n",
        "Return the integer $n as a string followed by '$unit'.",
        "return str($n) + '$unit'",
        lambda rng, _: [rng.randint(-20, 300)],
        cases(
            "slug unit", ("weight", "kg"), ("length", "cm"), ("size", "px"), ("percent", "%"), ("time", "s")
        ),
    ),
    Family(
        "reverse_number",
        False,
        (
            "reverse_number",
            "reverse_digits",
            "reverse_integer",
            "flip_digits",
            "reversed_number",
            "mirror_number",
        ),
        "$n",
        "Return the positive integer $n with its digits in reverse order, as an integer.",
        "return int(str($n)[::-1])",
        lambda rng, _: [rng.randint(10, 10 ** rng.randint(2, 6))],
    ),
    Family(
        "count_digit",
        False,
        ("count_digit_$k", "count_$k", "number_of_${k}s"),
        "$n",
        "Return the number of times the digit $k appears in the positive integer $n.",
        "return str($n).count('$k')",
        _with_digit,
        cases("k", (2,), (3,), (5,), (7,), (9,)),
    ),
    Family(
        "first_digit",
        True,
        (
            "first_digit",
            "get_first_digit",
            "leading_digit",
            "find_first_digit",
            "first_digit_of",
            "most_significant_digit",
        ),
        "$n",
        "Return the first digit of the positive integer $n as an integer.",
        "return int(str($n)[0])",
        lambda rng, _: [rng.randint(1, 9) * 10 ** rng.randint(0, 5) + rng.randint(0, 9)],
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
        "countdown",
        False,
        ("countdown", "count_down", "descending_list"),
        "$n",
        "Return a list of the integers from $n down to $k, including both ends.",
        "return list(range($n, $stop, -1))",
        lambda rng, _: [rng.randint(2, 15)],
        cases("k stop", (0, -1), (1, 0), (2, 1)),
    ),
    Family(
        "count_steps",
        False,
        ("count_steps", "count_divisions", "number_of_steps"),
        "$n",
        "Return how often the positive integer $n must be divided by $k, rounding down, until it is 0.",
        "count = 0\nwhile $n > 0:\n    $n //= $k\n    count += 1\nreturn count",
        lambda rng, p: [rng.randint(1, p["k"] ** rng.randint(1, 8))],
        cases("k", (2,), (3,), (5,), (10,)),
    ),
    Family(
        "gcd",
        False,
        ("gcd", "greatest_common_divisor", "common_divisor", "get_gcd", "compute_gcd", "find_gcd"),
        "a, b",
        "Return the greatest common divisor of the positive integers a and b.",
        "while b:\n    a, b = b, a % b\nreturn a",
        _common_factor,
    ),
    Family(
        "fibonacci",
        False,
        ("fibonacci", "fib", "get_fibonacci", "fibonacci_number", "nth_fibonacci", "compute_fibonacci"),
        "$n",
        "Return the Fibonacci number with index $n; index 0 has the number 0 and index 1 the number 1.",
        "a, b = 0, 1\nfor _ in range($n):\n    a, b = b, a + b\nreturn a",
        lambda rng, _: [rng.randint(0, 20)],
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
        "round_to",
        False,
        ("round_to_$k", "round_number", "to_${k}_decimals"),
        "x",
        "Return the number x rounded to $what.",
        "return round(x, $k)",
        lambda rng, _: [rng.randint(-9999, 9999) / 1000],
        cases("k what", (1, "1 decimal place"), (2, "2 decimal places")),
    ),
)
