"""The baselines of stage 1 as commands: their steps, what is learned from, and a kill in the middle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from restrl.record_files import Records
from restrl.records import Group, Pair
from tests.stages.conftest import Workplace, make_workplace
from tests.stages.processes import Strike, artifacts, contents, never, timeless

NO_MODEL = (never("restrl.stages.resources:load_model"),)
SIZES = (
    "dpo.prompts_per_step=3", "dpo.checkpoint_every=1", "dpo.lr=1e-3",
    "sft.prompts_per_step=3", "sft.checkpoint_every=1", "sft.lr=1e-3", "sft.reward=0.75",
)  # fmt: skip
STAGES = {
    "rest_dpo": ("sample", "pairs", "dpo"),
    "rest_sft": ("sample", "accepted", "sft"),
    "grpo": ("initial_states", "grpo"),
    "dapo": ("initial_states", "grpo"),
}


def command(stage: str) -> tuple[str, ...]:
    return (f"stage={stage}", *SIZES, "grpo.max_steps=2")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A place where all of them have run."""
    workplace = make_workplace(tmp_path_factory.mktemp("done"))
    for stage in STAGES:
        run = workplace.train(*command(stage))
        assert (run.code, run.err) == (0, "")
    return workplace


def of_step(workplace: Workplace, step: str) -> list[Path]:
    return sorted(workplace.outputs.glob(f"artifacts/{step}-*"))


@pytest.mark.parametrize("stage", STAGES)
def test_each_is_compared_on_held_out_problems(tmp_path: Path, stage: str) -> None:
    workplace = make_workplace(tmp_path)
    run = workplace.train(*command(stage))
    assert (run.code, run.err) == (0, "")
    results = workplace.results()
    assert set(results) >= {"base", "trained", "paired"}
    assert results["base"]["n"] == results["trained"]["n"] == 4
    made = {name.split("-")[0] for name in artifacts(workplace.outputs)}
    assert made == {*STAGES[stage], "decode_samples", "evaluate"}
    learner = STAGES[stage][-1]
    assert len(artifacts(workplace.outputs, learner)) == 2  # iterations
    report = (workplace.last / "report.md").read_text()
    assert all(f"### {step}" in report for step in STAGES[stage] if step != "initial_states")
    assert f"/artifacts/{learner}-" in results["places"]["policy"]


def records(workplace: Workplace, step: str, kind: type) -> list:
    return [one for path in of_step(workplace, step) for one in Records(path / "records.jsonl", kind)]


def test_all_share_the_samples_of_the_base_policy(done: Workplace) -> None:
    assert len(of_step(done, "sample")) == 3  # the base policy's, and those after an iteration of DPO and SFT
    before = artifacts(done.outputs)
    assert done.train("stage=sample", strikes=NO_MODEL).code == 0
    assert artifacts(done.outputs) == before


def test_pairs_are_best_against_worst(done: Workplace) -> None:
    groups, pairs = records(done, "sample", Group), records(done, "pairs", Pair)
    assert pairs
    for pair in pairs:
        assert pair.chosen_reward > pair.rejected_reward
        assert any(
            group.task_id == pair.task_id
            and {pair.chosen, pair.rejected} <= set(group.completions)
            and (max(group.rewards), min(group.rewards)) == (pair.chosen_reward, pair.rejected_reward)
            for group in groups
        )


def test_accepted_completions_have_enough_reward(done: Workplace) -> None:
    groups = records(done, "accepted", Group)
    assert groups
    rewards = [reward for group in groups for reward in group.rewards]
    assert all(reward is not None and reward >= 0.75 for reward in rewards)
    assert all(len({c.text.rstrip() for c in g.completions}) == len(g.completions) for g in groups)


@pytest.mark.parametrize("stage", ["rest_dpo", "rest_sft"])
def test_it_learns_what_it_is_given(done: Workplace, stage: str) -> None:
    *_, learner = STAGES[stage]
    for path in of_step(done, learner):
        rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        assert rows
        assert all(row["skipped_updates"] == 0 for row in rows)
        assert (path / "policy" / "model.safetensors").exists()
        assert not list(path.glob("checkpoints/step-*"))


@pytest.mark.parametrize("stage", ["rest_dpo", "rest_sft"])
def test_struck_down_it_goes_on_to_the_same_result(tmp_path: Path, done: Workplace, stage: str) -> None:
    workplace = make_workplace(tmp_path)
    chosen = {"rest_dpo": "restrl.stages.steps:best_and_worst", "rest_sft": "restrl.stages.steps:accepted"}
    for strike in (
        Strike(chosen[stage]),
        Strike("restrl.train.completions_module:CompletionsModule._learn", call=2),
        Strike("restrl.stages.training:save_model"),
    ):
        assert workplace.train(*command(stage), strikes=(strike,)).code == -9
    run = workplace.train(*command(stage))
    assert (run.code, run.err) == (0, "")
    found = contents(workplace.outputs)
    wanted = {name: content for name, content in contents(done.outputs).items() if name in found}
    assert found == wanted
    results = timeless(workplace.results())
    assert results["trained"]["mean_reward"] is not None


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (("stage=rest_dpo", "dpo.margin=0.99"), "error: no pair to train on: kept 0 of 4 problems"),
        (("stage=rest_sft", "sft.reward=1.0"), "error: no completion to learn: kept 0 of 4 problems"),
        (("stage=rest_dpo", "dpo.beta=0"), "error: dpo.beta=0.0: must be > 0"),
        (
            ("stage=rest_sft", "grpo.iterations=0"),
            "error: grpo.iterations=0: must be >= 1, since stage=rest_sft",
        ),
    ],
)
def test_bad_settings_end_in_one_line(tmp_path: Path, overrides: tuple[str, ...], line: str) -> None:
    run = make_workplace(tmp_path).train(*overrides)
    assert (run.code, run.err[: len(line)]) == (2, line)
    assert run.err.count("\n") == 1
