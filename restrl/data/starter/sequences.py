"""Families of starter problems about pairs of lists, lists of lists and lists of words."""

from __future__ import annotations

from random import Random
from typing import Any

from restrl.data.starter.family import Family, Options, cases
from restrl.data.starter.inputs import grid, letters, numbers, words


def _two_lists(rng: Random, _: Options) -> list[Any]:
    size = rng.randint(1, 6)
    return [numbers(rng, 0, 12, size, size), numbers(rng, 0, 12, size, size)]


def _overlapping(rng: Random, _: Options) -> list[Any]:
    return [numbers(rng, 0, 9, 1, 7), numbers(rng, 0, 9, 1, 7)]


FAMILIES = (
    Family(
        "elementwise",
        True,
        ("${slug}_lists", "elementwise_$slug", "list_$slug"),
        "a, b",
        "Return a list with the $what of the elements of the lists a and b at each index.",
        "return [$value for x, y in zip(a, b)]",
        _two_lists,
        cases(
            "slug what value",
            ("add", "sum", "x + y"),
            ("multiply", "product", "x * y"),
            ("subtract", "difference", "x - y"),
            ("max", "maximum", "max(x, y)"),
        ),
    ),
    Family(
        "compare_lists",
        True,
        ("${slug}_elements", "get_$slug", "${slug}_items"),
        "a, b",
        "Return a list of the elements of the list a that are $what in the list b.",
        "return [v for v in a if v $op b]",
        _overlapping,
        cases(
            "slug what op",
            ("common", "also", "in"),
            ("different", "not", "not in"),
            ("missing", "not", "not in"),
        ),
    ),
    Family(
        "dot_product",
        False,
        ("$slug", "compute_$slug", "list_$slug"),
        "a, b",
        "Return the $what of the lists a and b.",
        "return $value",
        _two_lists,
        cases(
            "slug what value",
            ("dot_product", "dot product", "sum(x * y for x, y in zip(a, b))"),
            ("total", "sum of all elements", "sum(a) + sum(b)"),
            ("max_of_both", "largest element", "max(max(a), max(b))"),
        ),
    ),
    Family(
        "flatten",
        False,
        ("flatten", "flatten_$slug", "flat_$slug"),
        "$rows",
        "Return one flat list of the numbers in the list of lists $rows, $what.",
        "return [$value for row in $rows for v in row]",
        lambda rng, _: [grid(rng)],
        cases(
            "slug what value",
            ("list", "in order", "v"),
            ("doubled", "each doubled", "v * 2"),
            ("plus_one", "each plus 1", "v + 1"),
        ),
    ),
    Family(
        "each_row",
        True,
        ("row_$slug", "get_row_$slug"),
        "$rows",
        "Return a list with the $what of each list in the list of lists $rows.",
        "return [$f(row) for row in $rows]",
        lambda rng, _: [grid(rng)],
        cases(
            "slug what f",
            ("sums", "sum", "sum"),
            ("maxima", "maximum", "max"),
            ("lengths", "length", "len"),
            ("minima", "minimum", "min"),
        ),
    ),
    Family(
        "sort_words",
        False,
        ("sort_words", "sort_by_$slug", "order_words"),
        "words",
        "Return the list of words sorted by $how.",
        "return sorted(words, key=$key$reverse)",
        lambda rng, _: [list(dict.fromkeys(letters(rng, 1, 7) for _ in range(rng.randint(2, 6))))],
        cases(
            "slug how key reverse",
            ("length", "length, shortest first", "len", ""),
            ("length", "length, longest first", "len", ", reverse=True"),
            ("last_letter", "their last letter", "lambda w: w[-1]", ""),
        ),
    ),
    Family(
        "measure_words",
        True,
        ("word_$slug", "get_$slug", "list_$slug"),
        "words",
        "Return a list with the $what of each word in the list words.",
        "return [$value for w in words]",
        lambda rng, _: [words(rng, 1, 6)],
        cases(
            "slug what value",
            ("initials", "first letter", "w[0]"),
            ("endings", "last letter", "w[-1]"),
            ("caps", "uppercase form", "w.upper()"),
            ("reversed", "reverse", "w[::-1]"),
        ),
    ),
    Family(
        "select_words",
        True,
        ("${slug}_words", "get_${slug}_words", "find_$slug"),
        "words",
        "Return a list of the words in the list words that $what.",
        "return [w for w in words if $test]",
        lambda rng, _: [words(rng, 1, 7)],
        cases(
            "slug what test",
            ("long", "have more than 4 letters", "len(w) > 4"),
            ("short", "have less than 5 letters", "len(w) < 5"),
            ("vowel", "start with a vowel", "w[0].lower() in 'aeiou'"),
            ("a", "contain the letter 'a'", "'a' in w"),
            ("e", "end with 'e' or 'r'", "w[-1] in 'er'"),
        ),
    ),
)
