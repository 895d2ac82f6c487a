"""Families of starter problems about positions in lists, pairs, lists of lists, flags and dictionaries."""

from __future__ import annotations

from random import Random
from typing import Any

from restrl.data.starter.family import Family, Options, axes, cases
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


def _list_with(rng: Random, options: Options) -> list[Any]:
    return [
        [rng.choice((options["k"], rng.randint(0, 9), rng.randint(0, 9))) for _ in range(rng.randint(1, 7))]
    ]


def _even_length(rng: Random, _: Options) -> list[Any]:
    size = 2 * rng.randint(1, 4)
    return [numbers(rng, 0, 20, size, size)]


def _pairs(rng: Random, _: Options) -> list[Any]:
    return [[numbers(rng, 0, 12, 2, 2) for _ in range(rng.randint(1, 5))]]


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
        "two_of_list",
        False,
        ("$slug", "get_$slug", "list_$slug"),
        "$nums",
        "Return a list of two numbers: the $what of the list $nums.",
        "return [$value]",
        lambda rng, _: [numbers(rng, shortest=1)],
        cases(
            "slug what value",
            ("min_and_max", "minimum and the maximum", "min($nums), max($nums)"),
            ("ends", "first and the last element", "$nums[0], $nums[-1]"),
            ("length_and_sum", "length and the sum", "len($nums), sum($nums)"),
        ),
    ),
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
        True,
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
        "second_extreme",
        True,
        ("second_$slug", "get_second_$slug", "find_second_$slug"),
        "$nums",
        "Return the second $slug number in the list $nums, in which all numbers are different.",
        "return sorted($nums)[$k]",
        lambda rng, _: [distinct(rng, shortest=2)],
        cases("slug k", ("largest", -2), ("smallest", 1)),
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
        "position_of_number",
        True,
        ("index_of_$k", "find_$k", "position_of_$k"),
        "$nums",
        "Return the index of the first $k in the list $nums, or -1 if $k is not in it.",
        "if $k in $nums:\n    return $nums.index($k)\nreturn -1",
        _list_with,
        cases("k", (3,), (5,), (7,)),
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
        "every_other",
        True,
        ("every_$slug", "take_every_$slug", "get_every_$slug"),
        "$nums",
        "Return a list of every $slug element of the list $nums, starting with the element at index $k.",
        "return $nums[$k::$step]",
        lambda rng, _: [numbers(rng, 0, 20, 2, 9)],
        cases("slug step k", ("second", 2, 0), ("second", 2, 1), ("third", 3, 0)),
    ),
    Family(
        "swap_pair",
        False,
        ("swap", "swap_pair", "swap_elements", "reverse_pair", "swapped", "exchange"),
        "pair",
        "Return the list pair, which has two numbers, with the two numbers swapped.",
        "return [pair[1], pair[0]]",
        lambda rng, _: [numbers(rng, -9, 30, 2, 2)],
    ),
    Family(
        "each_pair",
        True,
        ("${slug}_pairs", "pair_${slug}s", "${slug}_of_pairs"),
        "pairs",
        "Return a list with the $what for each pair [a, b] in the list pairs.",
        "return [$value for a, b in pairs]",
        _pairs,
        cases(
            "slug what value",
            ("product", "product a times b", "a * b"),
            ("difference", "difference a minus b", "a - b"),
            ("total", "sum of a and 2 times b", "a + 2 * b"),
        ),
    ),
    Family(
        "whole_grid",
        False,
        ("$slug", "get_$slug", "grid_$slug"),
        "$rows",
        "Return the $what in the list of lists $rows.",
        "return $value",
        lambda rng, _: [grid(rng)],
        cases(
            "slug what value",
            ("total", "sum of all numbers", "sum(sum(row) for row in $rows)"),
            ("largest", "largest of all numbers", "max(max(row) for row in $rows)"),
            ("size", "count of all numbers", "sum(len(row) for row in $rows)"),
        ),
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
        "dict_to_lists",
        True,
        ("to_pairs", "dict_to_list", "get_pairs"),
        "$d",
        "Return a list with a list [$x, $y] for each item of the dictionary $d, in the same order.",
        "return [[$a, $b] for k, v in $d.items()]",
        lambda rng, _: [table(rng)],
        cases("x y a b", ("key", "value", "k", "v"), ("value", "key", "v", "k")),
    ),
    Family(
        "set_key",
        False,
        ("set_$key", "update_$key", "add_$key"),
        "$d",
        "Return the dictionary $d with the value of the key '$key' set to $k.",
        "$d['$key'] = $k\nreturn $d",
        _table_with,
        axes(key=("ann", "bob", "eve"), k=(0, 1, 10)),
    ),
    Family(
        "remove_key",
        True,
        ("remove_$key", "delete_$key", "without_$key"),
        "$d",
        "Return the dictionary $d without the key '$key' if it has this key, otherwise $d unchanged.",
        "return {k: v for k, v in $d.items() if k != '$key'}",
        _table_with,
        cases("key", ("ann",), ("bob",), ("eve",)),
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
        "keys_of_two",
        True,
        ("${slug}_keys", "get_${slug}_keys", "find_${slug}_keys"),
        "a, b",
        "Return a sorted list of the keys that are in the dictionary a $what in the dictionary b.",
        "return sorted(k for k in a if k $op b)",
        _two_tables,
        cases("slug what op", ("common", "and also", "in"), ("missing", "but not", "not in")),
    ),
)
