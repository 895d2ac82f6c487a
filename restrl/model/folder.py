"""Policies as local folders in Hugging Face layout, for engines that load weights by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import safe_open

from restrl.config import ModelConfig, PathsConfig
from restrl.errors import UserError
from restrl.files import user_errors
from restrl.model.content import weight_files
from restrl.model.load import load_model, load_tokenizer
from restrl.model.save import save_model
from restrl.model.source import local_folder, model_fingerprint
from restrl.model.weights import cache_folder


def policy_folder(config: ModelConfig, paths: PathsConfig) -> Path:
    """The folder with the model's weights, configuration and tokenizer.

    The model of random weights, which has none, is written once into the cache folder.  Raises UserError if
    the model cannot be found, is stored as adapters alone, or the cache folder cannot be written.
    """
    folder = local_folder(config, paths)
    if folder is not None:
        if not (folder / "config.json").exists():
            raise UserError(
                f"model.path={config.path}: no config.json; this engine needs a folder with the whole model, "
                "with adapters merged (a trained policy's folder is one)"
            )
        return folder
    name = "".join(c if c.isalnum() else "-" for c in model_fingerprint(config, paths))
    written = cache_folder(paths) / "policies" / name
    if written.exists():
        return written
    with user_errors(written):
        written.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{written}.lock")
        lock.acquire()
    try:
        if not written.exists():
            save_model(load_model(config, paths, dtype="auto"), load_tokenizer(config, paths), written)
    finally:
        lock.release()
    return written


def stored_weights(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of all weights in the folder, one tensor in memory at a time.

    Raises UserError if there are none.
    """
    files = [path for path in weight_files(folder) if path.suffix in (".safetensors", ".bin")]
    if not files:
        raise UserError(f"{folder}: no weights in it (model.safetensors or pytorch_model.bin)")
    for path in files:
        if path.suffix == ".bin":
            yield from torch.load(path, map_location="cpu", weights_only=True, mmap=True).items()
            continue
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  (not a dict)
                yield name, file.get_tensor(name)
