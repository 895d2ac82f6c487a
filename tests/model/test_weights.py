"""Weights from a package: converted once, whole or not at all."""

import pytest
import torch
from transformers import LlamaForCausalLM

from restrl.config import ModelConfig, PathsConfig
from restrl.errors import UserError
from restrl.model import weights
from restrl.model.load import load_model, load_tokenizer
from restrl.model.source import model_fingerprint
from restrl.model.tiny import tiny_model, tiny_tokenizer

CONFIG = ModelConfig(name="packed", source="gguf_package", gguf_package="some-weights", hub_id="owner/name")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that ships ``model.gguf``, and a converter that only counts."""
    folder = tmp_path / "site" / "some_weights"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('its requirements are missing')")
    (folder / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    converted = []

    def load(auto, place, **options):
        converted.append((place, options["gguf_file"]))
        return tiny_tokenizer() if "Tokenizer" in auto.__name__ else (tiny_model(), {"missing_keys": set()})

    monkeypatch.setattr(weights, "load_from", load)
    return converted


def test_the_package_is_converted_once_and_without_importing_it(package, tmp_path):
    paths = PathsConfig(cache=str(tmp_path / "cache"))
    model = load_model(CONFIG, paths)
    load_tokenizer(CONFIG, paths)
    load_model(CONFIG, paths)
    assert package == [(str(tmp_path / "site" / "some_weights"), "model.gguf")] * 2  # tokenizer and model
    ids = torch.tensor([[7, 8]])
    assert torch.equal(model(ids).logits, tiny_model()(ids).logits)
    assert (tmp_path / "cache" / "some-weights-0" / "model.safetensors").exists()
    assert model_fingerprint(CONFIG, paths) == "some-weights==0"


def test_an_interrupted_conversion_leaves_nothing_and_is_made_again(package, tmp_path, monkeypatch):
    paths = PathsConfig(cache=str(tmp_path / "cache"))

    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LlamaForCausalLM, "save_pretrained", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load_model(CONFIG, paths)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["some-weights-0.lock"]
    assert load_model(CONFIG, paths).num_parameters() == tiny_model().num_parameters()
    assert len(package) == 4


def test_a_damaged_package(package, tmp_path, monkeypatch):
    def fails(*_args, **_options):
        raise UserError("invalid magic")

    monkeypatch.setattr(weights, "load_from", fails)
    with pytest.raises(
        UserError, match=r"cannot read .*/model.gguf: invalid magic; install its package again"
    ):
        load_model(CONFIG, PathsConfig(cache=str(tmp_path / "cache")))
    assert package == []


def test_a_cache_that_cannot_be_written(package, tmp_path):
    (tmp_path / "file").write_text("")
    paths = PathsConfig(cache=str(tmp_path / "file"))
    with pytest.raises(
        UserError, match=r"cannot write .*; make room there or set paths.cache to another folder"
    ):
        load_model(CONFIG, paths)
    assert package == []


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert weights.cache_folder(PathsConfig()) == tmp_path / "restrl"
    assert weights.cache_folder(PathsConfig(cache="/c")).as_posix() == "/c"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert weights.cache_folder(PathsConfig()) == tmp_path / "home" / ".cache" / "restrl"


def test_a_package_that_is_not_installed():
    assert weights.packaged_gguf("no-such-package") is None
    assert weights.package_version("no-such-package") == "0"
