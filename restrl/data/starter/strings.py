"""Families of starter problems about strings."""

from __future__ import annotations

from random import Random
from typing import Any

from restrl.data.starter.family import Family, Options, axes, cases
from restrl.data.starter.inputs import LETTERS, letters, mixed, sentence, word, words


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


FAMILIES = (
    Family(
        "count_characters",
        False,
        ("count_chars", "how_many", "count_matching"),
        "$s",
        "Return the number of $kind in $s.",
        "return sum(1 for c in $s if $test)",
        lambda rng, _: [mixed(rng)],
        cases(
            "kind test",
            ("vowels", "c in 'aeiouAEIOU'"),
            ("digits", "c.isdigit()"),
            ("uppercase letters", "c.isupper()"),
            ("lowercase letters", "c.islower()"),
            ("spaces", "c == ' '"),
            ("letters", "c.isalpha()"),
            ("characters that are not spaces", "c != ' '"),
            ("characters that are not letters", "not c.isalpha()"),
        ),
    ),
    Family(
        "count_long_words",
        True,
        ("count_words", "long_words", "count_long_words"),
        "$s",
        "Return the number of words in $s that have $how than $k characters.",
        "return len([w for w in $s.split() if len(w) $op $k])",
        lambda rng, _: [sentence(rng, 1, 8)],
        axes(case=cases("how op", ("more", ">"), ("fewer", "<")), k=(3, 4, 5)),
    ),
    Family(
        "replace_character",
        False,
        ("replace_char", "swap_letter", "change"),
        "$s",
        "Return $s with every '$old' replaced by '$new'.",
        "return $s.replace('$old', '$new')",
        lambda rng, _: [sentence(rng)],
        axes(old=("a", "e", "n", " "), new=("o", "-", "*", "z")),
    ),
    Family(
        "join_words",
        False,
        ("join_words", "connect", "make_slug"),
        "$s",
        "Return the words of $s in $case letters, joined by '$sep'.",
        "return '$sep'.join($s.$method().split())",
        lambda rng, _: [sentence(rng, 2, 5)],
        axes(
            c=cases("case method", ("lowercase", "lower"), ("uppercase", "upper")),
            sep=("-", "_", "+", ", ", "/"),
        ),
    ),
    Family(
        "reverse_words",
        False,
        ("reverse_words", "backwards", "flip_order"),
        "$s",
        "The words in $s are separated by '$sep'. Return $s with the words in reverse order.",
        "return '$sep'.join($s.split('$sep')[::-1])",
        lambda rng, p: [p["sep"].join(words(rng, 1, 5))],
        axes(sep=(" ", ",", "-", "_", "/", ";", ":", ".")),
    ),
    Family(
        "each_word",
        True,
        ("change_words", "each_word", "transform_words"),
        "$s",
        "Return $s with $what.",
        "return ' '.join($word for w in $s.split())",
        lambda rng, _: [sentence(rng, 1, 5)],
        cases(
            "what word",
            ("each word reversed", "w[::-1]"),
            ("each word written twice in a row", "w + w"),
            ("the first letter of each word removed", "w[1:]"),
            ("the last letter of each word removed", "w[:-1]"),
            ("'!' added after each word", "w + '!'"),
            ("each word in parentheses", "'(' + w + ')'"),
            ("'x' added before each word", "'x' + w"),
            ("each word cut to its first two letters", "w[:2]"),
        ),
    ),
    Family(
        "repeat_text",
        True,
        ("repeat", "repeat_text", "copies"),
        "$s",
        "Return $s repeated $k times, separated by '$sep'.",
        "return '$sep'.join([$s] * $k)",
        lambda rng, _: [word(rng)],
        axes(k=(2, 3, 4), sep=("-", " ", ",", "/")),
    ),
    Family(
        "palindrome",
        False,
        ("is_palindrome", "same_backwards", "is_mirror"),
        "$s",
        "Return True if $s reads the same forwards and backwards$rule.",
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
        False,
        ("check_ends", "is_match", "has_ends"),
        "$s",
        "Return True if $s starts with '$first' and ends with '$last'.",
        "return $s.startswith('$first') and $s.endswith('$last')",
        _around,
        axes(first=("a", "b", "x"), last=("e", "s", "t")),
    ),
    Family(
        "slice_and_case",
        True,
        ("cut_text", "get_part", "shout_part"),
        "$s",
        "Return the $which $k characters of $s in uppercase.",
        "return $s[$slice].upper()",
        lambda rng, _: [sentence(rng, 1, 3)],
        tuple(
            {"which": w, "k": k, "slice": f":{k}" if w == "first" else f"-{k}:"}
            for w in ("first", "last")
            for k in (2, 3, 4, 5)
        ),
    ),
    Family(
        "remove_prefix",
        False,
        ("strip_prefix", "remove_start", "drop_prefix"),
        "$s",
        "If $s starts with '$part', return $s without it, otherwise return $s unchanged.",
        "if $s.startswith('$part'):\n    return $s[$k:]\nreturn $s",
        _prefixed,
        cases(
            "part k",
            ("un", 2),
            ("re", 2),
            ("pre", 3),
            ("www.", 4),
            ("Mr ", 3),
            ("the ", 4),
            ("x", 1),
            ("--", 2),
        ),
    ),
    Family(
        "every_kth_character",
        False,
        ("skip_chars", "every_other", "pick_chars"),
        "$s",
        "Return a string with the characters of $s at index $start, $second, $third and so on.",
        "return $s[$start::$k]",
        lambda rng, _: [sentence(rng, 2, 4)],
        tuple(
            {"start": a, "k": k, "second": a + k, "third": a + 2 * k} for a in (0, 1, 2) for k in (2, 3, 4)
        ),
    ),
    Family(
        "alternate_case",
        True,
        ("alternate", "wave_case", "zigzag", "mix_case"),
        "$s",
        "Return $s with the characters at $which indices in uppercase and the others in lowercase.",
        "return ''.join(c.upper() if i % 2 == $r else c.lower() for i, c in enumerate($s))",
        lambda rng, _: [sentence(rng, 1, 2)],
        cases("which r", ("even", 0), ("odd", 1)),
    ),
    Family(
        "mask",
        False,
        ("mask", "hide", "cover"),
        "$s",
        "Return $s with all but the last $k characters replaced by '$mark'.",
        "return '$mark' * (len($s) - $k) + $s[-$k:]",
        lambda rng, p: [letters(rng, p["k"] + 1, 10)],
        axes(k=(2, 3, 4), mark=("*", "#", "x")),
    ),
    Family(
        "extreme_word",
        False,
        ("find_word", "pick_word", "get_word"),
        "$s",
        "Return the $which word in $s, $change.",
        "return $f($s.split(), key=len)$method",
        lambda rng, _: [sentence(rng, 2, 6)],
        axes(
            a=cases("which f", ("longest", "max"), ("shortest", "min")),
            b=cases(
                "change method",
                ("in uppercase", ".upper()"),
                ("in lowercase", ".lower()"),
                ("reversed", "[::-1]"),
                ("unchanged", ""),
            ),
        ),
    ),
    Family(
        "initials",
        True,
        ("initials", "acronym", "first_letters"),
        "$s",
        "Return the first letters of the words in $s in $case, joined by '$sep'.",
        "return '$sep'.join(w[0].$method() for w in $s.split())",
        lambda rng, _: [sentence(rng, 1, 5)],
        axes(
            c=cases("case method", ("uppercase", "upper"), ("lowercase", "lower")), sep=(".", "-", " ", "/")
        ),
    ),
    Family(
        "separate_characters",
        False,
        ("spread", "separate", "add_between"),
        "$s",
        "Return $s with '$sep' between $which.",
        "return '$sep'.join($s$order)",
        lambda rng, _: [word(rng)],
        axes(
            sep=("-", " ", ".", "|"),
            o=cases("which order", ("its characters", ""), ("its characters in reverse order", "[::-1]")),
        ),
    ),
    Family(
        "caesar",
        True,
        ("shift_letters", "caesar", "rotate_letters"),
        "$s",
        "Shift each lowercase letter in $s by $k places in the alphabet, from 'z' back to 'a'.",
        "return ''.join(chr((ord(c) - 97 + $k) % 26 + 97) for c in $s)",
        lambda rng, _: [letters(rng, 2, 8)],
        axes(k=(1, 2, 3, 4, 5, 13)),
    ),
    Family(
        "count_substring",
        False,
        ("count_part", "occurrences", "times_found"),
        "$s",
        "Return how many times '$part' occurs in $s, ignoring case.",
        "return $s.lower().count('$part')",
        lambda rng, p: [
            " ".join(rng.choice((word(rng), p["part"], p["part"].upper())) for _ in range(rng.randint(1, 8)))
        ],
        axes(part=("a", "e", "an", "the", "is", "o", "cat", "in")),
    ),
    Family(
        "text_before",
        True,
        ("get_before", "split_at", "take_part"),
        "$s",
        "Return the part of $s $which the first '$sep'.",
        "return $s.split('$sep', 1)[$i]",
        lambda rng, p: [p["sep"].join(words(rng, 2, 4))],
        axes(w=cases("which i", ("before", 0), ("after", 1)), sep=(":", "@", "=", ".", ",")),
    ),
)
