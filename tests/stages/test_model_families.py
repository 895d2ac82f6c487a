"""A model that cannot do what a stage needs says so before anything is sampled; GPT-2 and OPT are fitted."""

from __future__ import annotations

import dataclasses

import pytest

from restrl.config import DatasetConfig, EvaluationConfig, LoraConfig, ModelConfig, RowConfig, ScorerConfig
from restrl.errors import UserError
from restrl.model.save import save_model
from restrl.model.tiny import tiny_tokenizer
from restrl.model.value import save_value_model
from restrl.records import State
from restrl.scoring.registry import ScorerInputs, build_scorer
from restrl.stages.collect import collect_step
from restrl.stages.plan import run_plan
from restrl.stages.rest_rl import rest_rl
from tests.families import build, build_value_model
from tests.stages.opened import opened
from tests.stages.test_fit import VM, config, few_resamples, fitted
from tests.threads import one_thread

__all__ = ["few_resamples", "one_thread"]


def policy(folder, family):
    save_model(build(family), tiny_tokenizer(), folder)
    return ModelConfig(name=family, path=str(folder), lora=LoraConfig())


@pytest.fixture
def no_sampling(monkeypatch):
    def generate(*_):
        raise AssertionError("sampled")

    monkeypatch.setattr("restrl.engine.hf.HfEngine.generate", generate)


@pytest.mark.usefixtures("no_sampling")
@pytest.mark.parametrize(
    "stage",
    [
        lambda *opened: collect_step(*opened, opened[1].base),
        lambda session, resources: run_plan(rest_rl(session.config), session, resources),
    ],
    ids=["collect", "rest_rl"],
)
def test_a_policy_without_a_value_model_is_refused_before_the_first_sample(tmp_path, stage):
    rows = EvaluationConfig(rows=[RowConfig("base", "sample")])
    settings = config(tmp_path / "out", model=policy(tmp_path / "policy", "granite"), evaluation=rows)
    message = "model type 'granite' cannot be a value model: transformers has no sequence classification"
    with opened(settings) as (session, resources), pytest.raises(UserError, match=message):
        stage(session, resources)


def test_a_policy_that_cannot_be_trained_may_still_be_sampled_from(tmp_path):
    settings = config(tmp_path / "out", model=policy(tmp_path / "policy", "nemotron"))
    with opened(settings) as (_, resources):
        resources.load(resources.base)
        with pytest.raises(
            UserError, match="model type 'nemotron' cannot be trained or rate states: its layers"
        ):
            resources.load(resources.base, train=True)


def test_more_layers_than_there_are_is_said_before_the_first_sample(tmp_path):
    settings = config(tmp_path / "out", vm=dataclasses.replace(VM, layers=9))
    message = r"vm\.layers=9: the model has 2 layers"
    with opened(settings) as (session, resources), pytest.raises(UserError, match=message):
        collect_step(session, resources, resources.base)


@pytest.mark.parametrize("family", ["gpt2", "gpt_bigcode", "opt"])
def test_value_models_of_families_with_positions_of_their_own_are_fitted(tmp_path, family):
    vm = dataclasses.replace(VM, layers=3, freeze_layers=1)
    model = policy(tmp_path / "policy", family)
    problems = DatasetConfig(train_limit=4, too_long="drop")
    scorer, *_ = fitted(tmp_path / "out", vm, model=model, dataset=problems)
    state = State("t", (5, 6, 7), (8, 9), "")
    (value,) = build_scorer(scorer, ScorerInputs({}, device="cpu")).score([state])
    assert 0 <= value <= 1


@pytest.mark.parametrize("family", ["bloom", "gptj", "gpt_neo", "qwen3_next"])
def test_a_scorer_whose_attention_cannot_be_packed_is_refused(tmp_path, family):
    save_value_model(build_value_model(family), tiny_tokenizer(), tmp_path / "vm")
    with pytest.raises(
        UserError, match=f"model type '{family}' is not supported: its attention cannot be rep"
    ):
        build_scorer(ScorerConfig(name="vm", path=str(tmp_path / "vm")), ScorerInputs({}, device="cpu"))
