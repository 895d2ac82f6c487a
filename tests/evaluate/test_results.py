import json

import pytest

from restrl.config import DecoderConfig
from restrl.evaluate.results import compare, evaluate, problem_scores
from restrl.records import Answer, Cost, Outcome, Problem, Verdict

COST = Cost(completions=1, model_tokens=10, seconds=0.5)
CONFIG = DecoderConfig(k=[1, 2], bootstrap=200)


def problem(task_id, dataset="d", family=""):
    tests = {"kind": "asserts", "asserts": ["assert True"]}
    return Problem(task_id, "", tests, dataset=dataset, family=family)


def outcomes(task_id, rewards):
    return [
        Outcome(
            Answer(task_id, i, "x", cost=COST),
            Verdict("harness_error", 0, 4, None, 0.0)
            if reward is None
            else Verdict("passed" if reward == 1 else "failed", int(4 * reward), 4, reward, 0.1),
        )
        for i, reward in enumerate(rewards)
    ]


def test_figures_by_hand():
    judged = [*outcomes("a", [1.0, 0.5, 0.0, 0.0]), *outcomes("b", [1.0, 1.0])]
    results = evaluate(judged, [problem("a"), problem("b")], CONFIG, seed=0)
    assert results["pass@1"] == pytest.approx((1 / 4 + 1) / 2)
    assert results["pass@2"] == pytest.approx((1 - 3 / 6 + 1) / 2)  # C(3, 2) / C(4, 2)
    assert results["mean_reward"] == pytest.approx((1.5 / 4 + 1) / 2)
    assert (results["n"], results["samples"], results["harness_errors"], results["unanswered"]) == (
        2,
        6,
        0,
        0,
    )
    assert results["confidence_interval"]["pass@1"] == [0.25, 1.0]  # of two problems, each may be drawn twice
    assert results["cost"] == {
        "completions": 6, "model_tokens": 60, "verifier_calls": 6, "scorer_calls": 0, "seconds": 3.0,
    }  # fmt: skip
    assert json.loads(json.dumps(results)) == results


def test_harness_errors_are_left_out_and_counted():
    judged = [*outcomes("a", [1.0, None, 0.0]), *outcomes("b", [None, None])]
    results = evaluate(judged, [problem("a"), problem("b"), problem("c")], CONFIG, seed=0)
    assert results["pass@1"] == 0.5  # 1/3 or 1/6 where None counts as wrong
    assert results["mean_reward"] == 0.5
    assert (results["n"], results["samples"], results["harness_errors"], results["unanswered"]) == (
        1,
        2,
        3,
        2,
    )


def test_partial_credit_is_no_pass():
    scores = problem_scores(outcomes("a", [0.75, 1.0]))
    assert (scores["a"].n, scores["a"].passed, scores["a"].mean_reward) == (2, 1, 0.875)


def test_too_few_samples_for_k_have_no_value():
    results = evaluate(outcomes("a", [1.0]), [problem("a")], CONFIG, seed=0)
    assert results["pass@2"] is None
    assert results["confidence_interval"]["pass@2"] is None
    assert evaluate([], [problem("a")], CONFIG, seed=0)["pass@1"] is None


def test_each_data_set_has_its_figures():
    judged = [*outcomes("a", [1.0]), *outcomes("b", [0.0])]
    results = evaluate(judged, [problem("a", "x"), problem("b", "y")], DecoderConfig(bootstrap=100), seed=0)
    assert {name: part["pass@1"] for name, part in results["datasets"].items()} == {"x": 1.0, "y": 0.0}
    assert results["pass@1"] == 0.5


def test_the_seed_decides_the_interval():
    judged = [o for i in range(9) for o in outcomes(str(i), [i / 8])]
    problems = [problem(str(i)) for i in range(9)]
    assert evaluate(judged, problems, CONFIG, 0) == evaluate(judged, problems, CONFIG, 0)
    assert evaluate(judged, problems, CONFIG, 0) != evaluate(judged, problems, CONFIG, 1)


def test_compare_pairs_by_problem():
    base = [*outcomes("a", [0.0, 1.0]), *outcomes("b", [0.0, 0.0]), *outcomes("gone", [1.0])]
    other = [*outcomes("b", [0.0, 1.0]), *outcomes("a", [1.0, 1.0]), *outcomes("new", [1.0])]
    problems = [problem("a"), problem("b"), problem("gone"), problem("new")]
    pairs = compare(base, other, problems, CONFIG, seed=0)
    # both problems gain 1/2, in whatever order they come; the others have no partner
    assert pairs["pass@1"] == {
        "difference": 0.5, "interval": [0.5, 0.5], "n": 2, "resampled": "problems", "clusters": 2,
    }  # fmt: skip
    assert pairs["pass@2"]["difference"] == 0.5
    assert compare(base, [], problems, CONFIG, seed=0) == {}
    assert compare(base, other, [problem("a")], CONFIG, seed=0)["pass@1"]["n"] == 1  # of the given problems


def test_families_are_resampled_where_there_are_any():
    # in each family all problems go alike: two families, and not eight problems, are what is known
    solved = {f"{name}{i}": float(name == "y") for name in "xy" for i in range(4)}
    judged = [o for task_id, reward in solved.items() for o in outcomes(task_id, [reward])]
    base = [o for task_id in solved for o in outcomes(task_id, [0.0])]
    families = [problem(task_id, family=task_id[0]) for task_id in solved]
    apart = [problem(task_id) for task_id in solved]

    found = evaluate(judged, families, CONFIG, seed=0)
    assert (found["n"], found["resampled"], found["clusters"]) == (8, "families", 2)
    assert found["confidence_interval"]["pass@1"] == [0.0, 1.0]
    pair = compare(base, judged, families, CONFIG, seed=0)["pass@1"]
    assert (pair["interval"], pair["resampled"], pair["clusters"]) == ([0.0, 1.0], "families", 2)

    found = evaluate(judged, apart, CONFIG, seed=0)
    assert (found["resampled"], found["clusters"]) == ("problems", 8)
    assert found["confidence_interval"]["pass@1"][0] > 0
    assert compare(base, judged, apart, CONFIG, seed=0)["pass@1"]["interval"][0] > 0


def test_one_family_has_figures_and_no_interval():
    problems = [problem("a", family="f"), problem("b", family="f")]
    judged = [*outcomes("a", [1.0]), *outcomes("b", [0.0])]
    found = evaluate(judged, problems, CONFIG, seed=0)
    assert (found["pass@1"], found["confidence_interval"]["pass@1"]) == (0.5, None)
    assert compare(judged, judged, problems, CONFIG, seed=0)["pass@1"]["interval"] is None
