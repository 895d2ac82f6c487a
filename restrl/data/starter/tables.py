"""Families of starter problems about positions in lists, pairs, lists of lists, flags and dictionaries."""

from __future__ import annotations

from random import Random
from typing import Any

from restrl.data.starter.family import Family, Options, cases
from restrl.data.starter.inputs import grid, numbers


def _any_list(rng: Random, _: Options) -> list[Any]:
    return [numbers(rng)]


def _even_length(rng: Random, _: Options) -> list[Any]:
    size = 2 * rng.randint(1, 4)
    return [numbers(rng, 0, 20, size, size)]


def _flags(rng: Random, _: Options) -> list[Any]:
    size, kind = rng.randint(1, 7), rng.choice(((True,), (False,), (True, False), (True, False)))
    return [[rng.choice(kind) for _ in range(size)]]


FAMILIES = (
    Family(
        "with_index",
        True,
        ("${slug}_index", "${slug}_indices", "${slug}_by_index"),
        "$nums",
        "Return a list with each number in the list $nums $what its index.",
        "return [v $op i for i, v in enumerate($nums)]",
        _any_list,
        cases("slug what op", ("add", "plus", "+"), ("multiply", "times", "*"), ("subtract", "minus", "-")),
    ),
    Family(
        "half_of_list",
        True,
        ("${slug}_half", "get_${slug}_half", "take_${slug}_half"),
        "$nums",
        "Return the $slug half of the list $nums, which has an even length.",
        "return $nums[$slice]",
        _even_length,
        cases("slug slice", ("first", ":len($nums) // 2"), ("second", "len($nums) // 2:")),
    ),
    Family(
        "select_rows",
        True,
        ("select_$slug", "get_$slug", "filter_$slug"),
        "$rows",
        "Return a list of the lists in the list of lists $rows that $what.",
        "return [row for row in $rows if $test]",
        lambda rng, _: [grid(rng)],
        cases(
            "slug what test",
            ("large", "have a sum greater than 20", "sum(row) > 20"),
            ("small", "have a maximum less than 15", "max(row) < 15"),
            ("ordered", "are sorted in ascending order", "row == sorted(row)"),
        ),
    ),
    Family(
        "check_flags",
        True,
        ("${slug}_true", "is_${slug}_true", "check_$slug"),
        "flags",
        "Return True if $what in the list flags $verb True, otherwise False; flags is not empty.",
        "return $test",
        _flags,
        cases(
            "slug what verb test",
            ("all", "all booleans", "are", "all(flags)"),
            ("any", "at least one boolean", "is", "any(flags)"),
            ("none", "no boolean", "is", "not any(flags)"),
        ),
    ),
    Family(
        "sum_of_changed",
        True,
        ("sum_of_$slug", "sum_$slug", "total_of_$slug"),
        "$nums",
        "Return the sum of the $what of the numbers in the list $nums.",
        "return sum($value for v in $nums)",
        _any_list,
        cases(
            "slug what value",
            ("squares", "squares", "v ** 2"),
            ("cubes", "cubes", "v ** 3"),
            ("absolutes", "absolute values", "abs(v)"),
        ),
    ),
)
