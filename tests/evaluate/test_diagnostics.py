"""Diagnostics of a value model, on targets small enough to work out by hand."""

import dataclasses

import numpy as np
import pytest

from restrl.evaluate.diagnostic_plots import diagnostics_figure
from restrl.evaluate.diagnostics import (
    Rated,
    best_child,
    by_depth,
    calibration,
    diagnostics,
    sibling_groups,
    spearman,
    within_problems,
)
from restrl.records import ValueTarget


def target(ids, value, *, task="p", terminal=False, depth=None, visits=1):
    return ValueTarget(task, (0,), tuple(ids), value, visits, terminal, len(ids) if depth is None else depth)


def rated(targets, predicted, weights=None, constant=0.5):
    weights = [1.0] * len(targets) if weights is None else weights
    return Rated(tuple(targets), np.array(predicted, dtype=float), np.array(weights, dtype=float), constant)


def by_problem(data, **settings):
    """Diagnostics whose intervals resample problems."""
    return diagnostics(data, clusters=[target.task_id for target in data.targets], **settings)


def floats(*values):
    return np.array(values, dtype=float)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((1, 2, 3), (10, 20, 300), 1.0),  # the order alone counts
        ((1, 2, 3), (3, 2, 1), -1.0),
        # ranks 0 1 2 3 against 1 0 2 3: 1 - 6 x 2 / (4 x 15) = 0.8
        ((1, 2, 3, 4), (2, 1, 3, 4), 0.8),
        # ties share their mean rank: -1 0 1 against -0.5 -0.5 1, so 1.5 / sqrt(2 x 1.5)
        ((1, 2, 3), (1, 1, 2), 1.5 / 3**0.5),
        ((1, 2, 3), (1, 1, 1), None),
        ((1,), (2,), None),
    ],
)
def test_spearman(a, b, expected):
    assert spearman(floats(*a), floats(*b)) == (None if expected is None else pytest.approx(expected))


def test_errors_are_weighted_and_compared_with_the_constant():
    data = rated([target([1], 1.0), target([2], 0.0)], [0.5, 0.2], weights=[3, 1], constant=0.75)
    found = by_problem(data, confidence=0.9, resamples=10, rng=np.random.default_rng(0))
    assert found["mse"] == pytest.approx((3 * 0.25 + 0.04) / 4)
    assert found["mse_constant"] == pytest.approx((3 * 0.0625 + 0.5625) / 4)
    assert (found["states"], found["problems"], found["constant"]) == (2, 1, 0.75)
    assert found["mse_gain_interval"] is None  # one problem says nothing of others


def test_calibration_by_tenths():
    data = rated([target([i], v) for i, v in enumerate([0.0, 0.2, 1.0, 0.8])], [0.01, 0.09, 0.95, 1.0])
    low, high = calibration(data)
    assert low == {"low": 0.0, "high": 0.1, "states": 2, "predicted": pytest.approx(0.05), "target": 0.1}
    assert (high["low"], high["states"]) == (0.9, 2)  # 1.0 belongs to the last tenth
    assert (high["predicted"], high["target"]) == (pytest.approx(0.975), 0.9)


def test_depths_are_apart_and_whole_programs_too():
    targets = [
        target([], 0.5), target([1], 1.0), target([2], 0.0), target([1, 2], 1.0), target([1, 2, 3], 0.0),
        target(range(20), 1.0), target([1, 2, 3], 0.0, terminal=True),
    ]  # fmt: skip
    rows = {row["depth"]: row for row in by_depth(rated(targets, [0.5, 0.9, 0.1, 0.2, 0.6, 1.0, 0.4]))}
    assert {depth: row["states"] for depth, row in rows.items()} == {
        "0": 1, "1": 2, "2-3": 2, "16+": 1, "whole": 1,
    }  # fmt: skip
    assert rows["1"]["spearman"] == pytest.approx(1)
    assert rows["2-3"]["spearman"] == pytest.approx(-1)
    assert rows["whole"]["spearman"] is None
    assert rows["whole"]["mse"] == pytest.approx(0.16)
    assert rows["whole"]["mse_constant"] == pytest.approx(0.25)


def test_siblings_share_a_parent_state():
    targets = [
        target([1, 2], 1.0, depth=1), target([1, 3], 0.0, depth=1), target([1, 2, 4], 1.0, depth=2),
        target([1, 2, 5, 6], 0.5, depth=2, terminal=True), target([1, 3, 4], 0.0, depth=2),
        target([9, 9], 0.5, depth=2), target([1, 2], 0.3, depth=1, task="q"),
    ]  # fmt: skip
    # below the prompt: 0, 1; below (1 2): 2, 3; below (1 3): only 4; 9 9 has no parent here; q: only 6
    assert sibling_groups(targets) == [[0, 1], [2, 3]]


def test_children_of_the_prompt_are_siblings_whether_or_not_it_is_a_target():
    children = [target([1], 1.0), target([2], 0.0)]
    assert sibling_groups(children) == [[0, 1]]
    assert sibling_groups([target([], 0.5), *children]) == [[1, 2]]


def test_a_whole_program_is_nobodys_parent():
    targets = [target([1], 1.0, terminal=True), target([1, 2], 1.0), target([1, 3], 1.0)]
    assert sibling_groups(targets) == []


def test_the_best_child_and_its_ties():
    def group(task, values):
        return [target([i], v, task=task) for i, v in enumerate(values)]

    targets = [*group("a", (1.0, 0.0)), *group("b", (0.0, 1.0, 1.0, 0.0)), *group("c", (0.5, 0.5))]
    predicted = [0.9, 0.1, 0.8, 0.8, 0.2, 0.1, 0.3, 0.4]
    found = best_child(rated(targets, predicted))
    # a: right. b: the first place is shared by a wrong and a right one: 1/2. c: targets tie, left out.
    assert found == {"groups": 2, "share": 0.75, "chance": 0.5}
    assert best_child(rated(targets[6:], predicted[6:])) == {"groups": 0, "share": None, "chance": None}


def test_the_correlation_within_problems_is_blind_to_their_difficulty():
    targets = [target([i], value, task=task) for task, i, value in
               (("a", 0, 0.0), ("a", 1, 0.1), ("b", 0, 0.9), ("b", 1, 1.0))]  # fmt: skip
    data = rated(targets, [0.1, 0.0, 1.0, 0.9])  # knows the problems and not their states
    assert within_problems(data) == -1.0
    assert spearman(data.predicted, data.values) == pytest.approx(0.6)  # 1 - 6 x 4 / 60


def synthetic(noise, problems=20):
    rng = np.random.default_rng(0)
    targets, predicted = [], []
    for p in range(problems):
        for i in range(6):
            value = float(rng.random())
            targets.append(target([i], value, task=f"p{p}"))
            predicted.append(value + noise * float(rng.normal()))
    return rated(targets, np.clip(predicted, 0, 1))


def test_intervals_tell_a_good_predictor_from_a_bad_one():
    good, bad = (
        by_problem(synthetic(noise), confidence=0.95, resamples=300, rng=np.random.default_rng(1))
        for noise in (0.05, 5.0)
    )
    assert (
        0 < good["mse_gain_interval"][0] < good["mse_constant"] - good["mse"] < good["mse_gain_interval"][1]
    )
    assert good["spearman_interval"][0] < good["spearman"] < good["spearman_interval"][1]
    assert good["spearman_interval"][0] > 0.9
    assert bad["mse_gain_interval"][1] < 0
    again = by_problem(synthetic(0.05), confidence=0.95, resamples=300, rng=np.random.default_rng(1))
    assert again == good


def test_intervals_are_over_problems():
    """Twenty copies of a problem's states make nothing surer: an interval over states would shrink."""
    few = synthetic(0.5, problems=4)
    many = rated(few.targets * 20, np.tile(few.predicted, 20))
    widths = []
    for data in (few, many):
        low, high = by_problem(data, confidence=0.9, resamples=400, rng=np.random.default_rng(0))[
            "mse_gain_interval"
        ]
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0], rel=0.01)


def test_intervals_are_over_clusters():
    """The same for problems that are copies of four others: it takes the families' names to see it."""
    few = synthetic(0.5, problems=4)
    targets = [dataclasses.replace(t, task_id=f"{t.task_id} {i}") for i in range(20) for t in few.targets]
    many, settings = rated(targets, np.tile(few.predicted, 20)), {"confidence": 0.9, "resamples": 400}
    families = [target.task_id.split()[0] for target in many.targets]
    found = diagnostics(many, clusters=families, rng=np.random.default_rng(0), **settings)
    expected = by_problem(few, rng=np.random.default_rng(0), **settings)
    for name in ("mse_gain_interval", "spearman_interval"):
        assert found[name] == pytest.approx(expected[name], abs=0.01)
    assert (found["problems"], found["clusters"]) == (80, 4)
    low, high = by_problem(many, rng=np.random.default_rng(0), **settings)["mse_gain_interval"]
    assert high - low < (expected["mse_gain_interval"][1] - expected["mse_gain_interval"][0]) / 3


def test_the_figure_draws_what_was_found(tmp_path):
    targets = [target([], 0.5), target([1], 1.0), target([2], 0.0)]  # depth 0 has no correlation
    found = by_problem(
        rated(targets, [0.4, 0.9, 0.1]), confidence=0.9, resamples=10, rng=np.random.default_rng(0)
    )
    figure = diagnostics_figure(found)
    calibration_axes, errors, correlation = figure.axes
    assert [label.get_text() for label in errors.get_xticklabels()] == ["0\n(1)", "1\n(2)"]
    assert [bar.get_height() for bar in correlation.patches] == pytest.approx([0.0, 1.0])
    points = calibration_axes.lines[1].get_xydata()
    assert points.tolist() == [[0.1, 0.0], [0.4, 0.5], [0.9, 1.0]]
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000
