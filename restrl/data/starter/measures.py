"""Families of starter problems about shapes, times, prices and temperatures."""

from __future__ import annotations

from random import Random
from typing import Any

from restrl.data.starter.family import Family, Options, cases


def _year(rng: Random, _: Options) -> list[Any]:
    """A year; half of them are multiples of 100, because these are the exceptions."""
    return [rng.choice((4 * rng.randint(450, 550), rng.randint(1800, 2200), 100 * rng.randint(16, 28)))]


def _degrees(rng: Random, options: Options) -> list[Any]:
    if options["old"] == "Celsius":
        return [5 * rng.randint(-10, 30)]
    return [32 + 9 * rng.randint(-9, 20)]


FAMILIES = (
    Family(
        "total_amount",
        True,
        ("total_$small", "to_$small", "convert_to_$small"),
        "$big, $small",
        "Return the total number of $small in the given $big and $small.",
        "return $big * $k + $small",
        lambda rng, p: [rng.randint(0, 9), rng.randint(0, p["k"] - 1)],
        cases(
            "big small k",
            ("hours", "minutes", 60),
            ("minutes", "seconds", 60),
            ("weeks", "days", 7),
            ("dollars", "cents", 100),
        ),
    ),
    Family(
        "leap_year",
        True,
        ("is_leap_year", "leap_year", "is_leap", "check_leap_year", "check_leap", "has_366_days"),
        "year",
        "Return True if the year is a leap year: divisible by 4 but not by 100, or divisible by 400.",
        "return year % 4 == 0 and year % 100 != 0 or year % 400 == 0",
        _year,
    ),
    Family(
        "temperature",
        True,
        ("to_$slug", "convert_to_$slug", "${args}_to_$slug"),
        "$args",
        "Convert the temperature $args from $old to $new and return it as a float.",
        "return $value",
        _degrees,
        cases(
            "args slug old new value",
            ("celsius", "fahrenheit", "Celsius", "Fahrenheit", "celsius * 9 / 5 + 32"),
            ("fahrenheit", "celsius", "Fahrenheit", "Celsius", "(fahrenheit - 32) * 5 / 9"),
        ),
    ),
    Family(
        "rate",
        True,
        ("$slug", "get_$slug", "compute_$slug"),
        "$x, $y",
        "Return $what.",
        "return $x / $y",
        lambda rng, _: [rng.randint(1, 40) * 5, rng.choice((1, 2, 4, 5, 8, 10))],
        cases(
            "slug x y what",
            ("speed", "distance", "time", "the average speed of a trip with the given distance and time"),
            ("unit_price", "cost", "count", "the price of one item if count items have the given cost"),
            ("density", "mass", "volume", "the density of a body with the given mass and volume"),
        ),
    ),
)
