"""What a model's folder is made of: a hash of the files that are loaded, whatever else lies beside them.

Every file is read whole, so that no change goes unseen.  The hash of a large file is kept in the cache folder
under the file's identity (device, inode, size, times of change), so that it is computed once.
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

SMALL = 2**20  # bytes; the hash of a smaller file is not kept
# a file that was changed so recently may change again without a new time stamp, so its hash is not kept
SETTLED_SECONDS = 2.0
DESCRIBING = (
    "config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json",
    "vocab*", "merges.txt", "*.model", "*.tiktoken", "tekken.json", "chat_template*", "*.jinja",
    "additional_chat_templates/*", "adapter_config.json", "adapter_model.*",
)  # fmt: skip
WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in the order in which transformers looks for them


def folder_hash(folder: Path, cache: Path, *, code: bool = False) -> str:
    """16 hex digits of the names and contents of a model's files.

    ``cache``: where hashes of large files are kept; one that cannot be written is no error.  ``code``: count
    Python files too, for a model that brings code of its own.  Raises UserError for a file that cannot be
    read.
    """
    digest = hashlib.sha256()
    for path in model_files(folder, code=code):
        name = str(path.relative_to(folder))
        try:
            digest.update(json.dumps([name, _file_hash(path, cache)]).encode())
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()[:16]


def model_files(folder: Path, *, code: bool = False) -> list[Path]:
    """The files below ``folder`` that loading its model and tokenizer may read, sorted."""
    found = {path for pattern in DESCRIBING for path in folder.glob(pattern)}
    found |= set(folder.rglob("*.py")) if code else set()
    return sorted(path for path in found | set(_weight_files(folder)) if path.is_file())


def _weight_files(folder: Path) -> Iterator[Path]:
    """Those of the first layout that is there: a single file, or an index with the files that it names."""
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


def _file_hash(path: Path, cache: Path) -> str:
    """The sha256 of a file's content, from the cache where the file is known to be the same."""
    stat = path.stat()
    identity = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    known = cache / "hashes" / "-".join(f"{number:x}" for number in identity)
    if stat.st_size > SMALL:
        with contextlib.suppress(OSError, ValueError):
            if len(text := known.read_text(encoding="ascii").strip()) == 64:
                return text
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
    unchanged = (after.st_size, after.st_mtime_ns, after.st_ctime_ns) == identity[2:]
    settled = time.time() - max(stat.st_mtime, stat.st_ctime) > SETTLED_SECONDS
    if stat.st_size > SMALL and unchanged and settled:
        with contextlib.suppress(UserError):
            write_text_atomic(known, found + "\n")
    return found
