"""Which program becomes the answer, and which programs are the same."""

from __future__ import annotations

import pytest

from restrl.decode.choice import choose, same

ONE, TWO, THREE = "return 1", "return 2", "return 3"


def test_the_first_of_the_best_wins() -> None:
    assert choose([ONE, TWO, THREE], [0.1, 0.7, 0.7], vote=False) == 1
    assert choose([ONE, TWO], [None, -3.0], vote=False) == 1  # any score beats none
    assert choose([ONE, TWO], [None, None], vote=False) == 0


def test_equal_programs_pool_their_scores() -> None:
    programs, scores = [ONE, TWO, THREE, "return  2  # sure"], [0.5, 0.3, None, 0.3]
    assert choose(programs, scores, vote=False) == 0
    assert choose(programs, scores, vote=True) == 1  # 0.3 + 0.3
    assert choose([ONE, TWO, ONE], [None, 0.2, None], vote=True) == 1
    assert choose([ONE, TWO], [0.5, 0.5], vote=True) == 0


@pytest.mark.parametrize(
    "other",
    [
        "def f(x):\n    y = x\n    return y  # y\n",
        "def f(x):\n\n  y=x\n  # two\n  return y",
        "def f( x ):\n\ty = x\n\treturn y\n\n\n",
    ],
)
def test_layout_makes_no_difference(other: str) -> None:
    assert same("def f(x):\n    y = x\n    return y") == same(other)


@pytest.mark.parametrize(
    "other",
    [
        "if a:\n    b\nc",  # another block
        "if a:\n    b\n    c\nd",
        "if a:\n    b\n    'c'",
        "if a:\n    b\n    c\n  d",  # not Python
        "if a:\n    b\n    (c",
    ],
)
def test_other_programs_are_others(other: str) -> None:
    assert same("if a:\n    b\n    c") != same(other)
    assert same(other) == same(other)


@pytest.mark.parametrize("hostile", ["(" * 100_000, "-" * 100_000 + "1", "\0", "\\", "f'{" * 1000])
def test_hostile_text_is_survived(hostile: str) -> None:
    assert same(hostile) == same(hostile)
