"""pass@1 over the budget: the figures, the table, and the picture."""

import pytest

from restrl.config import DecoderConfig
from restrl.evaluate.curve import budget_curve, curve_figure, curve_lines
from restrl.records import Answer, Cost, Outcome, Problem, Verdict

CONFIG = DecoderConfig("best_of_n", budgets=[4, 1], bootstrap=200)
PROBLEMS = [Problem(task, "", {"kind": "asserts", "asserts": ["assert True"]}) for task in "ab"]


def outcome(task, budget, passed, completions):
    answer = Answer(task, 0, "x", cost=Cost(completions, 10 * completions), budget=budget)
    status = "passed" if passed else "failed"
    return Outcome(answer, Verdict(status, int(passed), 1, float(passed), 0.1))


EARLY = [
    outcome("a", 1, False, 1), outcome("a", 4, True, 4),
    outcome("b", 1, True, 1), outcome("b", 4, True, 2),
]  # fmt: skip


def test_a_point_for_each_budget():
    curve = budget_curve(EARLY, PROBLEMS, CONFIG, seed=0)
    assert [point["budget"] for point in curve] == [1, 4]
    assert [point["pass@1"] for point in curve] == [0.5, 1.0]
    assert [point["completions"] for point in curve] == [1, 3]  # b's tree was exhausted after 2
    assert [point["model_tokens"] for point in curve] == [10, 30]
    assert curve[0]["interval"] == [0.0, 1.0]
    assert curve_lines({"best_of_n": curve}) == [
        ["completions", "1", "4"],
        ["best_of_n", "50.0 [0.0, 100.0]", "100.0 [100.0, 100.0]"],
    ]


def test_the_picture_shows_each_row_at_what_it_took():
    curve = budget_curve(EARLY, PROBLEMS, CONFIG, seed=0)
    (axes,) = curve_figure({"a$b$": curve, "c": curve}).axes
    assert [list(line.get_xdata()) for line in axes.lines] == [[1, 3], [1, 3]]
    assert list(axes.lines[0].get_ydata()) == [50, 100]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [r"a\$b\$", "c"]


def test_a_budget_without_a_judged_answer_has_no_point_in_the_picture():
    curve = budget_curve(EARLY[:1], PROBLEMS, CONFIG, seed=0)
    assert [point["pass@1"] for point in curve] == [0.0, None]
    assert curve_lines({"x": curve})[1][2] == "-"
    (axes,) = curve_figure({"x": curve}).axes
    assert list(axes.lines[0].get_xdata()) == pytest.approx([1])
