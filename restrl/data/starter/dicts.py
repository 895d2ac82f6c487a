"""Families of starter problems about dictionaries."""

from __future__ import annotations

from random import Random
from typing import Any

from restrl.data.starter.family import Family, Options, axes, cases
from restrl.data.starter.inputs import NAMES, distinct_table, letters, numbers, sentence, table, words


def _any_table(rng: Random, _: Options) -> list[Any]:
    return [table(rng)]


def _filled_table(rng: Random, _: Options) -> list[Any]:
    return [table(rng, shortest=1)]


def _table_and_key(rng: Random, _: Options) -> list[Any]:
    return [table(rng), rng.choice(NAMES[:6])]


def _keys_and_values(rng: Random, _: Options) -> list[Any]:
    keys = rng.sample(NAMES, rng.randint(1, 5))
    return [keys, numbers(rng, 0, 20, len(keys), len(keys))]


def _to_count(rng: Random, options: Options) -> list[Any]:
    return [sentence(rng, 2, 7) if options["unit"] == "word" else letters(rng, 2, 8, "abcAB")]


FAMILIES = (
    Family(
        "count_each",
        False,
        ("count_${slug}s", "${slug}_counts", "${slug}_frequency"),
        "$s",
        "Return a dictionary that maps each $unit in the string $s to the number of times it occurs.",
        "counts = {}\nfor k in $units:\n    counts[k] = counts.get(k, 0) + 1\nreturn counts",
        _to_count,
        cases(
            "slug unit units",
            ("char", "character", "$s"),
            ("word", "word", "$s.split()"),
            ("letter", "lowercased letter", "$s.lower()"),
        ),
    ),
    Family(
        "value_summary",
        True,
        ("$slug", "get_$slug"),
        "$d",
        "Return the $what of the dictionary $d.",
        "return $value",
        _filled_table,
        cases(
            "slug what value",
            ("sum_values", "sum of the values", "sum($d.values())"),
            ("max_value", "largest value", "max($d.values())"),
            ("min_value", "smallest value", "min($d.values())"),
            ("sorted_keys", "sorted list of the keys", "sorted($d)"),
            ("sorted_values", "sorted list of the values", "sorted($d.values())"),
        ),
    ),
    Family(
        "keys_where",
        True,
        ("${slug}_keys", "keys_with_$slug", "get_${slug}_keys"),
        "$d",
        "Return a sorted list of the keys of the dictionary $d whose value is $what.",
        "return sorted(k for k, v in $d.items() if $test)",
        _any_table,
        cases(
            "slug what test",
            ("large", "greater than 10", "v > 10"),
            ("small", "less than 8", "v < 8"),
            ("even", "even", "v % 2 == 0"),
            ("odd", "odd", "v % 2 == 1"),
        ),
    ),
    Family(
        "get_or_default",
        True,
        ("get_value", "get_or_default", "lookup"),
        "$d, key",
        "Return the value of key in the dictionary $d$plus, or $k if key is not in it.",
        "if key in $d:\n    return $d[key]$more\nreturn $k",
        _table_and_key,
        axes(k=(0, -1, 100), p=cases("plus more", ("", ""), (" plus 1", " + 1"), (" times 2", " * 2"))),
    ),
    Family(
        "change_values",
        True,
        ("${slug}_values", "${slug}_dict"),
        "$d",
        "Return a new dictionary with each value of the dictionary $d $what.",
        "return {k: $value for k, v in $d.items()}",
        _any_table,
        cases(
            "slug what value",
            ("double", "doubled", "v * 2"),
            ("increase", "increased by 10", "v + 10"),
            ("square", "squared", "v ** 2"),
            ("decrease", "decreased by 1", "v - 1"),
            ("negate", "negated", "-v"),
        ),
    ),
    Family(
        "best_key",
        False,
        ("key_of_$which", "get_${which}_key"),
        "$d",
        "Return the key with the $which value in the dictionary $d.",
        "return $f($d, key=$d.get)",
        lambda rng, _: [distinct_table(rng)],
        cases("which f", ("largest", "max"), ("smallest", "min"), ("highest", "max"), ("lowest", "min")),
    ),
    Family(
        "from_lists",
        False,
        ("make_dict", "lists_to_dict", "zip_lists"),
        "keys, values",
        "Return a dictionary that maps each element of keys to the element of values at the same index$what.",
        "return {k: $value for k, v in zip(keys, values)}",
        _keys_and_values,
        cases("what value", ("", "v"), (", plus 1", "v + 1"), (", doubled", "v * 2")),
    ),
    Family(
        "map_words",
        True,
        ("${slug}_dict", "map_$slug", "word_$slug"),
        "words",
        "Return a dictionary that maps each word in the list words to its $what.",
        "return {w: $value for w in words}",
        lambda rng, _: [words(rng, 1, 5)],
        cases(
            "slug what value",
            ("lengths", "length", "len(w)"),
            ("initials", "first letter", "w[0]"),
            ("upper", "uppercase form", "w.upper()"),
            ("reversed", "reverse", "w[::-1]"),
        ),
    ),
)
