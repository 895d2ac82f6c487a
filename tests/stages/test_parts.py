"""A stage made step by step and part by part in separate processes: the same as in one."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path

import pytest

from restrl.config import Config, RowConfig, StageConfig
from restrl.stages.plan import Plan
from restrl.stages.run import STAGES, plan_of
from tests.stages.conftest import Workplace, make_workplace
from tests.stages.processes import Run, Strike, artifacts, contents, timeless
from tests.stages.test_rest_rl import REST_RL, ROWS
from tests.stages.test_search import COLLECT, search_workplace

pytestmark = pytest.mark.timeout(600)  # a busy machine is no failure
PARTS = 2
NOT_READY = 75


def plan() -> Plan:
    rows = [RowConfig(*row.split()) for row in ROWS]
    config = Config(stage=StageConfig("rest_rl"))
    config = dataclasses.replace(config, grpo=dataclasses.replace(config.grpo, iterations=1))
    config.evaluation.rows, config.evaluation.completions, config.evaluation.answers = rows, 6, 2
    return plan_of(config)


def only(workplace: Workplace, step: str, part: int | None = None, strikes: tuple[Strike, ...] = ()) -> Run:
    parts = () if part is None else (f"stage.part={part}", f"stage.parts={PARTS}")
    return workplace.train(*REST_RL, f"stage.only={step}", *parts, strikes=strikes)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    workplace = make_workplace(tmp_path_factory.mktemp("whole"))
    done = workplace.train(*REST_RL)
    assert (done.code, done.err) == (0, "")
    return workplace


def test_steps_and_parts_end_in_the_numbers_of_one_run(undisturbed: Workplace, tmp_path: Path) -> None:
    workplace = make_workplace(tmp_path)
    for step in plan().steps:
        for part in reversed(range(PARTS)) if step.divisible else [None]:
            done = only(workplace, step.name, part)
            assert (done.code, done.err) == (0, ""), step.name
    assert timeless(workplace.results()) == timeless(undisturbed.results())
    assert contents(workplace.outputs) == contents(undisturbed.outputs)
    assert not list(workplace.outputs.glob("artifacts/*/parts"))
    assert not list(workplace.outputs.glob("artifacts/*/grown*"))


def test_a_step_is_not_made_from_what_is_not_there(workplace: Workplace) -> None:
    for step, missing in (("assemble_1", "sample-"), ("grpo_1", "sample-"), ("fit_vm", "sample-")):
        done = only(workplace, step)
        assert done.code == NOT_READY
        assert f"error: {missing}" in done.err
        assert "not there yet" in done.err
    assert only(workplace, "sample_1", 0).code == 0
    done = only(workplace, "assemble_1")
    assert done.code == NOT_READY
    assert "problems 3 to 4 of 4 are not there yet" in done.err


def test_a_part_that_was_killed_goes_on(undisturbed: Workplace, tmp_path: Path) -> None:
    workplace = make_workplace(tmp_path)
    strike = Strike("restrl.stages.chunks:_ChunkFiles.write")
    assert only(workplace, "sample_1", 1, (strike,)).code == -signal.SIGKILL
    for part in (0, 1, 1):
        assert only(workplace, "sample_1", part).code == 0
    assert only(workplace, "assemble_1").code == 0
    name = next(iter(artifacts(workplace.outputs, "assemble")))
    file = f"artifacts/{name}/records.jsonl"
    assert contents(workplace.outputs)[file] == contents(undisturbed.outputs)[file]


def test_a_search_that_was_killed_goes_on_in_its_part(tmp_path: Path) -> None:
    for name in ("whole", "parted"):
        (tmp_path / name).mkdir()
    whole, parted = (search_workplace(tmp_path / name) for name in ("whole", "parted"))
    assert whole.train(*COLLECT).code == 0
    for part in (1, 0):
        one = ("stage.only=collect", f"stage.part={part}", "stage.parts=2")
        strike = Strike("restrl.stages.searches:SearchFiles.append", call=3)
        assert parted.train(*COLLECT, *one, strikes=(strike,)).code == -signal.SIGKILL
        assert parted.train(*COLLECT, *one).code == 0
    assert parted.train(*COLLECT).code == 0
    assert contents(parted.outputs) == contents(whole.outputs)


def test_what_cannot_be_chosen(workplace: Workplace) -> None:
    done = only(workplace, "grpo_2")
    assert done.code == 2
    assert "stage.only=grpo_2: this stage's steps are sample_1, assemble_1, grpo_1, collect" in done.err
    done = only(workplace, "grpo_1", 0)
    assert done.code == 2
    assert "stage.part: grpo_1 cannot be divided; these steps can: sample_1, collect" in done.err
    done = workplace.train("stage.part=0", "stage.parts=2")
    assert done.code == 2
    assert "stage.part=0: needs stage.only" in done.err
    done = workplace.train("stage.only=sample_1", "stage.part=2", "stage.parts=2")
    assert done.code == 2
    assert "stage.part=2: parts are counted from 0, and stage.parts=2; must be < 2" in done.err


@pytest.mark.parametrize("name", sorted(STAGES))
def test_every_plan_can_be_made_in_its_order(name: str) -> None:
    config = Config(stage=StageConfig(name))
    config.evaluation.rows = [RowConfig(*row.split()) for row in ROWS]
    steps = plan_of(config).steps
    known: set[str] = set()
    for step in steps:
        assert set(step.needs) <= known
        assert step.name not in known
        known.add(step.name)


def test_no_device_is_held_by_what_needs_none() -> None:
    machines = {step.name: step.machine for step in plan().steps}
    assert machines == {
        "sample_1": "model", "assemble_1": "cpu", "grpo_1": "training", "collect": "model",
        "fit_vm": "training", "fit_orm": "training", "samples6_base": "model", "answers_base_sample": "cpu",
        "samples6_trained": "model", "answers_trained_sample": "cpu", "samples12_trained": "model",
        "answers_trained_best_of_n_orm": "model", "answers_trained_mcts_vm": "model",
        "samples12_base": "model", "answers_base_best_of_n_verifier": "cpu", "report": "cpu",
    }  # fmt: skip
