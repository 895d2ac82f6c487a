"""The forms of tests: one table for the check of files and for the sandbox.

``tests`` of a problem is a mapping with ``kind`` and the fields of that kind.  The docstring of
``restrl.sandbox`` explains the fields.
"""

from __future__ import annotations

import ast
import functools
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from restrl.errors import UserError


@dataclass(frozen=True)
class Field:
    """The requirement on a field's value, as a predicate and in words."""

    holds: Callable[[Any], bool]
    words: str


@dataclass(frozen=True)
class Form:
    """The fields of one kind of tests."""

    required: Mapping[str, Field]
    optional: Mapping[str, Field] = field(default_factory=dict)
    counted: str | None = None  # the field whose length is the number of tests
    code: tuple[str, ...] = ()  # the fields that must be Python


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_filled(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and all(part.isidentifier() for part in value.split("."))


def _is_entry_point(value: Any) -> bool:
    """A name, with attributes and with calls that have literal arguments: f, module.f, Solution(3).f."""
    try:
        node: ast.expr = ast.parse(value, mode="eval").body if isinstance(value, str) else ast.Constant(0)
        while not isinstance(node, ast.Name):
            if isinstance(node, ast.Call):
                for argument in [*node.args, *(keyword.value for keyword in node.keywords)]:
                    ast.literal_eval(argument)
                node = node.func
            elif isinstance(node, ast.Attribute):
                node = node.value
            else:
                return False
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _list_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: _is_list(value) and all(map(holds, value))


def _is_lines(value: Any) -> bool:
    return _is_text(value) or _list_of(_is_text)(value)


def _is_tolerance(value: Any) -> bool:
    return type(value) in (int, float) and value >= 0 and math.isfinite(value)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


TEXT = Field(_is_text, "a string")
FILLED = Field(_is_filled, "a string that is not empty")
NAME = Field(_is_name, "the name of a function")
ENTRY_POINT = Field(_is_entry_point, "the name of a function, as in f, module.f or Solution().f")
NAMES = Field(_list_of(_is_name), "a list of names")
LIST = Field(_is_list, "a list")
LISTS = Field(_list_of(_is_list), "a list of argument lists")
TEXTS = Field(_list_of(_is_text), "a list of strings")
STREAMS = Field(_list_of(_is_lines), "a list of strings, or of lists of lines")
TOLERANCE = Field(_is_tolerance, "a finite number that is 0 or more")
SWITCH = Field(_is_bool, "true or false")

FORMS: Mapping[str, Form] = {
    "call": Form(
        {"fn_name": ENTRY_POINT, "inputs": LISTS, "outputs": LIST},
        {
            "atol": TOLERANCE,
            "rtol": TOLERANCE,
            "tuples_as_lists": SWITCH,
            "text_keys": SWITCH,
            "numbers_by_value": SWITCH,
            "preamble": TEXT,
        },
        counted="inputs",
        code=("preamble",),
    ),
    "stdio": Form(
        {"inputs": STREAMS, "outputs": STREAMS},
        {"atol": TOLERANCE, "rtol": TOLERANCE, "numbers_by_value": SWITCH, "preamble": TEXT},
        counted="inputs",
        code=("preamble",),
    ),
    "asserts": Form(
        {"asserts": TEXTS},
        {"setup": TEXT, "given": TEXT, "names": NAMES},
        counted="asserts",
        code=("asserts", "setup", "given"),
    ),
    "check": Form(
        {"test": FILLED, "entry_point": ENTRY_POINT},
        {"setup": TEXT, "given": TEXT},
        code=("test", "setup", "given"),
    ),
    "unittest": Form({"test": FILLED}, {"entry_point": NAME}, code=("test",)),
    "ds1000": Form({"code_context": FILLED}, code=("code_context",)),
    "pytest": Form(
        {"test": FILLED},
        {"entry_point": ENTRY_POINT, "setup": TEXT, "given": TEXT},
        code=("test", "setup", "given"),
    ),
}


def check_tests(tests: Any, where: str) -> dict[str, Any]:
    """The tests as a plain dict.  Raises UserError that names ``where`` and the field if they are wrong."""
    kinds = ", ".join(FORMS)
    if not isinstance(tests, Mapping) or not tests:
        raise UserError(
            f"{where}: tests: a problem without tests; give an object whose kind is one of {kinds}"
        )
    plain: dict[str, Any] = _plain(tests)
    kind = plain.get("kind")
    if not isinstance(kind, str) or kind not in FORMS:
        raise UserError(f"{where}: tests.kind: {kind!r} is not one of {kinds}")
    form = FORMS[kind]
    fields = {**form.required, **form.optional}
    for name in plain:
        if name != "kind" and name not in fields:
            raise UserError(f"{where}: tests.{name}: unknown field; {kind} tests have {', '.join(fields)}")
    for name, requirement in fields.items():
        if name in plain and not requirement.holds(plain[name]):
            raise UserError(f"{where}: tests.{name}: must be {requirement.words}")
        if name not in plain and name in form.required:
            raise UserError(f"{where}: tests.{name}: missing; {kind} tests need {requirement.words}")
    _check_content(kind, plain, where)
    for name in form.code:
        _check_code(name, plain.get(name, ""), where)
    return plain


def _check_content(kind: str, tests: Mapping[str, Any], where: str) -> None:
    counted = FORMS[kind].counted
    if counted and not tests[counted]:
        raise UserError(f"{where}: tests.{counted}: a problem without tests; the list is empty")
    if "outputs" in tests and len(tests["inputs"]) != len(tests["outputs"]):
        n, m = len(tests["inputs"]), len(tests["outputs"])
        raise UserError(f"{where}: tests.outputs: {m} outputs for {n} inputs; one each is needed")
    if kind == "check" and "def check(" not in tests["test"]:
        root = _root(tests["entry_point"])
        if root not in tests["test"]:
            raise UserError(f"{where}: tests.test: must define check(candidate) or call {root}")
    if kind == "unittest" and "class " not in tests["test"]:
        raise UserError(f"{where}: tests.test: must define a class derived from unittest.TestCase")


def _root(entry_point: str) -> str:
    """The name with which an entry point begins."""
    return next(node.id for node in ast.walk(ast.parse(entry_point)) if isinstance(node, ast.Name))


def _check_code(name: str, value: Any, where: str) -> None:
    if not isinstance(value, str):
        for i, line in enumerate(value):
            _check_code(f"{name}[{i}]", line, where)
        return
    problem = _syntax(value)
    if problem:
        raise UserError(f"{where}: tests.{name} is not Python: {problem}")


@functools.lru_cache(4096)  # tests are checked when they are read, and again with every batch of programs
def _syntax(source: str) -> str:
    """The syntax error of a source; "" if there is none."""
    try:
        with warnings.catch_warnings(action="ignore"):  # old escapes
            ast.parse(source.replace("\r\n", "\n"))
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        return str(error)
    return ""


def _plain(value: Any) -> Any:
    """Converts mappings to dicts: records from other sources may hold others, such as OmegaConf's."""
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, Mapping) else value
