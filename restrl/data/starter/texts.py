"""Families of starter problems about characters, positions and parts of strings."""

from __future__ import annotations

from random import Random
from typing import Any

from restrl.data.starter.family import Family, Options, axes, cases
from restrl.data.starter.inputs import letters, mixed, numbers, sentence, word, words


def _letters(rng: Random, _: Options) -> list[Any]:
    return [letters(rng, 3, 8)]


def _letters_of_both_cases(rng: Random, _: Options) -> list[Any]:
    return [letters(rng, 3, 8, "abcdefghXYZ")]


def _mixed(rng: Random, _: Options) -> list[Any]:
    return [mixed(rng)]


def _mixed_case(rng: Random, _: Options) -> list[Any]:
    return [" ".join(rng.choice((w, w.upper(), w.title())) for w in words(rng, 1, 4))]


def _around_length(rng: Random, options: Options) -> list[Any]:
    return [letters(rng, options["k"] - 3, options["k"] + 4)]


def _separated(rng: Random, options: Options) -> list[Any]:
    return [options["sep"].join(str(v) for v in numbers(rng, 0, 99, 1, 6))]


def _parts(rng: Random, options: Options) -> list[Any]:
    return [options["sep"].join(words(rng, 1, 8))]


def _one_kind(rng: Random, _: Options) -> list[Any]:
    """Only digits, lowercase or uppercase letters, or letters and digits."""
    text = letters(rng, 1, 6)
    return [rng.choice((text, text.upper(), str(rng.randint(1, 9999)), text + str(rng.randint(1, 99))))]


def _two_texts(rng: Random, _: Options) -> list[Any]:
    """The first one is the start, the end or another part of the second one, or not in it."""
    a, b, c = letters(rng, 1, 3), letters(rng, 2, 4), letters(rng, 2, 4)
    return [a, rng.choice((a + b, b + a, b + a + c, b + c))]


def _values(rng: Random, options: Options) -> list[Any]:
    plain = numbers(rng, -9, 99, 1, 6)
    return [plain if options["f"] == "str" else [str(v) for v in plain]]


FAMILIES = (
    Family(
        "find_position",
        False,
        ("${slug}_index_of_$c", "find_$c", "position_of_$c"),
        "$s",
        "Return the index of the $slug '$c' in the string $s, or -1 if it is not in it.",
        "return $s.$method('$c')",
        lambda rng, p: [letters(rng, 2, 9, "bstxyz" + p["c"])],
        axes(p=cases("slug method", ("first", "find"), ("last", "rfind")), c=("a", "e", "o")),
    ),
    Family(
        "without_ends",
        False,
        ("drop_$slug", "remove_$slug", "without_$slug"),
        "$s",
        "Return the string $s without its $what.",
        "return $s[$slice]",
        _letters,
        cases(
            "slug what slice",
            ("first", "first character", "1:"),
            ("last", "last character", ":-1"),
            ("ends", "first and last character", "1:-1"),
        ),
    ),
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
        "surround",
        False,
        ("add_$slug", "wrap_in_$slug", "surround"),
        "$s",
        "Return the string $s with '$left' before it and '$right' after it.",
        "return '$left' + $s + '$right'",
        lambda rng, _: [sentence(rng, 1, 3)],
        cases(
            "slug left right",
            ("parentheses", "(", ")"),
            ("brackets", "[", "]"),
            ("stars", "*", "*"),
            ("angles", "<", ">"),
        ),
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
        "case_style",
        False,
        ("$slug", "to_$slug", "make_$slug"),
        "$s",
        "Return the string $s with $what.",
        "return $s.$method()",
        _mixed_case,
        cases(
            "slug what method",
            ("title_case", "the first letter of each word in uppercase and all others in lowercase", "title"),
            ("swapped_case", "uppercase letters made lowercase and lowercase ones uppercase", "swapcase"),
            ("capitalized", "its first letter in uppercase and all others in lowercase", "capitalize"),
        ),
    ),
    Family(
        "case_of_end",
        True,
        ("upper_$slug", "capitalize_$slug", "make_${slug}_upper"),
        "$s",
        "Return the string $s with its $slug letter in uppercase and all others unchanged.",
        "return $value",
        _letters_of_both_cases,
        cases(
            "slug value",
            ("first", "$s[0].upper() + $s[1:]"),
            ("last", "$s[:-1] + $s[-1].upper()"),
        ),
    ),
    Family(
        "one_word",
        False,
        ("${slug}_word", "get_${slug}_word", "find_${slug}_word"),
        "$s",
        "Return the $slug word in the string $s.",
        "return $s.split()[$k]",
        lambda rng, _: [sentence(rng, 2, 7)],
        cases("slug k", ("first", 0), ("second", 1), ("last", -1)),
    ),
    Family(
        "count_parts",
        True,
        ("count_$slug", "number_of_$slug", "get_number_of_$slug"),
        "$s",
        "Return the number of $what in the string $s.",
        "return len($s.split($argument))",
        _parts,
        cases(
            "slug what sep argument",
            ("words", "words", " ", ""),
            ("items", "items, which are separated by ',',", ",", "','"),
            ("parts", "parts, which are separated by '-',", "-", "'-'"),
        ),
    ),
    Family(
        "keep_characters",
        False,
        ("keep_$slug", "get_$slug", "only_$slug"),
        "$s",
        "Return a string with only the $kind of the string $s, in order.",
        "return ''.join(c for c in $s if $test)",
        _mixed,
        cases(
            "slug kind test",
            ("digits", "digits", "c.isdigit()"),
            ("letters", "letters", "c.isalpha()"),
            ("uppercase", "uppercase letters", "c.isupper()"),
            ("lowercase", "lowercase letters", "c.islower()"),
        ),
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
        False,
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
        "text_is",
        True,
        ("is_$slug", "check_$slug", "only_$slug"),
        "$s",
        "Return True if the string $s, which is not empty, has only $what, otherwise False.",
        "return $s.$method()",
        _one_kind,
        cases(
            "slug what method",
            ("numeric", "digits", "isdigit"),
            ("alphabetic", "letters", "isalpha"),
            ("uppercase", "uppercase letters", "isupper"),
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
        False,
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
)
