"""Problem files of the original ReST-RL code (arXiv 2508.19576): id, prompt, code and test.

Its readers give every domain these fields.  ``test`` is a unittest class (BigCodeBench), a code context
(DS-1000), or inputs and outputs as an object or as its text (APPS: data_with_test.jsonl, test_500.jsonl).
"""

from __future__ import annotations

import ast
import contextlib
import json
from typing import Any

from restrl.config import DatasetConfig
from restrl.data.apps import how, inputs_and_outputs
from restrl.data.fields import Row, rows_of, unjudged
from restrl.data.splits import Split, from_files
from restrl.errors import UserError
from restrl.records import Problem


def load(config: DatasetConfig, split: Split) -> list[Problem]:
    """The problems of ``config.path``, split by seed or beside those of ``config.heldout_path``."""
    if config.path is None:
        raise UserError(
            "dataset=rest_rl: dataset.path: missing; unpack datafiles.zip of "
            "https://github.com/THUDM/ReST-RL and name one of its files by dataset.path"
        )
    return from_files(
        config, split, lambda path, key: [_problem(row) for row in rows_of(path, "rest_rl", key)]
    )


def _problem(row: Row) -> Problem:
    tests, code = _tests(row.get("test"), row), row.optional_text("code")
    question = row.text("prompt").strip()
    return Problem(
        task_id=str(row.get("id")),
        prompt=f"{question}\n\n{how(tests)}" if tests["kind"] in ("call", "stdio") else question,
        tests=tests,
        code=code.rstrip(),
        dataset="rest_rl",
        opening=code,
    )


def _tests(test: Any, row: Row) -> dict[str, Any]:
    if isinstance(test, str):
        if "class TestCases" in test:
            return {"kind": "unittest", "test": test}
        if "def test_execution" in test:
            return {"kind": "ds1000", "code_context": test}
        for parse in (json.loads, ast.literal_eval):  # APPS' files mix JSON and Python's notation
            with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
                test = parse(test)
    if not isinstance(test, dict):
        return unjudged("its test is neither code nor an object with inputs and outputs")
    return inputs_and_outputs(Row({"test": json.dumps(test, default=list)}, row.where, row.dataset), "test")
