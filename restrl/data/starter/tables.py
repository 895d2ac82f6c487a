"""Families of starter problems about positions in lists, pairs, lists of lists, flags and dictionaries."""

from __future__ import annotations

from random import Random
from typing import Any

from restrl.data.starter.family import Family, Options, cases
from restrl.data.starter.inputs import NAMES, WORDS, distinct, grid, numbers, table


def _any_list(rng: Random, _: Options) -> list[Any]:
    return [numbers(rng)]


def _with_repeats(rng: Random, _: Options) -> list[Any]:
    return [numbers(rng, 0, 6, 1, 8)]


def _repeats_or_not(rng: Random, _: Options) -> list[Any]:
    return [rng.choice((distinct(rng, 0, 20, 1, 6), numbers(rng, 0, 6, 2, 6)))]


def _sorted_or_not(rng: Random, _: Options) -> list[Any]:
    values = distinct(rng, shortest=2)
    return [rng.choice((values, sorted(values), sorted(values, reverse=True)))]


def _even_length(rng: Random, _: Options) -> list[Any]:
    size = 2 * rng.randint(1, 4)
    return [numbers(rng, 0, 20, size, size)]


def _flags(rng: Random, _: Options) -> list[Any]:
    size, kind = rng.randint(1, 7), rng.choice(((True,), (False,), (True, False), (True, False)))
    return [[rng.choice(kind) for _ in range(size)]]


def _two_tables(rng: Random, _: Options) -> list[Any]:
    return [table(rng, shortest=1), table(rng, shortest=1)]


def _names_to_words(rng: Random, _: Options) -> list[Any]:
    size = rng.randint(1, 5)
    return [dict(zip(rng.sample(NAMES, size), rng.sample(WORDS, size), strict=True))]


def _table_with(rng: Random, options: Options) -> list[Any]:
    entry = {options["key"]: rng.randint(0, 20)} if rng.random() < 0.6 else {}
    return [table(rng, shortest=1) | entry]


FAMILIES = (
    Family(
        "unique_list",
        False,
        ("unique", "get_unique", "remove_duplicates"),
        "$nums",
        "Return a list of the numbers in the list $nums without duplicates, in $how.",
        "return $value",
        _with_repeats,
        cases(
            "how value",
            ("ascending order", "sorted(set($nums))"),
            ("order of their first appearance", "list(dict.fromkeys($nums))"),
        ),
    ),
    Family(
        "has_duplicates",
        False,
        ("$slug", "check_$slug", "list_$slug"),
        "$nums",
        "Return True if $what in the list $nums, otherwise False.",
        "return len($nums) $op len(set($nums))",
        _repeats_or_not,
        cases(
            "slug what op",
            ("has_duplicates", "any number appears more than once", "!="),
            ("all_different", "no number appears more than once", "=="),
        ),
    ),
    Family(
        "is_sorted",
        False,
        ("is_$slug", "is_sorted_$slug", "check_$slug"),
        "$nums",
        "Return True if the list $nums is sorted in $slug order, otherwise False.",
        "return $nums == sorted($nums$reverse)",
        _sorted_or_not,
        cases("slug reverse", ("ascending", ""), ("descending", ", reverse=True")),
    ),
    Family(
        "product_of_list",
        False,
        ("product", "multiply_all", "list_product", "get_product", "multiply_list", "product_of_list"),
        "$nums",
        "Return the product of all numbers in the list $nums, or 1 if it is empty.",
        "result = 1\nfor v in $nums:\n    result *= v\nreturn result",
        lambda rng, _: [numbers(rng, -4, 9, 0, 5)],
    ),
    Family(
        "indices_where",
        False,
        ("${slug}_indices", "indices_of_$slug", "find_${slug}_indices"),
        "$nums",
        "Return a list of the indices of the numbers in the list $nums that are $what.",
        "return [i for i, v in enumerate($nums) if $test]",
        _any_list,
        cases(
            "slug what test",
            ("even", "even", "v % 2 == 0"),
            ("negative", "negative", "v < 0"),
            ("large", "greater than 10", "v > 10"),
        ),
    ),
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
        "count_flags",
        False,
        ("count_$slug", "number_of_$slug", "get_${slug}_count"),
        "flags",
        "Return how many of the booleans in the list flags are $what.",
        "return flags.count($what)",
        _flags,
        cases("slug what", ("true", "True"), ("false", "False")),
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
        "invert",
        False,
        ("invert", "invert_dict", "swap_keys_and_values", "reverse_dict", "flip_dict", "inverse"),
        "$d",
        "Return a dictionary that maps each value of the dictionary $d to its key; all values are different.",
        "return {v: k for k, v in $d.items()}",
        _names_to_words,
    ),
    Family(
        "merge",
        False,
        ("merge", "merge_dicts", "combine_dicts", "join_dicts", "combine", "merge_two"),
        "a, b",
        "Return a dictionary with the items of the dictionaries a and b; b wins where both have a key.",
        "return {**a, **b}",
        _two_tables,
    ),
    Family(
        "swap",
        False,
        ("swap", "swap_values", "swapped", "reverse_order", "swap_numbers", "exchange"),
        "a, b",
        "Return a list with b as its first and a as its second element.",
        "return [b, a]",
        lambda rng, _: [rng.randint(-9, 30), rng.randint(-9, 30)],
    ),
    Family(
        "prepend",
        False,
        ("prepend_$k", "add_${k}_first", "insert_$k"),
        "$nums",
        "Return the list $nums with the number $k added at the beginning.",
        "return [$k] + $nums",
        _any_list,
        cases("k", (0,), (1,), (10,)),
    ),
    Family(
        "count_number",
        False,
        ("count_$k", "count_${k}s", "number_of_${k}s"),
        "$nums",
        "Return the number of times the number $k appears in the list $nums.",
        "return $nums.count($k)",
        lambda rng, p: [[rng.choice((p["k"], p["k"], rng.randint(0, 9))) for _ in range(rng.randint(1, 7))]],
        cases("k", (1,), (4,), (8,)),
    ),
    Family(
        "absolute_values",
        False,
        ("absolute_values", "abs_list", "all_absolute", "get_absolute_values", "abs_values", "to_absolute"),
        "$nums",
        "Return a list of the absolute values of the numbers in the list $nums.",
        "return [abs(v) for v in $nums]",
        lambda rng, _: [numbers(rng, -20, 10)],
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
    Family(
        "has_key",
        False,
        ("has_$key", "contains_$key", "is_${key}_in"),
        "$d",
        "Return True if the dictionary $d has the key '$key', otherwise False.",
        "return '$key' in $d",
        _table_with,
        cases("key", ("ann",), ("bob",), ("eve",)),
    ),
)
