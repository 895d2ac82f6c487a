"""Families of starter problems about lists."""

from __future__ import annotations

from random import Random
from typing import Any

from restrl.data.starter.family import Family, Options, axes, cases
from restrl.data.starter.inputs import distinct, grid, letters, numbers, words


def _one_list(rng: Random, _: Options) -> list[Any]:
    return [numbers(rng)]


def _filled_list(rng: Random, _: Options) -> list[Any]:
    return [numbers(rng, shortest=1)]


def _two_lists(rng: Random, _: Options) -> list[Any]:
    size = rng.randint(1, 6)
    return [numbers(rng, 0, 12, size, size), numbers(rng, 0, 12, size, size)]


def _overlapping(rng: Random, _: Options) -> list[Any]:
    return [numbers(rng, 0, 9, 1, 7), numbers(rng, 0, 9, 1, 7)]


def _few_values(rng: Random, _: Options) -> list[Any]:
    return [numbers(rng, 1, 4, 1, 8)]


def _around_limit(rng: Random, options: Options) -> list[Any]:
    """All elements on one side of the limit, or on either side."""
    k, side = options["k"], rng.choice(((-6, 0), (1, 9), (-3, 5), (-6, 6)))
    return [numbers(rng, k + side[0], k + side[1], 1, 5)]


FAMILIES = (
    Family(
        "sum_if",
        False,
        ("sum_some", "add_up", "total_of"),
        "$nums",
        "Return the sum of the elements of $nums that are $what.",
        "return sum(v for v in $nums if $test)",
        _one_list,
        cases(
            "what test",
            ("even", "v % 2 == 0"),
            ("odd", "v % 2 == 1"),
            ("positive", "v > 0"),
            ("greater than 5", "v > 5"),
            ("less than 10", "v < 10"),
            ("divisible by 3", "v % 3 == 0"),
            ("negative", "v < 0"),
            ("not equal to 4", "v != 4"),
        ),
    ),
    Family(
        "count_if",
        True,
        ("count_some", "count_in_list", "number_of"),
        "$nums",
        "Return how many elements of $nums are $what.",
        "count = 0\nfor v in $nums:\n    if $test:\n        count += 1\nreturn count",
        _one_list,
        cases(
            "what test",
            ("greater than 10", "v > 10"),
            ("at most 3", "v <= 3"),
            ("negative", "v < 0"),
            ("multiples of 4", "v % 4 == 0"),
            ("odd", "v % 2 == 1"),
            ("between 2 and 8 inclusive", "2 <= v <= 8"),
            ("at least 6", "v >= 6"),
            ("even", "v % 2 == 0"),
        ),
    ),
    Family(
        "keep_if",
        False,
        ("keep", "select", "filter_list"),
        "$nums",
        "Return a list of the elements of $nums that are $what.",
        "return [v for v in $nums if $test]",
        _one_list,
        cases(
            "what test",
            ("greater than 3", "v > 3"),
            ("less than 7", "v < 7"),
            ("even", "v % 2 == 0"),
            ("odd", "v % 2 == 1"),
            ("not zero", "v != 0"),
            ("multiples of 5", "v % 5 == 0"),
            ("positive", "v > 0"),
            ("at least 8", "v >= 8"),
        ),
    ),
    Family(
        "change_each",
        False,
        ("change_all", "apply", "update_list"),
        "$nums",
        "Return a list with each element of $nums $what.",
        "return [$value for v in $nums]",
        _one_list,
        cases(
            "what value",
            ("multiplied by 3", "v * 3"),
            ("increased by 5", "v + 5"),
            ("squared", "v ** 2"),
            ("decreased by 2", "v - 2"),
            ("negated", "-v"),
            ("doubled and then increased by 1", "v * 2 + 1"),
            ("converted to a string", "str(v)"),
            ("replaced by its remainder modulo 4", "v % 4"),
        ),
    ),
    Family(
        "rotate",
        True,
        ("rotate", "shift_list", "turn"),
        "$nums",
        "Return the list $nums with its first $k elements moved to the end.",
        "return $nums[$k:] + $nums[:$k]",
        lambda rng, p: [numbers(rng, 0, 20, p["k"], 8)],
        axes(k=(1, 2, 3, 4)),
    ),
    Family(
        "ends_of_list",
        False,
        ("ends", "drop_ends", "cut_list"),
        "$nums",
        "Return the list $nums without its first $k and last $m elements.",
        "return $nums[$k:len($nums) - $m]",
        lambda rng, p: [numbers(rng, 0, 20, p["k"] + p["m"], 9)],
        axes(k=(1, 2, 3), m=(1, 2, 3)),
    ),
    Family(
        "top_k",
        False,
        ("top", "biggest", "best_of"),
        "$nums",
        "Return the $k $which elements of $nums in $order order.",
        "return sorted($nums$reverse)[:$k]",
        lambda rng, p: [distinct(rng, shortest=p["k"])],
        axes(
            w=cases(
                "which order reverse",
                ("largest", "descending", ", reverse=True"),
                ("smallest", "ascending", ""),
            ),
            k=(2, 3, 4, 5),
        ),
    ),
    Family(
        "kth_distinct",
        True,
        ("kth_value", "find_kth", "nth_element"),
        "$nums",
        "Return the $rank $which distinct value in $nums.",
        "return sorted(set($nums))[$i]",
        lambda rng, _: [distinct(rng, 0, 20, 3, 5) + distinct(rng, 0, 20, 0, 3)],
        tuple(
            {"rank": r, "which": w, "i": i}
            for r, w, i in (
                ("second", "smallest", 1),
                ("third", "smallest", 2),
                ("second", "largest", -2),
                ("third", "largest", -3),
            )
        ),
    ),
    Family(
        "position_of_extreme",
        False,
        ("find_index", "where_is", "position"),
        "$nums",
        "Return the index of the first $which element in $nums.",
        "return $nums.index($f($nums))",
        _filled_list,
        cases("which f", ("largest", "max"), ("smallest", "min"))
        + cases("which f", ("maximum", "max"), ("minimum", "min")),
    ),
    Family(
        "max_and_min",
        True,
        ("combine_ends", "extremes", "spread"),
        "$nums",
        "Return the $what of $nums.",
        "return $value",
        _filled_list,
        cases(
            "what value",
            ("difference between the largest and the smallest element", "max($nums) - min($nums)"),
            ("sum of the largest and the smallest element", "max($nums) + min($nums)"),
            ("product of the largest and the smallest element", "max($nums) * min($nums)"),
            ("larger of the first and the last element", "max($nums[0], $nums[-1])"),
            ("sum of the first and the last element", "$nums[0] + $nums[-1]"),
            ("difference between the last and the first element", "$nums[-1] - $nums[0]"),
        ),
    ),
    Family(
        "by_frequency",
        False,
        ("by_count", "repeated", "select_common"),
        "$nums",
        "Return a list of the elements of $nums that appear $how $times in it, keeping order and repeats.",
        "return [v for v in $nums if $nums.count(v) $op $k]",
        _few_values,
        cases(
            "how times op k",
            ("exactly", "once", "==", 1),
            ("exactly", "twice", "==", 2),
            ("at least", "twice", ">=", 2),
            ("at most", "twice", "<=", 2),
            ("at most", "once", "<=", 1),
            ("at least", "three times", ">=", 3),
        ),
    ),
    Family(
        "neighbours",
        True,
        ("neighbours", "adjacent", "step_values"),
        "$nums",
        "Return a list with the $what each pair of neighbouring elements of $nums.",
        "return [$value for a, b in zip($nums, $nums[1:])]",
        _filled_list,
        cases(
            "what value",
            ("sum of", "a + b"),
            ("product of", "a * b"),
            ("larger of", "max(a, b)"),
            ("smaller of", "min(a, b)"),
            ("absolute difference of", "abs(a - b)"),
        ),
    ),
    Family(
        "elementwise",
        False,
        ("combine", "merge_lists", "pair_up"),
        "a, b",
        "Return a list with the $what of the elements of a and b at each index.",
        "return [$value for x, y in zip(a, b)]",
        _two_lists,
        cases(
            "what value",
            ("sum", "x + y"),
            ("product", "x * y"),
            ("larger", "max(x, y)"),
            ("smaller", "min(x, y)"),
            ("difference", "x - y"),
        ),
    ),
    Family(
        "running",
        True,
        ("running", "so_far", "accumulate"),
        "$nums",
        "Return a list whose element at index i is the $what of $nums up to and including index i.",
        "return [$f($nums[:i + 1]) for i in range(len($nums))]",
        _filled_list,
        cases("what f", ("sum", "sum"), ("maximum", "max"), ("minimum", "min")),
    ),
    Family(
        "chunks",
        False,
        ("chunks", "split_list", "in_groups"),
        "$nums",
        "Split the list $nums into lists of $k elements; the last one may be shorter.",
        "return [$nums[i:i + $k] for i in range(0, len($nums), $k)]",
        lambda rng, _: [numbers(rng, 0, 9, 2, 9)],
        axes(k=(2, 3, 4)),
    ),
    Family(
        "flatten",
        False,
        ("flatten", "unpack", "to_flat_list"),
        "$rows",
        "Return one flat list of the numbers in the list of lists $rows, $what.",
        "return [$value for row in $rows for v in row]",
        lambda rng, _: [grid(rng)],
        cases(
            "what value",
            ("in order", "v"),
            ("each doubled", "v * 2"),
            ("each increased by 1", "v + 1"),
            ("each as a string", "str(v)"),
            ("each squared", "v * v"),
        ),
    ),
    Family(
        "each_row",
        True,
        ("row_values", "per_row", "summary"),
        "$rows",
        "Return a list with the $what of each list in $rows.",
        "return [$value for row in $rows]",
        lambda rng, _: [grid(rng)],
        cases(
            "what value",
            ("sum", "sum(row)"),
            ("largest element", "max(row)"),
            ("first element", "row[0]"),
            ("length", "len(row)"),
            ("last element", "row[-1]"),
            ("smallest element", "min(row)"),
        ),
    ),
    Family(
        "put_around",
        False,
        ("pad", "wrap", "add_items"),
        "$nums",
        "Return the list $nums with $k added at the $where.",
        "return $value",
        _one_list,
        axes(
            k=(0, 1, 7),
            w=cases(
                "where value",
                ("start", "[$k] + $nums"),
                ("end", "$nums + [$k]"),
                ("start and at the end", "[$k] + $nums + [$k]"),
            ),
        ),
    ),
    Family(
        "compare_lists",
        True,
        ("compare", "overlap", "check_lists"),
        "a, b",
        "Return a list of the elements of a that are $what in b.",
        "return [v for v in a if v $op b]",
        _overlapping,
        cases("what op", ("also", "in"), ("not", "not in"))
        + cases("what op", ("found", "in"), ("missing", "not in")),
    ),
    Family(
        "all_or_any",
        False,
        ("check_all", "is_ok", "test_list"),
        "$nums",
        "Return True if $quantity of $nums $verb $what than $k.",
        "return $f(v $op $k for v in $nums)",
        _around_limit,
        axes(
            q=cases("quantity verb f", ("all elements", "are", "all"), ("any element", "is", "any")),
            o=cases("what op", ("greater", ">"), ("less", "<")),
            k=(0, 5, 10),
        ),
    ),
    Family(
        "sort_words",
        False,
        ("sort_words", "in_order", "arrange"),
        "words",
        "Return the list words sorted by $how.",
        "return sorted(words, key=$key$reverse)",
        lambda rng, _: [list(dict.fromkeys(letters(rng, 1, 7) for _ in range(rng.randint(2, 6))))],
        cases(
            "how key reverse",
            ("length, shortest first", "len", ""),
            ("length, longest first", "len", ", reverse=True"),
            ("last letter", "lambda w: w[-1]", ""),
            ("last two letters", "lambda w: w[-2:]", ""),
        ),
    ),
    Family(
        "measure_words",
        True,
        ("measure", "describe", "word_info"),
        "words",
        "Return a list with the $what of each word in words.",
        "return [$value for w in words]",
        lambda rng, _: [words(rng, 1, 6)],
        cases(
            "what value",
            ("length", "len(w)"),
            ("first letter", "w[0]"),
            ("last letter", "w[-1]"),
            ("uppercase form", "w.upper()"),
            ("reverse", "w[::-1]"),
        ),
    ),
)
