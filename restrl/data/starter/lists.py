"""Families of starter problems about one list of numbers."""

from __future__ import annotations

from random import Random
from typing import Any

from restrl.data.starter.family import Family, Options, axes, cases
from restrl.data.starter.inputs import distinct, numbers


def _any_list(rng: Random, _: Options) -> list[Any]:
    return [numbers(rng)]


def _filled_list(rng: Random, _: Options) -> list[Any]:
    return [numbers(rng, shortest=1)]


def _around_limit(rng: Random, options: Options) -> list[Any]:
    """All elements on one side of the limit, or on either side."""
    k, side = options["k"], rng.choice(((-6, 0), (1, 9), (-3, 5), (-6, 6)))
    return [numbers(rng, k + side[0], k + side[1], 1, 5)]


FAMILIES = (
    Family(
        "sum_if",
        False,
        ("sum_$slug", "total_$slug"),
        "$nums",
        "Return the sum of the $what in the list $nums.",
        "return sum(v for v in $nums if $test)",
        _any_list,
        cases(
            "slug what test",
            ("even", "even numbers", "v % 2 == 0"),
            ("odd", "odd numbers", "v % 2 == 1"),
            ("positive", "positive numbers", "v > 0"),
            ("negative", "negative numbers", "v < 0"),
            ("above_5", "numbers greater than 5", "v > 5"),
            ("multiples_of_3", "multiples of 3", "v % 3 == 0"),
        ),
    ),
    Family(
        "count_if",
        True,
        ("count_$slug", "count_${slug}_numbers"),
        "$nums",
        "Return how many numbers in the list $nums are $what.",
        "count = 0\nfor v in $nums:\n    if $test:\n        count += 1\nreturn count",
        _any_list,
        cases(
            "slug what test",
            ("large", "greater than 10", "v > 10"),
            ("negative", "negative", "v < 0"),
            ("even", "even", "v % 2 == 0"),
            ("odd", "odd", "v % 2 == 1"),
            ("positive", "positive", "v > 0"),
            ("small", "less than 5", "v < 5"),
            ("divisible", "divisible by 3", "v % 3 == 0"),
        ),
    ),
    Family(
        "keep_if",
        False,
        ("get_$slug", "filter_$slug", "keep_$slug"),
        "$nums",
        "Return a list of the numbers in $nums that are $what.",
        "return [v for v in $nums if $test]",
        _any_list,
        cases(
            "slug what test",
            ("above_3", "greater than 3", "v > 3"),
            ("below_7", "less than 7", "v < 7"),
            ("even", "even", "v % 2 == 0"),
            ("odd", "odd", "v % 2 == 1"),
            ("nonzero", "not zero", "v != 0"),
            ("multiples", "multiples of 5", "v % 5 == 0"),
            ("positive", "positive", "v > 0"),
        ),
    ),
    Family(
        "change_each",
        False,
        ("${slug}_all", "${slug}_each", "${slug}_list"),
        "$nums",
        "Return a list with each number in $nums $what.",
        "return [$value for v in $nums]",
        _any_list,
        cases(
            "slug what value",
            ("triple", "multiplied by 3", "v * 3"),
            ("add_five", "increased by 5", "v + 5"),
            ("square", "squared", "v ** 2"),
            ("reduce", "decreased by 2", "v - 2"),
            ("negate", "negated", "-v"),
            ("double", "doubled", "v * 2"),
        ),
    ),
    Family(
        "top_k",
        False,
        ("${which}_numbers", "get_$which", "${which}_values"),
        "$nums",
        "Return the $k $which numbers in the list $nums, in $order order.",
        "return sorted($nums$reverse)[:$k]",
        lambda rng, p: [distinct(rng, shortest=p["k"])],
        axes(
            w=cases(
                "which order reverse",
                ("largest", "descending", ", reverse=True"),
                ("smallest", "ascending", ""),
            ),
            k=(2, 3, 4),
        ),
    ),
    Family(
        "position_of_extreme",
        False,
        ("${which}_index", "index_of_$which"),
        "$nums",
        "Return the index of the $which number in the list $nums.",
        "return $nums.index($f($nums))",
        lambda rng, _: [distinct(rng, shortest=1)],
        cases("which f", ("largest", "max"), ("smallest", "min"), ("maximum", "max"), ("minimum", "min")),
    ),
    Family(
        "of_list",
        True,
        ("$slug", "list_$slug"),
        "$nums",
        "Return the $what of the list $nums.",
        "return $value",
        _filled_list,
        cases(
            "slug what value",
            ("range", "difference between the largest and the smallest number", "max($nums) - min($nums)"),
            ("extremes_sum", "sum of the largest and the smallest number", "max($nums) + min($nums)"),
            ("ends_sum", "sum of the first and the last number", "$nums[0] + $nums[-1]"),
            ("maximum", "maximum", "max($nums)"),
            ("minimum", "minimum", "min($nums)"),
            ("last", "last element", "$nums[-1]"),
            ("total", "sum", "sum($nums)"),
        ),
    ),
    Family(
        "repeated",
        False,
        ("get_$slug", "find_$slug"),
        "$nums",
        "Return a list of the numbers in $nums that appear $how in it, keeping order and repeats.",
        "return [v for v in $nums if $nums.count(v) $test]",
        lambda rng, _: [numbers(rng, 1, 4, 1, 8)],
        cases(
            "slug how test",
            ("unique", "exactly once", "== 1"),
            ("duplicates", "more than once", "> 1"),
            ("pairs", "exactly twice", "== 2"),
            ("rare", "at most twice", "<= 2"),
        ),
    ),
    Family(
        "all_or_any",
        False,
        ("${f}_$slug", "check_${f}_$slug"),
        "$nums",
        "Return True if $quantity in the list $nums $verb $what than $k.",
        "return $f(v $op $k for v in $nums)",
        _around_limit,
        axes(
            q=cases("quantity verb f", ("all numbers", "are", "all"), ("any number", "is", "any")),
            o=cases("slug what op", ("above", "greater", ">"), ("below", "less", "<")),
            k=(0, 5, 10),
        ),
    ),
    Family(
        "sort_list",
        True,
        ("sort_$slug", "${slug}_order", "${slug}_list"),
        "$nums",
        "Return the list $nums $how.",
        "return sorted($nums$arguments)",
        lambda rng, _: [distinct(rng, shortest=3)],
        cases(
            "slug how arguments",
            ("descending", "sorted in descending order", ", reverse=True"),
            ("ascending", "sorted in ascending order", ""),
            ("by_abs", "sorted by absolute value", ", key=abs"),
        ),
    ),
    Family(
        "average",
        False,
        ("$slug", "get_$slug", "list_$slug"),
        "$nums",
        "Return the $what of the numbers in the list $nums, or 0 if it is empty.",
        "if not $nums:\n    return 0\nreturn $value",
        _any_list,
        cases(
            "slug what value",
            ("mean", "sum divided by the count, rounded down,", "sum($nums) // len($nums)"),
            ("max_or_zero", "maximum", "max($nums)"),
            ("min_or_zero", "minimum", "min($nums)"),
        ),
    ),
)
