"""Families of starter problems about dictionaries."""

from __future__ import annotations

from random import Random
from typing import Any

from restrl.data.starter.family import Family, Options, axes, cases
from restrl.data.starter.inputs import NAMES, distinct_table, letters, numbers, sentence, table, words


def _one_table(rng: Random, _: Options) -> list[Any]:
    return [table(rng)]


def _filled_table(rng: Random, _: Options) -> list[Any]:
    return [table(rng, shortest=1)]


def _table_and_key(rng: Random, _: Options) -> list[Any]:
    return [table(rng), rng.choice(NAMES[:6])]


def _keys_and_values(rng: Random, _: Options) -> list[Any]:
    keys = rng.sample(NAMES, rng.randint(1, 5))
    return [keys, numbers(rng, 0, 20, len(keys), len(keys))]


FAMILIES = (
    Family(
        "count_each",
        False,
        ("count_each", "tally", "frequencies"),
        "$s",
        "Return a dictionary that maps each $unit in $s to how many times it occurs.",
        "counts = {}\nfor k in $units:\n    counts[k] = counts.get(k, 0) + 1\nreturn counts",
        lambda rng, p: [sentence(rng, 2, 7) if p["unit"] == "word" else letters(rng, 2, 8, "abcAB")],
        cases(
            "unit units", ("character", "$s"), ("word", "$s.split()"), ("lowercased character", "$s.lower()")
        ),
    ),
    Family(
        "value_summary",
        False,
        ("summarize", "value_info", "of_values"),
        "$d",
        "Return the $what of the dictionary $d.",
        "return $value",
        _filled_table,
        cases(
            "what value",
            ("sum of the values", "sum($d.values())"),
            ("largest value", "max($d.values())"),
            ("smallest value", "min($d.values())"),
            ("sorted list of the keys", "sorted($d)"),
            ("sorted list of the values", "sorted($d.values())"),
            ("sum of the values plus the number of keys", "sum($d.values()) + len($d)"),
        ),
    ),
    Family(
        "keys_where",
        True,
        ("find_keys", "keys_where", "select_names"),
        "$d",
        "Return a sorted list of the keys of $d whose value is $what.",
        "return sorted(k for k, v in $d.items() if $test)",
        _one_table,
        cases(
            "what test",
            ("greater than 10", "v > 10"),
            ("less than 8", "v < 8"),
            ("even", "v % 2 == 0"),
            ("odd", "v % 2 == 1"),
            ("at least 5", "v >= 5"),
            ("at most 12", "v <= 12"),
        ),
    ),
    Family(
        "get_or_default",
        False,
        ("lookup", "get_value", "fetch"),
        "$d, key",
        "Return the value of key in the dictionary $d $plus, or $k if it is missing.",
        "if key in $d:\n    return $d[key]$more\nreturn $k",
        _table_and_key,
        axes(
            k=(0, -1, 100), p=cases("plus more", ("plus 1", " + 1"), ("times 2", " * 2"), ("minus 3", " - 3"))
        ),
    ),
    Family(
        "change_values",
        True,
        ("change_values", "update_all", "scale"),
        "$d",
        "Return a new dictionary with each value of $d $what.",
        "return {k: $value for k, v in $d.items()}",
        _one_table,
        cases(
            "what value",
            ("doubled", "v * 2"),
            ("increased by 10", "v + 10"),
            ("squared", "v ** 2"),
            ("decreased by 1", "v - 1"),
            ("negated", "-v"),
            ("converted to a string", "str(v)"),
        ),
    ),
    Family(
        "best_key",
        False,
        ("best_key", "winner", "find_name"),
        "$d",
        "Return the key of $d with the $which value.",
        "return $f($d, key=$d.get)",
        lambda rng, _: [distinct_table(rng)],
        cases("which f", ("largest", "max"), ("smallest", "min"))
        + cases("which f", ("highest", "max"), ("lowest", "min")),
    ),
    Family(
        "keep_entries",
        False,
        ("keep_entries", "filter_dict", "only_some"),
        "$d",
        "Return a dictionary with the entries of $d whose $what.",
        "return {k: v for k, v in $d.items() if $test}",
        _one_table,
        cases(
            "what test",
            ("value is greater than 7", "v > 7"),
            ("value is less than 12", "v < 12"),
            ("value is even", "v % 2 == 0"),
            ("key starts with 'a' or 'b'", "k[0] in 'ab'"),
            ("value is not zero", "v != 0"),
            ("key is shorter than the value", "len(k) < v"),
            ("value is between 5 and 15 inclusive", "5 <= v <= 15"),
        ),
    ),
    Family(
        "from_lists",
        True,
        ("build", "make_dict", "to_dict"),
        "keys, values",
        "Return a dictionary from each element of keys to the element of values at the same index, $what.",
        "return {k: $value for k, v in zip(keys, values)}",
        _keys_and_values,
        cases(
            "what value",
            ("unchanged", "v"),
            ("plus 1", "v + 1"),
            ("doubled", "v * 2"),
            ("as a string", "str(v)"),
        ),
    ),
    Family(
        "map_words",
        False,
        ("map_words", "index_words", "word_table"),
        "words",
        "Return a dictionary that maps each word in words to its $what.",
        "return {w: $value for w in words}",
        lambda rng, _: [words(rng, 1, 5)],
        cases(
            "what value",
            ("length", "len(w)"),
            ("first letter", "w[0]"),
            ("uppercase form", "w.upper()"),
            ("reverse", "w[::-1]"),
        ),
    ),
    Family(
        "group_words",
        True,
        ("group", "group_words", "sort_into_groups"),
        "words",
        "Return a dictionary that maps each $what to the list of words in words with it.",
        "groups = {}\nfor w in words:\n    groups.setdefault($key, []).append(w)\nreturn groups",
        lambda rng, _: [words(rng, 2, 6)],
        cases("what key", ("first letter", "w[0]"), ("last letter", "w[-1]"), ("first two letters", "w[:2]")),
    ),
    Family(
        "entries_as_text",
        False,
        ("to_lines", "entries", "show"),
        "$d",
        "Return a list of '$shape' strings, one for each entry of $d, sorted.",
        "return sorted(f'$text' for k, v in $d.items())",
        _one_table,
        cases(
            "shape text",
            ("key=value", "{k}={v}"),
            ("key: value", "{k}: {v}"),
            ("value-key", "{v}-{k}"),
            ("key/value", "{k}/{v}"),
        ),
    ),
)
