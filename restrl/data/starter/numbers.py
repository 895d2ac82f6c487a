"""Families of starter problems about numbers."""

from __future__ import annotations

from random import Random
from typing import Any

from restrl.data.starter.family import Family, Options, axes, cases


def _small(rng: Random, _: Options) -> list[Any]:
    return [rng.randint(1, 30)]


def _large(rng: Random, _: Options) -> list[Any]:
    return [rng.randint(1, 10 ** rng.randint(1, 5))]


def _any_number(rng: Random, _: Options) -> list[Any]:
    return [rng.randint(-50, 120)]


def _around(rng: Random, options: Options) -> list[Any]:
    """Below, at, between and above the two limits."""
    low, high = options["low"], options["high"]
    return [
        rng.choice(
            (low, high, rng.randint(low - 20, low), rng.randint(low, high), rng.randint(high, high + 20))
        )
    ]


def _multiples(rng: Random, options: Options) -> list[Any]:
    a, b = options["a"], options["b"]
    return [rng.choice((a, b, a * b, 1)) * rng.randint(1, 12)]


def _composite(rng: Random, _: Options) -> list[Any]:
    return [rng.choice((6, 8, 9, 10, 12, 15, 16, 18, 20, 21, 24, 28, 30, 36, 7, 13, 40, 48, 60))]


def _with_digit(rng: Random, options: Options) -> list[Any]:
    digit = options["k"]
    return [int("".join(rng.choice(("1", "7", "3", digit, digit)) for _ in range(rng.randint(1, 7))))]


FAMILIES = (
    Family(
        "sum_of_multiples",
        False,
        ("sum_$slug", "sum_of_$slug"),
        "$n",
        "Return the sum of all $what from 1 to $n inclusive.",
        "return sum(i for i in range(1, $n + 1) if $test)",
        _small,
        cases(
            "slug what test",
            ("even", "even numbers", "i % 2 == 0"),
            ("odd", "odd numbers", "i % 2 == 1"),
            ("multiples", "multiples of 3", "i % 3 == 0"),
            ("multiples", "multiples of 5", "i % 5 == 0"),
        ),
    ),
    Family(
        "digits",
        True,
        ("digit_$what", "${what}_of_digits", "get_digit_$what"),
        "$n",
        "Return the $what of the digits of the positive integer $n.",
        "return $f(int(c) for c in str($n))",
        _large,
        cases("what f", ("sum", "sum"), ("maximum", "max"), ("minimum", "min")),
    ),
    Family(
        "clamp",
        False,
        ("clamp", "limit", "clip"),
        "$n",
        "Return $low if $n is less than $low, $high if $n is greater than $high, otherwise $n.",
        "return max($low, min($high, $n))",
        _around,
        cases("low high", (0, 10), (1, 100), (-5, 5), (10, 20), (0, 255), (3, 9), (-10, 0), (50, 60)),
    ),
    Family(
        "fizz",
        False,
        ("fizz_buzz", "divisor_label", "label"),
        "$n",
        "Return '$x' if $n is divisible by $a, '$y' if it is divisible by $b but not by $a, otherwise '$z'.",
        "if $n % $a == 0:\n    return '$x'\nif $n % $b == 0:\n    return '$y'\nreturn '$z'",
        _multiples,
        axes(
            w=cases("x y z", ("Fizz", "Buzz", "None"), ("red", "blue", "green"), ("A", "B", "C")),
            n=cases("a b", (3, 5), (2, 7), (4, 3)),
        ),
    ),
    Family(
        "formula",
        False,
        ("$slug", "compute_$slug"),
        "$n",
        "Return $words.",
        "return $value",
        _any_number,
        cases(
            "slug words value",
            ("square_plus_three", "$n squared plus 3", "$n ** 2 + 3"),
            ("twice_minus_seven", "twice $n minus 7", "2 * $n - 7"),
            ("cube", "the cube of $n", "$n ** 3"),
            ("five_times", "5 times the sum of $n and 2", "5 * ($n + 2)"),
            ("abs_plus_one", "the absolute value of $n plus 1", "abs($n) + 1"),
            ("last_digit", "the last digit of the absolute value of $n", "abs($n) % 10"),
        ),
    ),
    Family(
        "divisors",
        False,
        ("divisors", "get_divisors", "find_divisors"),
        "$n",
        "Return a list of the divisors of $n $what, in ascending order.",
        "return [i for i in range($low, $n$high) if $n % i == 0]",
        _composite,
        cases(
            "what low high",
            ("from 1 to $n", 1, " + 1"),
            ("smaller than $n", 1, ""),
            ("greater than 1", 2, " + 1"),
        ),
    ),
    Family(
        "product_of_range",
        False,
        ("product", "multiply_range", "range_product"),
        "$n",
        "Return the product of all integers from $k to $n, or 1 if $n is less than $k.",
        "result = 1\nfor i in range($k, $n + 1):\n    result *= i\nreturn result",
        lambda rng, _: [rng.randint(0, 12)],
        axes(k=(1, 2, 3)),
    ),
    Family(
        "grade",
        False,
        ("grade", "level", "classify"),
        "$n",
        "Return '$x' if $n is less than $low, '$z' if $n is greater than $high, otherwise '$y'.",
        "if $n < $low:\n    return '$x'\nif $n > $high:\n    return '$z'\nreturn '$y'",
        _around,
        axes(
            w=cases("x y z", ("low", "mid", "high"), ("cold", "warm", "hot"), ("few", "some", "many")),
            n=cases("low high", (10, 20), (0, 30), (5, 8)),
        ),
    ),
    Family(
        "numbers_up_to",
        True,
        ("$slug", "list_$slug", "get_$slug"),
        "$n",
        "Return a list of $what.",
        "return [$value for i in range($first, $n + 1)]",
        lambda rng, _: [rng.randint(1, 15)],
        cases(
            "slug what value first",
            ("numbers", "the integers from 0 to $n inclusive", "i", 0),
            ("squares", "the squares of the integers from 1 to $n", "i ** 2", 1),
            ("doubles", "the doubles of the integers from 1 to $n", "i * 2", 1),
            ("cubes", "the cubes of the integers from 1 to $n", "i ** 3", 1),
        ),
    ),
    Family(
        "in_range",
        True,
        ("in_range", "is_between", "is_in_range"),
        "$n",
        "Return True if $n is $what $low and $high$inclusive.",
        "return $test",
        _around,
        axes(
            w=cases(
                "what inclusive test",
                ("between", " inclusive", "$low <= $n <= $high"),
                ("strictly between", "", "$low < $n < $high"),
            ),
            r=cases("low high", (1, 10), (0, 5), (20, 30)),
        ),
    ),
    Family(
        "if_even",
        True,
        ("next_number", "step", "change_number"),
        "$n",
        "Return $x if $n is $parity, otherwise $y.",
        "return $v if $n % 2 == $r else $w",
        lambda rng, _: [rng.randint(1, 60)],
        axes(
            p=cases("parity r", ("even", 0), ("odd", 1)),
            f=cases(
                "x v y w",
                ("half of $n rounded down", "$n // 2", "3 times $n plus 1", "3 * $n + 1"),
                ("$n plus 1", "$n + 1", "$n minus 1", "$n - 1"),
                ("$n squared", "$n ** 2", "twice $n", "2 * $n"),
            ),
        ),
    ),
    Family(
        "bigger_of",
        False,
        ("compare", "compare_numbers"),
        "a, b",
        "Return $x if a is greater than b, $y if b is greater than a, and $z if they are equal.",
        "if a > b:\n    return $x\nif b > a:\n    return $y\nreturn $z",
        lambda rng, _: [rng.randint(0, 6), rng.randint(0, 6)],
        cases(
            "x y z",
            ("a - b", "b - a", "0"),
            ("a", "b", "a + b"),
            ("1", "-1", "0"),
            ("a * 2", "b", "a"),
            ("b", "a", "-1"),
        ),
    ),
    Family(
        "is_divisible",
        True,
        ("is_$slug", "check_$slug"),
        "$n",
        "Return True if $n is $what.",
        "return $test",
        _small,
        cases(
            "slug what test",
            ("even", "even", "$n % 2 == 0"),
            ("odd", "odd", "$n % 2 == 1"),
            ("multiple", "divisible by 3", "$n % 3 == 0"),
            ("divisible", "divisible by 2 or 5", "$n % 2 == 0 or $n % 5 == 0"),
        ),
    ),
)
