"""The main job from its command line: what it leaves, what it reuses, and that no kill changes its result."""

from __future__ import annotations

import json
import shutil
import signal
from itertools import combinations
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from restrl.artifacts import Records
from restrl.evaluate.outcomes import read_outcomes
from restrl.records import Cost, Group, StartState
from restrl.train.metrics_file import read_metrics
from tests.stages.conftest import Workplace, make_workplace
from tests.stages.processes import Strike, artifacts, contents, never, timeless

pytestmark = pytest.mark.timeout(400)  # a busy machine is no failure
NO_MODEL = (never("restrl.stages.resources:load_model"), never("restrl.stages.resources:Sandbox"))
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
    lines = read_outcomes(undisturbed.last / "outcomes.jsonl")
    assert [line.row for line in lines] == ["base"] * 4 + ["trained"] * 4
    for row in ("base", "trained"):
        rates = [line.pass_at_1 for line in lines if line.row == row]
        assert sum(rates) / 4 == pytest.approx(results[row]["pass@1"])
    report = (undisturbed.last / "report.md").read_text()
    assert "| mean_reward |" in report
    assert [line for line in report.splitlines() if line.startswith("## ")] == [
        "## Failures", "## Iteration 1", "## Iteration 2", "## Files",
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
    assert again.out.count("done before") == 10
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
    assert sorted(name.split("-")[0] for name in new) == [
        "decode_samples",
        "decode_samples",
        "evaluate",
        "evaluate",
    ]
    assert undisturbed.results()["base"]["samples"] == 12


def test_stages_of_one_step_share_its_artifacts(undisturbed: Workplace) -> None:
    before = artifacts(undisturbed.outputs)
    for stage in ("sample", "assemble"):
        assert undisturbed.train(f"stage={stage}", strikes=NO_MODEL).code == 0
    assert undisturbed.train("grpo.iterations=1", "stage.evaluate=false", strikes=NO_MODEL).code == 0
    assert artifacts(undisturbed.outputs) == before


# Where the run is struck down, in the order in which a run gets there; each time the same command goes on.
MOMENTS = {
    "sample, second chunk": ("restrl.stages.resources:Sandbox.judge", 2),
    "sample, before it is done": ("restrl.artifacts:Work.finish", 1),
    "assemble": ("restrl.stages.steps:assemble", 1),
    "grpo, between checkpoints": ("restrl.train.grpo_module:GrpoModule._update", 2),
    "grpo, before its first checkpoint is whole": ("restrl.train.checkpoint:os.replace", 1),
    "grpo, the weights saved and the tokenizer not": (
        "restrl.model.tiny:PreTrainedTokenizerFast.save_pretrained",
        1,
    ),
    "grpo, before checkpoints are removed": ("restrl.stages.training:remove_checkpoints", 1),
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


CHANGES = {  # what decides no number of a step
    "another iteration": ("grpo.iterations=2",),
    "less memory": ("grpo.tokens_per_microbatch=300", "grpo.logit_chunk=16", "grpo.checkpoint_every=1"),
    "another name": ("model.name=mine", "grpo.name=mine", "sandbox.workers=2", "sandbox.cache=null"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_interrupted_training_goes_on_where_what_changed_decides_nothing(
    workplace: Workplace, change: str
) -> None:
    one = ("grpo.iterations=1", "stage.evaluate=false")
    update = Strike("restrl.train.grpo_module:GrpoModule._update", signal.SIGINT, 2)
    assert workplace.train(*one, strikes=(update,)).code == 130
    (name,) = artifacts(workplace.outputs, "grpo")
    folder = workplace.outputs / "artifacts" / name
    (first,) = (folder / "metrics.jsonl").read_text().splitlines()
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-000001.ckpt"]
    finished = workplace.train(*one, *CHANGES[change])
    assert (finished.code, finished.err) == (0, "")
    assert name in artifacts(workplace.outputs, "grpo")
    assert len(artifacts(workplace.outputs, "grpo")) == (2 if change == "another iteration" else 1)
    # the first step was not made again: its row has the seconds that it took before
    assert (folder / "metrics.jsonl").read_text().splitlines()[0] == first
    assert json.loads((folder / "manifest.json").read_text())["status"] == "done"


@pytest.mark.parametrize("lost", ["policy", "policy/model.safetensors"])
def test_a_policy_that_is_gone_is_made_again(
    undisturbed: Workplace, expected: tuple[dict, dict], tmp_path: Path, lost: str
) -> None:
    shutil.copytree(undisturbed.folder, tmp_path / "copy")
    workplace = Workplace(tmp_path / "copy")
    before = artifacts(workplace.outputs)
    name = sorted(artifacts(workplace.outputs, "grpo"))[0]
    gone = workplace.outputs / "artifacts" / name / lost
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    again = workplace.train()
    assert (again.code, again.err) == (0, "")
    assert again.out.count("was done and has lost policy/") == 1
    assert again.out.count("it is made again") == 1
    assert artifacts(workplace.outputs) == before
    found = contents(workplace.outputs)
    assert {key: value for key, value in found.items() if name in key} == {
        key: value for key, value in expected[0].items() if name in key
    }


def test_adapters_are_trained_and_merged_into_the_saved_policy(workplace: Workplace) -> None:
    lora = ("model.lora.r=4", "grpo.lr=0.01", "grpo.objective.kl=0")
    finished = workplace.train(*lora)
    assert (finished.code, finished.err) == (0, "")
    folders = list((workplace.outputs / "artifacts").glob("grpo-*"))
    policies = {(folder / "policy/model.safetensors").read_bytes() for folder in folders}
    assert len(policies) == 2  # the second iteration's adapters moved the first one's merged weights
    for folder in folders:
        assert (folder / "policy/adapter/adapter_config.json").exists()
    # another seed starts from other adapters, and so does another iteration: they are as if drawn apart
    again = workplace.train(*lora, "seed=1", "grpo.iterations=1", "stage.evaluate=false")
    assert (again.code, again.err) == (0, "")
    halves = [random_half(folder) for folder in (workplace.outputs / "artifacts").glob("grpo-*")]
    assert len(halves) == 3
    for a, b in combinations(halves, 2):
        assert abs(float(a @ b / (a.norm() * b.norm()))) < 0.1


def random_half(folder: Path) -> torch.Tensor:
    """The random numbers that adapters begin with, all in a row; training has moved them a little."""
    weights = load_file(folder / "policy/adapter/adapter_model.safetensors")
    return torch.cat([weights[name].flatten() for name in sorted(weights) if "lora_A" in name])


def test_naive_grpo_samples_nothing_that_nothing_uses(workplace: Workplace) -> None:
    assert workplace.train("stage=assemble", "grpo=naive", strikes=NO_MODEL).code == 0
    finished = workplace.train("grpo=naive", "grpo.max_steps=1")
    assert (finished.code, finished.err) == (0, "")
    assert "nothing was sampled or filtered" in finished.out
    steps = [name.split("-")[0] for name in artifacts(workplace.outputs)]
    assert {step: steps.count(step) for step in ("sample", "initial_states", "grpo")} == {
        "sample": 0, "initial_states": 2, "grpo": 2,
    }  # fmt: skip
    folders = (workplace.outputs / "artifacts").glob("initial_states-*")
    states = [list(Records(folder / "records.jsonl", StartState)) for folder in folders]
    assert [[(s.depth, s.spread) for s in some] for some in states] == [[(0, None)] * 4] * 2  # 4 problems
    # one step of ceil(4 / 3) = 2, cut at max_steps: 3 states x 4 rollouts, in each of 2 iterations
    assert workplace.results()["training_cost"]["completions"] == 2 * 3 * 4
    report = (workplace.last / "report.md").read_text()
    assert "nothing was sampled or filtered" in report
    assert "### sample" not in report
    assert workplace.train("stage=sample", "grpo=naive").code == 0  # asked for by name
    assert len(artifacts(workplace.outputs, "sample")) == 1


def test_the_published_settings_run(workplace: Workplace) -> None:
    finished = workplace.train("grpo=rest_paper", "grpo.iterations=1", "stage.evaluate=false")
    assert (finished.code, finished.err) == (0, "")
    (folder,) = (workplace.outputs / "artifacts").glob("grpo-*")
    rows = read_metrics(folder)
    assert rows
    assert all(row["trained_groups"] > 0 and "kl" in row for row in rows)  # ties have a penalty
