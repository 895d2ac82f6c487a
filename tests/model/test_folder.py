"""Policies as folders, for engines that load weights by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from restrl.config import LoraConfig, ModelConfig, PathsConfig
from restrl.errors import UserError
from restrl.model.adapters import add_lora
from restrl.model.folder import policy_folder, stored_weights
from restrl.model.save import save_model, stored_form
from restrl.model.tiny import tiny_model, tiny_tokenizer
from tests.families import build


@pytest.fixture
def paths(tmp_path: Path) -> PathsConfig:
    return PathsConfig(cache=str(tmp_path / "cache"))


def same(weights: Any, model: Any) -> bool:
    expected = dict(stored_form(model))
    return all(torch.equal(tensor, expected[name]) for name, tensor in weights)


def test_a_local_folder_is_used_as_it_is(tmp_path: Path, paths: PathsConfig) -> None:
    save_model(tiny_model(), tiny_tokenizer(), tmp_path / "policy")
    folder = policy_folder(ModelConfig(path=str(tmp_path / "policy")), paths)
    assert folder == tmp_path / "policy"
    assert same(stored_weights(folder), tiny_model())


def test_random_weights_are_written_once(paths: PathsConfig) -> None:
    config = ModelConfig(source="random")
    folder = policy_folder(config, paths)
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert same(stored_weights(folder), tiny_model())
    assert (folder / "tokenizer.json").exists()
    assert policy_folder(config, paths) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written


def test_a_folder_of_adapters_alone_is_refused(tmp_path: Path, paths: PathsConfig) -> None:
    add_lora(tiny_model(), LoraConfig(r=2)).save_pretrained(tmp_path / "adapter")
    with pytest.raises(UserError, match=r"adapter: no config\.json; this engine needs a folder with"):
        policy_folder(ModelConfig(path=str(tmp_path / "adapter")), paths)


def test_pytorch_files_are_read_too(tmp_path: Path) -> None:
    torch.save(tiny_model().state_dict(), tmp_path / "pytorch_model.bin")
    assert same(stored_weights(tmp_path), tiny_model())


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no weights in it \(model\.safetensors or pytorch_model\.bin\)"):
        list(stored_weights(tmp_path))


@pytest.mark.parametrize("family", ["llama", "qwen3_moe", "gpt2"])
def test_weights_in_their_stored_form_are_what_is_saved(tmp_path: Path, family: str) -> None:
    """A layer's experts are one tensor in memory and one each in a file."""
    model = build(family)
    save_model(model, tiny_tokenizer(), tmp_path / "model")
    stored = load_file(tmp_path / "model" / "model.safetensors")
    streamed = dict(stored_form(model))
    assert streamed.keys() - stored.keys() <= {"lm_head.weight"}  # tied
    assert stored.keys() <= streamed.keys()
    assert all(torch.equal(streamed[name], tensor) for name, tensor in stored.items())
