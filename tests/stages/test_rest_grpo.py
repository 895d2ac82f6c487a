"""The main job from its command line: what it leaves, what it reuses, and that no kill changes its result."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from restrl.artifacts import Records
from restrl.records import Cost, Group, StartState
from tests.stages.conftest import Workplace, make_workplace
from tests.stages.processes import Strike, artifacts, contents, never, timeless

pytestmark = pytest.mark.timeout(400)  # a busy machine is no failure
NO_MODEL = (never("restrl.stages.runtime:load_model"), never("restrl.stages.runtime:Sandbox"))
STEPS = ("sample", "assemble", "grpo", "evaluate")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A finished run of two iterations.  Tests may add artifacts to it and take none away."""
    workplace = make_workplace(tmp_path_factory.mktemp("undisturbed"))
    finished = workplace.train()
    assert (finished.code, finished.err) == (0, "")
    return workplace


@pytest.fixture(scope="module")
def expected(undisturbed: Workplace) -> tuple[dict, dict]:
    """What an undisturbed run wrote and found."""
    return contents(undisturbed.outputs), timeless(undisturbed.results())


def test_it_leaves_results_report_and_policies(undisturbed: Workplace, expected: tuple[dict, dict]) -> None:
    results = undisturbed.results()
    assert set(results) == {"base", "trained", "paired", "places", "training_cost"}
    # 8 problems of which ceil(0.4 x 8) = 4 are held out, with 2 samples each
    assert [(results[p]["n"], results[p]["samples"]) for p in ("base", "trained")] == [(4, 8), (4, 8)]
    # 4 training problems x 6 samples x 2 iterations, and the rollouts: 4 per start state
    states = sum(len(rows) for name, rows in expected[0].items() if "/assemble-" in name and "jsonl" in name)
    assert results["training_cost"]["completions"] == 48 + 4 * states
    for place in results["places"].values():
        assert Path(place).exists()
    report = (undisturbed.last / "report.md").read_text()
    assert "| mean_reward |" in report
    assert [line for line in report.splitlines() if line.startswith("## ")] == [
        "## Iteration 1", "## Iteration 2", "## Files",
    ]  # fmt: skip
    assert [len(artifacts(undisturbed.outputs, step)) for step in STEPS] == [2, 2, 2, 2]


def test_the_cost_of_sampling_is_counted(undisturbed: Workplace) -> None:
    for folder in (undisturbed.outputs / "artifacts").glob("sample-*"):
        cost = json.loads((folder / "manifest.json").read_text())["cost"]
        assert (cost["completions"], cost["verifier_calls"]) == (24, 24)  # 4 problems x 6 samples
        chunks = list(Records(folder / "costs.jsonl", Cost))
        assert [chunk.completions for chunk in chunks] == [12, 12]  # 2 problems a chunk
        assert cost["seconds"] == sum(chunk.seconds for chunk in chunks) > 0


def test_rewards_vary_and_start_states_lie_inside_solutions(undisturbed: Workplace) -> None:
    """The tests above and below mean something only where there is something to learn from."""
    folder = undisturbed.outputs / "artifacts"
    groups = [g for f in folder.glob("sample-*") for g in Records(f / "records.jsonl", Group)]
    assert any(len(set(group.rewards)) > 1 for group in groups)
    states = [s for f in folder.glob("assemble-*") for s in Records(f / "records.jsonl", StartState)]
    assert {state.depth > 0 for state in states} == {True, False}
    policies = {(f / "policy/model.safetensors").read_bytes() for f in folder.glob("grpo-*")}
    assert len(policies) == 2  # the second iteration went on from the first and moved


def test_a_finished_run_is_found_again_without_a_model(
    undisturbed: Workplace, expected: tuple[dict, dict]
) -> None:
    again = undisturbed.train(strikes=NO_MODEL)
    assert (again.code, again.err) == (0, "")
    assert again.out.count("done before") == 8
    assert (contents(undisturbed.outputs), timeless(undisturbed.results())) == expected


def test_the_strike_of_the_test_above_would_kill(workplace: Workplace) -> None:
    assert workplace.train(strikes=NO_MODEL[:1]).code == -signal.SIGKILL


def test_another_sigma0_samples_nothing(undisturbed: Workplace) -> None:
    before = artifacts(undisturbed.outputs)
    assert undisturbed.train("stage=assemble", "grpo.sigma0=0.2", strikes=NO_MODEL).code == 0
    assert [name.split("-")[0] for name in artifacts(undisturbed.outputs) - before] == ["assemble"]


def test_another_number_of_answers_only_evaluates_again(undisturbed: Workplace) -> None:
    before = artifacts(undisturbed.outputs)
    assert undisturbed.train("decoder.sampling.n=3").code == 0
    new = artifacts(undisturbed.outputs) - before
    assert sorted(name.split("-")[0] for name in new) == ["draw", "draw", "evaluate", "evaluate"]
    assert undisturbed.results()["base"]["samples"] == 12


def test_stages_of_one_step_share_its_artifacts(undisturbed: Workplace) -> None:
    before = artifacts(undisturbed.outputs)
    for stage in ("sample", "assemble"):
        assert undisturbed.train(f"stage={stage}", strikes=NO_MODEL).code == 0
    assert undisturbed.train("stage=grpo", "stage.evaluate=false", strikes=NO_MODEL).code == 0
    assert artifacts(undisturbed.outputs) == before


# Where the run is struck down, in the order in which a run gets there; each time the same command goes on.
MOMENTS = {
    "sample, second chunk": ("restrl.stages.runtime:Sandbox.judge", 2),
    "sample, before it is done": ("restrl.artifacts:Work.finish", 1),
    "assemble": ("restrl.stages.steps:assemble", 1),
    "grpo, between checkpoints": ("restrl.train.grpo_module:GrpoModule._update", 2),
    "grpo, before its first checkpoint is whole": ("restrl.train.checkpoint:os.replace", 1),
    "grpo, the weights saved and the tokenizer not": (
        "restrl.model.tiny:PreTrainedTokenizerFast.save_pretrained",
        1,
    ),
    "grpo, before checkpoints are removed": ("restrl.stages.steps:remove_checkpoints", 1),
    "evaluate, second chunk": ("restrl.stages.evaluation:judge_answers", 2),
    "report": ("restrl.stages.rest_grpo:write_report", 1),
}


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT], ids=lambda s: s.name)
def test_struck_down_again_and_again_it_ends_in_the_same_result(
    tmp_path: Path, expected: tuple[dict, dict], blow: signal.Signals
) -> None:
    workplace = make_workplace(tmp_path)
    for moment, (target, call) in MOMENTS.items():
        struck = workplace.train(strikes=(Strike(target, blow, call),))
        if blow == signal.SIGKILL:
            assert struck.code == -signal.SIGKILL, moment
        else:
            line = "interrupted: the same command goes on where this one stopped\n"
            assert (struck.code, struck.err) == (130, line), moment
    assert not (workplace.last / "results.json").exists()
    finished = workplace.train()
    assert (finished.code, finished.err) == (0, "")
    assert (contents(workplace.outputs), timeless(workplace.results())) == expected


def test_adapters_are_trained_and_merged_into_the_saved_policy(workplace: Workplace) -> None:
    finished = workplace.train("model.lora.r=4", "grpo.lr=0.01", "grpo.objective.kl=0")
    assert (finished.code, finished.err) == (0, "")
    folders = list((workplace.outputs / "artifacts").glob("grpo-*"))
    policies = {(folder / "policy/model.safetensors").read_bytes() for folder in folders}
    assert len(policies) == 2  # the second iteration's adapters moved the first one's merged weights
    for folder in folders:
        assert (folder / "policy/adapter/adapter_config.json").exists()
