"""Families of starter problems that need one well-known operation, which small models can begin to solve."""

from __future__ import annotations

from random import Random
from typing import Any

from restrl.data.starter.family import Family, Options, cases
from restrl.data.starter.inputs import letters, numbers, sentence, table, word, words


def _number(rng: Random, _: Options) -> list[Any]:
    return [rng.randint(-30, 60)]


def _positive(rng: Random, _: Options) -> list[Any]:
    return [rng.randint(1, 10 ** rng.randint(1, 6))]


def _two(rng: Random, _: Options) -> list[Any]:
    return [rng.randint(-20, 40), rng.randint(-20, 40)]


def _three(rng: Random, _: Options) -> list[Any]:
    return [rng.randint(-20, 40) for _ in range(3)]


def _near(rng: Random, options: Options) -> list[Any]:
    return [options["k"] + rng.randint(-4, 4)]


def _multiple_or_not(rng: Random, options: Options) -> list[Any]:
    return [options["k"] * rng.randint(1, 20) + rng.choice((0, 0, 1, 2))]


def _list(rng: Random, _: Options) -> list[Any]:
    return [numbers(rng, -9, 40, 2, 7)]


def _two_lists(rng: Random, _: Options) -> list[Any]:
    return [numbers(rng, 0, 20, 1, 4), numbers(rng, 0, 20, 1, 4)]


def _list_with(rng: Random, options: Options) -> list[Any]:
    return [[rng.choice((options["k"], rng.randint(0, 9))) for _ in range(rng.randint(2, 9))]]


def _word(rng: Random, _: Options) -> list[Any]:
    return [word(rng)]


def _sentence(rng: Random, _: Options) -> list[Any]:
    return [sentence(rng, 1, 7)]


def _mixed_case(rng: Random, _: Options) -> list[Any]:
    return [" ".join(rng.choice((w, w.upper(), w.title())) for w in words(rng, 1, 4))]


def _padded(rng: Random, _: Options) -> list[Any]:
    return [" " * rng.randint(0, 3) + sentence(rng, 1, 3) + " " * rng.randint(0, 3)]


def _with_letter(rng: Random, options: Options) -> list[Any]:
    return [letters(rng, 2, 9, "aeobst" + options["k"])]


def _table(rng: Random, _: Options) -> list[Any]:
    return [table(rng, 1, 40, 1)]


FAMILIES = (
    Family(
        "add_constant",
        False,
        ("add_$k", "plus_$k"),
        "$n",
        "Return $n plus $k.",
        "return $n + $k",
        _number,
        cases("k", (3,), (5,), (7,), (10,), (12,), (100,)),
    ),
    Family(
        "times_constant",
        True,
        ("multiply_by_$k", "times_$k"),
        "$n",
        "Return $n times $k.",
        "return $n * $k",
        _number,
        cases("k", (3,), (4,), (6,), (10,), (20,)),
    ),
    Family(
        "minus_constant",
        False,
        ("subtract_$k", "minus_$k"),
        "$n",
        "Return $n minus $k.",
        "return $n - $k",
        _number,
        cases("k", (2,), (4,), (6,), (9,), (15,)),
    ),
    Family(
        "power",
        False,
        ("$slug", "${slug}_number", "get_$slug"),
        "$n",
        "Return the $slug of $n.",
        "return $n ** $k",
        _number,
        cases("slug k", ("square", 2), ("cube", 3)),
    ),
    Family(
        "compare",
        False,
        ("is_${slug}_than_$k", "${slug}_than_$k"),
        "$n",
        "Return True if $n is $slug than $k, otherwise False.",
        "return $n $op $k",
        _near,
        cases("slug op k", ("greater", ">", 10), ("less", "<", 10), ("greater", ">", 50), ("less", "<", 20)),
    ),
    Family(
        "remainder",
        False,
        ("remainder_$k", "mod_$k", "remainder_of_division_by_$k"),
        "$n",
        "Return the remainder when $n is divided by $k.",
        "return $n % $k",
        lambda rng, _: [rng.randint(20, 500)],
        cases("k", (7,), (9,), (12,)),
    ),
    Family(
        "of_two_numbers",
        False,
        ("$slug", "${slug}_of_two_numbers", "get_$slug"),
        "a, b",
        "Return the $slug of a and b.",
        "return a $op b",
        _two,
        cases("slug op", ("sum", "+"), ("product", "*"), ("difference", "-")),
    ),
    Family(
        "absolute_difference",
        True,
        ("absolute_difference", "abs_diff", "distance", "abs_difference", "get_distance", "difference"),
        "a, b",
        "Return the absolute difference between a and b.",
        "return abs(a - b)",
        _two,
    ),
    Family(
        "mean_of_two",
        True,
        ("average", "mean", "average_of_two", "mean_of_two", "midpoint", "get_average"),
        "a, b",
        "Return the average of the two numbers a and b.",
        "return (a + b) / 2",
        _two,
    ),
    Family(
        "extreme_of_three",
        True,
        ("${slug}_of_three", "find_$slug", "get_$slug"),
        "a, b, c",
        "Return the $slug of the three numbers a, b and c.",
        "return $f(a, b, c)",
        _three,
        cases("slug f", ("largest", "max"), ("smallest", "min")),
    ),
    Family(
        "number_of_digits",
        False,
        (
            "count_digits",
            "number_of_digits",
            "digit_count",
            "num_digits",
            "get_number_of_digits",
            "length_of_number",
        ),
        "$n",
        "Return the number of digits in the positive integer $n.",
        "return len(str($n))",
        lambda rng, _: [rng.randint(1, 9) * 10 ** rng.randint(0, 6) + rng.randint(0, 3)],
    ),
    Family(
        "factorial",
        False,
        ("factorial", "fact", "get_factorial", "compute_factorial", "calculate_factorial", "factorial_of"),
        "$n",
        "Return the factorial of $n.",
        "result = 1\nfor i in range(2, $n + 1):\n    result *= i\nreturn result",
        lambda rng, _: [rng.randint(0, 12)],
    ),
    Family(
        "end_of_list",
        True,
        ("${slug}_element", "get_$slug", "${slug}_item"),
        "$nums",
        "Return the $slug element of the list $nums.",
        "return $nums[$k]",
        _list,
        cases("slug k", ("first", 0), ("last", -1), ("second", 1)),
    ),
    Family(
        "contains_number",
        True,
        ("contains_$k", "has_$k"),
        "$nums",
        "Return True if the list $nums contains the number $k, otherwise False.",
        "return $k in $nums",
        _list_with,
        cases("k", (3,), (5,), (7,)),
    ),
    Family(
        "append",
        False,
        ("add_$k", "append_$k"),
        "$nums",
        "Return the list $nums with the number $k added at the end.",
        "return $nums + [$k]",
        _list,
        cases("k", (0,), (1,), (10,)),
    ),
    Family(
        "concatenate",
        False,
        ("concatenate", "join_lists", "combine_lists", "concat_lists", "merge_lists", "add_lists"),
        "list1, list2",
        "Return the list list1 followed by the list list2.",
        "return list1 + list2",
        _two_lists,
    ),
    Family(
        "spread",
        True,
        ("range_of_list", "spread", "max_minus_min", "get_range", "list_range", "find_range"),
        "$nums",
        "Return the difference between the maximum and the minimum of the list $nums.",
        "return max($nums) - min($nums)",
        _list,
    ),
    Family(
        "distinct",
        True,
        (
            "count_unique",
            "count_distinct",
            "number_of_unique",
            "num_distinct",
            "unique_count",
            "distinct_count",
        ),
        "$nums",
        "Return the number of distinct elements in the list $nums.",
        "return len(set($nums))",
        lambda rng, _: [numbers(rng, 0, 6, 1, 12)],
    ),
    Family(
        "case_of_text",
        False,
        ("to_$method", "make_$method", "convert_to_$method"),
        "$s",
        "Return the string $s in $what.",
        "return $s.$method()",
        _mixed_case,
        cases("method what", ("upper", "uppercase"), ("lower", "lowercase")),
    ),
    Family(
        "count_letter",
        False,
        ("count_$k", "count_letter_$k", "number_of_${k}s"),
        "$s",
        "Return the number of times the letter '$k' appears in the string $s.",
        "return $s.count('$k')",
        lambda rng, p: [p["k"] * rng.randint(0, 4) + letters(rng, 1, 5, "xyz")],
        cases("k", ("a",), ("e",), ("o",)),
    ),
    Family(
        "contains_text",
        False,
        ("contains_$k", "has_$k"),
        "$s",
        "Return True if the string $s contains the letter '$k', otherwise False.",
        "return '$k' in $s",
        _with_letter,
        cases("k", ("a",), ("e",), ("o",)),
    ),
    Family(
        "split",
        False,
        ("split_words", "get_words", "split_string", "to_words", "words_of", "split_text"),
        "$s",
        "Return a list of the words in the string $s.",
        "return $s.split()",
        _sentence,
    ),
    Family(
        "strip",
        False,
        ("strip_spaces", "trim", "strip_text", "trim_spaces", "clean_text", "trim_string"),
        "$s",
        "Return the string $s without leading and trailing spaces.",
        "return $s.strip()",
        _padded,
    ),
    Family(
        "drop_character",
        False,
        ("remove_$slug", "delete_$slug", "without_$slug"),
        "$s",
        "Return the string $s with every $what removed.",
        "return $s.replace('$c', '')",
        _sentence,
        cases("slug what c", ("spaces", "space", " "), ("a", "letter 'a'", "a"), ("e", "letter 'e'", "e")),
    ),
    Family(
        "end_of_text",
        True,
        ("${slug}_character", "${slug}_letter", "get_${slug}_character"),
        "$s",
        "Return the $slug character of the string $s.",
        "return $s[$k]",
        _word,
        cases("slug k", ("first", 0), ("last", -1)),
    ),
    Family(
        "length_of_text",
        False,
        ("string_length", "length", "get_length", "text_length", "count_characters", "length_of_string"),
        "$s",
        "Return the length of the string $s.",
        "return len($s)",
        _sentence,
    ),
    Family(
        "keys_or_values",
        True,
        ("get_$slug", "list_$slug", "${slug}_of"),
        "$d",
        "Return a list of the $slug of the dictionary $d.",
        "return list($d.$slug())",
        _table,
        cases("slug", ("keys",), ("values",)),
    ),
)
