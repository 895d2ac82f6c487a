"""What tests must hold beyond their form, checked when a problem is read.

A program is judged by what its tests ask.  Tests that ask nothing, tests that nobody runs and values that
cannot cross into the sandbox are mistakes of a file, so they end the reading with the field's name, not a
verdict much later.  The sandbox itself takes tests as they come: it counts such tests out, and pays nothing.
"""

from __future__ import annotations

import ast
import functools
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from restrl.errors import UserError

MAX_DEPTH = 200  # of values that cross into the sandbox (inside/wire/codec.py)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_TEXTS = {  # kind -> fields whose texts must be whole characters; values of call tests are judged as they are
    "stdio": ("inputs", "outputs"),
    "asserts": ("asserts", "setup", "given"),
    "check": ("test", "setup", "given"),
    "pytest": ("test", "setup", "given"),
    "unittest": ("test",),
    "ds1000": ("code_context",),
}


def check_content(tests: Mapping[str, Any], where: str) -> None:
    """Raises UserError that names ``where`` and the field.  ``tests`` have passed ``check_tests``."""
    kind = tests["kind"]
    for name in _TEXTS.get(kind, ()):
        check_characters(tests.get(name, ""), f"{where}: tests.{name}")
    if kind == "call":
        for name in ("inputs", "outputs"):
            for index, value in enumerate(tests[name]):
                if _depth(value) > MAX_DEPTH:
                    raise UserError(f"{where}: tests.{name}[{index}]: nested deeper than {MAX_DEPTH} levels")
    elif kind == "asserts":
        for index, line in enumerate(tests["asserts"]):
            if not _has_assert(_tree(line)):
                raise UserError(
                    f"{where}: tests.asserts[{index}]: tests nothing; an entry needs an assert of what the "
                    "program does (code that prepares asserts belongs into setup)"
                )
    elif kind in ("check", "pytest"):
        _check_functions(tests, where)
    elif kind == "unittest":
        _check_cases(_tree(tests["test"]), where)


def check_characters(value: Any, where: str) -> None:
    """Raises UserError if a text, or a text in a list, holds half a surrogate pair: it is no character."""
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            check_characters(item, f"{where}[{index}]")
    elif isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"{where}: half of a surrogate pair (U+{ord(value[error.start]):04X}) at character "
                f"{error.start}; no text holds one"
            ) from None


@functools.lru_cache(512)
def _tree(source: str) -> ast.Module:
    with warnings.catch_warnings(action="ignore"):  # old escapes
        return ast.parse(source.replace("\r\n", "\n"))


def _depth(value: Any) -> int:
    """How deep lists and objects are nested: 0 for a plain value."""
    depth, level = 0, [value]
    while True:
        inner: list[Any] = []
        for item in level:
            if isinstance(item, (list, tuple)):
                inner += item
            elif isinstance(item, Mapping):
                inner += item.values()
        if not any(isinstance(item, (list, tuple, Mapping)) for item in level) or depth > MAX_DEPTH:
            return depth
        depth, level = depth + 1, inner


def _has_assert(node: ast.AST) -> bool:
    """Whether there is an assert of something that is not known beforehand."""
    return any(isinstance(n, ast.Assert) and not isinstance(n.test, ast.Constant) for n in ast.walk(node))


def _check_functions(tests: Mapping[str, Any], where: str) -> None:
    tree, kind = _tree(tests["test"]), tests["kind"]
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    uncalled = [node for node in _functions(tree) if node.name.startswith("test") and node.name not in named]
    if kind == "check" and uncalled:
        raise UserError(
            f"{where}: tests.test: nobody calls {uncalled[0].name}(); functions for pytest need kind pytest"
        )
    if kind == "pytest" and not uncalled:
        raise UserError(f"{where}: tests.test: tests nothing; pytest tests need a function test_*")
    for node in uncalled:
        if len(node.args.args) + len(node.args.posonlyargs) > len(node.args.defaults) or isinstance(
            node, ast.AsyncFunctionDef
        ):
            raise UserError(
                f"{where}: tests.test: {node.name} has arguments or is async; functions test_* are called "
                "without arguments, there are no fixtures"
            )
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name not in named and any(_is_test(n) for n in node.body):
            raise UserError(
                f"{where}: tests.test: nobody runs the tests of class {node.name}; use kind unittest"
            )
    asked = {tests.get("entry_point", "").partition(".")[0].partition("(")[0]} - {""}
    for node in _functions(tree):
        if node.name == "check" and node.args.args:
            asked.add(node.args.args[0].arg)
    body = [n for n in tree.body if not isinstance(n, _FUNCTIONS)]
    body += [n for n in _functions(tree) if n.name == "check" or n in uncalled or n.name in named]
    calls = (n for node in body for n in ast.walk(node) if isinstance(n, ast.Call))
    if not any(map(_has_assert, body)) and not any(_names(call) & asked for call in calls):
        raise UserError(
            f"{where}: tests.test: tests nothing; it needs an assert, in check(candidate) or at the top level"
        )


def _functions(tree: ast.Module) -> Iterator[Any]:
    return (node for node in tree.body if isinstance(node, _FUNCTIONS))


def _names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _is_test(node: ast.stmt) -> bool:
    """Whether a statement of a class defines a test: a method, or another name for a function."""
    if isinstance(node, _FUNCTIONS):
        return node.name.startswith("test")
    if isinstance(node, (ast.If, ast.Try, ast.With)):
        return any(_is_test(n) for n in node.body)
    value = node.value if isinstance(node, ast.Assign) else None
    if not isinstance(value, (ast.Name, ast.Attribute, ast.Lambda)) or not isinstance(node, ast.Assign):
        return False
    return any(isinstance(t, ast.Name) and t.id.startswith("test") for t in node.targets)


def _check_cases(tree: ast.Module, where: str) -> None:
    """Each class of tests needs tests in its text: those that code adds later are not found."""
    classes = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    for node in ast.walk(tree):
        target: Any = None
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "setattr" and node.args:
            target = node.args[0]
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and node.attr.startswith("test")
        ):
            target = node.value
        if isinstance(target, ast.Name) and target.id in classes:
            raise UserError(
                f"{where}: tests.test: code adds tests to class {target.id}; only methods in its text are run"
            )
    if not any(_is_test(n) for node in classes.values() for n in node.body):
        raise UserError(
            f"{where}: tests.test: tests nothing; a class derived from unittest.TestCase needs methods"
        )
