"""Engines by name: each that the configuration accepts can be had, and what cannot says so in a line."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from restrl.config import EngineConfig
from restrl.engine import registry
from restrl.engine.hf import HfEngine
from restrl.engine.registry import ENGINES, engine_builder
from restrl.errors import UserError
from restrl.model.tiny import tiny_tokenizer
from tests.engine.models import build


def test_the_configuration_accepts_what_there_is() -> None:
    (name,) = (field for field in dataclasses.fields(EngineConfig) if field.name == "name")
    assert set(name.metadata["choices"]) == set(ENGINES)


def test_hf_shares_the_trainer_s_weights() -> None:
    engine = engine_builder("hf")(build(), tiny_tokenizer(), EngineConfig())
    assert isinstance(engine, HfEngine)
    assert engine.capabilities.shares_weights
    before = engine.model.state_dict()["lm_head.weight"].clone()
    engine.sync([("lm_head.weight", torch.zeros(()))])  # nothing to do
    engine.close()
    assert torch.equal(engine.model.state_dict()["lm_head.weight"], before)


def test_engines_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"engine.name: 'vlm' is none of hf"):
        engine_builder("vlm")
    monkeypatch.setitem(registry.ENGINES, "fast", "no_such_library.engine:Fast")
    message = (
        r"engine=fast cannot be used here \(No module named 'no_such_library'\); install it: pip install"
    )
    with pytest.raises(UserError, match=message):
        engine_builder("fast")
