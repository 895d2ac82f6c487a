"""Engines by name: each that the configuration accepts can be had, and what cannot says so in a line."""

from __future__ import annotations

import dataclasses
import re
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from restrl.config import EngineConfig
from restrl.engine import registry
from restrl.engine.base import TRAINING, Capabilities, need
from restrl.engine.hf import HfEngine
from restrl.engine.registry import ENGINES, Entry, engine_builder, with_model
from restrl.errors import UserError
from tests.engine.models import build, source

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_the_configuration_accepts_what_there_is() -> None:
    (name,) = (field for field in dataclasses.fields(EngineConfig) if field.name == "name")
    assert set(name.metadata["choices"]) == set(ENGINES)


def test_hf_shares_the_trainer_s_weights() -> None:
    engine = engine_builder("hf")(source(build()), EngineConfig())
    assert isinstance(engine, HfEngine)
    assert engine.capabilities.shares_weights
    before = engine.model.state_dict()["lm_head.weight"].clone()
    engine.sync([("lm_head.weight", torch.zeros(()))])  # nothing to do
    engine.close()
    assert torch.equal(engine.model.state_dict()["lm_head.weight"], before)


def test_engines_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"engine.name: 'vlm' is none of hf"):
        engine_builder("vlm")
    monkeypatch.setitem(registry.ENGINES, "fast", Entry("no_such_library.engine:build", "make fast"))
    message = r"engine=fast cannot be used here \(No module named 'no_such_library'\); install it: make fast$"
    with pytest.raises(UserError, match=message):
        engine_builder("fast")


def test_what_an_engine_lacks_is_said_in_one_line() -> None:
    text_only = Capabilities(
        shares_weights=False, syncs=False, token_ids=False, logprobs=True, seeds=True, remote=True
    )
    message = (
        r"^training with rollouts cannot use engine=far, which cannot load the weights of a policy in "
        r"training and gives no token ids; use engine=hf$"
    )
    with pytest.raises(UserError, match=message):
        need("far", text_only, TRAINING, "training with rollouts")
    need("far", text_only, ("logprobs",), "decoder=sample")
    need("hf", HfEngine.capabilities, TRAINING, "training with rollouts")


def test_an_engine_that_takes_no_weights_does_not_train() -> None:
    engine_builder("openai")
    message = (
        r"engine=openai cannot load the weights of a policy in training, so it samples, collects and "
        r"decodes, but does not train; use engine=hf"
    )
    with pytest.raises(UserError, match=message):
        engine_builder("openai", trains=True)
    engine_builder("hf", trains=True)


def test_the_library_of_the_openai_engine_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("restrl.engine.openai")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "httpx2", None)
    (wanted,) = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]["openai"]
    message = re.escape(f"install it: pip install '{wanted}'")
    with pytest.raises(UserError, match=r"^engine=openai cannot be used here \(.*httpx2.*\); " + message):
        engine_builder("openai")


def test_only_an_engine_with_a_model_of_its_own_is_asked_for_its_name() -> None:
    hf = EngineConfig()
    assert with_model(hf) is hf
    openai = EngineConfig(name="openai", base_url="http://127.0.0.1:9/v1", model="served")
    assert with_model(openai).model == "served"  # which needs no server
    with pytest.raises(UserError, match=r"/v1/models cannot be reached"):
        with_model(dataclasses.replace(openai, model=None))
    with pytest.raises(UserError, match=r"engine.base_url: engine=openai needs the address"):
        with_model(dataclasses.replace(openai, base_url=None))
