"""Both stages from the command line, and the rows that they are compared in."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from restrl.config import Config, ScorerConfig
from restrl.stages.rest_rl import Row, method_of, reference_of
from tests.stages.conftest import Workplace
from tests.stages.processes import artifacts, never, timeless

pytestmark = pytest.mark.timeout(400)  # a busy machine is no failure
ROWS = [
    "base sample",
    "trained sample",
    "trained best_of_n orm",
    "trained mcts vm",
    "base best_of_n verifier",
]


def override(rows: list[str]) -> str:
    """evaluation.rows as it is typed; a row here is "policy decoder [scorer]", as tables name it."""
    keys = ("policy", "decoder", "scorer")
    typed = [", ".join(f"{k}: {v}" for k, v in zip(keys, row.split(), strict=False)) for row in rows]
    return f"evaluation.rows=[{', '.join(f'{{{row}}}' for row in typed)}]"


REST_RL = (
    "stage=rest_rl", "grpo.iterations=1", "grpo.max_steps=1", "mcts.iterations=4", "evaluation.completions=6",
    "evaluation.answers=2", "evaluation.budgets=[2,6]", override(ROWS), "vm.lr=1e-3",
)  # fmt: skip


def test_rest_rl_compares_every_row_at_equal_completions(workplace: Workplace) -> None:
    done = workplace.train(*REST_RL)
    assert (done.code, done.err) == (0, "")
    results = workplace.results()["rows"]
    assert list(results) == ROWS
    for name, row in results.items():
        assert ("curve" in row) == ("sample" not in name)
        if "curve" in row:  # its last budget is the whole one
            first, last = row["curve"]
            assert (first["budget"], last["budget"], last["pass@1"]) == (2, 6, row["pass@1"])
            assert math.isclose(last["model_tokens"], row["cost_per_answer"]["model_tokens"])
        assert row["oracle"] == ("verifier" in name)
        assert row["n"] == 4
        assert row["samples"] == 4 * (6 if "sample" in name else 2)
        per_answer = row["cost_per_answer"]
        # a search ends early where nothing is left to expand
        most = 1 if "sample" in name else 6
        assert per_answer["completions"] == most or ("mcts" in name and 0 < per_answer["completions"] < most)
        assert (per_answer["scorer_calls"] > 0) == ("sample" not in name)
    lines = workplace.lines("outcomes.jsonl")
    assert list(dict.fromkeys(line["row"] for line in lines)) == ROWS
    assert [len(line["passed"]) for line in lines] == [6 if "sample" in line["row"] else 2 for line in lines]
    paired = {name: row.get("paired_with") for name, row in results.items()}
    assert paired == {
        "base sample": None, "trained sample": "base sample", "trained best_of_n orm": "trained sample",
        "trained mcts vm": "trained sample", "base best_of_n verifier": "base sample",
    }  # fmt: skip
    report = (workplace.last / "report.md").read_text()
    assert "| completions | 2 | 6 |" in report
    assert [row for row in ROWS if f"| {row} |" in report or f"| {row} * |" in report] == ROWS
    steps = {"sample": 1, "assemble": 1, "grpo": 1, "collect": 1, "fit": 2, "evaluate": 5}
    assert {step: len(artifacts(workplace.outputs, f"{step}-")) for step in steps} == steps
    before = timeless(results)
    again = workplace.train(*REST_RL, strikes=(never("restrl.stages.resources:load_model"),))
    assert again.code == 0
    assert timeless(workplace.results()["rows"]) == before


def test_a_value_model_decodes(workplace: Workplace) -> None:
    """The two commands of stage 2, as a user types them."""
    fitted = workplace.train("stage=value_model", "mcts.iterations=3", "vm.lr=1e-3")
    assert (fitted.code, fitted.err) == (0, "")
    scorer = next(line for line in fitted.out.splitlines() if line.startswith("value model: "))
    path = next(word for word in scorer.split() if word.startswith("scorer.path="))
    for decoder, extra in (("mcts", ()), ("best_of_n", ("decoder.sampling.n=3",))):
        budgets = "decoder.budgets=[1,3]"
        done = workplace.decode(f"decoder={decoder}", "scorer=vm", path, "decoder.k=[1]", budgets, *extra)
        assert (done.code, done.err) == (0, "")
        assert "pass@1 % after the first completions" in done.out
        first, last = workplace.results()["curve"]
        assert (first["budget"], first["completions"], last["budget"]) == (1, 1, 3)
        assert last["completions"] == 3 or (decoder == "mcts" and 1 <= last["completions"] < 3)
        assert (workplace.last / "budgets.png").stat().st_size > 0
        answers = workplace.lines("answers.jsonl")
        assert len(answers) == 4
        assert all(0 <= answer["score"] <= 1 for answer in answers)
        assert workplace.results()["oracle"] is False


def test_a_comparison_that_would_not_show_budgets_refuses_them(workplace: Workplace) -> None:
    budgets = ("decoder=best_of_n", "scorer=verifier", "decoder.k=[1]", "decoder.budgets=[1]")
    refused = workplace.train("stage=rest_grpo", *budgets)
    assert refused.code == 2
    assert "decoder.budgets=[1]: the comparison of stage=rest_grpo shows none; use decode.py" in refused.err


def test_stage_2_alone(workplace: Workplace) -> None:
    typed = "{decoder: sample}, {decoder: greedy}, {decoder: best_of_n, scorer: vm, greedy_first: true}, "
    typed += "{decoder: mcts, scorer: vm, greedy_first: true, vote: true}"
    alone = (*REST_RL, "grpo.iterations=0", "evaluation.answers=1", f"evaluation.rows=[{typed}]")
    done = workplace.train(*alone)
    assert (done.code, done.err) == (0, "")
    rows = workplace.results()["rows"]
    assert list(rows) == [
        "base sample", "base greedy", "base best_of_n vm greedy_first", "base mcts vm greedy_first vote",
    ]  # fmt: skip
    assert rows["base best_of_n vm greedy_first"]["cost_per_answer"]["completions"] == 6
    assert len(artifacts(workplace.outputs, "decode_samples")) == 2  # all rows share these
    first = rows["base mcts vm greedy_first vote"]["curve"][0]
    assert first["budget"] == 2
    assert {name.split("-")[0] for name in artifacts(workplace.outputs)} == {
        "collect", "fit", "decode_samples", "evaluate",
    }  # fmt: skip
    refused = workplace.train(*REST_RL, "grpo.iterations=0")
    assert refused.code == 2
    assert "evaluation.rows[1].policy=trained: grpo.iterations=0 trains no policy" in refused.err
    refused = workplace.train("stage=rest_grpo", "grpo.iterations=0")
    assert refused.code == 2
    assert "grpo.iterations=0: must be >= 1" in refused.err


def test_every_row_gets_the_same_number_of_completions() -> None:
    config = Config()
    config.evaluation.completions, config.evaluation.answers = 40, 3
    scorer = ScorerConfig(name="vm", path="x")
    by_row = {name: method_of(config, Row("base", name), scorer).decoder for name in
              ("greedy", "sample", "best_of_n", "mcts")}  # fmt: skip
    assert (by_row["greedy"].sampling.n, by_row["greedy"].k) == (1, [1])
    assert (by_row["sample"].sampling.n, by_row["sample"].k) == (40, [1, 40])
    assert (by_row["best_of_n"].sampling.n, by_row["best_of_n"].answers) == (40, 3)
    assert (by_row["mcts"].mcts.completions, by_row["mcts"].answers, by_row["mcts"].k) == (40, 3, [1, 3])
    assert reference_of(Row("base", "greedy"), []) is None


def test_the_shipped_rows_are_compared_with_samples() -> None:
    from omegaconf import OmegaConf

    conf = Path(__file__).parents[2] / "conf" / "evaluation"
    for path in conf.glob("*.yaml"):
        rows = [Row(**row) for row in OmegaConf.load(path).rows]
        assert all(reference_of(row, rows) is not None for row in rows if row != Row("base", "sample"))


PRM_ROWS = (
    "evaluation.rows=[{policy: base, decoder: best_of_n, scorer: prm}, "
    "{policy: base, decoder: mcts, scorer: prm}, {policy: base, decoder: best_of_n, scorer: vm}]"
)


@pytest.mark.parametrize("label", ["value", "hard"])
def test_a_process_reward_model_is_fitted_to_the_same_trees(workplace: Workplace, label: str) -> None:
    done = workplace.train(*REST_RL, "grpo.iterations=0", PRM_ROWS, f"vm.label={label}")
    assert (done.code, done.err) == (0, "")
    rows = workplace.results()["rows"]
    assert list(rows) == ["base best_of_n prm", "base mcts prm", "base best_of_n vm"]
    assert all(row["cost_per_answer"]["scorer_calls"] > 0 for row in rows.values())
    fits = [
        json.loads((path / "manifest.json").read_text())["config"]["vm"]
        for path in workplace.outputs.glob("artifacts/fit-*")
    ]
    wanted = {("prob", "soft" if label == "value" else "hard"), ("scalar", "value")}
    assert {(vm["head"], vm["label"]) for vm in fits} == wanted
    assert len(artifacts(workplace.outputs, "collect")) == 1


def test_the_command_for_a_process_reward_model(workplace: Workplace) -> None:
    done = workplace.train("stage=value_model", "vm=prm", "mcts.iterations=4", "vm.lr=1e-3")
    assert (done.code, done.err) == (0, "")
    assert "value model: scorer=prm scorer.path=" in done.out
