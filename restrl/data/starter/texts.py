"""Families of starter problems about characters, positions and parts of strings."""

from __future__ import annotations

from random import Random
from typing import Any

from restrl.data.starter.family import Family, Options, axes, cases
from restrl.data.starter.inputs import letters, mixed, numbers, word, words


def _letters(rng: Random, _: Options) -> list[Any]:
    return [letters(rng, 3, 8)]


def _mixed(rng: Random, _: Options) -> list[Any]:
    return [mixed(rng)]


def _mixed_case(rng: Random, _: Options) -> list[Any]:
    return [" ".join(rng.choice((w, w.upper(), w.title())) for w in words(rng, 1, 4))]


def _around_length(rng: Random, options: Options) -> list[Any]:
    return [letters(rng, options["k"] - 3, options["k"] + 4)]


def _separated(rng: Random, options: Options) -> list[Any]:
    return [options["sep"].join(str(v) for v in numbers(rng, 0, 99, 1, 6))]


def _two_texts(rng: Random, _: Options) -> list[Any]:
    """The first one is the start, the end or another part of the second one, or not in it."""
    a, b, c = letters(rng, 1, 3), letters(rng, 2, 4), letters(rng, 2, 4)
    return [a, rng.choice((a + b, b + a, b + a + c, b + c))]


def _values(rng: Random, options: Options) -> list[Any]:
    plain = numbers(rng, -9, 99, 1, 6)
    return [plain if options["f"] == "str" else [str(v) for v in plain]]


FAMILIES = (
    Family(
        "middle_of_text",
        True,
        ("middle_character", "get_middle", "middle", "middle_letter", "center_character", "find_middle"),
        "$s",
        "Return the character in the middle of the string $s, which has an odd length.",
        "return $s[len($s) // 2]",
        lambda rng, _: [letters(rng, size := 2 * rng.randint(0, 4) + 1, size)],
    ),
    Family(
        "join_two",
        True,
        ("join_names", "full_name", "combine_names"),
        "first, last",
        "Return the string first followed by '$sep' and the string last.",
        "return first + '$sep' + last",
        lambda rng, _: [word(rng), word(rng)],
        axes(sep=("-", " ", "_", ", ")),
    ),
    Family(
        "count_characters",
        True,
        ("count_$slug", "number_of_$slug", "get_${slug}_count"),
        "$s",
        "Return the number of $kind in the string $s.",
        "return sum(1 for c in $s if $test)",
        _mixed,
        cases(
            "slug kind test",
            ("digits", "digits", "c.isdigit()"),
            ("letters", "letters", "c.isalpha()"),
            ("uppercase", "uppercase letters", "c.isupper()"),
            ("vowels", "uppercase and lowercase vowels", "c in 'aeiouAEIOU'"),
        ),
    ),
    Family(
        "longer_than",
        True,
        ("is_$slug", "check_$slug", "has_${slug}_length"),
        "$s",
        "Return True if the string $s has $what $k characters, otherwise False.",
        "return len($s) $op $k",
        _around_length,
        axes(
            o=cases(
                "slug what op",
                ("long", "more than", ">"),
                ("short", "fewer than", "<"),
                ("exact", "exactly", "=="),
            ),
            k=(4, 5, 8),
        ),
    ),
    Family(
        "text_relation",
        True,
        ("is_$slug", "check_$slug", "has_$slug"),
        "a, b",
        "Return True if the string b $what the string a, otherwise False.",
        "return $test",
        _two_texts,
        cases(
            "slug what test",
            ("prefix", "starts with", "b.startswith(a)"),
            ("suffix", "ends with", "b.endswith(a)"),
            ("substring", "contains", "a in b"),
        ),
    ),
    Family(
        "to_integers",
        True,
        ("to_integers", "parse_numbers", "get_integers"),
        "$s",
        "Return a list of the integers in the string $s, which are separated by '$sep'.",
        "return [int(part) for part in $s.split('$sep')]",
        _separated,
        axes(sep=(",", " ", ";", "-")),
    ),
    Family(
        "convert_each",
        True,
        ("to_$slug", "convert_to_$slug", "all_to_$slug"),
        "values",
        "Return a list with each element of the list values, all of them $old, converted to $new.",
        "return [$f(v) for v in values]",
        _values,
        cases(
            "slug old new f",
            ("strings", "integers", "a string", "str"),
            ("integers", "strings", "an integer", "int"),
            ("floats", "strings", "a float", "float"),
        ),
    ),
    Family(
        "distinct_words",
        True,
        ("count_${slug}_words", "number_of_${slug}_words", "${slug}_word_count"),
        "$s",
        "Return the number of $slug words in the string $s.",
        "return len(set($s.split()))",
        lambda rng, _: [" ".join(rng.choice(("a", "is", "tea", "go")) for _ in range(rng.randint(1, 6)))],
        cases("slug", ("distinct",), ("different",)),
    ),
    Family(
        "split_and_case",
        True,
        ("${slug}_words", "get_${slug}_words", "split_${slug}"),
        "$s",
        "Return a list of the words in the string $s in $what.",
        "return $s.$slug().split()",
        _mixed_case,
        cases("slug what", ("lower", "lowercase"), ("upper", "uppercase")),
    ),
    Family(
        "sort_letters",
        True,
        ("sort_letters", "sort_characters", "sort_string", "sorted_string", "order_letters", "sort_text"),
        "$s",
        "Return the string $s with its characters sorted in ascending order.",
        "return ''.join(sorted($s))",
        _letters,
    ),
    Family(
        "parity_of_length",
        True,
        ("has_${slug}_length", "is_length_$slug", "${slug}_length"),
        "$s",
        "Return True if the length of the string $s is $slug, otherwise False.",
        "return len($s) % 2 == $r",
        lambda rng, _: [letters(rng, 1, 8)],
        cases("slug r", ("even", 0), ("odd", 1)),
    ),
)
