"""The test formats, and the check of problems that come from files.

``tests`` of a problem is one of

- ``{"kind": "call", "fn_name", "inputs": [[arg, ...], ...], "outputs": [value, ...]}``
- ``{"kind": "stdio", "inputs": [text, ...], "outputs": [text, ...]}``
- ``{"kind": "asserts", "asserts": [line, ...], "setup" (optional)}``
- ``{"kind": "check", "test": source that defines check(candidate), "entry_point"}``, or source
  that calls the entry point at its top level
- ``{"kind": "unittest", "test": source that defines TestCases}``
- ``{"kind": "ds1000", "code_context"}``
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from restrl.errors import UserError
from restrl.records import Problem

Value = Mapping[str, Any]
FieldCheck = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_filled(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and all(part.isidentifier() for part in value.split("."))


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_lists(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, list) for v in value)


_TEXT = (_is_text, "a string")
_FILLED = (_is_filled, "a string that is not empty")
_NAME = (_is_name, "the name of a function")
_TEXTS = (_is_texts, "a list of strings")
_LIST = (_is_list, "a list")
_LISTS = (_is_lists, "a list of argument lists")

# kind -> field -> (what it must satisfy, in words)
REQUIRED: Mapping[str, Mapping[str, tuple[FieldCheck, str]]] = {
    "call": {"fn_name": _NAME, "inputs": _LISTS, "outputs": _LIST},
    "stdio": {"inputs": _TEXTS, "outputs": _TEXTS},
    "asserts": {"asserts": _TEXTS},
    "check": {"test": _FILLED, "entry_point": _NAME},
    "unittest": {"test": _FILLED},
    "ds1000": {"code_context": _FILLED},
}
OPTIONAL: Mapping[str, Mapping[str, tuple[FieldCheck, str]]] = {"asserts": {"setup": _TEXT}}
COUNTED = {
    "call": "inputs",
    "stdio": "inputs",
    "asserts": "asserts",
}  # the field whose length counts the tests


def check_tests(tests: Any, where: str) -> None:
    """Raises UserError, naming ``where`` and the field, if ``tests`` is none of the formats above."""
    if not isinstance(tests, Mapping) or not tests:
        raise UserError(
            f"{where}: tests: a problem without tests; give an object with a kind, one of {_kinds()}"
        )
    kind = tests.get("kind")
    if not isinstance(kind, str) or kind not in REQUIRED:
        raise UserError(f"{where}: tests.kind: {kind!r} is not one of {_kinds()}")
    required, optional = REQUIRED[kind], OPTIONAL.get(kind, {})
    for name, (holds, words) in required.items():
        if name not in tests:
            raise UserError(f"{where}: tests.{name}: missing; {kind} tests need {words}")
        if not holds(tests[name]):
            raise UserError(f"{where}: tests.{name}: must be {words}")
    for name in tests:
        if name != "kind" and name not in required and name not in optional:
            known = ", ".join([*required, *optional])
            raise UserError(f"{where}: tests.{name}: unknown field; {kind} tests have {known}")
    for name, (holds, words) in optional.items():
        if name in tests and not holds(tests[name]):
            raise UserError(f"{where}: tests.{name}: must be {words}")
    _check_content(kind, tests, where)


def _check_content(kind: str, tests: Value, where: str) -> None:
    counted = COUNTED.get(kind)
    if counted and not tests[counted]:
        raise UserError(f"{where}: tests.{counted}: a problem without tests; the list is empty")
    if "outputs" in tests and len(tests["inputs"]) != len(tests["outputs"]):
        n, m = len(tests["inputs"]), len(tests["outputs"])
        raise UserError(f"{where}: tests.outputs: {m} outputs for {n} inputs; one each is needed")
    if kind == "check" and "def check(" not in tests["test"] and tests["entry_point"] not in tests["test"]:
        raise UserError(f"{where}: tests.test: must define check(candidate) or call {tests['entry_point']}")
    if kind == "unittest" and "class TestCases" not in tests["test"]:
        raise UserError(f"{where}: tests.test: must define the class TestCases")


def _kinds() -> str:
    return ", ".join(REQUIRED)


FIELDS = ("task_id", "prompt", "code", "tests", "reference", "family")  # of a line of a problems file


def problem_from_line(data: Any, where: str, dataset: str) -> Problem:
    """The problem of one parsed line.  Raises UserError that names ``where`` and the field."""
    if not isinstance(data, Mapping):
        raise UserError(f"{where}: must be a JSON object with the fields {', '.join(FIELDS)}")
    for name in ("task_id", "prompt", "tests"):
        if name not in data:
            hint = "a problem without tests" if name == "tests" else "missing"
            raise UserError(f"{where}: {name}: {hint}; every problem needs task_id, prompt and tests")
    task_id = data["task_id"]
    if isinstance(task_id, int) and not isinstance(task_id, bool):
        task_id = str(task_id)
    if not _is_filled(task_id):
        raise UserError(f"{where}: task_id: must be a string that is not empty, or an integer")
    if not _is_filled(data["prompt"]):
        raise UserError(f"{where}: prompt: must be a string that is not empty")
    for name in ("code", "reference", "family"):
        if data.get(name) is not None and not _is_text(data[name]):
            raise UserError(f"{where}: {name}: must be a string")
    for name in data:
        if name not in FIELDS:
            raise UserError(f"{where}: {name}: unknown field; a problem has {', '.join(FIELDS)}")
    check_tests(data["tests"], where)
    return Problem(
        task_id=task_id,
        prompt=data["prompt"],
        tests=data["tests"],
        code=data.get("code") or "",
        reference=data.get("reference"),
        dataset=dataset,
        family=data.get("family") or "",
    )


def check_unique(problems: list[Problem], where: str) -> None:
    """Raises UserError if two problems have the same task_id."""
    seen: set[str] = set()
    for problem in problems:
        if problem.task_id in seen:
            raise UserError(f"{where}: task_id: {problem.task_id!r} occurs twice; task ids must be unique")
        seen.add(problem.task_id)
