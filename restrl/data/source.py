"""The rows of a published data set, from the hub at a pinned revision or from a local file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from restrl.config import DatasetConfig
from restrl.data.fields import Row, rows_of
from restrl.data.splits import Split, from_files, split_by_family
from restrl.errors import UserError
from restrl.records import Problem

ENDINGS = (".jsonl", ".jsonl.gz", ".json", ".parquet")  # of local files


@dataclass(frozen=True)
class Source:
    """A split of a data set on the Hugging Face hub."""

    dataset: str  # our name
    repo: str
    revision: (
        str | None
    )  # commit, so that the data does not change; None: not known, only a local file is read
    split: str
    subset: str | None = None
    # files of JSON lines or in Parquet in the repository (a pattern or names), if it offers nothing else
    file: str | tuple[str, ...] | None = None


def read_rows(path: str | None, source: Source, key: str = "dataset.path") -> Iterator[Row]:
    """The rows of ``path``, a local file in the hub's schema; None: the rows on the hub.

    If the hub is out of reach, raises UserError that says which file to fetch and how to name it.
    """
    if path is not None:
        return rows_of(path, source.dataset, key)
    return (
        Row(row, f"{source.repo}:{i}", source.dataset, i, source.split)
        for i, row in enumerate(_hub_rows(source), start=1)
    )


def published(
    config: DatasetConfig,
    split: Split,
    sources: Mapping[Split, Source],
    build: Callable[[Row], Problem],
) -> list[Problem]:
    """The problems of a data set with these published sides, or of the local files in their place.

    ``sources``: of both sides, or of one, which is then split by seed.
    """

    def read(path: str, key: str) -> list[Problem]:
        return [build(row) for row in read_rows(path, next(iter(sources.values())), key)]

    if config.path is not None:
        return from_files(config, split, read)
    if len(sources) > 1:
        sides = [source for side, source in sources.items() if split in (side, "all")]
        return [build(row) for source in sides for row in read_rows(None, source)]
    rows = (row for source in sources.values() for row in read_rows(None, source))
    return split_by_family([build(row) for row in rows], config, split)


def file_in(folder: str, name: str, need: str) -> str:
    """The path of the file ``name`` in a folder.  Raises UserError, which says ``need``."""
    for ending in ENDINGS:
        if (path := Path(folder).expanduser() / f"{name}{ending}").is_file():
            return str(path)
    raise UserError(f"{folder}: no {name}.jsonl or {name}.jsonl.gz; {need}")


def _hub_rows(source: Source) -> Iterator[Mapping[str, Any]]:
    what = source.file if isinstance(source.file, str) else " ".join(source.file or ())
    what = what or f"the split {source.split}"
    place = f"https://huggingface.co/datasets/{source.repo}"
    remedy = f"and name the file ({', '.join(ENDINGS)}) by dataset.path"
    if source.revision is None:
        raise UserError(f"dataset={source.dataset}: dataset.path: missing; fetch {what} of {place} {remedy}")
    from datasets import load_dataset  # type: ignore[import-untyped]  # takes seconds to import; the starter problems do not need it

    try:
        if source.file is None:
            return iter(
                load_dataset(source.repo, source.subset, split=source.split, revision=source.revision)
            )
        names = (source.file,) if isinstance(source.file, str) else source.file
        files = [f"hf://datasets/{source.repo}@{source.revision}/{name}" for name in names]
        kind = "parquet" if names[0].endswith(".parquet") else "json"
        return iter(load_dataset(kind, data_files=files[0] if len(files) == 1 else files, split="train"))
    except Exception as error:  # datasets, the hub's client and pyarrow raise dozens of types
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise UserError(
            f"dataset={source.dataset}: the hub cannot be read ({reason}); fetch {what} of "
            f"{place}/tree/{source.revision} {remedy}"
        ) from error
