"""A hash of the contents of a model's folder: of the files that are loaded, ignoring all others.

Every file is read completely, so every change is noticed.  The hash of a large file is cached under the
file's identity (device, inode, size, times of change), so it is computed only once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from restrl.errors import UserError
from restrl.files import write_text_atomic

SMALL = 2**20  # bytes; hashes of smaller files are not cached
# a file that changed this recently may change again without a new time stamp, so its hash is not cached
SETTLED_SECONDS = 2.0
DESCRIBING = (
    "config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json",
    "vocab*", "merges.txt", "*.model", "*.tiktoken", "tekken.json", "chat_template*", "*.jinja",
    "additional_chat_templates/*", "adapter_config.json", "adapter_model.*",
)  # fmt: skip
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in the order in which transformers looks for them


def folder_hash(folder: Path, cache: Path, *, code: bool = False) -> str:
    """16 hex digits of the names and contents of a model's files.

    ``cache``: folder for hashes of large files; failing to write there is no error.  ``code``: include Python
    files, for a model with custom code.  Raises UserError for a file that cannot be read.
    """
    digest = hashlib.sha256()
    for path in model_files(folder, code=code):
        name = str(path.relative_to(folder))
        try:
            digest.update(json.dumps([name, file_hash(path, cache)]).encode())
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()[:16]


def model_files(folder: Path, *, code: bool = False) -> list[Path]:
    """The files below ``folder`` that loading its model and tokenizer may read, sorted."""
    paths = {path for pattern in DESCRIBING for path in folder.glob(pattern)}
    paths |= set(folder.rglob("*.py")) if code else set()
    return sorted(path for path in paths | set(weight_files(folder)) if path.is_file())


def weight_files(folder: Path) -> Iterator[Path]:
    """The files of the first layout that exists: a single file, or an index with the files that it names."""
    for name in WEIGHTS:
        if (folder / name).exists():
            yield folder / name
            return
        index = folder / f"{name}.index.json"
        if index.exists():
            yield index
            yield from (folder / shard for shard in _shards(index))
            return
    yield from (*folder.glob("*.safetensors"), *folder.glob("*.bin"))


def _shards(index: Path) -> set[str]:
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{index}: not a readable index of weights ({error})") from error


def file_hash(path: Path, cache: Path) -> str:
    """The sha256 of a file's content, from the cache if the file has not changed."""
    stat = path.stat()
    identity = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    cached = cache / "hashes" / "-".join(f"{number:x}" for number in identity)
    if stat.st_size > SMALL:
        with contextlib.suppress(OSError, ValueError):
            if len(text := cached.read_text(encoding="ascii").strip()) == 64:
                return text
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
    unchanged = (after.st_size, after.st_mtime_ns, after.st_ctime_ns) == identity[2:]
    settled = time.time() - max(stat.st_mtime, stat.st_ctime) > SETTLED_SECONDS
    if stat.st_size > SMALL and unchanged and settled:
        with contextlib.suppress(UserError):
            write_text_atomic(cached, digest + "\n")
    return digest
