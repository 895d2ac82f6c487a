"""The fit step: what it leaves, what the scorer reads of it, and when it is made again."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path

import pytest
import torch

from restrl.config import Config, DatasetConfig, LoraConfig, ModelConfig, PathsConfig, TrainerConfig, VmConfig
from restrl.errors import UserError
from restrl.records import State, TreeTargets
from restrl.scoring.registry import ScorerInputs, build_scorer
from restrl.search.saved import SavedTree
from restrl.stages.evaluation import TREES
from restrl.stages.fit import fit_step
from tests.stages.opened import opened
from tests.threads import one_thread
from tests.train.targets import Collected, Target

__all__ = ["one_thread"]


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr("restrl.stages.fit.FINAL_RESAMPLES", 20)
    monkeypatch.setattr("restrl.stages.fit.EPOCH_RESAMPLES", 20)


VM = VmConfig(epochs=2, problems_per_step=2, lr=1e-3, heldout_fraction=0.4)


def config(outputs: Path, **changes) -> Config:
    settings = {
        "model": ModelConfig(name="tiny", source="random"),
        "dataset": DatasetConfig(train_limit=6, too_long="drop"),
        "trainer": TrainerConfig(accelerator="cpu"),
        "paths": PathsConfig(outputs=str(outputs)),
        "vm": VM,
    }
    return Config(**(settings | changes))


def collected(task_ids: list[str]) -> Collected:
    draw = random.Random(0)
    made = Collected()
    for task_id in task_ids:
        prompt = tuple(draw.randrange(3, 384) for _ in range(8))
        line = tuple(draw.randrange(3, 384) for _ in range(4))
        states = [
            Target((), 0.5, 4, False, 0),
            Target(line[:2], draw.random(), 3, False, 1),
            Target((7, 8), draw.random(), 2, False, 1),
        ]
        states += [Target((*line, k), float(k % 2), 1, True, 3) for k in range(3)]
        made.add(task_id, prompt, states)
    return made


def keep(work, made: Collected) -> None:
    work.records(SavedTree, TREES).append(made.trees)
    work.records(TreeTargets).append(made.targets)
    work.finish()


def fitted(outputs: Path, vm: VmConfig | None = None, **changes):
    """Scorer and artifact of a fit step on hand-made targets, with what it printed."""
    with opened(config(outputs, **changes)) as (session, resources):
        with session.store.open("collect", {}, {}) as work:
            if not work.done:
                keep(work, collected(sorted(resources.problems("train").by_id)))
        return fit_step(session, resources, resources.base, work.artifact, vm)


def test_it_leaves_a_value_model_and_its_diagnostics(tmp_path):
    scorer, artifact = fitted(tmp_path)
    found = {path.name for path in artifact.folder.iterdir()}
    assert {"value_model", "metrics.jsonl", "heldout.jsonl", "diagnostics.json", "diagnostics.png",
            "tensorboard", "manifest.json"} <= found  # fmt: skip
    assert list((artifact.folder / "checkpoints").iterdir()) == []
    assert "value_model/model.safetensors" in artifact.manifest["files"]
    rows = [json.loads(line) for line in (artifact.folder / "heldout.jsonl").read_text().splitlines()]
    assert sorted({row["task_id"] for row in rows}) == artifact.summary["heldout_problems"]
    assert artifact.summary["fit_problems"] + len(artifact.summary["heldout_problems"]) == 6
    assert artifact.summary["states"] == len(rows) == 6 * len(artifact.summary["heldout_problems"])
    assert artifact.summary["text"].startswith("held-out MSE ")

    assert scorer.name == "vm"
    scores = build_scorer(scorer, ScorerInputs({}, torch.device("cpu")))
    assert scores.kind == "state"
    held = artifact.summary["heldout_problems"]
    with opened(config(tmp_path)) as (_, resources):
        every = collected(sorted(resources.problems("train").by_id))
    states = [
        State(tree.task_id, tree.prompt_ids, tuple(rollout.ids), "")
        for tree in every.trees
        for rollout in tree.rollouts
        if tree.task_id in held
    ]
    assert scores.score(states) == pytest.approx([row["predicted"] for row in rows], abs=1e-5)


def test_it_is_found_again(tmp_path, capsys):
    _, first = fitted(tmp_path)
    capsys.readouterr()
    scorer, again = fitted(tmp_path)
    assert "done before" in capsys.readouterr().out
    assert again.fingerprint == first.fingerprint
    assert scorer.path == str(first.folder / "value_model")


def test_what_changes_the_numbers_makes_another_artifact(tmp_path, monkeypatch):
    def at_once(*arguments):
        return arguments[-1].finish(summary={"text": ""})

    monkeypatch.setattr("restrl.stages.fit._fit", at_once)
    changes = [
        {},
        {"vm": dataclasses.replace(VM, lr=2e-3)},
        {"vm": dataclasses.replace(VM, weight="none")},
        {"seed": 1},
        {"model": ModelConfig(name="tiny", source="random", lora=LoraConfig(r=2))},
    ]
    assert len({fitted(tmp_path, **change)[1].fingerprint for change in changes}) == len(changes)
    same = fitted(tmp_path, vm=dataclasses.replace(VM, checkpoint_every=1, name="mine"))[1]
    assert same.fingerprint == fitted(tmp_path)[1].fingerprint


def test_states_are_no_longer_than_the_models_context(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("restrl.stages.fit._fit", lambda *a: a[-1].finish(summary={"text": ""}))
    scorer, artifact = fitted(tmp_path, vm=dataclasses.replace(VM, max_tokens=5000))
    assert scorer.max_tokens == 2048
    assert "vm.max_tokens=5000 is more than the model's 2048 tokens" in capsys.readouterr().out
    assert artifact.fingerprint == fitted(tmp_path)[1].fingerprint  # 2048, the default


def test_terminal_targets_give_an_orm_beside_the_value_model(tmp_path):
    orm, artifact = fitted(tmp_path, dataclasses.replace(VM, targets="terminal", head="prob"))
    assert orm.name == "orm"
    assert build_scorer(orm, ScorerInputs({}, torch.device("cpu"))).kind == "outcome"
    assert artifact.summary["states"] == 3 * len(artifact.summary["heldout_problems"])
    assert artifact.fingerprint != fitted(tmp_path)[1].fingerprint


def test_adapters_move_the_decoder(tmp_path):
    lora = ModelConfig(name="tiny", source="random", lora=LoraConfig(r=2))
    _, artifact = fitted(tmp_path, vm=dataclasses.replace(VM, lr=1e-1), model=lora)
    from transformers import AutoModelForSequenceClassification

    from restrl.model.tiny import tiny_model

    saved = AutoModelForSequenceClassification.from_pretrained(artifact.folder / "value_model")
    moved = saved.model.layers[0].mlp.up_proj.weight - tiny_model().model.layers[0].mlp.up_proj.weight
    assert torch.linalg.matrix_rank(moved.float(), rtol=1e-3) <= 2
    assert moved.abs().max() > 1e-4


def test_nothing_to_fit_is_said(tmp_path):
    with opened(config(tmp_path)) as (session, resources):
        with session.store.open("collect", {}, {}) as work:
            keep(work, Collected())
        with pytest.raises(UserError, match=r"vm.targets=all: there are no value targets; collect from more"):
            fit_step(session, resources, resources.base, work.artifact)
