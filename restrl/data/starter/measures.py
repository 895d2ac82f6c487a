"""Families of starter problems about shapes, times, prices and temperatures."""

from __future__ import annotations

from random import Random
from typing import Any

from restrl.data.starter.family import Family, Options, cases


def _sides(rng: Random, options: Options) -> list[Any]:
    """One positive length per argument; the last one is even, so that half of an area is exact."""
    count = options["args"].count(",") + 1
    return [rng.randint(1, 20) for _ in range(count - 1)] + [2 * rng.randint(1, 10)]


def _price(rng: Random, _: Options) -> list[Any]:
    """Price and percent, so small that every way to compute the result gives the same float."""
    return [20 * rng.randint(1, 20), rng.choice((5, 20, 25, 75))]


def _year(rng: Random, _: Options) -> list[Any]:
    """Half of them multiples of 100, since these are the exceptions."""
    return [rng.choice((4 * rng.randint(450, 550), rng.randint(1800, 2200), 100 * rng.randint(16, 28)))]


def _degrees(rng: Random, options: Options) -> list[Any]:
    if options["old"] == "Celsius":
        return [5 * rng.randint(-10, 30)]
    return [32 + 9 * rng.randint(-9, 20)]


FAMILIES = (
    Family(
        "rectangle",
        False,
        ("rectangle_$slug", "get_$slug", "${slug}_of_rectangle"),
        "width, height",
        "Return the $slug of a rectangle with the given width and height.",
        "return $value",
        lambda rng, _: [rng.randint(1, 20), rng.randint(1, 20)],
        cases("slug value", ("area", "width * height"), ("perimeter", "2 * (width + height)")),
    ),
    Family(
        "triangle",
        False,
        ("triangle_$slug", "get_$slug", "${slug}_of_triangle"),
        "$args",
        "Return the $slug of a triangle with $given.",
        "return $value",
        _sides,
        cases(
            "slug args given value",
            ("area", "base, height", "the given base and height, as a float", "base * height / 2"),
            ("perimeter", "a, b, c", "the sides a, b and c", "a + b + c"),
        ),
    ),
    Family(
        "box",
        True,
        ("box_$slug", "get_$slug", "${slug}_of_box"),
        "length, width, height",
        "Return the $what of a box with the given length, width and height.",
        "return $value",
        lambda rng, _: [rng.randint(1, 12) for _ in range(3)],
        cases(
            "slug what value",
            ("volume", "volume", "length * width * height"),
            ("surface", "surface area", "2 * (length * width + length * height + width * height)"),
        ),
    ),
    Family(
        "split_amount",
        False,
        ("split_$small", "${big}_and_$small", "convert_$small"),
        "$n",
        "Return a list of two integers: the whole $big and the remaining $small in $n $small.",
        "return [$n // $k, $n % $k]",
        lambda rng, p: [rng.randint(0, 8 * p["k"])],
        cases(
            "big small k",
            ("hours", "minutes", 60),
            ("minutes", "seconds", 60),
            ("days", "hours", 24),
            ("weeks", "days", 7),
            ("euros", "cents", 100),
        ),
    ),
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
        "clock",
        True,
        ("hour_after_$k", "add_${k}_hours", "hour_in_${k}_hours"),
        "hour",
        "Return the hour on a 24-hour clock (0 to 23) that is $k hours after the given hour.",
        "return (hour + $k) % 24",
        lambda rng, _: [rng.choice((rng.randint(0, 23), rng.randint(12, 23)))],
        cases("k", (3,), (5,), (8,), (10,), (12,)),
    ),
    Family(
        "leap_year",
        False,
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
        "percent",
        False,
        ("get_${k}_percent", "percent_$k", "take_${k}_percent"),
        "$n",
        "Return $k percent of $n as a float.",
        "return $n * $k / 100",
        lambda rng, _: [20 * rng.randint(1, 10)],
        cases("k", (5,), (10,), (20,), (25,), (50,)),
    ),
    Family(
        "change_price",
        True,
        ("${slug}_price", "price_${slug}_by", "get_${slug}_price"),
        "price, percent",
        "Return the price $slug by the given percent, as a float.",
        "return price $op price * percent / 100",
        _price,
        cases("slug op", ("reduced", "-"), ("increased", "+")),
    ),
    Family(
        "total_price",
        False,
        ("total_price", "total_cost", "compute_price"),
        "price, quantity",
        "Return the total cost of quantity items that cost price each$what.",
        "return price * quantity$more",
        lambda rng, _: [rng.randint(1, 30), rng.randint(1, 12)],
        cases(
            "what more",
            ("", ""),
            (", plus 5 for shipping", " + 5"),
            (", minus a discount of 3", " - 3"),
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
