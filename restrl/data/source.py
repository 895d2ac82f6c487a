"""The rows of a published data set, from the hub at a pinned revision or from a local file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from restrl.data.fields import Row, rows_of
from restrl.errors import UserError


@dataclass(frozen=True)
class Source:
    """A split of a data set on the Hugging Face hub."""

    dataset: str  # our name
    repo: str
    revision: str  # commit, so that the data does not change
    split: str
    subset: str | None = None
    file: str | None = None  # a file of JSON lines in the repository, if it offers nothing else


def read_rows(path: str | None, source: Source) -> Iterator[Row]:
    """The rows of ``path``, a local file of JSON lines in the hub's schema; None: the rows on the hub.

    If the hub is out of reach, raises UserError that says which file to fetch and how to name it.
    """
    if path is not None:
        return rows_of(path, source.dataset)
    return (
        Row(row, f"{source.repo}:{i}", source.dataset) for i, row in enumerate(_hub_rows(source), start=1)
    )


def _hub_rows(source: Source) -> Iterator[Mapping[str, Any]]:
    from datasets import load_dataset  # type: ignore[import-untyped]  # takes seconds to import; the starter problems do not need it

    try:
        if source.file is not None:
            file = f"hf://datasets/{source.repo}@{source.revision}/{source.file}"
            return iter(load_dataset("json", data_files=file, split="train"))
        return iter(load_dataset(source.repo, source.subset, split=source.split, revision=source.revision))
    except Exception as error:  # datasets, the hub's client and pyarrow raise dozens of types
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        what = source.file or f"the split {source.split}"
        raise UserError(
            f"dataset={source.dataset}: the hub cannot be read ({reason}); fetch {what} of "
            f"https://huggingface.co/datasets/{source.repo}/tree/{source.revision} as JSON lines and name "
            "the file (.jsonl or .jsonl.gz) by dataset.path"
        ) from error
