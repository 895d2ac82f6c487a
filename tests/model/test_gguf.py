"""GGUF files of users: converted once, exactly, and refused in one line before a weight is read."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import dequantize, quantize
from transformers import AutoTokenizer

from restrl.config import ModelConfig, PathsConfig
from restrl.errors import UserError
from restrl.model import weights
from restrl.model.load import load_model, load_tokenizer, positions_of
from restrl.model.source import model_fingerprint
from restrl.model.tiny import tiny_tokenizer
from tests.model.gguf_files import Kind, tiny_qwen2, write_gguf

ROOT = Path(__file__).parents[2]
IDS = torch.tensor([[5, 80, 90, 100, 7]])


def at(path):
    return ModelConfig(name="mine", path=str(path))


@pytest.fixture
def paths(tmp_path):
    return PathsConfig(cache=str(tmp_path / "cache"))


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def quantized(model, kind):
    """``model`` with each weight matrix rounded as the quantization does."""
    if kind == Kind.F32:
        return model
    for weight in model.parameters():
        if weight.ndim > 1:
            rounded = dequantize(quantize(weight.detach().numpy(), kind), kind)
            weight.data = torch.tensor(np.array(rounded).reshape(weight.shape))
    return model


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("kind", [Kind.F32, Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q4_0], ids=lambda k: k.name)
def test_a_file_or_its_parts_become_the_model_that_was_written(tmp_path, paths, kind, parts):
    files = write_gguf(tmp_path / "m.gguf", tiny_qwen2(), kind, parts=parts)
    assert len(files) == parts
    model, tokenizer = load_model(at(files[0]), paths), load_tokenizer(at(files[0]), paths)
    assert torch.allclose(logits(model), logits(quantized(tiny_qwen2(), kind)), atol=1e-5)
    text = "def f(x): return x<|im_end|>"
    assert tokenizer(text)["input_ids"] == tiny_tokenizer()(text)["input_ids"]
    text += "\n\n    lines = 12 # <think>\n"  # which Qwen2's own tokenizer splits in another way
    read = AutoTokenizer.from_pretrained(tmp_path, gguf_file=files[0].name)
    assert tokenizer(text)["input_ids"] == read(text)["input_ids"]
    assert tokenizer.chat_template == tiny_tokenizer().chat_template
    assert (tokenizer.eos_token, model.generation_config.eos_token_id) == ("<|im_end|>", 2)
    assert positions_of(at(files[0]), paths) == 512
    assert sorted(path.name for path in Path(paths.cache).glob("gguf-*/*.gguf")) == []


def test_it_is_converted_once_whatever_it_is_called(tmp_path, paths, monkeypatch):
    (file,) = write_gguf(tmp_path / "m.gguf", tiny_qwen2())
    load_model(at(file), paths)
    fingerprint = model_fingerprint(at(file), paths)
    assert [path.name for path in Path(paths.cache).glob("gguf-*") if path.is_dir()] == [fingerprint]
    file = file.rename(tmp_path / "other.gguf")
    monkeypatch.setattr(weights, "_convert", lambda *_: pytest.fail("converted again"))
    load_tokenizer(at(file), paths)
    assert model_fingerprint(at(file), paths) == fingerprint


def test_another_content_is_another_model(tmp_path, paths):
    (file,) = write_gguf(tmp_path / "m.gguf", tiny_qwen2())
    before = model_fingerprint(at(file), paths)
    write_gguf(file, tiny_qwen2(), Kind.F16)
    assert model_fingerprint(at(file), paths) != before


def test_any_part_names_the_model(tmp_path, paths):
    files = write_gguf(tmp_path / "m.gguf", tiny_qwen2(), parts=2)
    assert model_fingerprint(at(files[1]), paths) == model_fingerprint(at(files[0]), paths)
    assert torch.equal(logits(load_model(at(files[1]), paths)), logits(load_model(at(files[0]), paths)))


def test_a_missing_part(tmp_path, paths):
    files = write_gguf(tmp_path / "m.gguf", tiny_qwen2(), parts=3)
    files[1].unlink()
    with pytest.raises(UserError, match=r"m-00002-of-00003.gguf is missing; all 3 parts must lie together"):
        load_model(at(files[0]), paths)


def test_parts_under_other_names(tmp_path, paths):
    files = write_gguf(tmp_path / "m.gguf", tiny_qwen2(), parts=2)
    lone = shutil.copy(files[0], tmp_path / "lone.gguf")
    with pytest.raises(
        UserError, match=r"lone.gguf says that it is part 1 of 2, and its name says 1 of 1; name the parts"
    ):
        load_model(at(lone), paths)
    shutil.copy(files[0], files[1])
    with pytest.raises(UserError, match=r"says that it is part 1 of 2, and its name says 2 of 2"):
        load_model(at(files[0]), paths)


def test_what_is_no_model(tmp_path, paths):
    with pytest.raises(UserError, match=r"model.path=models/none.gguf: no such file"):
        load_model(at("models/none.gguf"), paths)  # no hub id either
    (tmp_path / "text.gguf").write_text("not a model")
    with pytest.raises(UserError, match=r"cannot read .*text.gguf: it is no GGUF file, or not a whole one"):
        load_model(at(tmp_path / "text.gguf"), paths)
    (tmp_path / "empty.gguf").touch()
    with pytest.raises(UserError, match=r"cannot read .*empty.gguf: it is no GGUF file"):
        load_model(at(tmp_path / "empty.gguf"), paths)
    (adapter,) = write_gguf(tmp_path / "a.gguf", tiny_qwen2(), kind_of_file="adapter")
    with pytest.raises(UserError, match=r"a.gguf holds no model but a model's adapter"):
        load_model(at(adapter), paths)
    assert not list(Path(paths.cache).glob("gguf-*"))


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_download_that_was_cut_off(tmp_path, paths, share):
    (file,) = write_gguf(tmp_path / "m.gguf", tiny_qwen2())
    os.truncate(file, int(file.stat().st_size * share))
    with pytest.raises(
        UserError, match=r"cannot read .*m.gguf: it is no GGUF file, or not a whole one"
    ) as error:
        load_model(at(file), paths)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arch": "plamo"}, r"cannot convert .*m.gguf: GGUF model with architecture plamo is not supported"),
        ({"arch": "t5"}, r"cannot convert .*m.gguf: "),
        (
            {"split": "deepseek-coder"},
            r"cannot convert .*m.gguf: its tokenizer splits .* \(deepseek-coder\); use",
        ),
        ({"kind": Kind.TQ1_0}, None),  # a rare one that is supported
    ],
    ids=str,
)
def test_what_transformers_does_not_read_is_found_in_the_header(
    tmp_path, paths, monkeypatch, options, message
):
    (file,) = write_gguf(tmp_path / "m.gguf", tiny_qwen2(), **options)
    if message is None:
        load_model(at(file), paths)
        return
    monkeypatch.setattr(weights, "_convert", lambda *_: pytest.fail("not before"))
    with pytest.raises(UserError, match=message):
        load_model(at(file), paths)


def test_a_tokenizer_that_transformers_replaces_once_it_is_saved(tmp_path, paths):
    """It has one of its own for Qwen2, whatever the folder says."""
    (file,) = write_gguf(tmp_path / "m.gguf", tiny_qwen2(), split="gpt-2")
    with pytest.raises(
        UserError, match=r"cannot convert .*m.gguf: transformers reads its tokenizer in another"
    ):
        load_model(at(file), paths)
    assert not list(Path(paths.cache).glob("*gguf-*/"))


def test_a_quantization_that_is_not_supported(tmp_path, paths, monkeypatch):
    (file,) = write_gguf(tmp_path / "m.gguf", tiny_qwen2(), Kind.Q8_0)
    monkeypatch.delitem(gguf.quants._type_traits, Kind.Q8_0)
    monkeypatch.setattr(weights, "_convert", lambda *_: pytest.fail("not before"))
    with pytest.raises(UserError, match=r"cannot convert .*m.gguf: its quantization Q8_0 is not supported"):
        load_model(at(file), paths)


def test_a_file_that_lacks_weights(tmp_path, paths):
    (file,) = write_gguf(tmp_path / "m.gguf", tiny_qwen2(), without="blk.1.ffn_up.weight")
    with pytest.raises(UserError, match=r"cannot read .*m.gguf: it has no weights for model.layers.1.mlp.up"):
        load_model(at(file), paths)
    assert not list(Path(paths.cache).glob("*gguf-*/"))


@pytest.mark.parametrize("parts", [1, 2])
def test_a_disk_without_room(tmp_path, paths, monkeypatch, parts):
    files = write_gguf(tmp_path / "m.gguf", tiny_qwen2(), Kind.Q8_0, parts=parts)
    size = sum(weight.numel() for weight in tiny_qwen2().parameters()) * 4
    size += sum(file.stat().st_size for file in files) if parts > 1 else 0  # they are merged first
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=size - 1))
    message = rf"{files[0]}, converted to float32, needs .* GB in {paths.cache}/gguf-\w+, and .* GB are free"
    with pytest.raises(UserError, match=message + " there; make room or set paths.cache to another folder"):
        load_model(at(files[0]), paths)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=size))
    load_model(at(files[0]), paths)


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")], ids=repr
)
def test_an_interrupted_conversion_leaves_nothing(tmp_path, paths, monkeypatch, error):
    files = write_gguf(tmp_path / "m.gguf", tiny_qwen2(), parts=2)

    def fails(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(type(tiny_tokenizer()), "save_pretrained", fails)
        with pytest.raises((KeyboardInterrupt, UserError)):
            load_model(at(files[0]), paths)
    assert [path.suffix for path in Path(paths.cache).glob("*gguf-*")] == [".lock"]
    assert torch.allclose(logits(load_model(at(files[0]), paths)), logits(tiny_qwen2()), atol=1e-5)


def test_two_processes_convert_it_once(tmp_path, paths):
    files = write_gguf(tmp_path / "m.gguf", tiny_qwen2(), parts=2)
    code = (
        "import sys\n"
        "from restrl.config import ModelConfig, PathsConfig\n"
        "from restrl.model import weights\n"
        "from restrl.model.load import load_model\n"
        "convert = weights._convert\n"
        "weights._convert = lambda *given: (print('converts'), convert(*given))\n"
        "load_model(ModelConfig(path=sys.argv[1]), PathsConfig(cache=sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", code, str(files[0]), paths.cache]
    runs = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(run.communicate(timeout=200)[0] for run in runs) == ["", "converts\n"]
    assert [run.returncode for run in runs] == [0, 0]
