"""The hash of a model's folder: of the bytes of the files that are loaded, and of nothing else."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from restrl.errors import UserError
from restrl.model import content
from restrl.model.content import folder_hash, model_files

LARGE = content.SMALL + 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (made / name).write_text("{}")
    (made / "model.safetensors").write_bytes(b"w" * LARGE)
    return made


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def long_ago(path: Path) -> None:
    os.utime(path, (1e9, 1e9))


def test_a_copy_and_what_lies_beside_a_model_do_not_matter(folder: Path, cache: Path) -> None:
    before = folder_hash(folder, cache)
    copy = folder.parent / "copy"
    shutil.copytree(folder, copy)
    for name in (
        "README.md",
        "training_args.bin",
        "optimizer.pt",
        "notes.json",
        ".DS_Store",
        "consolidated.safetensors",
    ):
        (copy / name).write_text("x")
    (copy / "checkpoint-5").mkdir()
    (copy / "checkpoint-5" / "config.json").write_text("x")
    (copy / "convert.py").write_text("x")
    os.utime(copy / "config.json", (1, 1))
    assert folder_hash(copy, cache) == before
    assert folder_hash(copy, cache, code=True) != before


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"]
)
def test_every_byte_counts_whatever_the_time_stamps_say(folder: Path, cache: Path, name: str) -> None:
    path = folder / name
    long_ago(path)
    before, stat = folder_hash(folder, cache), path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # in the middle: neither the size nor the ends change
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert folder_hash(folder, cache) != before


def test_a_name_counts(folder: Path, cache: Path) -> None:
    before = folder_hash(folder, cache)
    (folder / "tokenizer.json").rename(folder / "tokenizer.model")
    assert folder_hash(folder, cache) != before


def test_the_hash_of_a_large_file_is_computed_once(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    digest = content.hashlib.file_digest

    def counting(file, name):
        read.append(Path(file.name).name)
        return digest(file, name)

    monkeypatch.setattr(content.hashlib, "file_digest", counting)
    before = folder_hash(folder, cache)
    assert not cache.exists()  # a file that was written just now may change within the same time stamp
    monkeypatch.setattr(content, "SETTLED_SECONDS", -1.0)
    folder_hash(folder, cache)
    assert len(list((cache / "hashes").iterdir())) == 1
    read.clear()
    assert folder_hash(folder, cache) == before
    assert "model.safetensors" not in read
    (kept,) = (cache / "hashes").iterdir()
    kept.write_text("torn")
    assert folder_hash(folder, cache) == before
    assert "model.safetensors" in read


def test_a_cache_that_cannot_be_written_is_no_error(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "SETTLED_SECONDS", -1.0)
    (tmp_path / "file").write_text("")
    assert folder_hash(folder, tmp_path / "file") == folder_hash(folder, tmp_path / "elsewhere")


def test_weights_are_the_files_that_the_index_names(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "part-1.safetensors", "b": "part-2.safetensors"}}))
    for name in ("part-1.safetensors", "part-2.safetensors", "part-3.safetensors", "pytorch_model.bin"):
        (folder / name).write_text("x")
    names = [path.name for path in model_files(folder)]
    assert names == [
        "chat_template.jinja", "config.json", "model.safetensors.index.json", "part-1.safetensors",
        "part-2.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    index.write_text("[]")
    with pytest.raises(UserError, match=r"model\.safetensors\.index\.json: not a readable index of weights"):
        model_files(folder)


def test_weights_of_unknown_names_all_count(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    assert folder / "other.safetensors" in model_files(folder)


def test_a_file_that_cannot_be_read_is_named(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(content.hashlib, "file_digest", denied)
    with pytest.raises(UserError, match=r"cannot read .*chat_template\.jinja: Permission denied"):
        folder_hash(folder, cache)
