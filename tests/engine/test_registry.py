"""Engines by name: each that the configuration accepts can be had, and what cannot says so in a line."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from restrl.config import EngineConfig
from restrl.engine import registry
from restrl.engine.base import TRAINING, Capabilities, need
from restrl.engine.hf import HfEngine
from restrl.engine.registry import ENGINES, Entry, engine_builder
from restrl.errors import UserError
from tests.engine.models import build, source


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
