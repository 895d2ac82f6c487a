"""Families of starter problems about strings."""

from __future__ import annotations

from random import Random
from typing import Any

from restrl.data.starter.family import Family, Options, axes, cases
from restrl.data.starter.inputs import LETTERS, letters, mixed, sentence, word, words


def _sentence(rng: Random, _: Options) -> list[Any]:
    return [sentence(rng)]


def _word(rng: Random, _: Options) -> list[Any]:
    return [word(rng)]


def _around(rng: Random, options: Options) -> list[Any]:
    """A word that starts and ends as asked, or only one of the two, or neither."""
    start = rng.choice((options["first"], rng.choice(LETTERS)))
    end = rng.choice((options["last"], rng.choice(LETTERS)))
    return [start + word(rng) + end]


def _palindrome(rng: Random, options: Options) -> list[Any]:
    half = letters(rng, 1, 4, "abCD " if options["cleaned"] != "$s" else "abcd")
    text = half + rng.choice(("", "x")) + half[::-1]
    if rng.random() < 0.5:
        return [text.strip() or "a"]
    return [letters(rng, 3, 6, "abc")]


def _prefixed(rng: Random, options: Options) -> list[Any]:
    part = options["part"]
    return [rng.choice((part + word(rng), word(rng), word(rng) + part, part + part))]


def _with_part(rng: Random, options: Options) -> list[Any]:
    part = options["part"]
    return [" ".join(rng.choice((word(rng), part, part.upper())) for _ in range(rng.randint(1, 8)))]


FAMILIES = (
    Family(
        "count_long_words",
        False,
        ("count_${how}_words", "count_words"),
        "$s",
        "Return the number of words in the string $s that have $more than $k characters.",
        "return len([w for w in $s.split() if len(w) $op $k])",
        lambda rng, _: [sentence(rng, 1, 8)],
        axes(case=cases("how more op", ("long", "more", ">"), ("short", "fewer", "<")), k=(3, 4, 5)),
    ),
    Family(
        "replace_character",
        False,
        ("replace_char", "replace_letter", "replace_$slug"),
        "$s",
        "Replace every '$old' in the string $s with '$new' and return it.",
        "return $s.replace('$old', '$new')",
        _sentence,
        axes(old=cases("old slug", ("a", "a"), ("e", "e"), (" ", "spaces")), new=("o", "-", "*")),
    ),
    Family(
        "join_words",
        True,
        ("join_words", "words_to_text", "connect_words"),
        "words",
        "Join the list of words with '$sep' and return the string$also.",
        "return '$sep'.join(words)$method",
        lambda rng, _: [words(rng, 1, 5)],
        axes(sep=("-", "_", ", ", "/"), c=cases("also method", ("", ""), (" in uppercase", ".upper()"))),
    ),
    Family(
        "repeat_text",
        True,
        ("repeat_string", "repeat", "repeat_${k}_times"),
        "$s",
        "Return the string $s repeated $k times$separated.",
        "return $value",
        _word,
        axes(
            k=(2, 3, 4),
            w=cases(
                "separated value",
                ("", "$s * $k"),
                (", separated by '-'", "'-'.join([$s] * $k)"),
                (", separated by spaces", "' '.join([$s] * $k)"),
            ),
        ),
    ),
    Family(
        "palindrome",
        False,
        ("is_palindrome", "check_palindrome", "palindrome"),
        "$s",
        "Return True if the string $s is a palindrome$rule.",
        "t = $cleaned\nreturn t == t[::-1]",
        _palindrome,
        cases(
            "rule cleaned",
            ("", "$s"),
            (", ignoring case", "$s.lower()"),
            (", ignoring spaces", "$s.replace(' ', '')"),
        ),
    ),
    Family(
        "starts_and_ends",
        True,
        ("starts_and_ends", "check_ends"),
        "$s",
        "Return True if the string $s starts with '$first' and ends with '$last'.",
        "return $s.startswith('$first') and $s.endswith('$last')",
        _around,
        axes(first=("a", "b", "x"), last=("e", "s", "t")),
    ),
    Family(
        "first_or_last",
        False,
        ("${which}_chars", "get_$which", "${which}_$k"),
        "$s",
        "Return the $which $k characters of the string $s$also.",
        "return $s[$slice]$method",
        lambda rng, _: [sentence(rng, 1, 3)],
        tuple(
            {
                "which": w,
                "k": k,
                "slice": f":{k}" if w == "first" else f"-{k}:",
                "also": also,
                "method": method,
            }
            for w in ("first", "last")
            for k in (2, 3, 4)
            for also, method in (("", ""), (" in uppercase", ".upper()"))
        ),
    ),
    Family(
        "remove_prefix",
        False,
        ("remove_prefix", "strip_prefix"),
        "$s",
        "If the string $s starts with '$part', return $s without it, otherwise return $s.",
        "if $s.startswith('$part'):\n    return $s[$k:]\nreturn $s",
        _prefixed,
        cases("part k", ("un", 2), ("re", 2), ("pre", 3), ("www.", 4), ("the ", 4)),
    ),
    Family(
        "reverse_text",
        True,
        ("reverse_string", "reverse", "reversed_text"),
        "$s",
        "Return the string $s reversed$also.",
        "return $s[::-1]$method",
        _sentence,
        cases("also method", ("", ""), (" and in uppercase", ".upper()"), (" and in lowercase", ".lower()")),
    ),
    Family(
        "remove_characters",
        False,
        ("remove_$slug", "without_$slug"),
        "$s",
        "Remove all $kind from the string $s and return it.",
        "return ''.join(c for c in $s if $test)",
        lambda rng, _: [mixed(rng)],
        cases(
            "slug kind test",
            ("vowels", "vowels", "c not in 'aeiouAEIOU'"),
            ("digits", "digits", "not c.isdigit()"),
            ("spaces", "spaces", "c != ' '"),
            ("uppercase", "uppercase letters", "not c.isupper()"),
        ),
    ),
    Family(
        "count_substring",
        False,
        ("count_occurrences", "count_substring"),
        "$s",
        "Return how many times '$part' occurs in the string $s, ignoring case.",
        "return $s.lower().count('$part')",
        _with_part,
        axes(part=("a", "e", "an", "the", "is")),
    ),
)
