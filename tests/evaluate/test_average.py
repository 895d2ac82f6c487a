"""The average over data sets, against the paper's own numbers and by hand."""

from __future__ import annotations

import math

from restrl.config import DecoderConfig
from restrl.evaluate.average import AVERAGE, Part, average, groups_of, paired_with_average, with_average
from restrl.evaluate.results import compare, evaluate
from restrl.records import Answer, Outcome, Problem, Verdict

CONFIG = DecoderConfig(bootstrap=2000, k=[1, 2])
PAPER = [["humaneval", "humaneval_plus"], ["mbpp", "mbpp_plus"], ["apps"], ["bigcodebench"]]


def part(name: str, passed: list[int], samples: int = 1) -> Part:
    """``passed[i]``: how many of the samples of problem i pass."""
    problems = [Problem(f"{name}/{i}", "", {}, dataset=name) for i in range(len(passed))]
    outcomes = []
    for problem, count in zip(problems, passed, strict=True):
        for sample in range(samples):
            right = sample < count
            verdict = Verdict("passed" if right else "failed", int(right), 1, float(right), 0.0)
            outcomes.append(Outcome(Answer(problem.task_id, sample, ""), verdict))
    return Part(problems, outcomes, evaluate(outcomes, problems, CONFIG, 0))


def test_groups_weigh_equally() -> None:
    """((1/2 + 1/4) / 2 + 1 + 0) / 3 = 11/24"""
    parts = {
        "humaneval": part("humaneval", [1, 1, 0, 0]),
        "humaneval_plus": part("humaneval_plus", [1, 0, 0, 0]),
        "apps": part("apps", [1, 1]),
        "other": part("other", [0, 0, 0]),
    }
    results = average(parts, PAPER, CONFIG, 0)
    assert math.isclose(results["pass@1"], 11 / 24)
    assert math.isclose(results["mean_reward"], 11 / 24)
    assert results["pass@2"] is None  # nobody has two samples
    assert results["confidence_interval"]["pass@2"] is None
    assert results["average"]["groups"] == [["humaneval", "humaneval_plus"], ["apps"], ["other"]]
    assert math.isclose(results["average"]["pass@1"], 11 / 24)
    assert (results["n"], results["samples"], results["unanswered"]) == (13, 13, 0)
    assert list(results["datasets"]) == list(parts)
    assert results["datasets"]["humaneval"]["pass@1"] == 0.5
    assert results["cost"]["verifier_calls"] == 13
    plain = average(parts, [], CONFIG, 0)
    assert math.isclose(plain["pass@1"], (1 / 2 + 1 / 4 + 1 + 0) / 4)


def test_the_papers_average() -> None:
    """((HumanEval + HumanEval+) / 2 + (MBPP + MBPP+) / 2 + APPS + BigCodeBench) / 4, not the plain mean."""
    shares = dict(zip([name for group in PAPER for name in group], (8, 7, 6, 5, 2, 4), strict=True))
    parts = {name: part(name, [1] * share + [0] * (10 - share)) for name, share in shares.items()}
    assert math.isclose(average(parts, PAPER, CONFIG, 0)["pass@1"], (0.75 + 0.55 + 0.2 + 0.4) / 4)


def test_the_interval_is_as_wide_as_that_of_one_data_set_whose_problems_are_the_same() -> None:
    """Two data sets of one group with the same verdicts are one data set, not twice as many problems."""
    passed = [1, 0] * 50
    alone = average({"a": part("a", passed)}, [], CONFIG, 0)
    both = average({"a": part("a", passed), "b": part("b", passed)}, [["a", "b"]], CONFIG, 0)
    apart = average({"a": part("a", passed), "b": part("b", passed)}, [], CONFIG, 0)

    def width(results: dict) -> float:
        low, high = results["confidence_interval"]["pass@1"]
        assert low < results["pass@1"] < high
        return high - low

    assert math.isclose(width(alone), 2 * 1.98 * 0.05, rel_tol=0.15)  # standard error 0.5 / sqrt(100)
    assert math.isclose(width(both), width(alone), rel_tol=0.1)
    assert math.isclose(width(apart), width(alone) / math.sqrt(2), rel_tol=0.15)


def test_one_problem_has_no_interval() -> None:
    results = average({"a": part("a", [1]), "b": part("b", [1, 0])}, [], CONFIG, 0)
    assert results["confidence_interval"]["pass@1"] is None
    assert results["pass@1"] == 0.75


def test_data_sets_that_no_group_names_are_their_own() -> None:
    assert groups_of(["b", "a", "c"], [["a", "x"], ["y"]]) == [["a"], ["b"], ["c"]]


def test_the_average_stands_beside_the_plain_mean() -> None:
    """Held-out problems of several data sets: (2/4 + 1/2) / 2 beside 3/6, and paired with (4/4 + 1/2) / 2."""
    groups = [["a"], ["b"]]
    first, second = part("a", [1, 1, 0, 0]), part("b", [1, 0])
    better = part("a", [1, 1, 1, 1])
    problems = [*first.problems, *second.problems]
    base, other = [*first.outcomes, *second.outcomes], [*better.outcomes, *second.outcomes]
    plain = evaluate(other, problems, CONFIG, 0)
    assert with_average(plain, other, problems, [], CONFIG, 0) is plain
    results = with_average(plain, other, problems, groups, CONFIG, 0)
    assert (results["pass@1"], results[AVERAGE]) == (5 / 6, 3 / 4)
    low, high = results["confidence_interval"][AVERAGE]
    assert low <= results[AVERAGE] <= high
    paired = paired_with_average(
        compare(base, other, problems, CONFIG, 0), base, other, problems, groups, CONFIG, 0
    )
    assert math.isclose(paired["pass@1"]["difference"], 2 / 6)
    assert paired[AVERAGE]["difference"] == 1 / 4
    assert paired[AVERAGE]["n"] == 6
    lost = with_average(plain, better.outcomes, problems, groups, CONFIG, 0)  # b was not judged
    assert (lost[AVERAGE], lost["confidence_interval"][AVERAGE]) == (None, None)
